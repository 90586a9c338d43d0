#!/usr/bin/env bash
# Runs check.wasm, or the file given, in the host against a server on this machine. Needs Node.js, and `taskhost` on PATH, or set
# TASKHOST to it.
set -euo pipefail
taskhost=${TASKHOST:-taskhost}
wasm=$(realpath "${1:-$(dirname "$0")/check.wasm}")
cd "$(dirname "$0")"
[[ -f $wasm ]] || ./build.sh "$wasm"
fail() { echo "test: $*" >&2; exit 1; }

server=
trap '[[ -z $server ]] || kill "$server"; rm -f "$port_file"' EXIT
port_file=$(mktemp)
serve() {
    [[ -z $server ]] || kill "$server"
    : >"$port_file"
    node server.mjs "$@" >"$port_file" &
    server=$!
    until [[ -s $port_file ]]; do kill -0 "$server"; sleep 0.05; done
    url=http://127.0.0.1:$(<"$port_file")/health
}
run() {
    code=0
    said=$("$taskhost" run "$wasm" --kv --config "url=$url" --allow-host "${url:7:-7}" "$@" 2>&1) || code=$?
}

# Up, up and down: two changes, and the third run fails.
serve 200 200 503
run --ticks 4
((code == 1)) || fail "exit code $code: $said"
(($(grep -c "$url is up: status 200" <<<"$said") == 1)) || fail "it said not once that it is up: $said"
grep -q "$url is down: status 503; it was up since 20" <<<"$said" || fail "it told of no change: $said"

# No answer is down as well, and so is a host that it may not ask.
serve 0
run --config seconds=0.2
((code == 1)) && grep -q "is down: no answer within 0.2 s" <<<"$said" || fail "exit code $code: $said"
url=http://127.0.0.1:1/health
run --allow-host 127.0.0.2:1
((code == 1)) || fail "exit code $code: $said"

code=0
said=$("$taskhost" run "$wasm" --kv 2>&1) || code=$?
((code == 1)) && grep -q "no URL" <<<"$said" || fail "exit code $code: $said"
echo "test: it tells of changes, and fails while the URL is down"
