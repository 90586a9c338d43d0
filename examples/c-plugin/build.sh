#!/usr/bin/env bash
# Builds moon.wasm, or the file given. On Debian: `apt-get install clang lld wasi-libc`; elsewhere set CLANG and
# WASI_SYSROOT to those of a wasi-sdk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/moon.wasm}")
cd "$here"

# A core module with the contract in a custom section (moon_component_type.o), which the host makes a component of. A
# reactor has no `main`. Nothing here needs the compiler's runtime library, so it need not be installed.
"${CLANG:-clang}" --target=wasm32-wasi --sysroot="${WASI_SYSROOT:-/usr}" -mexec-model=reactor \
    -std=c17 -Wall -Wextra -Os \
    moon.c bindings/moon.c bindings/moon_component_type.o \
    -nodefaultlibs -lc \
    -Wl,--strip-debug -o "$out"
# The linker marks it as a program of this machine, which it is not.
chmod a-x "$out"
