// A client of taskhost in nothing but Go's standard library.
//
// This is the client of the demo that taskhost began as: net/rpc/jsonrpc speaks JSON-RPC 1.0 over TCP, and the host
// answers it as the demo did: true, or an error that is a string.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
)

func main() {
	address := flag.String("addr", "127.0.0.1:3333", "where the host listens")
	pipeline := flag.Int("pipeline", 0, "make `N` calls on one connection without waiting in between: NAME-1 to NAME-N")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: client-go [-addr ADDR] [-pipeline N] add|delete NAME")
		flag.PrintDefaults()
	}
	flag.Parse()
	method, known := map[string]string{"add": "TaskUnit.Add", "delete": "TaskUnit.Delete"}[flag.Arg(0)]
	if !known || flag.NArg() != 2 || *pipeline < 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*address, method, flag.Arg(1), *pipeline); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(address, method, name string, pipeline int) error {
	client, err := jsonrpc.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer client.Close()

	if pipeline > 0 {
		return callMany(client, method, name, pipeline)
	}
	var ok bool
	if err := client.Call(method, name, &ok); err != nil {
		return err
	}
	fmt.Println(ok)
	return nil
}

// callMany sends all the calls before it reads the first answer, and waits for every one.
func callMany(client *rpc.Client, method, name string, count int) error {
	done := make(chan *rpc.Call, count)
	for i := 1; i <= count; i++ {
		client.Go(method, fmt.Sprintf("%s-%d", name, i), new(bool), done)
	}
	succeeded := 0
	var failures []error
	for i := 0; i < count; i++ {
		switch call := <-done; {
		case call.Error != nil:
			failures = append(failures, fmt.Errorf("%v: %w", call.Args, call.Error))
		case !*call.Reply.(*bool):
			failures = append(failures, fmt.Errorf("%v: the answer is false", call.Args))
		default:
			succeeded++
		}
	}
	fmt.Printf("%d of %d\n", succeeded, count)
	return errors.Join(failures...)
}
