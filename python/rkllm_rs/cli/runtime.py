"""The commands ``rkllm-rs runtime …``."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from rkllm_rs import runtimes
from rkllm_rs.errors import InvalidArgumentError, RkllmError

from .output import add_json, report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


HELP = "Install and select the vendor's library, librkllmrt.so."
EXAMPLES = """\
examples:
  rkllm-rs runtime list
  rkllm-rs runtime install 1.3.0
  rkllm-rs runtime use 1.3.0
"""


class _Bar:
    """A line on the terminal that says how much has come; nothing where there is no terminal."""

    WIDTH = 30

    def __init__(self, label: str) -> None:
        self.label, self.shown, self.next = label, sys.stderr.isatty(), 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if not self.shown or (now < self.next and done != total):
            return
        self.next = now + 0.1
        text = f"{done / 1e6:.1f} MB"
        if total:
            full = self.WIDTH * done // total
            text = f"[{'#' * full}{'.' * (self.WIDTH - full)}] {100 * done // total:>3} %  {text}"
        sys.stderr.write(f"\r{self.label} {text} ")
        sys.stderr.flush()

    def end(self) -> None:
        """Leaves the line."""
        if self.next:
            sys.stderr.write("\n")


def _list(arguments: argparse.Namespace) -> int:
    here = {one.version: one for one in runtimes.installed()}
    marks = {"current": runtimes.current(), "project": runtimes.chosen()}
    files = runtimes.official(os=None)
    releases = {one.release: one.abi for one in files}
    data = {
        "folder": runtimes.folder(),
        **marks,
        "installed": [asdict(one) for one in here.values()],
        "releases": [
            {
                "release": release,
                "abi": abi,
                "generation": abi,  # its former name, which programs read
                "installed": release in here,
                "files": [{**asdict(one), "url": one.url} for one in files if one.release == release],
            }
            for release, abi in releases.items()
        ],
    }
    lines = [f"{'release':<9} {'layouts':<9} {'known for':<15} installed"]
    for release in [*releases, *(version for version in here if version not in releases)]:
        known = [one for one in files if one.release == release and one.os == "linux"]
        one = here.get(release)
        state = [] if one is None else [one.status, *([one.arch] if one.arch else [])]
        state += [name for name, version in marks.items() if version == release]
        if known and not known[0].usable:
            state.append("too old for rkllm_rs")
        built = ", ".join(it.arch for it in known) or "-"
        lines.append(f"{release:<9} {releases.get(release, '-'):<9} {built:<15} {', '.join(state)}".rstrip())
    missing = [f"{name}: {version}" for name, version in marks.items() if version and version not in here]
    if missing:
        lines.append(f"selected, but not installed: {', '.join(missing)}")
    lines.append(f"folder: {runtimes.folder()}")
    report(arguments, data, *lines)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    bar = _Bar(f"librkllmrt.so {arguments.version}")
    try:
        done = runtimes.install(
            arguments.version,
            source=arguments.source,
            arch=arguments.arch,
            allow_unknown=arguments.allow_unknown,
            progress=bar,
        )
    finally:
        bar.end()
    lines = [f"{done.version} ({done.arch or 'unknown architecture'}, {done.status}): {done.path}"]
    if done.status != "verified":
        lines.append("This is not an official file.")
    if any(not one.usable for one in runtimes.official(done.version)):
        lines.append("This release is too old: rkllm_rs requires RKLLM 1.1.0 or later.")
    try:
        used = runtimes.path()
    except RkllmError:
        lines.append("It would not be loaded on this machine; run `rkllm-rs runtime path` to see why.")
    else:
        if used != os.path.realpath(done.path):
            lines.append(
                f"Loaded by default: {used}. To select this one: rkllm-rs runtime use {done.version}"
            )
    report(arguments, asdict(done), *lines)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    here = runtimes.installed()
    if arguments.file is None:
        lines = [f"{one.version}: {one.status} ({one.git_blob_sha1})" for one in here]
        report(arguments, [asdict(one) for one in here], *(lines or ["nothing is installed"]))
        return 0 if all(one.status == "verified" for one in here) else 1
    file = arguments.file
    if not os.path.exists(file):
        # Perhaps the name of an installed version.
        file = next((one.path for one in here if one.version == file), file)
    found = runtimes.verify(file)
    told = f"the official file of {found.official}" if found.official else "not an official file"
    hashes = f"Git blob id: {found.git_blob_sha1}", f"SHA-256: {found.sha256}"
    report(arguments, asdict(found), f"{found.path}: {told}", *hashes)
    return 0 if found.official else 1


def _use(arguments: argparse.Namespace) -> int:
    if (arguments.version is None) != arguments.clear:
        message = "version must be given, unless --clear is"
        raise InvalidArgumentError(
            message, hint="Pass a version to select, or --clear to remove the selection."
        )
    place = runtimes.use(arguments.version, project="." if arguments.project else None)
    what = "nothing selected" if arguments.clear else f"{arguments.version} selected"
    report(arguments, {"version": arguments.version, "file": place}, f"{what}: {place}")
    return 0


def _path(arguments: argparse.Namespace) -> int:
    found = runtimes.path(model=arguments.model)
    report(arguments, {"path": found}, found)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    runtimes.remove(arguments.version)
    report(arguments, {"version": arguments.version, "removed": True}, f"{arguments.version} removed")
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the commands below it."""
    below = parser.add_subparsers(dest="runtime_command", required=True, metavar="COMMAND")

    def command(
        name: str, text: str, run: Callable[[argparse.Namespace], int], examples: str
    ) -> argparse.ArgumentParser:
        epilog = "\n  rkllm-rs runtime ".join(["examples:", *examples.splitlines()])
        sub: argparse.ArgumentParser = below.add_parser(name, help=text, description=text, epilog=epilog)
        add_json(sub)
        sub.set_defaults(runtime_run=run)
        return sub

    command("list", "list releases, installed versions and the selected one", _list, "list\nlist --json")
    text = "download a release, verify it and install it in your data folder"
    one = command("install", text, _install, "install 1.3.0\ninstall 1.3.0 --from librkllmrt.so")
    one.add_argument("version", metavar="VERSION")
    one.add_argument(
        "--from", dest="source", metavar="FILE", help="install this local file instead of downloading"
    )
    one.add_argument(
        "--arch", choices=("aarch64", "armhf"), help="architecture (default: that of this machine)"
    )
    one.add_argument("--allow-unknown", action="store_true", help="accept a file that is not official")
    text = "compute a file's hash and print the official release it belongs to"
    one = command("verify", text, _verify, "verify\nverify /usr/lib/librkllmrt.so")
    one.add_argument(
        "file", nargs="?", metavar="FILE", help="file to verify (default: all installed versions)"
    )
    one = command("use", "select an installed version", _use, "use 1.3.0\nuse 1.2.3 --project\nuse --clear")
    one.add_argument("version", nargs="?", metavar="VERSION")
    one.add_argument(
        "--project", action="store_true", help="select it only for programs started in this folder"
    )
    one.add_argument("--clear", action="store_true", help="remove the selection")
    text = "print the path of the vendor's library that would be loaded"
    one = command("path", text, _path, "path\npath --model model.rkllm")
    one.add_argument("--model", metavar="FILE", help="search as for this model file")
    one = command("remove", "remove an installed version", _remove, "remove 1.2.3")
    one.add_argument("version", metavar="VERSION")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command that was chosen."""
    return int(arguments.runtime_run(arguments))
