// A taskhost plugin in Go: a program that is run at each tick. It greets whom its first argument says.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	if err := greet(os.Args[1:]); err != nil {
		// An exit code other than 0 is a failure, and what is printed is the task's log.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func greet(args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("greets one, and got %d names", len(args))
	}
	name := "world"
	if len(args) == 1 {
		name = args[0]
	}
	fmt.Printf("hello %s, it is %s\n", name, time.Now().UTC().Format(time.RFC3339))
	return nil
}
