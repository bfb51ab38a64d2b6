#!/bin/sh
# Makes the virtual environment that the Makefile works in. On Debian and Ubuntu the system's Python
# may come without the module for it: apt brings it when we may call apt.
set -eu
venv=$1
python=${PYTHON:-python3}

command -v "$python" >/dev/null || { echo "bootstrap: $python is not there: install Python 3.10 or later" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "bootstrap: $("$python" --version) is too old: name Python 3.10 or later, as in make PYTHON=python3.12" >&2
    exit 1
}
command -v cargo >/dev/null || { echo "bootstrap: cargo is not there: install Rust 1.87 or later" >&2; exit 1; }
command -v c++ >/dev/null || command -v g++ >/dev/null || {
    echo "bootstrap: no C++ compiler: install g++" >&2
    exit 1
}
[ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && exit 0

rm -rf "$venv"
"$python" -m venv "$venv" 2>/dev/null && exit 0
rm -rf "$venv"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
    "$python" -m venv "$venv"
else
    echo "bootstrap: this Python cannot make virtual environments: install its venv module (apt install python3-venv)" >&2
    exit 1
fi
