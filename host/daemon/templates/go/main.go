// A taskhost plugin in Go: a program that is run at each tick. It greets whom the variable NAME says.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	name, ok := os.LookupEnv("NAME")
	if !ok {
		name = "world"
	}
	greeting, err := greet(name, time.Now())
	if err != nil {
		// An exit code other than 0 is a failure, and what is printed is the task's log.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(greeting)
}

func greet(name string, now time.Time) (string, error) {
	if strings.TrimSpace(name) == "" {
		return "", errors.New("NAME is empty: nobody to greet")
	}
	return fmt.Sprintf("hello %s, it is %s", name, now.UTC().Format(time.RFC3339)), nil
}
