#!/usr/bin/env bash
# Builds {{name}}.wasm, runs a year of it in virtual time, and checks what it did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
fail() { echo "test: $*" >&2; exit 1; }

./build.sh
mkdir -p build
taskhost run "{{name}}.wasm" --config name=Ada --kv --cron '0 6 * * *' --ticks 365 --virtual-time --start 2030-01-01T00:00:00Z \
    --record build/record.json &>build/run.log || { tail build/run.log >&2; exit 1; }
# The record is JSON, a member a line; docs/testing.md of taskhost tells its shape.
count() { grep -c "$1" build/record.json || true; }
(($(count '"outcome": "success"') == 365)) || fail "not all of a year's runs were a success"
(($(count '"text": "hello Ada, it is 2030-[0-9-]*T06:00:00Z"') == 365)) || fail "it did not greet Ada each day"
(($(count '"result": "greeted 365 times"') == 1)) || fail "it did not count from one day to the next"
echo "test: it greets whom it is told, and counts"
