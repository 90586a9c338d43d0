package main

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

func TestGreetsWhomItIsTold(t *testing.T) {
	said, err := greet("Ada", time.Date(2030, 1, 1, 6, 0, 0, 0, time.UTC))
	if said != "hello Ada, it is 2030-01-01T06:00:00Z" || err != nil {
		t.Fatal(said, err)
	}
	if said, err := greet(" ", time.Now()); err == nil {
		t.Fatal(said)
	}
}

// What the built plugin did in a year of daily ticks, as test.sh had it recorded. docs/testing.md of taskhost tells the shape.
func TestAYearOfDailyTicks(t *testing.T) {
	path := os.Getenv("RECORD")
	if path == "" {
		t.Skip("there is no RECORD: run test.sh")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Ticks []struct {
			Tick struct {
				DueLocal string `json:"due_local"`
			}
			Outcome string
			Lines   []struct{ Text string }
		}
	}
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	if len(record.Ticks) != 365 {
		t.Fatalf("%d ticks", len(record.Ticks))
	}
	for _, tick := range record.Ticks {
		if tick.Outcome != "success" || len(tick.Lines) != 1 || tick.Lines[0].Text != "hello Ada, it is "+tick.Tick.DueLocal {
			t.Fatalf("%+v", tick)
		}
	}
}
