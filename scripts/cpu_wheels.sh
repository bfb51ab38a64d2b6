#!/bin/sh
# Builds the wheels of rkllm-rs-cpu that run on any machine of a kind, into dist/.
#
#   scripts/cpu_wheels.sh <venv> <tools> [x86_64 | aarch64 | armv7l]...
#
# <venv> has requirements/build.txt (cmake, ninja, libclang, hatchling), <tools> requirements/wheels.txt.
# The compiler is GCC 10 with a glibc of 2.31, unpacked from Debian's packages (toolchain.sh), since zig
# has no OpenMP.
set -eu

fail() { echo "cpu_wheels: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "${1:?usage: cpu_wheels.sh <venv> <tools> [<target>]...}" && pwd)
tools=$(cd "${2:?usage: cpu_wheels.sh <venv> <tools> [<target>]...}" && pwd)
shift 2
[ $# -gt 0 ] || set -- x86_64 aarch64 armv7l
cd "$root"
work=$root/target/wheels
dist=$root/dist
mkdir -p "$work" "$dist"
compilers=$(scripts/toolchain.sh gcc) || fail "no compiler"
PATH=$venv/bin:$PATH
. scripts/rust.sh

# portable <machine>: the library
portable() {
    triple=$(triple "$1")
    variants=$work/variants-$1
    scripts/cpu_variants.sh "$1" "$compilers" "$variants" >&2
    eval "$(RKLLM_RS_CPU_PORTABLE=1 cpu-runtime/build_env.sh "$venv")"
    rust_for "$work/cpu"
    case $1 in
    x86_64) headers="-I$("$compilers/bin/$1-gcc" -print-file-name=include)" ;;
    aarch64) headers="-I$("$compilers/bin/$1-gcc" -print-file-name=include) -I$compilers/usr/$1-linux-gnu/include" ;;
    armv7l) headers="-I$("$compilers/bin/$1-gcc" -print-file-name=include) -I$compilers/usr/arm-linux-gnueabihf/include" ;;
    esac
    maps="-ffile-prefix-map=$HOME=home $(crate_sources | sed 's/.*/-ffile-prefix-map=&=crates/' | tr '\n' ' ')"
    upper=$(echo "$triple" | tr 'a-z-' 'A-Z_')
    under=$(echo "$triple" | tr - _)
    flags="-fPIC -ffunction-sections -fdata-sections $maps"
    # shellcheck disable=SC2086 # words, or none
    env "CC_$under=$compilers/bin/$1-gcc" "CXX_$under=$compilers/bin/$1-g++" "AR_$under=$compilers/bin/$1-ar" \
        "RANLIB_$under=$compilers/bin/$1-ranlib" "CARGO_TARGET_${upper}_LINKER=$compilers/bin/$1-gcc" \
        CMAKE_C_FLAGS="$flags" CMAKE_CXX_FLAGS="$flags" \
        BINDGEN_EXTRA_CLANG_ARGS="--sysroot=$compilers $headers" \
        GGML_CPU=OFF RKLLM_RS_CPU_VARIANTS="$variants" \
        cargo build --release --locked $std_config --target "$triple" \
        --package rkllm-cpu-runtime --features variants >&2
    echo "$CARGO_TARGET_DIR/$triple/release/librkllmrt_cpu.so"
}

for machine; do
    echo "== rkllm-rs-cpu for $machine"
    library=$(portable "$machine")
    # A copy of the package, so that the library built for this machine stays where it is.
    package=$work/package-$machine
    rm -rf "$package" "$dist"/rkllm_rs_cpu-*_"$machine".whl
    mkdir -p "$package"
    for part in NOTICE README.md hatch_build.py pyproject.toml python; do
        cp -r "cpu-runtime/$part" "$package/"
    done
    RKLLM_RS_CPU_PREBUILT=$library RKLLM_RS_CPU_PLATFORM=manylinux_2_31_$machine \
        "$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps \
        --wheel-dir "$dist" "$package"
    "$tools/bin/python" scripts/check_wheels.py "$dist"/rkllm_rs_cpu-*_"$machine".whl
done
