#!/usr/bin/env bash
# Tests the function natively, and the built plugin in the real engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cargo test
./build.sh
out=$(taskhost run "{{name}}.wasm" --ticks 2 --config name=Ada --kv)
echo "$out"
[[ $(grep -c "^hello Ada, it is " <<<"$out") == 2 ]]
echo "passed"
