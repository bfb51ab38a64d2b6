#!/bin/sh
# Runs the witness tests with each code variant of a portable build that this processor can run.
#
#   cpu-runtime/witness_variants.sh <python> <librkllmrt_cpu.so>
#
# <python> has the package and pytest. The library is one of scripts/cpu_wheels.sh, which carries several
# variants. What the processor lacks is said; a library without variants fails.
set -eu

python=${1:?usage: witness_variants.sh <python> <library>}
library=$(realpath "${2:?usage: witness_variants.sh <python> <library>}")
cd "$(dirname "$0")/.."

names=$(sed -n "/^case \$machine in/,/^esac/p" scripts/cpu_variants.sh |
    sed -n "s/^ *variants='\(.*\)'/\1/p" | tr ' ' '\n' | sed 's/:.*//')
# What runs when a variant is asked for: another, where the processor lacks it.
runs() {
    RKLLM_RS_CPU_VARIANT=$1 RKLLM_LOG_LEVEL=1 "$python" - "$library" 2>&1 <<'END' | sed -n 's/.*CPU code: //p'
import sys, tempfile
from pathlib import Path
sys.path[:0] = ["tests/python", "cpu-runtime/tests"]
from capi import Library, Model
from tiny_model import make_model
with tempfile.TemporaryDirectory() as folder:
    with Model(Library(Path(sys.argv[1])), make_model(Path(folder) / "model.gguf", "F32")):
        pass
END
}

ran=0
for name in $names; do
    case $(runs "$name") in
    "$name") ;;
    "") echo "witness_variants.sh: $library has no code variants" >&2; exit 1 ;;
    *) echo "$name: this processor or library lacks it"; continue ;;
    esac
    echo "$name:"
    RKLLM_RS_CPU_VARIANT=$name RKLLM_RS_CPU_PREBUILT=$library "$python" -m pytest -q tests/python/test_witness.py
    RKLLM_RS_CPU_VARIANT=$name RKLLM_RS_CPU_PREBUILT=$library "$python" -m pytest -q cpu-runtime/tests/test_c_equal.py \
        -k "not real"
    ran=$((ran + 1))
done
echo "$ran variants ran"
[ "$ran" -gt 0 ]
