// Goroutines, each of which waits for a ticker of its own and writes a line every second until its channel is closed: what
// taskhost began as. No sandbox.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	interval = time.Second
	warmUp   = 3 * time.Second
)

// latenesses is what the ticks of some goroutines came to. There are several, so that they seldom wait for each other.
type latenesses struct {
	sync.Mutex
	all []time.Duration
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: go-ticker TASKS SECONDS")
	}
	tasks, err := strconv.Atoi(os.Args[1])
	check(err)
	seconds, err := strconv.Atoi(os.Args[2])
	check(err)
	out, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	check(err)

	seen := make([]latenesses, 64)
	stop := make(chan struct{})
	empty := residentBytes()
	began := time.Now()
	for number := 0; number < tasks; number++ {
		// Spread evenly over the interval, like the tasks of the host.
		time.Sleep(time.Until(began.Add(interval * time.Duration(number) / time.Duration(tasks))))
		go task("tick-"+strconv.Itoa(number), out, &seen[number%len(seen)], stop)
	}
	time.Sleep(warmUp)
	bytesPerTask := float64(residentBytes()-empty) / float64(tasks)
	collect(seen)

	started, cpu := time.Now(), processorTime()
	time.Sleep(time.Duration(seconds) * time.Second)
	took, cpu := time.Since(started), processorTime()-cpu
	late := collect(seen)
	close(stop)
	if len(late) == 0 {
		fail("no ticker ticked")
	}
	sort.Slice(late, func(a, b int) bool { return late[a] < late[b] })
	part := func(part float64) float64 { return late[int(float64(len(late))*part)].Seconds() * 1e3 }
	ticks := float64(len(late))
	fmt.Printf(`{"ticks_per_second": %.1f, "due_per_second": %d, "cpu_per_tick_us": %.3f, "bytes_per_task": %.0f, `+
		`"lateness_p50_ms": %.3f, "lateness_p99_ms": %.3f}`+"\n",
		ticks/took.Seconds(), tasks, cpu.Seconds()*1e6/ticks, bytesPerTask, part(0.5), part(0.99))
}

func task(name string, out *os.File, seen *latenesses, stop chan struct{}) {
	ticker := time.NewTicker(interval)
	made := time.Now()
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			now := time.Now()
			// A ticker drops ticks that come too late, so that only lateness below the interval can be told.
			late := now.Sub(made) % interval
			fmt.Fprintln(out, "Task", name, "tick at", now.Format(time.RFC3339Nano))
			seen.Lock()
			seen.all = append(seen.all, late)
			seen.Unlock()
		case <-stop:
			return
		}
	}
}

func collect(seen []latenesses) []time.Duration {
	var all []time.Duration
	for at := range seen {
		seen[at].Lock()
		all = append(all, seen[at].all...)
		seen[at].all = nil
		seen[at].Unlock()
	}
	return all
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func residentBytes() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	check(err)
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	check(err)
	return pages * int64(os.Getpagesize())
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}
