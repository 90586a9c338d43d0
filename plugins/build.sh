#!/usr/bin/env bash
# Rebuilds every .wasm that is committed: the built-in plugin, the examples' and the guests of the tests.
#
#   plugins/build.sh              rebuilds them in place
#   plugins/build.sh --check      rebuilds them into a temporary folder and compares: the same contract (kind, imports,
#                                 exports) and the same behaviour (output and exit code), not the same bytes
#   plugins/build.sh --only TEXT  only those with TEXT in their path
#
# Rust: the wasm32-wasip2 target (`rustup target add wasm32-wasip2`), or, where a toolchain has none, Debian's
# `rustc-web cargo-web rust-web-src`, which build the standard library from source. C: a clang with a wasm back end, lld
# and wasi-libc (Debian: `clang lld wasi-libc`); set CLANG and WASI_SYSROOT to use others. AssemblyScript: Node.js 20 or newer with
# npm.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
taskhost=$(realpath --canonicalize-missing "${TASKHOST:-$root/target/debug/taskhost}")

# What is built: package folder, where the finished plugin stands.
rust_plugins=(
    "plugins/ticker plugins/ticker/ticker.wasm"
    "plugins/http plugins/http/http.wasm"
    "plugins/rotate plugins/rotate/rotate.wasm"
    "examples/rust-heartbeat examples/rust-heartbeat/heartbeat.wasm"
    "tests/guests/probe tests/guests/probe/probe.wasm"
    "tests/guests/hostile tests/guests/hostile/hostile.wasm"
    "tests/guests/reach tests/guests/reach/reach.wasm"
    "tests/guests/keeper tests/guests/keeper/keeper.wasm"
)
# What is built by a script of its own, which takes the file to write: script, where the finished plugin stands.
scripted_plugins=(
    "examples/c-plugin/build.sh examples/c-plugin/moon.wasm"
    "examples/preview1-command/build.sh examples/preview1-command/expiry.wasm"
    "examples/assemblyscript-sun/build.sh examples/assemblyscript-sun/sun.wasm"
)
# How each is run, for one tick, to see what it does: the plugin, then its arguments.
behaviours=(
    "plugins/ticker/ticker.wasm"
    "plugins/http/http.wasm"
    "plugins/http/http.wasm --help"
    "plugins/http/http.wasm http://example.org/health"
    "plugins/rotate/rotate.wasm"
    "plugins/rotate/rotate.wasm --help"
    "plugins/rotate/rotate.wasm --keep 7 --pattern *.log /logs"
    "examples/rust-heartbeat/heartbeat.wasm"
    "examples/rust-heartbeat/heartbeat.wasm soon"
    "examples/c-plugin/moon.wasm"
    "examples/preview1-command/expiry.wasm"
    "examples/preview1-command/expiry.wasm 2999-12-31 the contract"
    "examples/preview1-command/expiry.wasm 1999-12-31 the millennium"
    "examples/assemblyscript-sun/sun.wasm"
    "examples/assemblyscript-sun/sun.wasm 51.48 0 2026-06-21"
    "examples/assemblyscript-sun/sun.wasm 78.2 15.6 2026-12-21"
    "tests/guests/probe/probe.wasm"
    "tests/guests/probe/probe.wasm summary all is well"
    "tests/guests/probe/probe.wasm fail no disk"
    "tests/guests/probe/probe.wasm print-error a b"
    "tests/guests/probe/probe.wasm calls"
    "tests/guests/reach/reach.wasm"
    "tests/guests/reach/reach.wasm dirs env look-up example.com"
    "tests/guests/keeper/keeper.wasm log warn disk full ; get a ; config-all"
)

main() {
    local check=false only=
    while (($#)); do
        case $1 in
            --check) check=true ;;
            --only) only=${2:?--only takes a text} && shift ;;
            *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
        esac
        shift
    done

    choose_rust_toolchain
    choose_clang
    if $check; then
        if ! [[ -x $taskhost ]]; then
            echo "error: no $taskhost to compare with" >&2
            echo "hint: \`cargo build\`, or set TASKHOST to the program" >&2
            exit 1
        fi
        into=$(mktemp -d)
        trap 'rm -rf "$into"' EXIT
    else
        into=$root
    fi
    build_all "$only"
    if $check; then
        compare_all "$only"
    fi
}

