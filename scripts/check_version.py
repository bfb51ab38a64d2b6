"""Checks that a release bears one version everywhere, and says where its project is.

    python scripts/check_version.py [--tag TAG] [--root FOLDER]

`version` in Cargo.toml, section [workspace.package], is the truth. The tag must be that version with a `v`
before it, rkllm_rs_cpu must have the same one as Python writes it, and the changelog must have a dated
section for it. Without a tag, as in a dry run, `Unreleased` is enough. With one, both `pyproject.toml` need
`[project.urls]`, without which PyPI shows no way to the sources. Prints the version; whatever disagrees is
told on stderr, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SECTION = re.compile(r"^\[workspace\.package\]\s*$(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
CARGO = re.compile(r'^version\s*=\s*"([^"]+)"', re.MULTILINE)
PYTHON = re.compile(r'^__version__\s*=\s*"([^"]+)"', re.MULTILINE)
URLS = re.compile(r"^\[project\.urls\]\s*$(?:\s*^\w[^\n]*= *\"https://[^\"]+\")+", re.MULTILINE)
#: The forms that both Cargo and Python can write.
VERSION = re.compile(r"(\d+\.\d+\.\d+)(?:-(alpha|beta|rc)\.(\d+))?")
STAGES = {"alpha": "a", "beta": "b", "rc": "rc"}


def cargo_version(text: str) -> str:
    """The workspace's version.

    Raises:
        ValueError: If there is none.
    """
    section = SECTION.search(text)
    found = CARGO.search(section[1]) if section else None
    if not found:
        message = "Cargo.toml has no version in [workspace.package]"
        raise ValueError(message)
    return found[1]


def python_version(version: str) -> str:
    """The same version as Python packages write it: 1.2.0-rc.1 is 1.2.0rc1.

    Raises:
        ValueError: If Python has no such form.
    """
    found = VERSION.fullmatch(version)
    if not found:
        message = f"Cargo.toml has version {version}: use 1.2.3, 1.2.3-alpha.1, 1.2.3-beta.1 or 1.2.3-rc.1"
        raise ValueError(message)
    base, stage, number = found.groups()
    return f"{base}{STAGES[stage]}{number}" if stage else str(base)


def has_section(changelog: str, title: str) -> bool:
    """Whether the changelog has entries under a title, which is a pattern."""
    section = re.search(rf"^## \[?{title}[^\S\n]*$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return bool(section and re.search(r"^[-*] ", section[1], re.MULTILINE))


def disagreements(root: Path, tag: str | None) -> list[str]:
    """What a release of the tree would get wrong.

    Args:
        root: The checkout.
        tag: The tag that asks for the release, or None for a dry run.
    """
    try:
        version = cargo_version((root / "Cargo.toml").read_text(encoding="utf-8"))
        python = python_version(version)
    except ValueError as error:
        return [str(error)]
    wrong: list[str] = []
    if tag is not None and tag != f"v{version}":
        wrong.append(f"the tag is {tag}, but Cargo.toml has version {version}: tag v{version}")

    path = "cpu-runtime/python/rkllm_rs_cpu/__init__.py"
    found = PYTHON.search((root / path).read_text(encoding="utf-8"))
    if not found or found[1] != python:
        wrong.append(f"{path} has version {found[1] if found else 'none'}, not {python}")

    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = rf"{re.escape(version)}\]? - \d{{4}}-\d\d-\d\d"
    if not has_section(changelog, dated) and (
        tag is not None or not has_section(changelog, r"Unreleased\]?")
    ):
        wrong.append(f"CHANGELOG.md has no entries under `## {version} - <year>-<month>-<day>`")

    projects = [root / "pyproject.toml", root / "cpu-runtime" / "pyproject.toml"]
    for project in filter(Path.exists, projects if tag is not None else []):
        if not URLS.search(project.read_text(encoding="utf-8")):
            name = project.relative_to(root).as_posix()
            wrong.append(f"{name} has no addresses under [project.urls]")
    return wrong


def main() -> int:
    """Runs the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tag", help="the tag of the release, such as v1.2.3")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    options = parser.parse_args()
    wrong = disagreements(options.root, options.tag)
    for line in wrong:
        print(f"check_version: {line}", file=sys.stderr)
    if not wrong:
        print(cargo_version((options.root / "Cargo.toml").read_text(encoding="utf-8")))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
