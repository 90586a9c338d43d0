#!/usr/bin/env bash
# Makes {{name}}.wasm: the same as a binary, which says of itself what plugin.toml has. Hosts run the text as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v taskhost >/dev/null; then
    echo "error: no taskhost on PATH" >&2
    echo "hint: put the one there that made this folder; nothing else is needed" >&2
    exit 1
fi
taskhost pack "{{name}}.wat" -o "{{name}}.wasm"
