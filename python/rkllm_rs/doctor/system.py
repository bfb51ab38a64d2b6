"""The checks of the system and of this process: libraries, limits, Python, variables, disk."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from . import native
from .report import Check

if TYPE_CHECKING:
    from .facts import Facts

_FOLDERS = ("/lib", "/usr/lib", "/usr/local/lib", "/lib64", "/usr/lib64")
_TRIPLETS = ("aarch64-linux-gnu", "arm-linux-gnueabihf", "x86_64-linux-gnu")
_OF_THIS_PROCESS = "not examined: this root is not the running system"
_GIB = 1 << 30


def _libraries(facts: Facts, name: str) -> list[str]:
    """Where the dynamic linker finds a library."""
    cache = facts.root.bytes("/etc/ld.so.cache", 1 << 20) or b""
    listed = re.findall(rb"/[^\0]{1,400}/" + re.escape(name).encode() + rb"(?=\0)", cache)
    places = [path.decode("utf-8", "replace") for path in listed]
    folders = [
        folder for folder in facts.variables.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/")
    ]
    for folder in [*folders, *_FOLDERS]:
        places += [f"{folder}/{name}", *(f"{folder}/{triplet}/{name}" for triplet in _TRIPLETS)]
    return [path for path in dict.fromkeys(places) if facts.root.exists(path)]


def check_libgomp(facts: Facts) -> Check:
    """Whether the library that Rockchip's needs is there."""
    found = _libraries(facts, "libgomp.so.1")
    if found:
        return Check("libgomp", "ok", found[0])
    if facts.kind == "other":
        return Check(
            "libgomp", "not_applicable", "not found; Rockchip's library needs it, the CPU runtime does not"
        )
    if not _libraries(facts, "libc.so.6"):
        return Check("libgomp", "unknown", "not found, and neither is the C library")
    fix = "sudo apt install libgomp1"
    return Check(
        "libgomp", "failure", "libgomp.so.1 is missing: Rockchip's library does not load without it", "", fix
    )


def check_libc(facts: Facts) -> Check:
    """Which C library the system has."""
    for path in _libraries(facts, "libc.so.6"):
        data = facts.root.bytes(path, 1 << 23) or b""
        if found := re.search(rb"GNU C Library[^\0\n]{0,120}version (\d+)\.(\d+)", data):
            version = int(found[1]), int(found[2])
            told = f"glibc {version[0]}.{version[1]}"
            if version < (2, 29) and facts.kind != "other":
                why = f"{told} is older than 2.29, which Rockchip's library asks for"
                more = f"{path}\nThe number is from release 1.2.1b1; older releases may load."
                fix = "rkllm-rs runtime list    # an older release, or Debian 12, Ubuntu 22.04 or newer"
                return Check("libc", "warning", why, more, fix)
            return Check("libc", "ok", told, path)
    if facts.root.glob("/lib/ld-musl-*"):
        why = "the system has musl in place of glibc: neither the wheels nor Rockchip's library run"
        return Check(
            "libc", "failure", why, "", "docker run -it python:3.13-slim-bookworm    # a system with glibc"
        )
    return Check("libc", "unknown", "the C library was not found in the usual folders")


def check_limits(facts: Facts) -> Check:
    """The limits of this process."""
    text = facts.root.text("/proc/self/limits") or ""
    rows = {
        name: (soft, hard)
        for name, soft, hard in re.findall(r"^(Max [a-z ]+?)\s{2,}(\S+)\s+(\S+)", text, re.MULTILINE)
    }
    files = rows.get("Max open files")
    if files is None:
        return Check("limits", "unknown", "/proc/self/limits cannot be read")
    wanted = ("Max open files", "Max locked memory", "Max address space")
    detail = "\n".join(f"{name}: {rows[name][0]}, at most {rows[name][1]}" for name in wanted if name in rows)
    if files[0].isdecimal() and int(files[0][:18]) < 1024:  # noqa: PLR2004
        why = f"a process may open {files[0]} files only"
        return Check(
            "limits",
            "warning",
            why,
            detail,
            "ulimit -n 65536    # if that is refused: /etc/security/limits.conf",
        )
    space = rows.get("Max address space", ("unlimited",))[0]
    if space != "unlimited":
        why = f"a process may use {space} bytes of addresses only; a model needs more than its file's size"
        return Check("limits", "warning", why, detail, "ulimit -v unlimited")
    return Check("limits", "ok", f"{files[0]} open files", detail)


def check_native(facts: Facts) -> Check:
    """Whether the compiled part of this package loads."""
    if not facts.root.live:
        return Check("native", "not_applicable", _OF_THIS_PROCESS)
    try:
        loaded = native.load()
    except ImportError as error:
        return _not_loaded(facts, str(error))
    return Check("native", "ok", f"the compiled part of rkllm_rs {loaded.__version__} loads")


def _not_loaded(facts: Facts, why: str) -> Check:
    told = f"the compiled part of rkllm_rs cannot be loaded: {why}"
    again = f"{sys.executable or 'python3'} -m pip install --force-reinstall rkllm_rs"
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    files = [name for name in facts.root.names(here) if name.startswith("_native.") and name.endswith(".so")]
    lines = [f"process: {_process()}", f"files: {', '.join(files) or 'none'}"]
    if "GLIBC_" in why:
        fix = "ldd --version    # the wheel needs glibc 2.17 or newer"
    elif not files:
        fix = f"{again}    # a wheel, or `make build` in a checkout"
    elif "ELF" in why or "wrong" in why:
        fix = f"{again}    # with the wheel for {_process()}"
    else:
        fix = again
    return Check("native", "failure", told, "\n".join(lines), fix)


