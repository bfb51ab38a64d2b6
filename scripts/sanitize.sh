#!/usr/bin/env bash
# Tests under a sanitizer: `scripts/sanitize.sh address | thread | python | valgrind [ARGUMENT…]`.
#
#   address   the Rust tests with AddressSanitizer and its search for leaks; arguments go to the tests
#   python    the Python tests on the scripted fake, the module built with AddressSanitizer; arguments go to pytest
#   thread    the Rust tests with ThreadSanitizer, the standard library built with it as well
#   valgrind  the CPU runtime's C ABI under memcheck, with tiny models; arguments go to pytest
#
# docs/developing/verification.md tells what each has found, and why something is left out here.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
kind=${1:?usage: sanitize.sh address|thread|python|valgrind}
shift
host=$(rustc -vV | sed -n 's/^host: //p')
packages=(-p rkllm_rs -p rkllm-clock -p rkllm-digest -p rkllm-ffi -p rkllm-text -p fake-rkllm)
# What is not stable yet is asked of a released compiler.
export RUSTC_BOOTSTRAP=1
# A sanitizer's stack frames are several times as large as others, which is too much for tests of deep things. The
# others compile a program, with other flags than its libraries.
skipped=(--skip what_explodes_is_served_or_refused_within_its_bound --skip the_example_)

# `address` and `python` take the fakes as ever, from RKLLM_RS_FAKES, which the Makefile builds: a program of Rust keeps
# the sanitizer's names from libraries that it opens, and some tests take functions out of a fake, which a sanitizer's
# list of them would not bear.
export RKLLM_RS_FAKES=${RKLLM_RS_FAKES:-$root/target/release}

# What was found is in files of its own: a library's output is caught while it runs.
show() {
    if ls "$CARGO_TARGET_DIR"/found.* >/dev/null 2>&1; then
        head -n 60 "$CARGO_TARGET_DIR"/found.*
        status=1
    fi
}

status=0
case $kind in
address)
    export RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$root/target/asan
    export LSAN_OPTIONS="suppressions=$root/scripts/leaks.txt:print_suppressions=0"
    # Stacks that are made for one rendering would leave behind what is kept to find uses of dead variables.
    export ASAN_OPTIONS=detect_stack_use_after_return=0:log_path=$CARGO_TARGET_DIR/found
    rm -f "$CARGO_TARGET_DIR"/found.*
    cargo test --locked --target "$host" --lib --tests --no-fail-fast "${packages[@]}" \
        --features rkllm-text/sanitizer -- "${skipped[@]}" "$@" || status=$?
    show
    exit $status
    ;;
python)
    export RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$root/target/asan
    runtime=$(gcc -print-file-name=libasan.so)
    case $runtime in /*) ;; *) echo "sanitize.sh: GCC's libasan.so is not there" >&2; exit 1 ;; esac
    export PYO3_PYTHON=$root/.venv/bin/python
    cargo rustc --locked --lib --target "$host" -p rkllm_rs --features python,abi3,rkllm-text/sanitizer \
        --crate-type cdylib
    package=$CARGO_TARGET_DIR/python
    rm -rf "$package"
    mkdir -p "$package"
    cp -r python/rkllm_rs "$package"
    rm -f "$package"/rkllm_rs/_native*.so
    cp "$CARGO_TARGET_DIR/$host/debug/librkllm_rs.so" "$package/rkllm_rs/_native.abi3.so"
    # Python itself leaves much to the end of the process; the tests end processes by signals of their own.
    export ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0
    export ASAN_OPTIONS=$ASAN_OPTIONS:log_path=$CARGO_TARGET_DIR/found:allocator_may_return_null=1:quarantine_size_mb=32
    rm -f "$CARGO_TARGET_DIR"/found.*
    unset RUSTFLAGS RUSTC_BOOTSTRAP
    # Not what counts memory, of which the sanitizer keeps some back.
    LD_PRELOAD=$runtime PYTHONPATH=$package .venv/bin/python -m pytest -m "not model" --ignore tests/python/test_memory.py \
        -k "not nothing_grows_with_calls and not a_reader_that_stops and not f5_too_large" "$@" || status=$?
    show
    exit $status
    ;;
thread)
    . scripts/rust.sh
    sources=$(std_sources)
    export __CARGO_TESTS_ONLY_SRC_ROOT=$sources CARGO_UNSTABLE_BUILD_STD=std,panic_unwind,test
    export RUSTFLAGS="-Zsanitizer=thread -Clink-args=-rdynamic" CARGO_TARGET_DIR=$root/target/tsan
    export TSAN_OPTIONS="suppressions=$root/scripts/races.txt:log_path=$CARGO_TARGET_DIR/found"
    rm -f "$CARGO_TARGET_DIR"/found.*
    skipped+=(--skip deep_values_and_deep_templates_do_no_harm)
    cargo build --locked --target "$host" -p 'fake-rkllm-v*'
    export RKLLM_RS_FAKES=$CARGO_TARGET_DIR/$host/debug
    cargo test --locked --target "$host" --lib --tests --no-fail-fast "${packages[@]}" -- "${skipped[@]}" "$@" || status=$?
    show
    exit $status
    ;;
valgrind)
    command -v valgrind >/dev/null || { echo "sanitize.sh: valgrind is not there: apt install valgrind" >&2; exit 1; }
    # A build for this machine may have instructions that valgrind does not know, such as AVX-512.
    export RKLLM_RS_CPU_MARCH=haswell CARGO_TARGET_DIR=$root/target/valgrind
    eval "$(cpu-runtime/build_env.sh .venv)"
    cargo build --locked --release -p rkllm-cpu-runtime
    # What Python, NumPy and the dynamic loader do by themselves is theirs: errors whose innermost place they are.
    mkdir -p "$CARGO_TARGET_DIR"
    for kind in Cond Value1 Value2 Value4 Value8 Addr1 Addr2 Addr4 Addr8 Addr16 Addr32; do
        for place in '*/bin/python3*' '*/libpython3*' '*/ld-linux-*' '*/lib-dynload/*' '*/numpy*'; do
            printf '{\n%s\nMemcheck:%s\nobj:%s\n...\n}\n' theirs "$kind" "$place"
            printf '{\n%s\nMemcheck:%s\nobj:*/libc.so*\nobj:%s\n...\n}\n' theirs "$kind" "$place"
        done
    done > "$CARGO_TARGET_DIR/theirs.txt"
    # Not the test that takes longer under valgrind than its time: an exception in a callback leaves its result undefined.
    # On one processor there is one thread: valgrind runs no two at once, and a second one would wait by computing.
    # Python is told to leave its memory to malloc, so that what the library gets from it has bounds.
    RKLLM_RS_CPU_PREBUILT=$CARGO_TARGET_DIR/release/librkllmrt_cpu.so PYTHONMALLOC=malloc \
        taskset -c 0 valgrind --quiet --error-exitcode=9 --suppressions="$CARGO_TARGET_DIR/theirs.txt" .venv/bin/python \
        -m pytest -n 0 -p no:cacheprovider cpu-runtime/tests/test_c_reuse.py -k "not greedy_answers" "$@"
    ;;
*) echo "sanitize.sh: no such kind: $kind" >&2; exit 2 ;;
esac
