"""What `doctor` says of boards, as their files were published: see board_trees.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from board_trees import TREES, build
from rkllm_rs.doctor import examine

if TYPE_CHECKING:
    from rkllm_rs.doctor import Report

#: The trees whose whole JSON is kept beside this file; RKLLM_RS_UPDATE=1 writes it anew.
WHOLE = [
    "rk3588-vendor61-098",
    "rk3588-vendor510-082",
    "rk3588-h96-proc",
    "rv1126b-armhf",
    "rk3588-mainline-618",
    "rk3588-docker",
]
# Tests run without the variable.
UPDATE = bool(os.environ.get("RKLLM_RS_UPDATE"))
KEPT = Path(__file__).parent / "board_reports"


def report_of(name: str, folder: Path) -> Report:
    return examine(build(TREES[name], folder))


def ids(report: Report, status: str) -> set[str]:
    return {check.id for check in report.checks if check.status == status}


@pytest.mark.parametrize("name", TREES)
def test_each_board_gets_its_verdict(name: str, tmp_path: Path) -> None:
    report = report_of(name, tmp_path)
    tree = TREES[name]
    assert ids(report, "failure") == tree.failures
    assert ids(report, "warning") == tree.warnings
    assert report.status == tree.verdict


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_report(name: str, tmp_path: Path) -> None:
    found = json.dumps(report_of(name, tmp_path).to_dict(), indent=1, ensure_ascii=False) + "\n"
    kept = KEPT / f"{name}.json"
    if UPDATE:
        kept.write_text(found, encoding="utf-8")
    assert json.loads(found) == json.loads(kept.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TREES)
def test_checks_keep_the_promises_of_all_reports(name: str, tmp_path: Path) -> None:
    report = report_of(name, tmp_path)
    every = [check.id for check in report.checks]
    assert len(set(every)) == len(every)
    for check in report.checks:
        assert check.summary
        assert "\n" not in check.summary
        assert str(tmp_path) not in check.summary + check.detail + (check.fix or "")
        assert check.fix or check.status not in ("warning", "failure"), check.id
    assert every == [check.id for check in report_of("pc-x86", tmp_path / "pc").checks]


@pytest.mark.parametrize(
    ("name", "node", "version", "source"),
    [
        ("rk3588-vendor61-098", "/dev/dri/renderD129", "0.9.8", "ioctl"),
        ("rk3588-vendor510-082", "/dev/dri/renderD129", "0.8.2", "/sys/module/rknpu/version"),
        ("rk3588-h96-proc", "/dev/dri/renderD129", "0.9.8", "/proc/rknpu/version"),
        ("rv1126b-armhf", "/dev/rknpu", "0.9.8", "kernel log"),
        ("rk3588-dkms-a", "/dev/dri/renderD128", "0.9.8", "/sys/module/rknpu/version"),
        ("rk3588-dkms-b", "/dev/dri/renderD129", "0.9.8", "/sys/module/rknpu/version"),
        ("rk3588-docker", "/dev/dri/renderD129", "0.9.8", "/sys/module/rknpu/version"),
        ("rk3588-mainline-618", None, None, "none"),
        ("pc-x86", None, None, "none"),
    ],
)
def test_driver_and_node(
    name: str, node: str | None, version: str | None, source: str, tmp_path: Path
) -> None:
    driver = report_of(name, tmp_path).driver
    assert (driver.node, driver.version, driver.source) == (node, version, source)


@pytest.mark.parametrize(
    ("name", "chip", "cores", "mask"),
    [
        ("rk3588-vendor61-098", "rk3588", 3, 0xF0),
        ("rk3588-h96-proc", "rk3588", 3, 0x1E),
        ("rk3576-vendor61-098", "rk3576", 2, 0xF0),
        ("rk3562-vendor61-098", "rk3562", 1, 0x0F),
        ("rv1126b-armhf", "rv1126b", 1, 0x0F),
        ("rk3568-lite", "rk3568", 1, 0x0F),
        ("rk3582-2cores", "rk3582", 2, 0x30),
        ("rk3588-docker", None, None, 0xF0),
        ("pc-x86", None, None, 0xFFFF),
    ],
)
def test_chip_and_cpus(name: str, chip: str | None, cores: int | None, mask: int, tmp_path: Path) -> None:
    report = report_of(name, tmp_path)
    assert (report.board.chip, report.board.npu_cores, report.cpu.mask) == (chip, cores, mask)


def test_a_board_without_a_memory_clock_says_why(tmp_path: Path) -> None:
    report = report_of("rk3588-nodmc", tmp_path)
    check = report.find("ddr-clock")
    assert check is not None
    assert check.status == "unknown"
    assert "ATF version 0x0" in check.detail


def test_a_container_without_the_node_is_told_what_to_pass(tmp_path: Path) -> None:
    check = report_of("rk3588-docker-closed", tmp_path).find("node")
    assert check is not None
    assert "--device /dev/dri" in (check.fix or "")


def test_a_machine_without_an_npu_is_offered_the_cpu_runtime(tmp_path: Path) -> None:
    board = report_of("pc-x86", tmp_path).find("board")
    assert board is not None
    assert "rkllm_rs[cpu]" in (board.fix or "")


def test_a_board_tells_what_a_container_needs(tmp_path: Path) -> None:
    check = report_of("rk3588-vendor61-098", tmp_path).find("container")
    assert check is not None
    for word in ("/dev/dri/renderD129", "/dev/dri/card1", "/dev/dma_heap", "/usr/lib/librkllmrt.so"):
        assert word in check.detail
