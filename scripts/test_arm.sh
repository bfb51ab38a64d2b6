#!/bin/sh
# Runs the tests of the ARM wheels under emulation: the wheel as it is shipped, unpacked beside an ARM
# CPython, against the ARM build of the scripted library; and the CPU runtime's wheel with a real model.
#
#   scripts/test_arm.sh <venv> [--quick] [aarch64 | armv7l]...
#
# <venv> has requirements/wheels.txt. Wheels are taken from dist/ (or RKLLM_RS_DIST), where wheels.sh and
# cpu_wheels.sh leave them, fakes from target/wheels; RKLLM_RS_TEST_GGUF names the model, and RKLLM_RS_TEST_FILES
# files of tests in place of all. --quick runs a representative part, without the model. If this machine
# cannot do it, that is said and is no error with --quick.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "${1:?usage: test_arm.sh <venv> [--quick] [<target>]...}" && pwd)
shift
quick=
[ "${1:-}" != --quick ] || { quick=1; shift; }
[ $# -gt 0 ] || set -- aarch64 armv7l
cd "$root"
dist=${RKLLM_RS_DIST:-dist}

reason=$(scripts/toolchain.sh can) || {
    echo "test_arm: NOT RUN: $reason" >&2
    [ -n "$quick" ] && exit 0
    exit 1
}

# Not under emulation: type checkers, which are not pure Python; documentation and the order of floors, which
# are the same on every machine; the memory of the process, which is qemu's. The real model has a run of its own below.
unfit='not test_typing and not test_docs and not test_examples and not test_floors and not test_memory'
if [ -n "$quick" ]; then
    tests='tests/python/test_abi.py tests/python/test_generate.py tests/python/test_interrupt.py
        tests/python/test_async.py'
else
    # Of the server's those that need none of its clients' own packages, which are not pure Python.
    tests="tests/python/test_*.py tests/python/chat/test_*.py
        $(grep -LE '^ *(import|from) (openai|anthropic|ollama)' tests/python/server/test_*.py | tr '\n' ' ')"
    tests=${RKLLM_RS_TEST_FILES:-$tests}
fi

fail() { echo "test_arm: $*" >&2; exit 1; }

# One for each run: pytest clears away what another one that goes on has left.
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

emulated() { # emulated <target> <argument>...: Python for it
    case $1 in
    aarch64) python=$(scripts/toolchain.sh python arm64) ;;
    armv7l) python=$(scripts/toolchain.sh python armhf) ;;
    *) fail "unknown: $1" ;;
    esac
    site=$root/target/wheels/site-$1
    fakes=$root/target/wheels/fakes-$1
    shift
    PYTHONPATH=$site RKLLM_RS_FAKES=$fakes RKLLM_RS_TEST_SLOW=${RKLLM_RS_TEST_SLOW:-8} PYTEST_DEBUG_TEMPROOT=$temporary \
        env --default-signal=INT -u PYTHONDONTWRITEBYTECODE "$python" "$@"
}

all() { # all <target>: unpacks its wheels and runs everything
    target=$1
    site=target/wheels/site-$target
    rm -rf "$site"
    mkdir -p "$site"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --target "$site" --no-deps \
        --require-hashes --only-binary :all: --python-version 3.11 --implementation py --abi none \
        --platform any -r requirements/arm.txt
    # Not those of free-threaded Pythons: the emulated one has the GIL.
    for wheel in "$dist"/rkllm_rs-*-cp310-abi3-*_"$target".whl "$dist"/rkllm_rs_cpu-*_"$target".whl; do
        [ ! -e "$wheel" ] || "$venv/bin/python" -m zipfile -e "$wheel" "$site"
    done
    [ -d "$site/rkllm_rs" ] || fail "no wheel for $target: make wheels"
    [ -n "$quick" ] || [ -d "$site/rkllm_rs_cpu" ] || fail "no CPU runtime for $target: make cpu-wheels"

    emulated "$target" -c 'import platform, rkllm_rs, sys
print("rkllm_rs", rkllm_rs.__version__, "on", platform.machine(), "Python", platform.python_version())'
    # A process for each file: libraries are never unloaded, and 32 bits of addresses do not hold those of all.
    bad=
    for file in $tests; do
        status=0
        emulated "$target" -m pytest -q -rf -p no:cacheprovider --timeout "${RKLLM_RS_TEST_TIMEOUT:-600}" \
            -m 'not model' -k "$unfit" "$file" || status=$?
        # 5: none of its tests is for emulation.
        [ "$status" = 0 ] || [ "$status" = 5 ] || bad="$bad $file"
    done
    [ -z "$bad" ] || fail "$target:$bad"
    [ -z "$quick" ] || return 0
    # A processor without dotprod, and one with it: the library chooses its code when it starts.
    case $target in
    aarch64) cpus='cortex-a57:armv8.0_1 cortex-a76:armv8.2_2' ;;
    armv7l) cpus=cortex-a7:neon ;;
    esac
    for cpu in $cpus; do
        said=$(RKLLM_RS_VENDOR_LOG=all RKLLM_LOG_LEVEL=1 RKLLM_RS_ARM_CPU=${cpu%:*} emulated "$target" scripts/say_something.py \
            "${RKLLM_RS_TEST_GGUF:?names the model that scripts/fetch_model.py fetches}" 12 2>&1) ||
            fail "the model on ${cpu%:*}: $said"
        case $said in
        *"CPU code: ${cpu#*:}"*) printf '%s, code for %s: %s\n' "${cpu%:*}" "${cpu#*:}" "${said##*: }" ;;
        *) fail "not the code for ${cpu%:*}: $said" ;;
        esac
    done
}

# Side by side: each is busy on one core only.
mkdir -p target/wheels
running=
for target; do
    (all "$target") > "target/wheels/test-$target.log" 2>&1 &
    running="$running $target:$!"
done
failed=
for one in $running; do
    wait "${one#*:}" || failed="$failed ${one%:*}"
    echo "== ${one%:*}"
    cat "target/wheels/test-${one%:*}.log"
done
[ -z "$failed" ] || fail "failed on$failed"
