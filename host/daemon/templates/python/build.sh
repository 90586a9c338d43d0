#!/usr/bin/env bash
# Builds {{name}}.wasm. Needs Python 3.10 or newer with venv; what else it needs, it installs into .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: no Python 3.10 or newer with venv" >&2
    echo 'hint: on Debian `apt-get install python3 python3-venv`; elsewhere as https://python.org says, and set PYTHON to it' >&2
    exit 1
fi
# Exactly what requirements.txt says, and only once.
if ! [[ .venv/installed -nt requirements.txt ]]; then
    "$python" -m venv --clear .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
    touch .venv/installed
fi

.venv/bin/componentize-py --quiet --wit-path wit --world plugin componentize plugin --output "{{name}}.wasm"

# What plugin.toml says goes into it.
if command -v taskhost >/dev/null; then
    taskhost pack "{{name}}.wasm"
else
    echo "built {{name}}.wasm; without a taskhost on PATH, it does not say of itself what plugin.toml has" >&2
fi
