#!/usr/bin/env bash
# Runs sun.wasm, or the file given, in the host. Needs `taskhost` on PATH, or set TASKHOST to it.
set -euo pipefail
taskhost=${TASKHOST:-taskhost}
wasm=$(realpath "${1:-$(dirname "$0")/sun.wasm}")
cd "$(dirname "$0")"
[[ -f $wasm ]] || ./build.sh "$wasm"
fail() { echo "test: $*" >&2; exit 1; }

expect() {
    local expected=$1 said
    shift
    said=$("$taskhost" run "$wasm" -- "$@") || fail "exit code $? of $*"
    [[ $said == $expected ]] || fail "$*: $said"
}
# Greenwich in midsummer, by an almanac 03:43 and 20:21; Svalbard in both seasons.
expect "sunrise 03:4[1-5], sunset 20:2[0-3] UTC" 51.48 0 2026-06-21
expect "the sun does not set" 78.2 15.6 2026-06-21
expect "the sun does not rise" 78.2 15.6 2026-12-21
expect "sunrise ??:??, sunset ??:?? UTC" 0 0

code=0
"$taskhost" run "$wasm" -- north 2>/dev/null || code=$?
((code == 2)) || fail "exit code $code for bad arguments"
echo "test: it knows when the sun rises"
