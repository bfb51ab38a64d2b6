"""What the extra ``server`` installs: wheels alone, and for every machine the same ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def wheels(requirements: Sequence[str], version: str, tmp_path: Path) -> dict[str, str]:
    """The files that pip would install on a board with 32-bit ARM, by their projects."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-"]
    words += ["--only-binary=:all:", "--platform", "manylinux2014_armv7l", "--python-version", version]
    words += ["--implementation", "cp", "--target", str(tmp_path / "none")]
    done = subprocess.run([*words, *requirements], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    report: Any = json.loads(done.stdout)
    return {
        one["metadata"]["name"]: one["download_info"]["url"].rpartition("/")[2] for one in report["install"]
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_e15_the_server_needs_wheels_for_any_machine_only(version: str, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [Requirement(one) for one in project["optional-dependencies"]["server"]]
    # pip asks markers of the Python that runs it, and not of the one that it installs for.
    here = {"python_version": version, "python_full_version": f"{version}.0"}
    names = [str(one).partition(";")[0] for one in asked if one.marker is None or one.marker.evaluate(here)]
    assert ("tomli" in names) == (version == "3.10")
    found = wheels(names, version, tmp_path)
    assert {"uvicorn", "h11"} <= set(found)
    assert [name for name in found.values() if not name.endswith("-none-any.whl")] == []
