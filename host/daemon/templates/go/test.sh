#!/usr/bin/env bash
# Tests the program natively, and the built plugin in the real engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

GOTOOLCHAIN=local go test ./...
./build.sh
out=$(taskhost run "{{name}}.wasm" --ticks 2 -- Ada)
echo "$out"
[[ $(grep -c "^hello Ada, it is " <<<"$out") == 2 ]]
echo "passed"
