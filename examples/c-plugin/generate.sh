#!/usr/bin/env bash
# Makes bindings/ from world.wit, after a change to it. Needs `cargo install wit-bindgen-cli --version 0.63.0`.
set -euo pipefail
cd "$(dirname "$0")"

wit=$(mktemp -d)
trap 'rm -rf "$wit"' EXIT
cp world.wit "$wit"
mkdir -p "$wit/deps/taskhost-plugin"
cp ../../wit/0.1.0/*.wit "$wit/deps/taskhost-plugin"
cp ../../plugins/sdk/wit/deps/{cli,io}.wit "$wit/deps"

wit-bindgen c "$wit" --out-dir bindings
