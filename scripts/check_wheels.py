"""Checks what `make wheels` built, and prints the table of docs/developing/wheels.md.

    python scripts/check_wheels.py [<wheel>...] [--quiet]

Without names, all wheels in dist/. Whatever breaks a promise is told on stderr, and the exit status is 1:
the tag must be one that auditwheel finds true, libraries need no newer glibc than it says, have no RPATH
and no path of this machine, and export only their own names, and the wheel has all its parts and keeps to
its size.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"

MEGABYTE = 1_000_000
MACHINES = {"aarch64": "EM_AARCH64", "armv7l": "EM_ARM", "x86_64": "EM_X86_64"}
#: What CPython puts into the names of modules for it.
PLATFORMS = {
    "aarch64": "aarch64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "x86_64": "x86_64-linux-gnu",
}
#: Libraries that any image with glibc and GCC's unwinder has.
SYSTEM = re.compile(r"(lib(c|m|dl|pthread|rt|util)\.so\.\d+|ld-linux[-\w]*\.so\.\d+|libgcc_s\.so\.1)$")

OPENMP = re.compile(r"GOMP_|omp_|__kmpc_")


@dataclass(frozen=True)
class Promise:
    """What wheels of one distribution, for one kind of Python, keep."""

    limit: int
    files: tuple[str, ...]
    glibc: tuple[int, ...]
    #: The names that its libraries export.
    exports: re.Pattern[str]


CORE_FILES = (
    "rkllm_rs/_native/__init__.pyi",
    "rkllm_rs/_native/model.pyi",
    "rkllm_rs/server/page.html",
    "rkllm_rs/bench/vendor-benchmarks.json",
    "rkllm_rs/py.typed",
    "{info}/entry_points.txt",
    "{info}/licenses/LICENSE-APACHE",
    "{info}/licenses/LICENSE-MIT",
)
#: The most bytes of a core wheel; docs/developing/wheels.md says what they are.
CORE = 2_500_000
MODULE = re.compile(r"PyInit__native$")
PROMISES = {
    ("rkllm_rs", "cp310-abi3"): Promise(
        limit=CORE,
        files=("rkllm_rs/_native.abi3.so", *CORE_FILES),
        glibc=(2, 17),
        exports=MODULE,
    ),
    # Without the GIL.
    ("rkllm_rs", "cp314-cp314t"): Promise(
        limit=CORE,
        files=("rkllm_rs/_native.cpython-314t-{platform}.so", *CORE_FILES),
        glibc=(2, 17),
        exports=MODULE,
    ),
    ("rkllm_rs_cpu", "py3-none"): Promise(
        limit=10 * MEGABYTE,
        files=(
            "rkllm_rs_cpu/lib/librkllmrt_cpu.so",
            "rkllm_rs_cpu/py.typed",
            "{info}/licenses/NOTICE",
        ),
        glibc=(2, 31),
        exports=re.compile(r"rkllm_\w+$"),
    ),
}


@dataclass
class Report:
    """A wheel's line in the table, and what is wrong with it."""

    wheel: str
    size: int
    tag: str = ""
    glibc: tuple[int, ...] = ()
    wrong: list[str] = field(default_factory=list)


@functools.cache
def private_paths() -> tuple[bytes, ...]:
    """Paths that tell where a library was built."""
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    paths: list[str | Path] = [
        ROOT,
        cargo,
        Path.home() / ".rustup",
        Path.home() / ".cache",
        "/tmp/",  # noqa: S108 - looked for, not used
        "/var/tmp/",  # noqa: S108 - likewise
    ]
    found = [os.fsencode(path) for path in paths] + [b"registry/src/"]
    # A home such as `/root` is short enough to be part of other words; its folders are not.
    return (*found, os.fsencode(Path.home()) + b"/")


def version(text: str) -> tuple[int, ...]:
    """The number in GLIBC_2.17."""
    return tuple(int(part) for part in text.removeprefix("GLIBC_").split("."))


def needed(section: GNUVerNeedSection, name: str, report: Report) -> None:
    """Looks at the versions of symbols that a library needs."""
    for entry in (entry for _, entries in section.iter_versions() for entry in entries):
        if re.fullmatch(r"GLIBC_[\d.]+", entry.name):
            report.glibc = max(report.glibc, version(entry.name))
        elif entry.name.startswith(("GLIBC_PRIVATE", "GLIBCXX", "GOMP")):
            report.wrong.append(f"{name} needs {entry.name}")


def dynamic(section: DynamicSection, name: str, report: Report) -> None:
    """Looks at what a library tells the loader."""
    for entry in section.iter_tags():
        if entry.entry.d_tag in {"DT_RPATH", "DT_RUNPATH", "DT_TEXTREL"}:
            report.wrong.append(f"{name} has {entry.entry.d_tag}")
        elif entry.entry.d_tag == "DT_NEEDED" and not SYSTEM.match(entry.needed):
            report.wrong.append(f"{name} needs {entry.needed}")


