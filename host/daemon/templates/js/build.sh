#!/usr/bin/env bash
# Builds {{name}}.wasm. Needs Node.js 20 or newer with npm; what else it needs, it installs into node_modules.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v npm >/dev/null || ! node --eval 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; then
    echo "error: no Node.js 20 or newer with npm" >&2
    echo 'hint: on Debian `apt-get install nodejs npm`; elsewhere as https://nodejs.org says' >&2
    exit 1
fi
# Exactly what package-lock.json says, and only once.
[[ node_modules/.package-lock.json -nt package-lock.json ]] || npm ci --no-audit --no-fund

# The engine that is built in does not tell where a mistake in the syntax is.
for file in *.js; do
    node --check "$file"
done
node build.mjs

# What plugin.toml says goes into it.
if command -v taskhost >/dev/null; then
    taskhost pack "{{name}}.wasm"
else
    echo "built {{name}}.wasm; without a taskhost on PATH, it does not say of itself what plugin.toml has" >&2
fi
