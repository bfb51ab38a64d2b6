#!/bin/sh
# Fails if a library needs an OpenMP runtime from elsewhere: ggml has begun to use a part that src/omp.rs lacks.
#
#   cpu-runtime/check_symbols.sh <librkllmrt_cpu.so>
#
# Such a library is linked without a word where libgomp is installed, and cannot be opened where it is not.
set -eu

library=${1:?usage: check_symbols.sh <library>}
needed=$(LC_ALL=C nm -D --undefined-only "$library")
openmp=$(echo "$needed" | sed -n -E 's/^ *[A-Za-z] ((GOMP_|omp_|__kmpc_)[^@]*).*/\1/p')
[ -z "$openmp" ] && exit 0
echo "check_symbols.sh: $library needs of an OpenMP runtime:" >&2
echo "$openmp" >&2
exit 1
