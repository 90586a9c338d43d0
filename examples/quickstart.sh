#!/usr/bin/env bash
# taskhost in one go, from a fresh clone: builds it, starts a host on a free port with a temporary directory, adds, edits and
# deletes tasks while it runs, restarts it to show what survives, and leaves nothing behind.
#
# PROFILE=release builds and runs the optimised host; the default shares its build with `cargo test`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${PROFILE:-dev}
bin=$(realpath -m "${CARGO_TARGET_DIR:-target}")/$([[ $profile == dev ]] && echo debug || echo "$profile")

bold='' plain=''
[[ ! -t 1 ]] || bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}
die() {
    echo "quickstart: $*" >&2
    [[ -s ${home-}/host.err ]] && cat "$home/host.err" >&2
    exit 1
}

home=$(mktemp -d "${TMPDIR:-/tmp}/taskhost-quickstart.XXXXXX")
host_pid=
stop_host() {
    if [[ -n $host_pid ]]; then
        kill -TERM "$host_pid" 2>/dev/null || true
        wait "$host_pid" || die "the host did not end well"
        host_pid=
    fi
}
leave_nothing() {
    if [[ -n $host_pid ]]; then
        kill -KILL "$host_pid" 2>/dev/null || true
    fi
    rm -rf "$home"
}
trap leave_nothing EXIT

start_host() {
    : >"$home/host.out"
    "$bin/taskhost" --data-dir "$home/data" --socket "$home/taskhost.sock" --listen 127.0.0.1:0 \
        >"$home/host.out" 2>>"$home/host.err" &
    host_pid=$!
    await "the host is ready" grep -qx ready "$home/host.out"
    TASKHOST_HOST=$(sed -n 's/^listening on \(127.*\)$/\1/p' "$home/host.out")
    export TASKHOST_HOST
    cat "$home/host.out"
}

# Asks again until it holds, for at most ten seconds.
await() {
    local what=$1 tries=200
    shift
    until "$@" >/dev/null 2>&1; do
        kill -0 "$host_pid" 2>/dev/null || die "the host ended"
        ((tries-- > 0)) || die "waited in vain until $what"
        sleep 0.05
    done
}
has_lines() { (($("$bin/taskctl" logs "$1" -n 100 | grep -c "${2:-}") >= ${3:-1})); }

say "build (the first time, this takes minutes: it compiles a compiler)"
run cargo build --quiet --profile "$profile" --bins
PATH=$bin:$PATH

say "start a host: a free port, a temporary directory"
start_host

say "add a task: the built-in plugin, every second"
run taskctl add hello
await "hello has ticked twice" has_lines hello "Task hello tick" 2
run taskctl logs hello

say "add one that runs a WebAssembly plugin of your own, every 500 ms"
run taskctl add heartbeat --wasm examples/rust-heartbeat/heartbeat.wasm --every 500ms --label team=demo
await "heartbeat has run" has_lines heartbeat
run taskctl logs heartbeat -n 3

say "edit it while it runs"
run taskctl edit heartbeat --every 200ms
await "it has run at the new pace" has_lines heartbeat . 5
run taskctl list

say "run one now, and wait for its outcome"
run taskctl run heartbeat

say "delete the other"
run taskctl del hello

say "restart the host: what was answered survives"
stop_host
start_host
run taskctl list
taskctl list | grep -q heartbeat || die "heartbeat did not survive"
! taskctl list | grep -q hello || die "hello came back"

say "stop"
stop_host
echo "the host is stopped, and its directory is deleted"
