#!/usr/bin/env bash
# Builds feed.wasm, or the file given. Needs Node.js 20 or newer with npm; what else it needs, it installs into node_modules.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/feed.wasm}")
cd "$here"

if ! command -v npm >/dev/null || ! node --eval 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; then
    echo "error: no Node.js 20 or newer with npm" >&2
    echo 'hint: on Debian `apt-get install nodejs npm`' >&2
    exit 1
fi
# Exactly what package-lock.json says, and only once.
[[ node_modules/.package-lock.json -nt package-lock.json ]] || npm ci --no-audit --no-fund

# The types are checked, then forgotten: one file of JavaScript is what becomes a component. What it imports from the host stays.
npx tsc
npx esbuild src/feed.ts --bundle --minify --format=esm --target=es2022 --outfile=build/feed.js --log-level=warning \
    --external:'wasi:*' --external:'taskhost:*'
node build.mjs "$out"
