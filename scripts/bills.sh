#!/bin/sh
# Writes the bills of materials of both distributions, CycloneDX 1.5, into a folder.
#
#   scripts/bills.sh <version> <folder>
#
# cargo-cyclonedx is on the path. What it lists is what the commit at hand locks, for Linux. Neither
# distribution needs any Python package at run time.
set -eu

version=${1:?usage: bills.sh <version> <folder>}
folder=$(cd "${2:?usage: bills.sh <version> <folder>}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
# The tool writes beside every Cargo.toml; the checkout stays clean.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git -C "$root" archive HEAD | tar -x -C "$copy"

bill() { # bill <folder of the crate> <file it makes> <distribution> <argument>...
    crate=$copy/$1
    made=$crate/$2.cdx.json
    file=$folder/$3-$version.cdx.json
    shift 3
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct) cargo cyclonedx --quiet --format json \
        --spec-version 1.5 --target aarch64-unknown-linux-gnu --manifest-path "$crate/Cargo.toml" "$@"
    sed "s|$copy|/rkllm_rs|g" "$made" > "$file"
    echo "$file"
}

bill . rkllm_rs rkllm_rs --features abi3
bill cpu-runtime rkllm-cpu-runtime rkllm_rs_cpu
