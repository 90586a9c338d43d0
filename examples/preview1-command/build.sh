#!/usr/bin/env bash
# Builds expiry.wasm, or the file given. On Debian: `apt-get install clang lld wasi-libc`; elsewhere set CLANG and
# WASI_SYSROOT to those of a wasi-sdk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/expiry.wasm}")
cd "$here"

# The libc without floating point in printf needs nothing of the compiler's runtime library, so it need not be installed.
"${CLANG:-clang}" --target=wasm32-wasi --sysroot="${WASI_SYSROOT:-/usr}" \
    -std=gnu17 -Wall -Wextra -Os \
    expiry.c \
    -nodefaultlibs -lc-printscan-no-floating-point -lc \
    -Wl,--strip-debug -o "$out"
# The linker marks it as a program of this machine, which it is not.
chmod a-x "$out"