# Sets `target` and, in `rust_flags` and the environment, what cargo needs to build for it.
choose_rust_toolchain() {
    local sysroot linkers
    sysroot=$(cd "$root" && rustc --print sysroot)
    linkers=$(echo "$sysroot"/lib/rustlib/*/bin)
    cargo=cargo
    cargo_arguments=()
    rust_flags=(
        # No path of the machine that built it stands in a plugin.
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        "--remap-path-prefix=$root=/taskhost"
    )
    if [[ -d $sysroot/lib/rustlib/wasm32-wasip2 ]]; then
        target=wasm32-wasip2
        rust_flags+=("--remap-path-prefix=$sysroot=/rust")
    elif [[ -x $linkers/wasm-component-ld && -x /usr/bin/cargo && -d /usr/lib/rustlib/src/rust/library/std ]]; then
        # Debian has the source of the standard library and no linker for components; the one of rustup's toolchain is
        # built for the machine itself, so it is there whatever targets are.
        target=wasm32-unknown-unknown
        cargo=/usr/bin/cargo
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
        export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linkers/wasm-component-ld
        cargo_arguments=(-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size)
        rust_flags+=(
            "-Clink-arg=--wasm-ld-path=$linkers/gcc-ld/wasm-ld"
            "--remap-path-prefix=$(realpath /usr/lib/rustlib/src/rust)=/rust"
            "--remap-path-prefix=/usr/lib/rustlib/src/rust=/rust"
        )
    else
        cat >&2 <<-'END'
			error: no toolchain for wasm
			hint: `rustup target add wasm32-wasip2`, or on Debian `apt-get install rustc-web cargo-web rust-web-src`
		END
        exit 1
    fi
}

# Sets CLANG for the scripts of the C plugins: Debian's have their version in their name.
choose_clang() {
    local candidate
    for candidate in "${CLANG:-}" clang clang-{25..16}; do
        if [[ -n $candidate ]] && command -v "$candidate" >/dev/null; then
            export CLANG=$candidate
            return
        fi
    done
    cat >&2 <<-'END'
		error: no clang
		hint: on Debian `apt-get install clang lld wasi-libc`; elsewhere set CLANG and WASI_SYSROOT to those of a wasi-sdk
	END
    exit 1
}

# Builds everything with $1 in its path, each to its place under $into.
build_all() {
    local only=$1 folder plugin
    # Separated by a byte that no path has.
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${rust_flags[*]}")
    # One folder for all, so that they share their dependencies.
    export CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR=$root/plugins/target
    for entry in "${rust_plugins[@]}"; do
        read -r folder plugin <<<"$entry"
        if [[ $plugin == *"$only"* ]]; then
            announce "$plugin"
            build_rust "$folder" "$plugin"
        fi
    done
    for entry in "${scripted_plugins[@]}"; do
        read -r script plugin <<<"$entry"
        if [[ $plugin == *"$only"* ]]; then
            announce "$plugin"
            mkdir -p "$into/$(dirname "$plugin")"
            "$root/$script" "$into/$plugin"
        fi
    done
}

build_rust() {
    local folder=$1 plugin=$2 package
    package=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$root/$folder/Cargo.toml" | head -n 1)
    (cd "$root/$folder" && "$cargo" build --release --locked --target "$target" "${cargo_arguments[@]}")
    mkdir -p "$into/$(dirname "$plugin")"
    cp "$CARGO_TARGET_DIR/$target/release/${package//-/_}.wasm" "$into/$plugin"
}

announce() {
    echo "building $1" >&2
}

# Compares everything with $1 in its path: what was committed with what was built under $into.
compare_all() {
    local only=$1 differ=false plugin arguments
    for entry in "${rust_plugins[@]}" "${scripted_plugins[@]}"; do
        plugin=${entry##* }
        if [[ $plugin == *"$only"* ]] && ! compare "contract of $plugin" contract "$plugin"; then
            differ=true
        fi
    done
    for entry in "${behaviours[@]}"; do
        read -r plugin arguments <<<"$entry"
        if [[ $plugin == *"$only"* ]] && ! compare "what $entry does" behaviour "$plugin" "$arguments"; then
            differ=true
        fi
    done
    if $differ; then
        echo "error: a committed plugin is not what its source says" >&2
        echo "hint: \`plugins/build.sh\`, and commit what it builds" >&2
        exit 1
    fi
}

# Calls function $2 in the checkout and under $into, with the rest as arguments, and shows where the answers differ.
compare() {
    local what=$1
    shift
    if diff --unified <(cd "$root" && "$@" 2>&1) <(cd "$into" && "$@" 2>&1); then
        echo "same: $what"
    else
        echo "differs: $what" >&2
        return 1
    fi
}

# What a plugin is and wants, without what is different in every build.
contract() {
    local filter='^(sha256|size) '
    if [[ $target == wasm32-wasip2 ]]; then
        # There the standard library always imports most of WASI; the committed ones are built where it does not.
        filter+='|wasi:'
    fi
    # Two failures must not look the same.
    "$taskhost" inspect "$1" | grep --extended-regexp --invert-match "$filter" || echo "nothing known of $PWD/$1"
}

# What a plugin does in one tick, without times.
behaviour() {
    local plugin=$1 code=0 arguments
    read -ra arguments <<<"$2"
    {
        "$taskhost" run "$plugin" --ticks 1 -- "${arguments[@]}" 2>&1 || code=$?
        echo "exit code $code"
    } | sed --regexp-extended 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)/TIME/g'
}

main "$@"
