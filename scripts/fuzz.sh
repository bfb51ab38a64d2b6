#!/usr/bin/env bash
# Fuzzes what reads the bytes and texts of strangers: `scripts/fuzz.sh [TARGET…]`, each for FUZZ_SECONDS (60).
# libFuzzer with AddressSanitizer, as cargo-fuzz builds it, with the toolchain that is there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
[ -x "$python" ] || python=python3
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir target/fuzz
exec "$python" scripts/fuzz_run.py "target/fuzz/$host/release" "$@"
