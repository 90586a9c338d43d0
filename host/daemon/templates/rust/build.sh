#!/usr/bin/env bash
# Builds {{name}}.wasm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v cargo >/dev/null; then
    echo "error: no cargo" >&2
    echo "hint: install Rust, as https://rustup.rs says" >&2
    exit 1
fi
sysroot=$(rustc --print sysroot)
remap="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/plugin"
linkers=$(echo "$sysroot"/lib/rustlib/*/bin)
if [[ -d $sysroot/lib/rustlib/wasm32-wasip2 ]]; then
    target=wasm32-wasip2
    RUSTFLAGS="$remap" cargo build --release --target "$target"
elif [[ -x $linkers/wasm-component-ld && -x /usr/bin/cargo && -d /usr/lib/rustlib/src/rust/library/std ]]; then
    # Debian's rustc-web, cargo-web and rust-web-src: they build the standard library from its source.
    target=wasm32-unknown-unknown
    echo "no target wasm32-wasip2: building for $target, where \`std\` has no files, variables, time and threads" >&2
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linkers/wasm-component-ld
    RUSTFLAGS="$remap -Clink-arg=--wasm-ld-path=$linkers/gcc-ld/wasm-ld" \
        /usr/bin/cargo build --release --target "$target" -Zbuild-std=std,panic_abort
else
    echo "error: no target for wasm" >&2
    echo "hint: \`rustup target add wasm32-wasip2\`; where that can't be, on Debian with a Rust of rustup's" >&2
    echo "      \`apt-get install rustc-web cargo-web rust-web-src\`" >&2
    exit 1
fi
cp "${CARGO_TARGET_DIR:-target}/$target/release/{{snake}}.wasm" "{{name}}.wasm"

# What plugin.toml says goes into it.
if command -v taskhost >/dev/null; then
    taskhost pack "{{name}}.wasm"
else
    echo "built {{name}}.wasm; without a taskhost on PATH, it does not say of itself what plugin.toml has" >&2
fi
