#!/bin/sh
# Brings what cross builds and emulation need into the user's cache, and prints where it is. Nothing is
# installed: Debian's packages are fetched by an apt configuration of our own and only unpacked.
#
#   scripts/toolchain.sh rust-src <version>  the sources of that Rust, of which cargo builds its standard library
#   scripts/toolchain.sh python <arch>   a CPython with NumPy for arm64 or armhf, as a command that runs it
#   scripts/toolchain.sh gcc             a folder with bin/: GCC with a glibc of 2.31, for x86_64, aarch64 and armv7l
#   scripts/toolchain.sh can             exit status 0 if this machine can do all that, else says why not
#
# RKLLM_RS_TOOLCHAIN names another folder than the cache, RKLLM_RS_DEBIAN_MIRROR another mirror than
# the one that this machine's apt uses. What is there is not fetched again: remove the folder to renew it.
set -eu

say() { echo "toolchain: $*" >&2; }
fail() { say "$*"; exit 1; }

home=${RKLLM_RS_TOOLCHAIN:-${XDG_CACHE_HOME:-$HOME/.cache}/rkllm_rs/toolchain}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

mirror() {
    if [ -n "${RKLLM_RS_DEBIAN_MIRROR:-}" ]; then
        echo "$RKLLM_RS_DEBIAN_MIRROR"
        return
    fi
    # The main archive is the one that lists rustc for the release itself, not for its security fixes.
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian Debian main //p' | sort -u | head -n 1
}

why_not() {
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || { echo "this is not Linux on x86_64"; return; }
    for tool in apt-get dpkg; do
        command -v "$tool" >/dev/null || { echo "$tool is not there"; return; }
    done
    [ -e "$keyring" ] || { echo "Debian's keys are not there (package debian-archive-keyring)"; return; }
    [ -n "$(mirror)" ] || echo "no Debian mirror is known: name one in RKLLM_RS_DEBIAN_MIRROR"
}

# configure <suite> <arch>...: an apt of our own for these, its lists fetched
configure() {
    suite=$1
    shift
    apt=$home/apt-$suite
    export APT_CONFIG="$apt/apt.conf"
    [ -e "$apt/ready" ] && return
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
    : > "$apt/status"
    list=$(echo "$*" | tr ' ' ,)
    echo "deb [arch=$list signed-by=$keyring] $(unset APT_CONFIG; mirror) $suite main" > "$apt/sources.list"
    {
        echo 'APT::Architecture "amd64";'
        printf 'APT::Architectures { '; printf '"%s"; ' "$@"; echo '};'
        echo 'Acquire::Languages "none";'
        echo 'Acquire::Retries "3";'
        echo 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";'
        echo "Dir::Etc::sourcelist \"$apt/sources.list\";"
        echo 'Dir::Etc::sourceparts "-";'
        echo 'Dir::Etc::preferences "-";'
        echo "Dir::Etc::preferencesparts \"$apt/parts\";"
        echo "Dir::State::Lists \"$apt/lists\";"
        echo "Dir::State::status \"$apt/status\";"
        echo "Dir::Cache \"$apt/cache\";"
        # As root apt would fetch as another user, who may not look into a cache of root's.
        [ "$(id -u)" != 0 ] || echo 'APT::Sandbox::User "root";'
    } > "$APT_CONFIG"
    say "reading the package lists of Debian $suite"
    apt-get -qq update >&2
    # A list that could not be had is no failure to apt.
    for arch; do
        ls "$apt"/lists/*_binary-"${arch}"_Packages* >/dev/null 2>&1 || fail "no package list for $arch from the mirror"
    done
    touch "$apt/ready"
}

# unpack <folder> <package>...: all of them, or nothing
unpack() {
    into=$home/$1
    shift
    [ "$(cat "$into/.complete" 2>/dev/null)" = "$*" ] && return
    say "unpacking $# packages into $into"
    rm -rf "$into" "$into.deb"
    mkdir -p "$into" "$into.deb"
    (cd "$into.deb" && apt-get -qq download "$@" >&2) || {
        # Lists that were read some time ago name versions that the mirror no longer has.
        say "reading the package lists anew"
        apt-get -qq update >&2
        (cd "$into.deb" && apt-get -qq download "$@" >&2)
    }
    for package in "$into.deb"/*.deb; do
        dpkg -x "$package" "$into"
    done
    rm -r "$into.deb"
    echo "$*" > "$into/.complete"
}

script() { # script <file> <line>...
    file=$1
    shift
    { echo '#!/bin/sh'; printf '%s\n' "$@"; } > "$file.new"
    chmod +x "$file.new"
    mv "$file.new" "$file"
}

# The sources of exactly this Rust's standard library: no other fits it.
rust_src() {
    configure trixie-backports amd64
    named() { # the package's version: that of the sources, and +dfsg or -1 after it
        apt-cache madison rust-src | awk -F'[ |]+' -v is="$1" 'index($3, is "+") == 1 || index($3, is "-") == 1 { print $3; exit }'
    }
    found=$(named "$1")
    [ -n "$found" ] || { apt-get -qq update >&2; found=$(named "$1"); }
    [ -n "$found" ] || fail "Debian has no sources of the standard library of Rust $1"
    unpack "rust-src-$1" "rust-src=$found"
    echo "$home/rust-src-$1/usr/src/rustc-$1/library"
}

python() {
    case $1 in
    # Pythons of later releases authenticate pointers, which qemu does in software for its best CPU.
    arm64) qemu="qemu-aarch64-static -cpu ${RKLLM_RS_ARM_CPU:-cortex-a57}" ;;
    armhf) qemu="qemu-arm-static -cpu ${RKLLM_RS_ARM_CPU:-cortex-a7}" ;;
    *) fail "no Python for $1" ;;
    esac
    configure bookworm amd64 arm64 armhf
    unpack qemu qemu-user-static
    packages=
    for package in python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 \
        libstdc++6 libexpat1 zlib1g libbz2-1.0 liblzma5 libsqlite3-0 libcrypt1 libssl3 libffi8 \
        libncursesw6 libtinfo6 libreadline8 libdb5.3 libuuid1 python3-numpy libblas3 liblapack3 libgfortran5; do
        packages="$packages $package:$1"
    done
    # shellcheck disable=SC2086 # words
    unpack "python-$1" $packages tzdata media-types
    root=$home/python-$1
    # As update-alternatives would.
    for folder in "$root"/usr/lib/*/blas "$root"/usr/lib/*/lapack; do
        for library in "$folder"/*.so.3; do
            ln -sfn "${folder##*/}/${library##*/}" "${folder%/*}/${library##*/}"
        done
    done
    # sys.executable is this script: the kernel cannot start the real one.
    script "$root/usr/bin/python" \
        "export PYTHONHOME='$root/usr'" \
        "exec '$home/qemu/usr/bin/'$qemu -0 '$root/usr/bin/python' -L '$root' '$root/usr/bin/python3.11' \"\$@\""
    echo "$root/usr/bin/python"
}

