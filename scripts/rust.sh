# Which Rust builds for a target, and how no path of this machine gets into what it builds. Sourced by the
# scripts that build wheels, not run: `root` is the checkout.

# triple <machine>: Rust's name for what a wheel's tag calls aarch64, armv7l or x86_64
triple() {
    case $1 in
    aarch64 | x86_64) echo "$1-unknown-linux-gnu" ;;
    armv7l) echo armv7-unknown-linux-gnueabihf ;;
    *) echo "no such machine: $1" >&2; return 1 ;;
    esac
}

# rust_for <triple> <folder>: chooses the compiler, and a target folder with that name, or one beside it,
# since what two compilers built does not mix. Rust's standard library for the target is the one that is
# installed (rustup target add), else that of Debian's packages; RKLLM_RS_RUST=debian takes Debian's in any
# case.
rust_for() {
    CARGO_TARGET_DIR=$2
    unset RUSTC RUSTDOC
    if [ "${RKLLM_RS_RUST:-}" = debian ] ||
        ! ls "$(rustc --print sysroot)/lib/rustlib/$1/lib"/libstd-*.rlib >/dev/null 2>&1; then
        rust=$("$root/scripts/toolchain.sh" rust) || {
            echo "no Rust for $1: rustup target add $1" >&2
            return 1
        }
        echo "$1: with Debian's Rust" >&2
        CARGO_TARGET_DIR=$2-debian
        RUSTC=$rust/rustc
        RUSTDOC=$rust/rustdoc
        export RUSTC RUSTDOC
    fi
    cargo fetch --quiet --locked
    CARGO_ENCODED_RUSTFLAGS=$(remapped)
    export CARGO_TARGET_DIR CARGO_ENCODED_RUSTFLAGS
}

# crate_sources: the folders of the crates' sources, each with a name that differs from machine to machine
crate_sources() {
    for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        echo "$sources"
    done
}

# remapped: flags for the compiler that was chosen. No path of this machine belongs into a library, not even
# in the messages of panics. The last prefix that fits is taken.
remapped() {
    printf '%s' "--remap-path-prefix=$HOME=home"
    crate_sources | while read -r sources; do
        printf '\037%s' "--remap-path-prefix=$sources=crates"
    done
    printf '\037%s' "--remap-path-prefix=$root=rkllm_rs" \
        "--remap-path-prefix=$("${RUSTC:-rustc}" --print sysroot)=rust"
}
