#!/bin/sh
# Builds the wheels of rkllm_rs for Pythons without a GIL, into dist/: they have no stable ABI before
# 3.15, so that each version takes a wheel of its own.
#
#   scripts/free_threaded_wheels.sh <venv> <target> <version>...
#
# <venv> has requirements/wheels.txt; <target> is aarch64, armv7l or x86_64; <version> is 3.14t: PyO3 and
# maturin support none before it. For this machine itself python3.14t must be on the path; for others no
# interpreter is needed. rust.sh tells which Rust builds them.
set -eu

usage="usage: free_threaded_wheels.sh <venv> <target> <version>..."
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "${1:?$usage}" && pwd)
target=${2:?$usage}
shift 2
PATH=$venv/bin:$PATH
dist=$root/dist
mkdir -p "$dist"
cd "$root"
. scripts/rust.sh
triple=$(triple "$target")
small_rust_for "$root/target/wheels/free-threaded" "$triple"

for version; do
    number=$(echo "$version" | tr -d .)
    rm -f "$dist"/rkllm_rs-*-cp"${number%t}-cp$number"-*_"$target".whl
    # shellcheck disable=SC2086 # words, or none
    maturin build --quiet --locked $std_config --release --zig --compatibility manylinux_2_17 \
        --target "$triple" --features python --interpreter "python$version" --out "$dist" -- "$module_args"
    # Fails where the wheel is not the one that was asked for.
    wheel=$(ls "$dist"/rkllm_rs-*-cp"${number%t}-cp$number"-*_"$target".whl)
    "$venv/bin/python" scripts/tidy_wheel.py --small "$wheel"
    echo "$wheel"
done
