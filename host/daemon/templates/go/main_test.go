package main

import "testing"

func TestGreetsOneOnly(t *testing.T) {
	if err := greet([]string{"Ada"}); err != nil {
		t.Fatal(err)
	}
	if err := greet([]string{"Ada", "Grace"}); err == nil {
		t.Fatal("two were greeted")
	}
}
