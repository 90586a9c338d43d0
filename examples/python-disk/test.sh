#!/usr/bin/env bash
# Runs disk.wasm, or the file given, in the host. Needs `taskhost` on PATH, or set TASKHOST to it.
set -euo pipefail
taskhost=${TASKHOST:-taskhost}
wasm=$(realpath "${1:-$(dirname "$0")/disk.wasm}")
cd "$(dirname "$0")"
[[ -f $wasm ]] || ./build.sh "$wasm"
fail() { echo "test: $*" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/photos/2025"
head -c 3000000 /dev/zero >"$folder/photos/2025/cat.raw"
ln "$folder/photos/2025/cat.raw" "$folder/photos/favourite.raw"
head -c 2000 /dev/zero >"$folder/notes.txt"
run() {
    code=0
    said=$("$taskhost" run "$wasm" --dir "$folder::/data:ro" "$@" 2>&1) || code=$?
}

run
((code == 0)) || fail "exit code $code: $said"
# The file with two names counts once.
grep -q "3.0 MB photos" <<<"$said" && grep -q "2.0 kB notes.txt" <<<"$said" || fail "it said: $said"
run --config limit=4MB
((code == 0)) || fail "exit code $code under the limit: $said"
run --config limit=2.5MiB
((code == 1)) && grep -q "over the limit of 2.5MiB" <<<"$said" || fail "exit code $code over the limit: $said"

run --config limit=much
((code == 1)) && grep -q "bad limit" <<<"$said" || fail "exit code $code for a bad limit: $said"
run --config folder=/elsewhere
((code == 1)) || fail "exit code $code for a folder that was not granted: $said"
echo "test: it counts what the folder holds, and fails over the limit"
