#!/usr/bin/env bash
# Builds {{name}}.wasm. Needs a clang that builds for wasm, lld and wasi-libc: on Debian `apt-get install clang lld wasi-libc`;
# elsewhere set CLANG and WASI_SYSROOT to those of a wasi-sdk. Where there is none, or with CLANG=zig, it installs Zig's from PyPI
# into .venv, which takes 400 MB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# A core module with the contract in a custom section (plugin_component_type.o), which hosts make a component of. A reactor has no
# `main`.
flags=(
    --target=wasm32-wasi -mexec-model=reactor
    -std=c17 -Wall -Wextra -Os
    -Wl,--strip-debug
    # Some compilers would have one of 16 MiB.
    -Wl,-z,stack-size=262144
)
sources=(plugin.c bindings/plugin.c bindings/plugin_component_type.o)
clang_flags=(--sysroot="${WASI_SYSROOT:-/usr}")
# Where the compiler's runtime library is not installed it does without, and without what needs that: strtol and sscanf among others.
without_runtime=(-nodefaultlibs -lc)

# Sets `compiler` to one that can build for wasm.
choose_compiler() {
    local candidate python=${PYTHON:-python3}
    if [[ ${CLANG:-} != zig ]]; then
        for candidate in "${CLANG:-clang}" clang-{25..16}; do
            if builds "$candidate"; then
                compiler=("$candidate" "${flags[@]}" "${clang_flags[@]}")
                return
            elif builds "$candidate" "${without_runtime[@]}"; then
                compiler=("$candidate" "${flags[@]}" "${clang_flags[@]}" "${without_runtime[@]}")
                hint='install the runtime library of clang for what is undefined: on Debian libclang-rt-VERSION-dev-wasm32'
                return
            fi
            [[ -z ${CLANG:-} ]] || break
        done
        [[ -z ${CLANG:-} ]] || give_up "$CLANG does not build for wasm"
    fi
    "$python" -c 'import venv, ensurepip' 2>/dev/null || give_up "no clang that builds for wasm"
    # Exactly what requirements.txt says, and only once.
    if ! [[ .venv/installed -nt requirements.txt ]]; then
        echo "installing the compiler of Zig into .venv, 400 MB" >&2
        "$python" -m venv --clear .venv
        .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
        touch .venv/installed
    fi
    export ZIG_GLOBAL_CACHE_DIR=$PWD/.venv/cache ZIG_LOCAL_CACHE_DIR=$PWD/.venv/cache
    compiler=(.venv/bin/python -m ziglang cc "${flags[@]}")
}

builds() {
    command -v "$1" >/dev/null && echo 'void _initialize(void) {}' |
        "$1" "${flags[@]}" "${clang_flags[@]}" "${@:2}" -nostartfiles -x c - -o /dev/null 2>/dev/null
}

give_up() {
    echo "error: $1" >&2
    echo 'hint: on Debian `apt-get install clang lld wasi-libc`; elsewhere set CLANG and WASI_SYSROOT to those of a wasi-sdk, or' >&2
    echo '      install Python 3 with venv, by which it gets a compiler from PyPI' >&2
    exit 1
}

hint=
choose_compiler
if ! "${compiler[@]}" "${sources[@]}" -o "{{name}}.wasm"; then
    [[ -z $hint ]] || echo "hint: $hint" >&2
    exit 1
fi
# The linker marks it as a program of this machine, which it is not.
chmod a-x "{{name}}.wasm"

# What plugin.toml says goes into it.
if command -v taskhost >/dev/null; then
    taskhost pack "{{name}}.wasm"
else
    echo "built {{name}}.wasm; without a taskhost on PATH, it does not say of itself what plugin.toml has" >&2
fi
