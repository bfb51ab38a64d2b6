"""The checks of Rockchip's library: which files there are, which release each is, and whether it fits.

Files are told by their bytes alone. None is loaded.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import native
from .driver import ASKED, numbers
from .report import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .facts import Facts

_NAME = "librkllmrt.so"
_INSTALL = "rkllm-rs runtime install 1.3.0"
_VARIABLES = ("RKLLM_RS_LIB", "RKLLM_LIB_PATH")
_BANNER = re.compile(rb"RKLLM SDK \(version: (\d{1,3}\.\d{1,3}\.\d{1,3}[0-9a-z]{0,8})")
_MARKER = b"rkllm_rs CPU runtime"
_MACHINES = {(2, 183): "aarch64", (1, 40): "armhf", (2, 62): "x86_64"}
_LARGEST = 1 << 26
#: Seconds after which further files are listed, and not read.
_READING = 0.5


@dataclass
class Candidate:
    """A file that may be the library."""

    path: str
    origin: str
    release: str | None = None
    #: What tells the release: ``official file`` or ``banner``.
    by: str | None = None
    arch: str | None = None
    #: Why it is not used.
    refused: str | None = None

    def __str__(self) -> str:
        told = f"RKLLM {self.release} ({self.by})" if self.release else "release unknown"
        arch = f", {self.arch}" if self.arch else ""
        return f"{self.path} ({self.origin}): {told}{arch}" + (
            f"; refused: {self.refused}" if self.refused else ""
        )


@dataclass(frozen=True)
class Found:
    """The candidates, and the one that would be loaded."""

    candidates: list[Candidate]
    chosen: Candidate | None


def _places(facts: Facts) -> Iterator[tuple[str, str]]:
    """The places that are searched, in their order: see docs/guides/library.md."""
    variables = facts.variables
    for name in _VARIABLES:
        if variables.get(name):
            yield variables[name], name
    yield from _own_places(facts)
    for folder in re.split("[:;]", variables.get("LD_LIBRARY_PATH", "")):
        if folder.startswith("/"):
            yield f"{folder}/{_NAME}", "LD_LIBRARY_PATH"
    cache = facts.root.bytes("/etc/ld.so.cache", 1 << 20) or b""
    for found in re.findall(rb"/[^\0]{1,400}/librkllmrt\.so(?=\0)", cache):
        yield found.decode("utf-8", "replace"), "ld.so.cache"
    for folder in ("/usr/lib", "/usr/local/lib", "/lib", "/opt/lib", "/usr/lib64"):
        yield f"{folder}/{_NAME}", "system folder"
        for triplet in ("aarch64-linux-gnu", "arm-linux-gnueabihf"):
            yield f"{folder}/{triplet}/{_NAME}", "system folder"


def _own_places(facts: Facts) -> Iterator[tuple[str, str]]:
    """The places that this package alone knows."""
    root = facts.root
    arches = [facts.userland] if facts.userland in ("aarch64", "armhf") else ["aarch64", "armhf"]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own = [here, os.path.dirname(here), os.path.dirname(os.path.dirname(here))] if root.live else []
    for folder in own:
        for arch in arches:
            yield f"{folder}/libs/rkllm/{arch}/{_NAME}", "package folder"
    for folder in _runtimes(facts):
        yield f"{folder}/current/{_NAME}", "installed runtimes"
        for name in reversed(root.names(folder)):
            yield f"{folder}/{name}/{_NAME}", "installed runtimes"
    if root.live:
        for arch in arches:
            yield os.path.abspath(f"libs/rkllm/{arch}/{_NAME}"), "working folder"


def _runtimes(facts: Facts) -> list[str]:
    variables = facts.variables
    if home := variables.get("RKLLM_RS_HOME"):
        return [f"{home}/runtimes"]
    if data := variables.get("XDG_DATA_HOME"):
        return [f"{data}/rkllm_rs/runtimes"]
    homes = [home] if (home := variables.get("HOME")) else facts.root.glob("/home/*")
    return [f"{home}/.local/share/rkllm_rs/runtimes" for home in homes]


def find(facts: Facts) -> Found:
    """Looks at the candidates' bytes, and asks the native module which one it would load."""
    candidates: list[Candidate] = []
    seen: set[object] = set()
    until = time.monotonic() + _READING
    for path, origin in _places(facts):
        if facts.root.names(path):  # a folder, where a variable names one
            path = f"{path}/{_NAME}"  # noqa: PLW2901
        status = facts.root.status(path)
        key: object = (status.st_dev, status.st_ino) if status else path
        named = origin in _VARIABLES
        if key in seen or (status is None and not named and facts.root.link(path) is None):
            continue
        seen.add(key)
        late = time.monotonic() > until
        candidates.append(Candidate(path, origin) if late else _look(facts, path, origin))
        if named:  # no other one is taken in its place
            break
    if facts.root.live:
        return _decided(candidates)
    return Found(candidates, next((one for one in candidates if one.refused is None), None))


