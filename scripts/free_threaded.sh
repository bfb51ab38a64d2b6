#!/usr/bin/env bash
# The Python tests on a Python without a GIL: `scripts/free_threaded.sh PYTHON3.14T [ARGUMENT…]`, arguments to pytest.
# First all of them as they are, then those of the core by four threads at once (pytest-run-parallel).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=${1:?usage: free_threaded.sh PYTHON3.14T [ARGUMENT…]}
shift
"$python" -c 'import sys; sys.exit(sys._is_gil_enabled() or sys.version_info[:2] != (3, 14))' ||
    { echo "free_threaded.sh: $python is no CPython 3.14 without a GIL" >&2; exit 2; }
environment=$root/.venv/free-threaded
[ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
"$environment/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/free-threaded.txt
site=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
# Nothing of Python's is linked into the module.
export PYO3_BUILD_EXTENSION_MODULE=1
export CARGO_TARGET_DIR=$root/target/free-threaded PYO3_PYTHON=$environment/bin/python
cargo build --locked --profile fast --lib -p rkllm_rs --features python
rm -rf "$site/rkllm_rs"
cp -r python/rkllm_rs "$site/rkllm_rs"
rm -f "$site"/rkllm_rs/_native*.so
cp "$CARGO_TARGET_DIR/fast/librkllm_rs.so" "$site/rkllm_rs/_native.cpython-314t-$(uname -m)-linux-gnu.so"
unset CARGO_TARGET_DIR
"$environment/bin/python" -W error -c 'import sys, rkllm_rs; rkllm_rs.backends(); sys.exit(sys._is_gil_enabled())'

export RKLLM_RS_FAKES=${RKLLM_RS_FAKES:-$root/target/release}
check() { "$environment/bin/python" -m pytest -m "not model" -q -p no:cacheprovider "$@"; }
check -k "not test_typing" -n 3 --dist worksteal tests/python
# Each test four times at once, but for those that read what the library was called with, which all four write to.
# Releases before 1.2.1 have one model at a time.
check --parallel-threads 4 -o thread_unsafe_fixtures=record -k "not v1_1_0 and not v1_2_0" \
    tests/python/test_{generate,stream,batch,async,async_tasks,steps,rows,tokenize,stop,lifecycle}.py