def symbols(section: SymbolTableSection, name: str, exports: re.Pattern[str], report: Report) -> None:
    """Looks at the names that a library needs and exports.

    Images have no runtime for parts of OpenMP that the CPU runtime does not bring.
    """
    for symbol in section.iter_symbols():
        if symbol.entry.st_shndx == "SHN_UNDEF":
            if OPENMP.match(symbol.name):
                report.wrong.append(f"{name} needs {symbol.name}")
        elif not exports.match(symbol.name):
            report.wrong.append(f"{name} exports {symbol.name}")


def library(name: str, data: bytes, machine: str, exports: re.Pattern[str], report: Report) -> None:
    """Looks at one shared library."""
    elf = ELFFile(io.BytesIO(data))
    if elf["e_machine"] != MACHINES[machine]:
        report.wrong.append(f"{name} is for {elf['e_machine']}")
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            needed(section, name, report)
        if isinstance(section, DynamicSection):
            dynamic(section, name, report)
        if isinstance(section, SymbolTableSection) and section.name == ".dynsym":
            symbols(section, name, exports, report)
    for section in (".debug_info", ".symtab"):
        if elf.get_section_by_name(section):
            report.wrong.append(f"{name} is not stripped: it has {section}")


def proven(wheel: Path) -> str:
    """The best platform tag that auditwheel finds."""
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    match = re.search(r'following\s+platform\s+tag:\s+"([^"]+)"', shown.stdout)
    return match[1] if match else shown.stdout + shown.stderr


def manylinux(tag: str) -> tuple[int, ...]:
    """The glibc of a manylinux tag; of any other, none."""
    match = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    return (int(match[1]), int(match[2])) if match else ()


def check(wheel: Path) -> Report:
    """Looks at one wheel."""
    report = Report(wheel.name, wheel.stat().st_size)
    name, _, python, abi, platforms = wheel.stem.split("-")
    promise = PROMISES.get((name, f"{python}-{abi}"))
    # Of several names for one platform the one with the number tells most.
    report.tag = next((tag for tag in platforms.split(".") if manylinux(tag)), platforms)
    machine = next((machine for machine in MACHINES if report.tag.endswith(machine)), "")
    if not machine or not manylinux(report.tag) or promise is None:
        report.wrong.append(f"the tag is {python}-{abi}-{platforms}")
        return report
    if report.size > promise.limit:
        report.wrong.append(f"{report.size} bytes are more than {promise.limit}")
    shown = proven(wheel)
    if not manylinux(shown) or manylinux(shown) > manylinux(report.tag):
        report.wrong.append(f"auditwheel says: {shown}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith("/METADATA")).removesuffix("/METADATA")
        wanted = {path.format(info=info, platform=PLATFORMS[machine]) for path in promise.files}
        missing = wanted - set(names)
        report.wrong += [f"{path} is missing" for path in sorted(missing)]
        for path in names:
            # The one file in /tmp that the package itself knows; what replaces it is as long.
            data = archive.read(path).replace(b"/tmp/rkllm_rs-npu.lock", b"*tmp*rkllm_rs-npu.lock")
            if data.startswith(b"\x7fELF"):
                library(path, data, machine, promise.exports, report)
            report.wrong += [
                f"{path} has the path {found.decode()}" for found in private_paths() if found in data
            ]
    if report.glibc > min(promise.glibc, manylinux(report.tag)):
        report.wrong.append(f"GLIBC_{'.'.join(map(str, report.glibc))} is too new")
    return report


def table(reports: list[Report]) -> str:
    """The reports in Markdown."""
    lines = ["| wheel | size | highest GLIBC | tag |", "|---|---|---|---|"]
    for report in reports:
        distribution, machine = report.wheel.split("-")[0], report.tag.split("_", 3)[-1]
        if "-cp314t-" in report.wheel:
            machine += ", Python 3.14t"
        glibc = ".".join(map(str, report.glibc))
        lines.append(
            f"| `{distribution}` {machine} | {report.size / MEGABYTE:.2f} MB | {glibc} | `{report.tag}` |"
        )
    return "\n".join(lines)


def main() -> int:
    """Runs the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheels", nargs="*", type=Path, help="default: all in dist/")
    parser.add_argument("--quiet", action="store_true", help="no table")
    options = parser.parse_args()
    wheels: list[Path] = options.wheels or sorted(DIST.glob("*.whl"))
    if not wheels:
        print("check_wheels: there are no wheels; run `make wheels`", file=sys.stderr)
        return 1
    reports = [check(wheel) for wheel in wheels]
    if not options.quiet:
        print(table(reports))
    for report in reports:
        for wrong in report.wrong:
            print(f"{report.wheel}: {wrong}", file=sys.stderr)
    return int(any(report.wrong for report in reports))


if __name__ == "__main__":
    sys.exit(main())
