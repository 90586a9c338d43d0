#!/usr/bin/env bash
# Runs feed.wasm, or the file given, in the host against a server on this machine. Needs Node.js, and `taskhost` on PATH, or set
# TASKHOST to it.
set -euo pipefail
taskhost=${TASKHOST:-taskhost}
wasm=$(realpath "${1:-$(dirname "$0")/feed.wasm}")
cd "$(dirname "$0")"
[[ -f $wasm ]] || ./build.sh "$wasm"
fail() { echo "test: $*" >&2; exit 1; }

port_file=$(mktemp)
node server.mjs >"$port_file" &
server=$!
trap 'kill "$server"; rm -f "$port_file"' EXIT
until [[ -s $port_file ]]; do kill -0 "$server"; sleep 0.05; done
address=127.0.0.1:$(<"$port_file")
run() {
    local url=$1
    shift
    code=0
    said=$("$taskhost" run "$wasm" --kv --allow-host "$address" --config "url=$url" "$@" 2>&1) || code=$?
}

# The server has a new entry from the third request on.
run "http://$address/rss.xml" --ticks 4
((code == 0)) || fail "exit code $code: $said"
grep -q "watching http://$address/rss.xml, which has 2 entries" <<<"$said" || fail "it said: $said"
(($(grep -c "Grüße & more http://news.example/3" <<<"$said") == 1)) || fail "it said: $said"
! grep -q "The second" <<<"$said" || fail "it told of an old entry: $said"
run "http://$address/atom.xml" --ticks 3
((code == 0)) && grep -q "2.0 http://releases.example/2.0" <<<"$said" || fail "exit code $code: $said"

run "http://$address/none.xml"
((code == 1)) && grep -q "status 404" <<<"$said" || fail "exit code $code for a feed that is not there: $said"
run "http://127.0.0.2:1/rss.xml"
((code == 1)) || fail "exit code $code for a host that was not granted: $said"
echo "test: it tells of each new entry once"
