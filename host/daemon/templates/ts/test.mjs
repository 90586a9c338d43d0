// Checks what {{name}} did in a year of daily ticks. test.sh calls it with the record; docs/testing.md of taskhost tells its
// shape.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const { ticks, kv } = JSON.parse(readFileSync(process.env.RECORD, "utf8"));

test("it greets whom it is told, each day", () => {
  assert.equal(ticks.length, 365);
  for (const { tick, outcome, lines } of ticks) {
    assert.equal(outcome, "success");
    assert.deepEqual(lines.map((line) => line.text), [`hello Ada, it is ${tick.due_local}`]);
  }
  assert.equal(ticks[0].tick.due_local, "2030-01-01T06:00:00Z");
});

test("it counts from one day to the next", () => {
  assert.equal(ticks[0].result, "greeted 1 times");
  assert.deepEqual(kv, { default: { greeted: "365" } });
});
