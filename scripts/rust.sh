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

# rust_for <triple> <folder>: prepares cargo to build for it into that folder, or one beside it. Rust's standard
# library for the target is the one that is installed (rustup target add), else it is built as well, of sources
# that Debian has; RKLLM_RS_RUST=build-std builds it in any case.
rust_for() {
    CARGO_TARGET_DIR=$2
    unset RUSTC_BOOTSTRAP CARGO_UNSTABLE_BUILD_STD __CARGO_TESTS_ONLY_SRC_ROOT
    if [ "${RKLLM_RS_RUST:-}" = build-std ] ||
        ! ls "$(rustc --print sysroot)/lib/rustlib/$1/lib"/libstd-*.rlib >/dev/null 2>&1; then
        version=$(rustc --version | cut -d ' ' -f 2)
        sources=$("$root/scripts/toolchain.sh" rust-src "$version") || {
            echo "no Rust for $1: rustup target add $1" >&2
            return 1
        }
        echo "$1: with a standard library of its own" >&2
        CARGO_TARGET_DIR=$2-std
        # What builds a standard library is not stable yet; a released compiler is told to do it all the same.
        RUSTC_BOOTSTRAP=1
        CARGO_UNSTABLE_BUILD_STD=std,panic_unwind
        __CARGO_TESTS_ONLY_SRC_ROOT=$sources
        export RUSTC_BOOTSTRAP CARGO_UNSTABLE_BUILD_STD __CARGO_TESTS_ONLY_SRC_ROOT
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
        "--remap-path-prefix=${__CARGO_TESTS_ONLY_SRC_ROOT:-$(rustc --print sysroot)}=rust"
}
