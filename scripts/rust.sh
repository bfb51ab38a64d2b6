# Which Rust builds for a target, how no path of this machine gets into what it builds, and how it is kept small.
# Sourced by the scripts that build wheels, not run: `root` is the checkout.

# triple <machine>: Rust's name for what a wheel's tag calls aarch64, armv7l or x86_64
triple() {
    case $1 in
    aarch64 | x86_64) echo "$1-unknown-linux-gnu" ;;
    armv7l) echo armv7-unknown-linux-gnueabihf ;;
    *) echo "no such machine: $1" >&2; return 1 ;;
    esac
}

# std_sources: where the sources of this very Rust's standard library are: rustup's component rust-src, or else
# Debian's package
std_sources() {
    version=$(rustc --version | cut -d ' ' -f 2)
    sources=$(rustc --print sysroot)/lib/rustlib/src/rust/library
    if [ -e "$sources/Cargo.lock" ]; then
        echo "$sources"
    else
        "$root/scripts/toolchain.sh" rust-src "$version" || {
            echo "no sources of Rust $version: rustup component add rust-src" >&2
            return 1
        }
    fi
}

# rust_for <folder>: prepares cargo to build into that folder, with $std_config among its arguments. Rust's standard
# library is built along (std.toml). With RKLLM_RS_RUST=installed the libraries serve that are installed (rustup
# target add).
rust_for() {
    CARGO_TARGET_DIR=$1
    std_config=
    unset RUSTC_BOOTSTRAP __CARGO_TESTS_ONLY_SRC_ROOT
    if [ "${RKLLM_RS_RUST:-}" != installed ]; then
        __CARGO_TESTS_ONLY_SRC_ROOT=$(std_sources) || return 1
        std_config="--config scripts/std.toml"
        # What builds a standard library is not stable yet; a released compiler is told to do it all the same.
        RUSTC_BOOTSTRAP=1
        export RUSTC_BOOTSTRAP __CARGO_TESTS_ONLY_SRC_ROOT
    fi
    cargo fetch --quiet --locked
    CARGO_ENCODED_RUSTFLAGS=$(remapped)
    # A destructor that panics ends the process, as it does in any panic already: without code for what comes after
    # that, the module is a twentieth smaller. The standard library has to be built in the same way.
    [ -z "$std_config" ] || CARGO_ENCODED_RUSTFLAGS=$CARGO_ENCODED_RUSTFLAGS$(printf '\037-Zpanic-in-drop=abort')
    export CARGO_TARGET_DIR CARGO_ENCODED_RUSTFLAGS
}

# small_rust_for <folder> <triple>: the same for the module, whose code is kept small (small.toml), with $module_args
# for the compiler when it makes the module itself
small_rust_for() {
    rust_for "$1" || return 1
    std_config="$std_config --config scripts/small.toml"
    # Less is inlined than LLVM would, but for what says so itself, such as what is done for each token.
    smaller=$(printf '\037%s' -Cllvm-args=-inline-threshold=25 -Cllvm-args=-inlinehint-threshold=50)
    case $2 in
    # With a frame pointer the tables for panics are a third smaller; elsewhere it is there anyway, or does not matter.
    x86_64-*) smaller=$smaller$(printf '\037-Cforce-frame-pointers=yes') ;;
    esac
    CARGO_ENCODED_RUSTFLAGS=$CARGO_ENCODED_RUSTFLAGS$smaller
    # After rustc's own list of exported names, of which Zig takes the last.
    module_args=-Clink-arg=-Wl,--version-script=scripts/module.map
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