gcc() {
    configure bullseye amd64 arm64
    cross=
    for target in arm64:aarch64-linux-gnu armhf:arm-linux-gnueabihf; do
        for package in "gcc-10-${target#*:}" "g++-10-${target#*:}" "cpp-10-${target#*:}" "binutils-${target#*:}"; do
            cross="$cross $package"
        done
        for package in libgcc-10-dev libstdc++-10-dev libc6-dev libc6 linux-libc-dev libgcc-s1 libgomp1; do
            cross="$cross $package-${target%%:*}-cross"
        done
    done
    # shellcheck disable=SC2086 # words
    unpack gcc gcc-10 g++-10 cpp-10 binutils binutils-common binutils-x86-64-linux-gnu libbinutils libctf0 \
        libctf-nobfd0 libgcc-10-dev libstdc++-10-dev libc6-dev libc6 libcrypt-dev linux-libc-dev libgcc-s1 \
        libisl23 libmpc3 libmpfr6 libgmp10 libzstd1 zlib1g libstdc++6 libgomp1 \
        $cross
    root=$home/gcc/usr
    mkdir -p "$home/gcc/bin"
    # Links to / would lead to the machine's own files.
    find "$home/gcc" -type l -lname '/*' | while read -r link; do
        target=$(readlink "$link")
        [ "${target#"$home"}" != "$target" ] || ln -sfn "$home/gcc$target" "$link"
    done
    for target in x86_64 aarch64 armv7l; do
        # Its assembler and linker, under their plain names.
        case $target in
        x86_64) name=x86_64-linux-gnu tools=$root/bin ;;
        aarch64) name=aarch64-linux-gnu tools=$root/aarch64-linux-gnu/bin ;;
        armv7l) name=arm-linux-gnueabihf tools=$root/arm-linux-gnueabihf/bin ;;
        esac
        for tool in gcc g++; do
            # The compiler's own libraries, but not this root's glibc, which the machine's loader
            # could not use.
            script "$home/gcc/bin/$target-$tool" \
                "export LD_LIBRARY_PATH='$root/lib/x86_64-linux-gnu'" \
                "exec '$root/bin/$name-$tool-10' -B'$tools/' --sysroot='$home/gcc' \"\$@\""
        done
        for tool in ar ld objcopy ranlib strip; do
            script "$home/gcc/bin/$target-$tool" \
                "export LD_LIBRARY_PATH='$root/lib/x86_64-linux-gnu'" \
                "exec '$root/bin/$name-$tool' \"\$@\""
        done
    done
    echo "$home/gcc"
}

case ${1:-} in
can)
    reason=$(why_not)
    [ -z "$reason" ] || { echo "$reason"; exit 1; }
    (configure bookworm amd64 arm64 armhf) 2>/dev/null || { echo "Debian's packages cannot be fetched"; exit 1; }
    ;;
rust-src | gcc | python)
    reason=$(why_not)
    [ -z "$reason" ] || fail "$reason"
    mkdir -p "$home"
    # One at a time: two would unpack into the same folder.
    exec 9> "$home/lock"
    flock 9
    action=$(echo "$1" | tr - _)
    shift
    "$action" "$@"
    ;;
*) fail "usage: toolchain.sh can | rust-src <version> | python <arch> | gcc" ;;
esac
