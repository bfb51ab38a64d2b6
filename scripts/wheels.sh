#!/bin/sh
# Builds the wheels of rkllm_rs for aarch64, armv7l and x86_64, and the source distribution, into dist/.
#
#   scripts/wheels.sh <venv> [<target> | sdist | fakes-<target>]...
#
# <venv> has requirements/wheels.txt. A target is aarch64, armv7l or x86_64; without any word, all of
# them and the source distribution are built. The scripted libraries that tests open come on request,
# into target/wheels/fakes-<target>. Builds lie under target/wheels. Rust's standard library
# for a target comes from rustup where it is installed, else from Debian's packages (toolchain.sh);
# RKLLM_RS_RUST=debian takes Debian's in any case.
set -eu

fail() { echo "wheels: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "${1:?usage: wheels.sh <venv> [<what>...]}" && pwd)
shift
[ $# -gt 0 ] || set -- aarch64 armv7l x86_64 sdist
PATH=$venv/bin:$PATH
work=$root/target/wheels
dist=$root/dist
mkdir -p "$work" "$dist"
cd "$root"

# No path of this machine belongs into a library, not even in the messages of panics. The last prefix
# that fits is taken; the folder of a registry has a name that differs from machine to machine.
cargo fetch --quiet --locked
unit=$(printf '\037')
remap=--remap-path-prefix=$HOME=home
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    remap="$remap${unit}--remap-path-prefix=$sources=crates"
done
remap="$remap${unit}--remap-path-prefix=$root=rkllm_rs"

# rust_for <triple>: chooses the compiler and its target folder; they do not mix
rust_for() {
    CARGO_TARGET_DIR=$work/host
    unset RUSTC RUSTDOC
    installed=$(rustc --print sysroot)/lib/rustlib/$1/lib
    if [ "${RKLLM_RS_RUST:-}" = debian ] || ! ls "$installed"/libstd-*.rlib >/dev/null 2>&1; then
        bin=$(scripts/toolchain.sh rust) || fail "no Rust for $1: rustup target add $1"
        CARGO_TARGET_DIR=$work/debian
        RUSTC=$bin/rustc
        RUSTDOC=$bin/rustdoc
        export RUSTC RUSTDOC
    fi
    export CARGO_TARGET_DIR
    CARGO_ENCODED_RUSTFLAGS="$remap${unit}--remap-path-prefix=$(${RUSTC:-rustc} --print sysroot)=rust"
    export CARGO_ENCODED_RUSTFLAGS
}

wheel() { # wheel <triple> <name in the tag>
    echo "== $2"
    rust_for "$1"
    rm -f "$dist"/rkllm_rs-*_"$2".whl
    maturin build --quiet --release --locked --zig --compatibility manylinux_2_17 --target "$1" --out "$dist"
    "$venv/bin/python" scripts/tidy_wheel.py "$dist"/rkllm_rs-*_"$2".whl
}

# The stand-ins for the vendor's library, for the tests; they are never shipped.
fakes() { # fakes <triple> <name>
    echo "== fakes for $2"
    rust_for "$1"
    packages=
    for folder in tests/fake_rkllm/v*/; do
        packages="$packages -p fake-rkllm-$(basename "$folder")"
    done
    # shellcheck disable=SC2086 # words
    cargo-zigbuild zigbuild --quiet --locked --profile fast --target "$1.2.17" $packages
    mkdir -p "$work/fakes-$2"
    cp "$CARGO_TARGET_DIR/$1"/fast/libfake_rkllm_v*.so "$work/fakes-$2/"
}

# The source distribution must build without the repository around it.
sdist() {
    echo "== source distribution"
    rm -f "$dist"/rkllm_rs-*.tar.gz
    maturin sdist --out "$dist"
    alone=$(mktemp -d)
    trap 'rm -rf "$alone"' EXIT
    tar -xzf "$dist"/rkllm_rs-*.tar.gz -C "$alone"
    # Without --locked: the members of the workspace that stay behind are struck off the lock file.
    rust_for x86_64-unknown-linux-gnu
    CARGO_TARGET_DIR=$work/alone
    (cd "$alone"/rkllm_rs-* && maturin build --quiet --release --out "$alone/out")
    "$venv/bin/python" -m zipfile -e "$alone"/out/*.whl "$alone/site"
    (cd "$alone" && PYTHONPATH="$alone/site" "$venv/bin/python" -c 'import rkllm_rs; rkllm_rs.backends()')
    echo "$(basename "$dist"/rkllm_rs-*.tar.gz) builds alone"
    rm -rf "$alone"
    trap - EXIT
}

triple() {
    case $1 in
    aarch64 | x86_64) echo "$1-unknown-linux-gnu" ;;
    armv7l) echo armv7-unknown-linux-gnueabihf ;;
    *) fail "unknown: $1" ;;
    esac
}

for word; do
    case $word in
    sdist) sdist ;;
    fakes-*)
        target=$(triple "${word#fakes-}")
        fakes "$target" "${word#fakes-}"
        ;;
    *)
        target=$(triple "$word")
        wheel "$target" "$word"
        ;;
    esac
done
