"""The commands ``rkllm-rs runtime …``."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgumentError, RkllmError

if TYPE_CHECKING:
    import argparse


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _report(arguments: argparse.Namespace, report: object, *lines: str) -> None:
    if arguments.json:
        _print(json.dumps(report, indent=1))
    else:
        for line in lines:
            _print(line)


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
    from dataclasses import asdict

    from . import runtimes

    here = {one.version: one for one in runtimes.installed()}
    marks = {
        "current": runtimes.current(),
        "project": runtimes.chosen(),
        "model": runtimes.chosen(model=arguments.model) if arguments.model else None,
    }
    files = runtimes.official(os=None)
    releases = list(dict.fromkeys(one.release for one in files))
    report: dict[str, Any] = {
        "folder": runtimes.folder(),
        **marks,
        "installed": [asdict(one) for one in here.values()],
        "releases": [
            {
                "release": release,
                "generation": next(one.generation for one in files if one.release == release),
                "installed": release in here,
                "files": [{**asdict(one), "url": one.url} for one in files if one.release == release],
            }
            for release in releases
        ],
    }
    lines = [f"{'release':<9} {'layouts':<9} {'known for':<15} installed"]
    for release in [*releases, *(version for version in here if version not in releases)]:
        of = [one for one in files if one.release == release and one.os == "linux"]
        generation = of[0].generation if of else "-"
        one = here.get(release)
        state = [] if one is None else [one.status, *([one.arch] if one.arch else [])]
        state += [name for name, version in marks.items() if version == release]
        if of and not of[0].usable:
            state.append("too old for this package")
        built = ", ".join(it.arch for it in of) or "-"
        lines.append(f"{release:<9} {generation:<9} {built:<15} {', '.join(state)}".rstrip())
    missing = [f"{name}: {version}" for name, version in marks.items() if version and version not in here]
    if missing:
        lines.append(f"chosen, but not installed: {', '.join(missing)}")
    lines.append(f"folder: {runtimes.folder()}")
    _report(arguments, report, *lines)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from . import runtimes

    bar = _Bar(f"librkllmrt.so {arguments.version}")
    try:
        done = runtimes.install(
            arguments.version,
            source=arguments.source,
            mirror=arguments.mirror,
            arch=arguments.arch,
            allow_unknown=arguments.allow_unknown,
            progress=bar,
        )
    finally:
        bar.end()
    lines = [f"{done.version} ({done.arch or 'unknown architecture'}, {done.status}): {done.path}"]
    if done.status != "verified":
        lines.append("It is not an official file, and is recorded as unknown.")
    if any(not one.usable for one in runtimes.official(done.version)):
        lines.append("This release is too old: rkllm_rs needs 1.1.0 or later.")
    try:
        used = runtimes.path()
    except RkllmError:
        lines.append("It is not what would be loaded here; `rkllm-rs runtime path` says why.")
    else:
        if used != os.path.realpath(done.path):
            lines.append(
                f"Loaded by default: {used}. To select this one: rkllm-rs runtime use {done.version}"
            )
    _report(arguments, asdict(done), *lines)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from . import runtimes

    if arguments.file is None:
        every = runtimes.installed()
        lines = [f"{one.version}: {one.status} ({one.git_blob_sha1})" for one in every]
        _report(arguments, [asdict(one) for one in every], *(lines or ["nothing is installed"]))
        return 0 if all(one.status == "verified" for one in every) else 1
    file = arguments.file
    if not os.path.exists(file):
        # Perhaps the name of an installed version.
        file = next((one.path for one in runtimes.installed() if one.version == file), file)
    found = runtimes.verify(file)
    official = found.official
    told = f"the official file of {official}" if official else "no official file"
    hashes = (f"Git blob id: {found.git_blob_sha1}", f"SHA-256: {found.sha256}")
    _report(arguments, asdict(found), f"{found.path}: {told}", *hashes)
    return 0 if official else 1


def _use(arguments: argparse.Namespace) -> int:
    from . import runtimes

    if (arguments.version is None) != arguments.clear:
        message = "version: give a version, or --clear to take the selection back"
        raise InvalidArgumentError(message)
    project = "." if arguments.project else None
    place = runtimes.use(arguments.version, project=project, model=arguments.model)
    what = "nothing selected" if arguments.clear else f"{arguments.version} selected"
    _report(arguments, {"version": arguments.version, "file": place}, f"{what}: {place}")
    return 0


def _path(arguments: argparse.Namespace) -> int:
    from . import runtimes

    found = runtimes.path(model=arguments.model)
    _report(arguments, {"path": found}, found)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from . import runtimes

    runtimes.remove(arguments.version)
    _report(arguments, {"version": arguments.version, "removed": True}, f"{arguments.version} removed")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.work(arguments))
    except KeyboardInterrupt:
        sys.stderr.write("\nrkllm-rs: stopped; a download goes on from there when it is asked for again\n")
        return 130


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``runtime`` and what is below it."""
    text = "install and choose the vendor's library"
    runtime = commands.add_parser("runtime", help=text, description=text)
    below = runtime.add_subparsers(dest="runtime_command", required=True, metavar="COMMAND")

    def command(name: str, text: str, work: object) -> argparse.ArgumentParser:
        sub = below.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(run=_run, work=work)
        return sub

    one = command("list", "list the releases, what is installed, and what is chosen", _list)
    one.add_argument("--model", help="a model's file, to see what is chosen for it")
    one = command("install", "install a release, verified, in your data folder", _install)
    one.add_argument("version", metavar="VERSION")
    one.add_argument("--from", dest="source", metavar="FILE", help="a file or folder here, no download")
    one.add_argument("--mirror", metavar="URL", help="in place of RKLLM_RS_MIRROR")
    one.add_argument("--arch", choices=("aarch64", "armhf"), help="in place of this machine's")
    one.add_argument("--allow-unknown", action="store_true", help="take a file that is not an official one")
    one = command("verify", "hash a file and say which official release it is", _verify)
    one.add_argument("file", nargs="?", metavar="FILE", help="without it, all that is installed")
    one = command("use", "select an installed version", _use)
    one.add_argument("version", nargs="?", metavar="VERSION")
    where = one.add_mutually_exclusive_group()
    where.add_argument("--project", action="store_true", help="for programs started in this folder")
    where.add_argument("--model", help="for one model's file")
    one.add_argument("--clear", action="store_true", help="take the selection back")
    one = command("path", "print the vendor's library that would be loaded", _path)
    one.add_argument("--model", help="for one model's file")
    one = command("remove", "remove an installed version", _remove)
    one.add_argument("version", metavar="VERSION")
