#!/bin/sh
# Builds the wheels of rkllm_rs for aarch64, armv7l and x86_64, and the source distribution, into dist/.
#
#   scripts/wheels.sh <venv> [<target> | sdist | fakes-<target>]...
#
# <venv> has requirements/wheels.txt. A target is aarch64, armv7l or x86_64; without any word, all of
# them and the source distribution are built. The scripted libraries that tests open come on request,
# into target/wheels/fakes-<target>. Builds lie under target/wheels; rust.sh tells which Rust makes them.
# For trying things out, RKLLM_RS_PROFILE names another profile of Cargo's, RKLLM_RS_DIST another folder.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "${1:?usage: wheels.sh <venv> [<what>...]}" && pwd)
shift
[ $# -gt 0 ] || set -- aarch64 armv7l x86_64 sdist
PATH=$venv/bin:$PATH
work=$root/target/wheels
dist=${RKLLM_RS_DIST:-$root/dist}
[ -n "${RKLLM_RS_PROFILE:-}" ] && small='' || small=--small
mkdir -p "$work" "$dist"
cd "$root"
. scripts/rust.sh

wheel() { # wheel <triple> <name in the tag>
    echo "== $2"
    small_rust_for "$work/host" "$1"
    rm -f "$dist"/rkllm_rs-*_"$2".whl
    # shellcheck disable=SC2086 # words, or none
    maturin build --quiet --locked $std_config --profile "${RKLLM_RS_PROFILE:-release}" \
        --zig --compatibility manylinux_2_17 --target "$1" --out "$dist" -- "$module_args"
    # shellcheck disable=SC2086 # no word, where nobody will fetch it
    "$venv/bin/python" scripts/tidy_wheel.py $small "$dist"/rkllm_rs-*_"$2".whl
}

# The stand-ins for the vendor's library, for the tests; they are never shipped.
fakes() { # fakes <triple> <name>
    echo "== fakes for $2"
    rust_for "$work/host"
    packages=
    for folder in tests/fake_rkllm/v*/; do
        packages="$packages -p fake-rkllm-$(basename "$folder")"
    done
    # shellcheck disable=SC2086 # words
    cargo-zigbuild zigbuild --quiet --locked $std_config --profile fast --target "$1.2.17" $packages
    mkdir -p "$work/fakes-$2"
    cp "$CARGO_TARGET_DIR/$1"/fast/libfake_rkllm_v*.so "$work/fakes-$2/"
}

# The source distribution must build without the repository around it.
sdist() {
    echo "== source distribution"
    rm -f "$dist"/rkllm_rs-*.tar.gz
    maturin sdist --out "$dist"
    alone=$(mktemp -d)
    trap 'rm -rf "$alone"' EXIT
    tar -xzf "$dist"/rkllm_rs-*.tar.gz -C "$alone"
    # As users build it. Without --locked: the members of the workspace that stay behind are struck off the lock file.
    (cd "$alone"/rkllm_rs-* && env -u RUSTC_BOOTSTRAP -u CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR="$work/alone" \
        maturin build --quiet --release --out "$alone/out")
    "$venv/bin/python" -m zipfile -e "$alone"/out/*.whl "$alone/site"
    (cd "$alone" && PYTHONPATH="$alone/site" "$venv/bin/python" -c 'import rkllm_rs; rkllm_rs.backends()')
    echo "$(basename "$dist"/rkllm_rs-*.tar.gz) builds alone"
    rm -rf "$alone"
    trap - EXIT
}

for word; do
    case $word in
    sdist) sdist ;;
    fakes-*)
        target=$(triple "${word#fakes-}")
        fakes "$target" "${word#fakes-}"
        ;;
    *)
        target=$(triple "$word")
        wheel "$target" "$word"
        ;;
    esac
done
