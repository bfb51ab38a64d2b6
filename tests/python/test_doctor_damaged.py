"""Boards whose files are damaged at random: `doctor` always has a whole report."""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from board_trees import TREES, build
from rkllm_rs.doctor import examine
from rkllm_rs.doctor.publish import markdown

if TYPE_CHECKING:
    from pathlib import Path

NONSENSE = [
    "-1\n",
    "0\n",
    "99999999999999999999\n",
    "nan\n",
    "9" * 400,
    "=\n==\n",
    "0-99999999\n",
    "\u0663\n",
    "\xb2\n",
]
LINKS = ["/", "..", ".", "/proc", "/dev/dri", "x" * 300, "/proc/meminfo", "/sys/class"]


def damage(path: Path, chance: random.Random) -> None:
    """Makes something else of a file."""
    data = bytearray(path.read_bytes())
    kind = chance.randrange(8)
    if kind == 0:
        path.write_bytes(chance.randbytes(chance.randrange(300)))
    elif kind == 1:
        for _ in range(3 if data else 0):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
    elif kind == 2:
        path.write_bytes(data[: chance.randint(0, len(data))])
    elif kind == 3:
        path.write_text(chance.choice(NONSENSE))
    elif kind == 4:
        path.write_bytes(data * chance.randint(2, 50))
    else:
        path.unlink()
        if kind == 5:
            path.mkdir()
        elif kind == 6:
            path.symlink_to(chance.choice(LINKS))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_board_has_a_whole_report(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same every time
    every = [check.id for check in examine(build(TREES["pc-x86"], tmp_path / "pc")).checks]
    for _ in range(15):
        name = chance.choice(list(TREES))
        tree = build(TREES[name], tmp_path / "tree")
        files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
        for path in chance.sample(files, min(len(files), 12)):
            damage(path, chance)
        report = examine(tree)
        assert [check.id for check in report.checks] == every
        for check in report.checks:
            assert check.fix or check.status not in ("warning", "failure"), (name, check)
            assert len(check.summary.splitlines()) == 1, (name, check)
            assert str(tmp_path) not in check.summary + check.detail, (name, check)
        assert json.loads(json.dumps(report.to_dict()))["checks"]
        assert markdown(report, str(tree)).startswith("# ")
        shutil.rmtree(tree)
