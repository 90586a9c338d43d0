#!/usr/bin/env bash
# Runs heartbeat.wasm, or the file given, in the host. Needs `taskhost` on PATH, or set TASKHOST to it.
set -euo pipefail
taskhost=${TASKHOST:-taskhost}
wasm=$(realpath "${1:-$(dirname "$0")/heartbeat.wasm}")
cd "$(dirname "$0")"
[[ -f $wasm ]] || ./build.sh "$wasm"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "test: $*" >&2; exit 1; }

said=$("$taskhost" run "$wasm" --env NAME=pi)
[[ $said == "pi alive at 20"* ]] || fail "it said: $said"

# The first heartbeat finds none before it, the second finds the first.
"$taskhost" run "$wasm" --ticks 2 --dir "$folder::/state" -- -file /state/beat >/dev/null
[[ $(<"$folder/beat") == 20*Z ]] || fail "the file has: $(<"$folder/beat")"

# One of long ago is told of, once, by the exit code too.
echo -n 2020-01-01T00:00:00Z >"$folder/beat"
code=0
said=$("$taskhost" run "$wasm" --dir "$folder::/state" -- -file /state/beat 2>&1) || code=$?
((code == 1)) || fail "exit code $code after a gap"
[[ $said == *"heartbeat was away for "* ]] || fail "it said: $said"
"$taskhost" run "$wasm" --dir "$folder::/state" -- -file /state/beat >/dev/null || fail "it told of the gap twice"

# A folder that is not granted is none.
code=0
"$taskhost" run "$wasm" -- -file /state/beat >/dev/null 2>&1 || code=$?
((code == 2)) || fail "exit code $code without a folder"
echo "test: it leaves its time, and tells of a gap once"
