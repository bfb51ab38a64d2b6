#!/bin/sh
# Prints the environment that the CPU runtime's build needs, as `export` lines for `eval`.
#
#   eval "$(cpu-runtime/build_env.sh <venv>)"
#
# <venv> is a virtual environment with the wheels cmake, ninja and libclang, or a Python interpreter
# that has them. RKLLM_RS_CPU_PORTABLE=1 builds for any machine of the architecture, not for this one;
# RKLLM_RS_CPU_MARCH builds for a kind of x86_64 that GCC's -march knows.
set -eu

fail() { echo "build_env.sh: $*" >&2; exit 1; }

given=${1:-}
[ -n "$given" ] || fail "usage: build_env.sh <venv>"
if [ -d "$given" ]; then
    python=$(cd "$given" && pwd)/bin/python
    PATH=${python%/*}:$PATH
else
    python=$given
    PATH=$PATH:${python%/*}
fi
[ -x "$python" ] || fail "no Python in $given"
libclang=$("$python" -c 'import clang, os; print(os.path.join(os.path.dirname(clang.__file__), "native"))') \
    || fail "the wheel 'libclang' is missing in $given"
for tool in cmake ninja; do
    command -v "$tool" >/dev/null || fail "the wheel '$tool' is missing in $given"
done
headers=$(${CC:-cc} -print-file-name=include) || fail "no C compiler"

say() { printf "export %s='%s'\n" "$1" "$2"; }

say PATH "$PATH"
say LIBCLANG_PATH "$libclang"
# The wheel has no compiler headers of its own.
say BINDGEN_EXTRA_CLANG_ARGS "-I$headers"
say CMAKE_GENERATOR Ninja
# Optimised in every Cargo profile: an unoptimised llama.cpp is of no use, not even in tests.
say LLAMA_LIB_PROFILE Release
say GGML_CCACHE OFF

common='-fPIC -ffunction-sections -fdata-sections'
[ "${RKLLM_RS_CPU_PORTABLE:-0}" = 1 ] && exit 0
case $(uname -m) in
x86_64)
    # AMX is left out: GCC 12 optimises its tile set-up away, and the first product crashes.
    native="$common -march=${RKLLM_RS_CPU_MARCH:-native} -mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    native="$native -U__AMX_TILE__ -U__AMX_INT8__ -U__AMX_BF16__"
    say CMAKE_C_FLAGS "$native"
    say CMAKE_CXX_FLAGS "$native"
    # The crate turns these on one by one where it does not build for the machine at hand.
    for feature in SSE42 AVX AVX2 BMI2 FMA F16C; do
        say "GGML_$feature" OFF
    done
    ;;
aarch64)
    # The crate takes the architecture from here alone.
    say RUSTFLAGS "${RUSTFLAGS:+$RUSTFLAGS }-C target-cpu=native"
    ;;
esac
