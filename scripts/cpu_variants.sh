#!/bin/sh
# Builds ggml's CPU code once for each kind of processor, as one archive whose members share no names.
#
#   scripts/cpu_variants.sh <x86_64|aarch64|armv7l> <compilers> <folder>
#
# <compilers> is what `toolchain.sh gcc` prints; cmake and ninja are on the path. <folder> gets
# librkllm_variants.a. ggml would load each variant as a library of its own from a folder that it
# searches; here they are in one file, and nothing has to be found.
set -eu

machine=${1:?usage: cpu_variants.sh <machine> <compilers> <folder>}
compilers=$(cd "$2" && pwd)/bin
mkdir -p "$3"
folder=$(cd "$3" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)

# Names are ggml's. With each: what the system must have switched on, which ggml does not ask.
# Left out: AMX, which GCC miscompiles; AVX-VNNI without AVX-512, and SME, which GCC 10 does not know;
# variants between two of these, which gain little.
case $machine in
x86_64)
    variants='sse42: sandybridge:avx haswell:avx2 skylakex:avx512f icelake:avx512f zen4:avx512f'
    ;;
armv7l)
    # ggml has one kind, which every processor of the boards can run: ARMv7 with NEON and VFPv4.
    variants='neon:neon'
    ;;
aarch64)
    # Those with SVE, and i8mm with them, answered nonsense when built with GCC 10 and run under qemu.
    variants='armv8.0_1: armv8.2_1: armv8.2_2:'
    ;;
*) echo "cpu_variants.sh: unknown: $machine" >&2; exit 1 ;;
esac

cd "$root"
. scripts/rust.sh
source=$(cargo metadata --locked --format-version 1 --filter-platform "$(triple "$machine")" |
    sed 's/.*"manifest_path":"\([^"]*llama-cpp-sys-2-[^"]*\)\/Cargo.toml".*/\1/')/llama.cpp/ggml

build=$folder/build
mkdir -p "$folder/project"
# As a part of another project it asks for less of its surroundings.
cat > "$folder/project/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.14)
project(variants C CXX)
add_subdirectory("$source" ggml)
END
hidden="-ffile-prefix-map=$source=ggml -ffile-prefix-map=$build=ggml -ffunction-sections -fdata-sections"
case $machine in
armv7l) kinds='-DGGML_CPU_ARM_ARCH=armv7-a' hidden="$hidden -mfpu=neon-vfpv4 -mno-unaligned-access" ;;
*) kinds='-DGGML_CPU_ALL_VARIANTS=ON' ;;
esac
cmake -S "$folder/project" -B "$build" -G Ninja -Wno-dev --log-level=WARNING \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$machine" \
    -DCMAKE_C_COMPILER="$compilers/$machine-gcc" -DCMAKE_CXX_COMPILER="$compilers/$machine-g++" \
    -DCMAKE_AR="$compilers/$machine-ar" -DCMAKE_RANLIB="$compilers/$machine-ranlib" \
    -DCMAKE_C_FLAGS="$hidden" -DCMAKE_CXX_FLAGS="$hidden -fno-gnu-unique" \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON \
    "$kinds" -DGGML_NATIVE=OFF -DGGML_OPENMP=ON -DGGML_LLAMAFILE=ON -DGGML_CCACHE=OFF \
    -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF

target() { # target <variant>: its name in the project
    case $machine in
    armv7l) echo ggml-cpu ;;
    *) echo "ggml-cpu-${1%%:*}" ;;
    esac
}

targets=
for variant in $variants; do
    targets="$targets $(target "$variant")"
done
# shellcheck disable=SC2086 # words
cmake --build "$build" --target $targets >&2

# One object for each variant, in which only the two ways in are to be seen from outside: what the
# linker would otherwise merge was compiled for another processor.
table=$folder/table.c
{
    echo '#include <stdlib.h>'
    echo '#include <string.h>'
    echo '#include <sys/auxv.h>'
    echo 'struct variant { const char *name; int (*score)(void); void *(*init)(void); const char *needs; };'
} > "$table"
entries=
rm -f "$folder"/*.o "$folder/librkllm_variants.a"
for variant in $variants; do
    name=${variant%%:*}
    id=$(echo "$name" | tr . _)
    # shellcheck disable=SC2046 # words
    "$compilers/$machine-ld" -r --force-group-allocation -o "$folder/$id.o" \
        $(find "$build" -path "*/$(target "$variant").dir/*.o" -o -path "*/ggml-cpu-$name-feats.dir/*.o")
    "$compilers/$machine-objcopy" --keep-global-symbol=ggml_backend_init \
        --keep-global-symbol=ggml_backend_score "$folder/$id.o"
    "$compilers/$machine-objcopy" --redefine-sym "ggml_backend_init=rkllm_init_$id" \
        --redefine-sym "ggml_backend_score=rkllm_score_$id" --strip-debug "$folder/$id.o"
    case $machine in
    armv7l) score=NULL ;;
    *) score=rkllm_score_$id && echo "int $score(void);" >> "$table" ;;
    esac
    echo "void *rkllm_init_$id(void);" >> "$table"
    entries="$entries    {\"$name\", $score, rkllm_init_$id, \"${variant#*:}\"},
"
done
{
    printf 'static const struct variant variants[] = {\n%s};\n' "$entries"
    cat << 'END'

static int suits(const struct variant *variant) {
#ifdef __arm__
    /* ggml has no score for it. */
    (void)variant;
    unsigned long has = getauxval(AT_HWCAP);
    return has & HWCAP_ARM_NEON && has & HWCAP_ARM_VFPv4;
#else
#ifdef __x86_64__
    /* The processor may have registers that the system does not save. */
    if (!strcmp(variant->needs, "avx") && !__builtin_cpu_supports("avx")) return 0;
    if (!strcmp(variant->needs, "avx2") && !__builtin_cpu_supports("avx2")) return 0;
    if (!strcmp(variant->needs, "avx512f") && !__builtin_cpu_supports("avx512f")) return 0;
#endif
    return variant->score();
#endif
}

/* The best variant that this processor can run; RKLLM_RS_CPU_VARIANT asks for another. */
void *rkllm_cpu_variant(const char **name) {
    const char *wanted = getenv("RKLLM_RS_CPU_VARIANT");
    const struct variant *best = NULL;
    int most = 0;
#ifdef __x86_64__
    __builtin_cpu_init();
#endif
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        int score = suits(&variants[i]);
        if (score > 0 && wanted && !strcmp(wanted, variants[i].name)) score = 1 << 30;
        if (score > most) {
            most = score;
            best = &variants[i];
        }
    }
    if (!best) return NULL;
    *name = best->name;
    return best->init();
}
END
} >> "$table"
"$compilers/$machine-gcc" -O2 -fPIC -Wall -Wextra -ffile-prefix-map="$folder"=ggml -c "$table" -o "$folder/table.o"
"$compilers/$machine-ar" rcs "$folder/librkllm_variants.a" "$folder"/*.o
echo "$folder/librkllm_variants.a"
