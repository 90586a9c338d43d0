#!/usr/bin/env bash
# Builds {{name}}.wasm, runs a year of it in virtual time, and tests the program and what it did (main_test.go).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

./build.sh
mkdir -p build
taskhost run "{{name}}.wasm" --env NAME=Ada --cron '0 6 * * *' --ticks 365 --virtual-time --start 2030-01-01T00:00:00Z \
    --record build/record.json &>build/run.log || { tail build/run.log >&2; exit 1; }
RECORD=$PWD/build/record.json GOTOOLCHAIN=local go test -count=1 ./...
