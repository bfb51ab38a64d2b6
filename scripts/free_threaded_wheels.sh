#!/bin/sh
# Builds the wheels of rkllm_rs for Pythons without a GIL, into dist/: they have no stable ABI before
# 3.15, so that each version takes a wheel of its own.
#
#   scripts/free_threaded_wheels.sh <venv> <target> <version>...
#
# <venv> has requirements/wheels.txt; <target> is aarch64, armv7l or x86_64, whose standard library
# rustup has installed; <version> is 3.14t: PyO3 and maturin support none before it. For this machine
# itself python3.14t must be on the path; for others no interpreter is needed.
set -eu

usage="usage: free_threaded_wheels.sh <venv> <target> <version>..."
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "${1:?$usage}" && pwd)
case ${2:?$usage} in
aarch64 | x86_64) triple=$2-unknown-linux-gnu ;;
armv7l) triple=armv7-unknown-linux-gnueabihf ;;
*) echo "$usage" >&2; exit 1 ;;
esac
target=$2
shift 2
PATH=$venv/bin:$PATH
dist=$root/dist
mkdir -p "$dist"
cd "$root"

# The last prefix that fits is taken.
cargo fetch --quiet --locked
unit=$(printf '\037')
remap=--remap-path-prefix=$HOME=home
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    remap="$remap${unit}--remap-path-prefix=$sources=crates"
done
remap="$remap${unit}--remap-path-prefix=$root=rkllm_rs"
CARGO_ENCODED_RUSTFLAGS="$remap${unit}--remap-path-prefix=$(${RUSTC:-rustc} --print sysroot)=rust"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/wheels/free-threaded}
export CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR

for version; do
    number=$(echo "$version" | tr -d .)
    rm -f "$dist"/rkllm_rs-*-cp"${number%t}-cp$number"-*_"$target".whl
    maturin build --quiet --locked --profile "${RKLLM_RS_PROFILE:-release}" --zig --compatibility manylinux_2_17 \
        --target "$triple" --features python --interpreter "python$version" --out "$dist"
    # Fails where the wheel is not the one that was asked for.
    wheel=$(ls "$dist"/rkllm_rs-*-cp"${number%t}-cp$number"-*_"$target".whl)
    "$venv/bin/python" scripts/tidy_wheel.py "$wheel"
    echo "$wheel"
done