def _look(facts: Facts, path: str, origin: str) -> Candidate:
    one = Candidate(path, origin)
    reading = facts.root.look(path, _LARGEST)
    data = reading.data
    if data is None:
        told = {"missing": "no such file", "denied": "no right to read it", None: ""}
        one.refused = told.get(reading.problem, "not a regular file that can be read")
        return one
    one.refused = _no_library(data)
    if one.refused:
        return one
    one.arch = _MACHINES.get((data[4], struct.unpack_from("<H", data, 18)[0]), "another architecture")
    if known := _official(data):
        one.release, one.by = known["release"], "official file"
    elif banner := _BANNER.search(data):
        one.release, one.by = banner[1].decode("ascii"), "banner"
    if _MARKER in data:
        one.refused = "it is the CPU runtime"
    elif facts.userland and one.arch != facts.userland:
        one.refused = f"it is for {one.arch}, and this system's programs are {facts.userland}"
    elif one.release and numbers(one.release) < (1, 1, 0):
        one.refused = "releases before 1.1.0 are not supported"
    return one


def _no_library(data: bytes) -> str | None:
    """Why the bytes are no library at all."""
    begin = data[:64].lstrip().lower()
    if not data:
        return "the file is empty"
    if begin.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer, not the library itself"
    if begin.startswith((b"<!doctype", b"<html")):
        return "the file is a web page"
    if not data.startswith(b"\x7fELF") or len(data) < 52:  # noqa: PLR2004 - a header of 32 bits
        return "not a shared library (no ELF header)"
    return None


def _official(data: bytes) -> Any | None:
    """The official file with these bytes; none if the native module, which knows them, is not there."""
    try:
        files = native.load().known_libraries()
    except ImportError:
        return None
    blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    blob.update(data)
    if found := next((one for one in files if one["git_blob_sha1"] == blob.hexdigest()), None):
        return found
    sums = [one for one in files if one["git_blob_sha1"] is None and one["size"] in (None, len(data))]
    sha256 = hashlib.sha256(data).hexdigest() if sums else ""
    return next((one for one in sums if one["sha256"] == sha256), None)


def _decided(candidates: list[Candidate]) -> Found:
    """What the native module would load, and its reasons, which include who owns the files."""
    try:
        from rkllm_rs._library import backends
    except ImportError:
        return Found(candidates, next((one for one in candidates if one.refused is None), None))
    status = backends()[0]
    if status.library:
        same = (one for one in candidates if os.path.realpath(one.path) == os.path.realpath(status.library))
        chosen = next(same, None)
        if chosen is None:
            chosen = Candidate(status.library, "search")
            candidates.append(chosen)
        chosen.refused = None
        return Found(candidates, chosen)
    for path, reason in re.findall(r"^\s*- (.+?) \([^()]*\): (.+)$", status.reason or "", re.MULTILINE):
        for one in candidates:
            if one.path == path:
                one.refused = reason
    for one in candidates:
        one.refused = one.refused or (status.reason or "refused").splitlines()[0]
    return Found(candidates, None)


def check_library(facts: Facts) -> Check:
    """Which library would be loaded."""
    found = facts.library
    detail = "\n".join(map(str, found.candidates[:16]))
    if facts.kind == "other" and not found.candidates:
        return Check("library", "not_applicable", "Rockchip's library does not run on this machine")
    if found.chosen:
        one = found.chosen
        told = f"RKLLM {one.release}" if one.release else "of an unknown release"
        why = f"{told}, {one.path}" + (f" ({one.by})" if one.by else "")
        return Check("library", "ok", why, detail, None if one.release else f"rkllm-rs identify {one.path}")
    if not found.candidates:
        if facts.kind == "unknown" and not facts.root.live:
            return Check("library", "unknown", f"no {_NAME} in this root", "", _INSTALL)
        return Check("library", "warning", f"no {_NAME} was found", "", _INSTALL)
    first = found.candidates[0]
    fix = f"unset {first.origin} && {_INSTALL}" if first.origin in _VARIABLES else _INSTALL
    if facts.kind == "other":
        return Check("library", "not_applicable", f"none that runs here: {first.refused}", detail)
    return Check("library", "failure", f"{first.path} cannot be used: {first.refused}", detail, fix)


def check_release(facts: Facts) -> Check:
    """Whether the library fits the chip and the driver."""
    one, driver, chip = facts.library.chosen, facts.npu.version, facts.chip
    if facts.kind == "other":
        return Check("release", "not_applicable", "no Rockchip chip")
    if one is None or one.release is None:
        return Check("release", "not_applicable", "no library whose release is known")
    release = numbers(one.release)
    if chip and chip.supported is not False and release < chip.since:
        since = ".".join(map(str, chip.since))
        why = f"RKLLM {one.release} does not support {chip.name.upper()}; {since} is the first that does"
        return Check("release", "failure", why, "", _INSTALL)
    if driver is None:
        return Check("release", "unknown", f"RKLLM {one.release} needs driver 0.9.8; no version was read")
    detail = "The library itself warns below 0.9.7." if release < (1, 3, 1) else ""
    told = f"RKLLM {one.release} asks for driver 0.9.8 or newer; this is {driver}"
    if numbers(driver) < (0, 9, 6):
        return Check("release", "failure", told, detail, facts.vendor_kernel)
    if numbers(driver) < ASKED:
        return Check("release", "warning", told, detail, facts.vendor_kernel)
    if chip and chip.name == "rv1126b" and one.arch == "aarch64" and release == (1, 2, 3):
        why = "RKLLM 1.2.3 for 64 bits was reported to fail on RV1126B, where the one for 32 bits works"
        return Check("release", "warning", why, "", _INSTALL)
    return Check("release", "ok", told, detail)