def _process() -> str:
    bits = 64 if sys.maxsize > 1 << 32 else 32
    version = ".".join(map(str, sys.version_info[:3]))
    threads = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else ", without a GIL"
    return f"{sys.implementation.name} {version}, {os.uname().machine}, {bits} bits{threads}"


def _tags() -> tuple[str | None, list[str]]:
    """The package's version and the tags of its wheel."""
    from importlib import metadata

    try:
        found = metadata.distribution("rkllm_rs")
        wheel = found.read_text("WHEEL") or ""
    except (metadata.PackageNotFoundError, OSError):
        return None, []
    return found.version, re.findall(r"^Tag: (\S+)", wheel, re.MULTILINE)


def package() -> str | None:
    """The version of this package."""
    return _tags()[0]


def check_python(facts: Facts) -> Check:
    """Which Python this is, and which wheel is installed."""
    if not facts.root.live:
        return Check("python", "not_applicable", _OF_THIS_PROCESS)
    version, tags = _tags()
    wheel = (
        f"rkllm_rs {version}, wheel {', '.join(tags)}" if tags else "rkllm_rs is not installed from a wheel"
    )
    own = "virtual environment" if sys.prefix != sys.base_prefix else "the system's Python"
    detail = f"{wheel}\n{own}"
    return Check("python", "ok", _process(), detail)


#: Variables that change what this package or a download does; of the secret ones only whether they are set.
_TOLD = re.compile(
    r"RKLLM_RS_\w+|RKLLM_LIB_PATH|LD_LIBRARY_PATH|LD_PRELOAD|HF_(?:HOME|HUB_\w+|ENDPOINT|TOKEN\w*|XET_\w+)"
    r"|HUGGING_FACE_HUB_TOKEN|(?:https?|all|no|ftp)_proxy",
    re.IGNORECASE,
)


def _shown(name: str, value: str) -> str:
    """A variable's value, without what is secret in it."""
    if "TOKEN" in name.upper():
        return "(set, not shown)"
    return re.sub(r"//[^/@\s]*@", "//…@", value)[:200]


def check_environment(facts: Facts) -> Check:
    """Which variables change what happens."""
    found = {name: value for name, value in facts.variables.items() if _TOLD.fullmatch(name) and value}
    lines = [f"{name}={_shown(name, value)}" for name, value in sorted(found.items())]
    upper = {name.upper() for name in found}
    if {"HTTP_PROXY"} <= upper and not upper & {"HTTPS_PROXY", "ALL_PROXY"}:
        why = "http_proxy is set and https_proxy is not: downloads use https, and so no proxy"
        return Check("environment", "warning", why, "\n".join(lines), 'export https_proxy="$http_proxy"')
    return Check(
        "environment", "ok", ", ".join(sorted(found)) or "no variable of concern is set", "\n".join(lines)
    )


def check_disk(facts: Facts) -> Check:
    """How much room there is for models."""
    if not facts.root.live:
        return Check("disk", "not_applicable", _OF_THIS_PROCESS)
    variables = facts.variables
    home = variables.get("HOME") or "/"
    places = {
        "models and runtimes": variables.get("RKLLM_RS_HOME") or variables.get("XDG_DATA_HOME") or home,
        "downloads of Hugging Face": variables.get("HF_HOME") or f"{home}/.cache",
        "working folder": ".",
    }
    lines: list[str] = []
    least: int | None = None
    for what, path in places.items():
        at: str = os.path.abspath(path)
        while not os.path.isdir(at) and at != "/":
            at = os.path.dirname(at)
        try:
            told = os.statvfs(at)
        except OSError:
            continue
        free = told.f_bavail * told.f_frsize
        least = free if least is None else min(least, free)
        lines.append(f"{what}, {at}: {free / _GIB:.1f} GiB free")
    if least is None:
        return Check("disk", "unknown", "the free space cannot be read")
    if least < 2 * _GIB:
        why = f"only {least / _GIB:.1f} GiB free; a model has 0.5 to 8 GB"
        return Check("disk", "warning", why, "\n".join(lines), "df -h; du -xsh ~/.cache/* | sort -h | tail")
    return Check("disk", "ok", f"{least / _GIB:.1f} GiB free", "\n".join(lines))


def check_cpu_runtime(facts: Facts) -> Check:
    """Whether models can run without the NPU."""
    from rkllm_rs._cpu_runtime import GET_CPU_RUNTIME, cpu_library

    if not facts.root.live:
        return Check("cpu-runtime", "not_applicable", _OF_THIS_PROCESS)
    path = cpu_library()
    if path:
        return Check("cpu-runtime", "ok", "installed: .gguf models run on the CPU", path)
    if facts.kind == "other":
        why = "not installed, and there is no NPU: no model runs on this machine"
        return Check("cpu-runtime", "warning", why, "", GET_CPU_RUNTIME)
    return Check("cpu-runtime", "not_applicable", "not installed; with it, .gguf models run on the CPU")


def check_opencl(facts: Facts) -> Check:
    """Whether the library finds OpenCL, which it can do without."""
    root = facts.root
    if facts.kind != "rockchip":
        return Check("opencl", "not_applicable", "no Rockchip chip")
    drivers = root.glob("/etc/OpenCL/vendors/*.icd")
    found = _libraries(facts, "libOpenCL.so") + _libraries(facts, "libOpenCL.so.1")
    if found and (drivers or root.exists("/dev/mali0")):
        return Check("opencl", "ok", found[0], "\n".join(drivers))
    told = "no OpenCL: RKLLM works without it; with it, one board decoded 7 to 10 % faster"
    return Check(
        "opencl", "ok", told, "The GPU's driver panthor has none." if not root.exists("/dev/mali0") else ""
    )
