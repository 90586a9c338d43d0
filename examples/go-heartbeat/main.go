// A heartbeat: says at each run that it is alive, and how long ago it was so before. An ordinary program with arguments,
// variables, a file and an exit code; nothing in it knows of taskhost.
//
//	heartbeat [-file FILE] [-gap DURATION]
//
// With -file it leaves the time in FILE, where another program may look for it, and finds there when it was alive before. If
// that is longer ago than -gap, it says so and exits with 1, once: a machine that slept or was down is told of. NAME in the
// environment is who is alive.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"time"
)

func main() {
	file := flag.String("file", "", "where to leave the time of this heartbeat")
	gap := flag.Duration("gap", 5*time.Minute, "how long ago the heartbeat before may be")
	flag.Parse()
	name := os.Getenv("NAME")
	if name == "" {
		name = "heartbeat"
	}

	now := time.Now().UTC()
	fmt.Printf("%s alive at %s\n", name, now.Format(time.RFC3339))
	if *file == "" {
		return
	}

	before, err := lastBeat(*file)
	if err == nil {
		err = writeBeat(*file, now)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "heartbeat: %v\n", err)
		os.Exit(2)
	}
	if away := now.Sub(before); !before.IsZero() && away > *gap {
		fmt.Fprintf(os.Stderr, "%s was away for %s\n", name, away.Round(time.Second))
		os.Exit(1)
	}
}

// When the heartbeat before was; the zero time if there was none.
func lastBeat(file string) (time.Time, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, string(text))
}

// Replaces the file, so that nobody ever reads half of it.
func writeBeat(file string, now time.Time) error {
	fresh := file + ".new"
	if err := os.WriteFile(fresh, []byte(now.Format(time.RFC3339)), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}
