"""Checks what {{name}} did in a year of daily ticks. test.sh runs it; docs/testing.md of taskhost tells the record's shape."""

import json
import os
import unittest


class AYearOfDailyTicks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.environ["RECORD"], encoding="utf-8") as file:
            cls.record = json.load(file)

    def test_greets_whom_it_is_told_each_day(self):
        ticks = self.record["ticks"]
        self.assertEqual(len(ticks), 365)
        self.assertEqual(ticks[0]["tick"]["due_local"], "2030-01-01T06:00:00Z")
        for tick in ticks:
            self.assertEqual(tick["outcome"], "success")
            due = tick["tick"]["due_local"]
            self.assertEqual([line["text"] for line in tick["lines"]], [f"hello Ada, it is {due}"])

    def test_counts_from_one_day_to_the_next(self):
        self.assertEqual(self.record["ticks"][0]["result"], "greeted 1 times")
        self.assertEqual(self.record["kv"], {"default": {"greeted": "365"}})


if __name__ == "__main__":
    unittest.main()
