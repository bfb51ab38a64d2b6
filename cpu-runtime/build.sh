#!/bin/sh
# Builds librkllmrt_cpu.so and puts it where the Python package looks for it.
#
#   cpu-runtime/build.sh <venv>
#
# <venv> is a virtual environment with the wheels cmake, ninja and libclang, or a Python interpreter
# that has them. See build_env.sh for what can be chosen; CARGO_TARGET_DIR is honoured.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
environment=$("$here/build_env.sh" "${1:?usage: build.sh <venv>}")
eval "$environment"

cd "$here"
cargo build --release --locked --package rkllm-cpu-runtime
target=${CARGO_TARGET_DIR:-$here/../target}
built=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release/librkllmrt_cpu.so
"$here/check_symbols.sh" "$built"
library=$here/python/rkllm_rs_cpu/lib/librkllmrt_cpu.so
mkdir -p "$(dirname "$library")"
if ! cmp -s "$built" "$library"; then
    # In one step: a process that has the old file open keeps it.
    cp "$built" "$library.new"
    mv "$library.new" "$library"
fi
echo "$library"
