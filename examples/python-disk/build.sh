#!/usr/bin/env bash
# Builds disk.wasm, or the file given. Needs Python 3.10 or newer with venv; what else it needs, it installs into .venv.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/disk.wasm}")
cd "$here"

python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: no Python 3.10 or newer with venv" >&2
    echo 'hint: on Debian `apt-get install python3 python3-venv`' >&2
    exit 1
fi
# Exactly what requirements.txt says, and only once.
if ! [[ .venv/installed -nt requirements.txt ]]; then
    "$python" -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
    touch .venv/installed
fi
.venv/bin/componentize-py --wit-path wit --world disk componentize disk --output "$out"
