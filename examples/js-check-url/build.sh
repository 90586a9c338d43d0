#!/usr/bin/env bash
# Builds check.wasm, or the file given. Needs Node.js 20 or newer with npm; what else it needs, it installs into node_modules.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/check.wasm}")
cd "$here"

if ! command -v npm >/dev/null || ! node --eval 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; then
    echo "error: no Node.js 20 or newer with npm" >&2
    echo 'hint: on Debian `apt-get install nodejs npm`' >&2
    exit 1
fi
# Exactly what package-lock.json says, and only once.
[[ node_modules/.package-lock.json -nt package-lock.json ]] || npm ci --no-audit --no-fund
node build.mjs "$out"
