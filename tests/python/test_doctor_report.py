"""`rkllm-rs doctor --report`: Markdown that can be published."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from board_trees import TREES, Link, Tree, build, library
from rkllm_rs.doctor import examine

if TYPE_CHECKING:
    from pathlib import Path

#: What a board tells of its owner, and where; every one of them is put where a check shows it, too.
SECRETS = {
    "user": "mwalimu",
    "full name": "Achieng Okonkwo",
    "host": "kitchen-board",
    "serial": "c3d9b8674f4b94f6",
    "serial of the device tree": "BX52QTR9",
    "MAC": "dc:a6:32:01:02:03",
    "IPv4": "192.168.178.23",
    "IPv6": "fe80::dea6:32ff:fe01:203",
    "IPv6 in full": "2001:db8:0:42:dea6:32ff:fe01:203",
    "e-mail": "achieng@example.org",
    "token": "hf_QqWwEeRrTtYy",
    "password": "hunter2",
    "proxy": "proxy.intranet.example",
    "UUID": "5f2c9b1e-91f2-4c3f-8d34-0c2f0d6b6a11",
    "machine id": "9a3f5c0b7d3e4e6fb1c2a4d5e6f70819",
    "SD card": "1d4144534c32000001acd7a2",
}


def owned(folder: Path) -> Path:
    """A board with the traces of its owner everywhere."""
    all_of_it = " ".join(SECRETS.values())
    home = f"/home/{SECRETS['user']}"
    good = TREES["rk3588-vendor61-098"]
    files = good.files | {
        "etc/hostname": SECRETS["host"] + "\n",
        "etc/hosts": f"127.0.0.1 localhost\n{SECRETS['IPv4']} {SECRETS['host']}\n",
        "etc/machine-id": SECRETS["machine id"] + "\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
        f"{SECRETS['user']}:x:1000:1000:{SECRETS['full name']},,,:{home}:/bin/bash\n",
        "proc/device-tree/serial-number": SECRETS["serial of the device tree"] + "\0",
        "proc/cpuinfo": f"processor\t: 0\nCPU part\t: 0xd0b\n\nSerial\t\t: {SECRETS['serial']}\n",
        "proc/cmdline": f"root=UUID={SECRETS['UUID']} androidboot.serialno={SECRETS['serial']} cma=8M "
        f"ip={SECRETS['IPv4']}::: androidboot.fwver=ddr-v1.16,{SECRETS['serial of the device tree']}\n",
        "proc/self/environ": "\0".join(
            [f"HOME={home}", f"USER={SECRETS['user']}", f"HF_TOKEN={SECRETS['token']}",
             f"RKLLM_RS_LIB={home}/lib.so",
             f"https_proxy=http://{SECRETS['user']}:{SECRETS['password']}@{SECRETS['proxy']}:3128",
             f"HF_HOME={home}/hf", f"LD_LIBRARY_PATH=/opt:{home}/lib"]
        ),
        f"home/{SECRETS['user']}/lib.so": library("1.2.3"),
        "sys/class/net/eth0/address": SECRETS["MAC"] + "\n",
        "sys/block/mmcblk0/device/serial": SECRETS["SD card"] + "\n",
        # Where a check shows a text, all of it.
        "etc/os-release": f'PRETTY_NAME="Debian of {all_of_it}"\n',
        "proc/sys/kernel/osrelease": f"6.1.84-{SECRETS['host']}\n",
        "dev/kmsg": f"4,1,2,-;RKNPU fdab0000.npu: job timeout {all_of_it}\n",
        "proc/812/comm": f"{SECRETS['user']}-bot\n",
        "proc/812/fd/5": Link("/dev/dri/renderD129"),
        "sys/class/thermal/thermal_zone0/type": f"soc {all_of_it}"[:60] + "\n",
    }  # fmt: skip
    return build(Tree("", files, "", ioctl=good.ioctl), folder)


def written(tree: Path, file: Path) -> str:
    words = [sys.executable, "-m", "rkllm_rs", "doctor", "--root", str(tree), "--report", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    return file.read_text(encoding="utf-8")


def test_nothing_private_is_published(tmp_path: Path) -> None:
    tree = owned(tmp_path / "board")
    shown = str(examine(tree).to_dict())
    # The report has something to hide: these are in what it is made of.
    for what in ("user", "host", "MAC", "IPv4", "e-mail", "UUID", "proxy"):
        assert SECRETS[what] in shown, what
    text = written(tree, tmp_path / "report.md")
    words = {word for secret in SECRETS.values() for word in secret.split()}
    plain = text.replace("\\", "").lower()
    assert [word for word in words if word.lower() in plain] == []
    assert "/home" not in plain


def test_what_helps_is_published(tmp_path: Path) -> None:
    text = written(owned(tmp_path / "board"), tmp_path / "report.md")
    plain = text.replace("\\", "")
    board = ("Orange Pi 5", "rockchip,rk3588s-orangepi-5", "/dev/dri/renderD129", "0xf0")
    for word in (*board, "rknpu 0.9.8", "RKLLM 1.2.3", "job timeout", "6.1.84"):
        assert word in plain, word


@pytest.mark.parametrize("name", ["dev", "orangepi", "rknpu", "sys"])
def test_a_user_with_a_common_name_does_not_blot_out_the_report(name: str, tmp_path: Path) -> None:
    good = TREES["rk3588-vendor61-098"]
    passwd = {"etc/passwd": f"{name}:x:1000:1000::/home/{name}:/bin/sh\n", "etc/hostname": f"{name}\n"}
    text = written(build(Tree("", good.files | passwd, ""), tmp_path / "board"), tmp_path / "report.md")
    assert "rockchip,rk3588s-orangepi-5" in text
    assert "/dev/dri/renderD129" in text
    assert "rknpu 0.9.8" in text


def test_it_is_a_table_whatever_the_board_is_called(tmp_path: Path) -> None:
    good = TREES["rk3588-vendor61-098"]
    model = {"proc/device-tree/model": "a | b <script> `x` @someone #7\0"}
    kernel = {"proc/cmdline": "cma=``````\n"}
    text = written(
        build(Tree("", good.files | model | kernel, ""), tmp_path / "board"), tmp_path / "report.md"
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert not re.search(r"(?<!\\)[<@#`]", rows[-1] + "".join(row for row in rows if "script" in row))
    assert "```````text" in text


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tree = build(TREES["rk3588-vendor61-098"], tmp_path / "board")
    for bad in (tmp_path, tmp_path / "none" / "report.md"):
        words = [sys.executable, "-m", "rkllm_rs", "doctor", "--root", str(tree), "--report", str(bad)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_report_and_json_together(tmp_path: Path) -> None:
    tree = build(TREES["rk3588-vendor510-082"], tmp_path / "board")
    file = tmp_path / "report.md"
    words = [sys.executable, "-m", "rkllm_rs", "doctor", "--root", str(tree), "--json", "--report", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stdout.startswith("{")
    assert stat.S_ISREG(file.stat().st_mode)
    # What failed comes first.
    assert next(line for line in file.read_text().splitlines() if line.startswith("| ")) != ""
    assert file.read_text().index("| failure |") < file.read_text().index("| ok |")
