#!/usr/bin/env bash
# Makes bindings/ anew, after a change to wit/. Needs `cargo install wit-bindgen-cli --version 0.63.0`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

wit-bindgen c wit --out-dir bindings
