"""`rkllm-rs doctor`: its command, and roots that are not as they should be.

Long because each check is shown on a root of its own.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rkllm_rs
from board_trees import TREES, Link, Tree, build, library
from rkllm_rs.doctor import drm, examine
from support import SOON

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener
    from rkllm_rs.doctor import Report

GOOD = TREES["rk3588-vendor61-098"]
HEAT, CLOCK, CPUS = "sys/class/thermal", "sys/class/devfreq", "sys/devices/system/cpu"
PACKAGE = Path(rkllm_rs.__file__).parent


def changed(folder: Path, extra: dict[str, Any], *less: str, name: str = "rk3588-vendor61-098") -> Report:
    """The report on a board with other files."""
    files = {path: text for path, text in TREES[name].files.items() if path not in less}
    return examine(build(Tree("", files | extra, ""), folder))


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rkllm_rs", "doctor", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_json_has_the_shape_that_programs_read(tmp_path: Path) -> None:
    done = doctor("--root", str(build(GOOD, tmp_path)), "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["board"]["chip"] == "rk3588"
    assert told["board"]["compatible"][-1] == "rockchip,rk3588"
    assert told["driver"]["version"] == "0.9.8"
    assert told["cpu"]["mask"] == 0xF0
    assert {"id", "status", "summary", "detail", "fix"} <= told["checks"][0].keys()
    assert told == examine(tmp_path).to_dict()


def test_the_package_leads_to_it_without_an_import_of_its_own() -> None:
    program = "import rkllm_rs; print(rkllm_rs.doctor.examine().find('python').status)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "ok\n", done.stderr


def test_a_failure_is_the_exit_status_and_has_its_fix_in_the_text(tmp_path: Path) -> None:
    done = doctor("--root", str(build(TREES["rv1126b-armhf"], tmp_path)))
    assert done.returncode == 1
    assert "permission denied" in done.stdout
    assert "99-rknpu.rules" in done.stdout


def test_this_machine_is_examined_honestly() -> None:
    report = examine()
    python = report.find("python")
    assert python is not None
    assert python.status == "ok"
    if os.uname().machine == "x86_64":
        assert report.board.chip is None
        assert report.driver.version is None
        assert report.status != "failure"


def test_a_root_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for bad in (tmp_path / "none", tmp_path / "file", "with\0nul"):
        with pytest.raises(rkllm_rs.InvalidArgumentError, match=r"^root must be a folder"):
            examine(bad)
    with pytest.raises(rkllm_rs.InvalidTypeError, match=r"^root must be a path"):
        examine(7)  # type: ignore[arg-type]
    done = doctor("--root", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "hint" in done.stderr


def test_an_empty_root_is_all_unknown(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert report.status == "unknown" or {c.id for c in report.checks if c.status == "warning"} == {"library"}
    assert not [check for check in report.checks if check.status == "failure"]
    assert report.cpu.mask == 0


@pytest.mark.parametrize("part", ["proc", "sys", "dev", "lib"])
def test_half_a_root_is_no_error(part: str, tmp_path: Path) -> None:
    shutil.rmtree(build(GOOD, tmp_path) / part)
    assert examine(tmp_path).checks


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"rockchip,rk3588\0" * 16)
        file.truncate(1 << 40)


def _long(path: Path) -> None:
    path.write_bytes(b"vendor,board-of-some-name\0" * 400_000)


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _number(path: Path) -> None:
    path.write_text("9" * 5000 + "\n")


def _deep(path: Path) -> None:
    path.write_text("[" * 60_000)


def _folder(path: Path) -> None:
    path.mkdir()


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "hostile", [_pipe, _socket, _huge, _long, _binary, _number, _deep, _folder, _circle, _zero]
)
def test_no_kind_of_file_holds_it_up(hostile: Callable[[Path], None], tmp_path: Path) -> None:
    """Every file of a good board, one kind of bad file in its place."""
    tree = build(TREES["rk3588-h96-proc"], tmp_path / "root")
    (tree / "unreadable.txt").touch()
    (tree / "ioctl").mkdir()
    (tree / "ioctl/drm_version.json").touch()
    if hostile not in (_huge, _long):
        files = [path for path in tree.rglob("*") if path.is_file() or path.is_symlink()]
    else:
        files = [tree / "proc/device-tree/compatible", tree / "proc/meminfo", tree / "usr/lib/librkllmrt.so"]
    for path in files:
        path.unlink()
        hostile(path)
    began = time.monotonic()
    report = examine(tree)
    assert time.monotonic() - began < SOON  # what blocks would take for ever
    json.dumps(report.to_dict())
    for check in report.checks:
        assert check.fix or check.status not in ("warning", "failure")


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "compatible").write_bytes(b"secret,board\0rockchip,rk3576\0")
    root = tmp_path / "root"
    (root / "proc/device-tree").mkdir(parents=True)
    compatible = root / "proc/device-tree/compatible"
    for target in (
        str(outside / "compatible"),
        "../../../outside/compatible",
        "../../../../../../etc/hostname",
    ):
        compatible.symlink_to(target)
        assert examine(root).board.compatible == []
        compatible.unlink()
    # An absolute one begins at the root, as it would on the board.
    (root / "base").write_bytes(b"rockchip,rk3562\0")
    compatible.symlink_to("/base")
    assert examine(root).board.chip == "rk3562"


def test_what_the_vendors_library_said_is_the_last_source(
    open_model: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    home = {"proc/self/environ": "HOME=/home/me\0"}
    cache = tree / "home/me/.cache"
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(cache))
    line = "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: {}, platform: RK3588"
    for version in ("0.9.8", "0.9.7"):
        open_model({"init": {"log": [["stdout", line.format(version)]]}, "runs": []}).close()
    driver = changed(tree, home, "sys/module/rknpu/version", "dev/kmsg").driver
    assert driver.source == "vendor log"
    store = cache / "rkllm_rs/models.json"
    entries = json.loads(store.read_text())
    # The last load counts, whatever its model is called.
    for at, entry in enumerate(entries.values()):
        entry["loaded"] += 1000 * at
    store.write_text(json.dumps(entries))
    last = list(entries.values())[-1]["driver_version"]
    assert examine(tree).driver.version == last
    good = next(iter(entries.values()))
    for text in (
        *(b"", b"[]", b"7", b"{ damaged", b"\xff\xfe", b"[" * 100_000, b"{}", store.read_bytes()[:-9]),
        *(
            json.dumps({"/a": {**good, "driver_version": wrong}}).encode()
            for wrong in (None, 9, [], {}, "none", "0.9", "0.9.8 or so", "9" * 999)
        ),
    ):
        store.write_bytes(text)
        assert examine(tree).driver.version is None, text[:80]
    for wrong in (None, "x", [], -1.5, float("inf")):
        store.write_text(json.dumps({"/a": {**good, "loaded": wrong}, "/b": 7, "/c": []}))
        assert examine(tree).driver.version == good["driver_version"]
    store.unlink()
    os.mkfifo(store)
    assert examine(tree).driver.version is None


@pytest.mark.parametrize("name", ["rk3588-mainline-612", "rk3588-mainline-618"])
def test_logs_of_an_earlier_kernel_are_not_believed(name: str, tmp_path: Path) -> None:
    extra = {
        "sys/bus/platform/drivers/rk_gmac-dwmac/bind": "",
        "var/log/dmesg": "[    3.1] [drm] Initialized rknpu 0.9.8 20240828 for fdab0000.npu on minor 1\n",
        "proc/self/environ": "XDG_CACHE_HOME=/cache\0",
        "cache/rkllm_rs/models.json": '{"/a.rkllm": {"driver_version": "0.9.8", "loaded": 9}}',
    }
    report = changed(tmp_path, extra, "dev/kmsg", name=name)
    assert report.driver.version is None
    assert report.status == "failure"


def test_what_only_root_may_read_is_unknown(tmp_path: Path) -> None:
    files = {name: text for name, text in GOOD.files.items() if name != "sys/module/rknpu/version"}
    files |= {"sys/kernel/debug/rknpu/version": "RKNPU driver: v0.9.8\n"}
    build(Tree("", files, "", unreadable=["sys/kernel/debug", "dev/kmsg"]), tmp_path)
    report = examine(tmp_path)
    driver, log = report.find("driver"), report.find("kernel-log")
    assert driver is not None
    assert log is not None
    assert (driver.status, log.status) == ("unknown", "unknown")
    assert driver.fix == "sudo cat /sys/kernel/debug/rknpu/version"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rights_of_the_system_are_respected(tmp_path: Path) -> None:
    build(GOOD, tmp_path)
    (tmp_path / "proc/device-tree").chmod(0)
    try:
        assert examine(tmp_path).board.model is None
    finally:
        (tmp_path / "proc/device-tree").chmod(0o755)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"GGUF" + bytes(100), "not a shared library"),
        (library("1.0.1"), "1.1.0"),
        (library("1.3.0", bits=32), "armhf"),
        (Link("/nowhere"), "no such file"),
    ],
)
def test_a_library_that_cannot_be_used_is_told_why(data: Any, reason: str, tmp_path: Path) -> None:
    check = changed(tmp_path, {"usr/local/lib/librkllmrt.so": data}, "usr/lib/librkllmrt.so").find("library")
    assert check is not None
    assert check.status == "failure"
    assert reason in check.summary
    assert check.fix


def test_without_a_library_there_is_a_warning(tmp_path: Path) -> None:
    check = changed(tmp_path, {}, "usr/lib/librkllmrt.so").find("library")
    assert check is not None
    assert check.status == "warning"


def test_a_named_library_is_the_only_candidate(tmp_path: Path) -> None:
    extra = {
        "proc/self/environ": "RKLLM_RS_LIB=/opt/other.so\0HF_TOKEN=hf_secret\0",
        "opt/other.so": library("1.3.0"),
    }
    report = changed(tmp_path, extra)
    check, environment = report.find("library"), report.find("environment")
    assert check is not None
    assert environment is not None
    assert "1.3.0" in check.summary
    assert "1.2.3" not in check.detail
    assert "hf_secret" not in environment.detail


@pytest.mark.parametrize("node", ["renderD129", "card1"])
def test_a_process_that_has_the_npu_open_is_named(node: str, tmp_path: Path) -> None:
    extra = {"proc/812/comm": "frigate\n", "proc/812/fd/7": Link(f"/dev/dri/{node}"), "proc/9/comm": "x\n"}
    check = changed(tmp_path, extra).find("npu-users")
    assert check is not None
    assert "frigate" in check.summary


@pytest.mark.parametrize(
    ("extra", "failing"),
    [
        (
            {
                f"{HEAT}/cooling_device0/type": "thermal-devfreq-0\n",
                f"{HEAT}/cooling_device0/cur_state": "3\n",
            },
            "heat",
        ),
        ({f"{HEAT}/thermal_zone6/temp": "96000\n"}, "heat"),
        ({f"{CLOCK}/dmc/governor": "powersave\n", f"{CLOCK}/dmc/cur_freq": "528000000\n"}, "ddr-clock"),
        ({f"{CLOCK}/fdab0000.npu/max_freq": "600000000\n"}, "npu-clock"),
        ({f"{CPUS}/cpufreq/policy4/scaling_max_freq": "1200000\n"}, "cpu-clock"),
        ({f"{CPUS}/online": "0-5\n"}, "cpu"),
        ({"proc/meminfo": "MemTotal: 2000000 kB\nMemAvailable: 300000 kB\n"}, "memory"),
        ({"dev/kmsg": "4,1,2,-;RKNPU: job timeout, flags 0x0:\n"}, "kernel-log"),
        ({"proc/self/limits": "Max open files            256                  256        files\n"}, "limits"),
        ({"proc/self/environ": "http_proxy=http://me:secret@proxy:3128\0"}, "environment"),
        (
            {"lib/aarch64-linux-gnu/libc.so.6": "GNU C Library (Debian) stable release version 2.28.\n"},
            "libc",
        ),
    ],
)
def test_what_slows_a_board_or_limits_it_is_a_warning(extra: Any, failing: str, tmp_path: Path) -> None:
    report = changed(tmp_path, extra)
    assert {check.id for check in report.checks if check.status == "warning"} == {failing}
    assert "secret" not in json.dumps(report.to_dict())


def test_a_library_that_is_older_than_the_chip_does_not_fit(tmp_path: Path) -> None:
    extra = {"usr/lib/librkllmrt.so": library("1.1.4")}
    check = changed(tmp_path, extra, name="rk3562-vendor61-098").find("release")
    assert check is not None
    assert check.status == "failure"


@pytest.mark.parametrize(("damage", "word"), [(None, "no compiled file"), (b"\x7fELF damaged", "_native.")])
def test_without_the_native_module_the_command_still_works(
    damage: bytes | None, word: str, tmp_path: Path
) -> None:
    copy = tmp_path / "rkllm_rs"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    if damage:
        native = next(PACKAGE.glob("_native*.so"))
        (copy / native.name).write_bytes(damage)
    done = doctor("--json", PYTHONPATH=str(tmp_path))
    check = next(one for one in json.loads(done.stdout)["checks"] if one["id"] == "native")
    assert done.returncode == 1
    assert check["status"] == "failure"
    assert word in check["summary"].lower()
    assert "pip install" in check["fix"]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, whose native module is missing."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(PACKAGE, folder / "rkllm_rs", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return folder


PROGRAMS = {
    "from": ("from rkllm_rs import doctor; examine = doctor.examine", True),
    "import": ("import rkllm_rs.doctor; examine = rkllm_rs.doctor.examine", True),
    "name": ("from rkllm_rs.doctor import examine", True),
    "function": ("import importlib; examine = importlib.import_module('rkllm_rs.doctor').examine", True),
    "then others": ("from rkllm_rs import doctor; import rkllm_rs; rkllm_rs.RKLLM", False),
    "package": ("import rkllm_rs", False),
    "class": ("doctor = 1\nfrom rkllm_rs import RKLLM", False),
    "errors": ("import rkllm_rs.errors", False),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_without_the_native_module_programs_have_doctor_and_else_an_error(case: str, broken: Path) -> None:
    program, works = PROGRAMS[case]
    if works:
        program += """
report = examine("/")
assert report.status == "failure"
assert report.find("native").status == "failure"
for wrong, kind in ((7, TypeError), ("/nowhere", ValueError)):
    try:
        examine(wrong)
    except kind:
        continue
    raise SystemExit(9)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor"],
        env={**os.environ, "PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (0 if works else 1), done.stderr
    if not works:
        assert "ImportError" in done.stderr
        assert "rkllm-rs doctor" in done.stderr


def test_without_any_right_to_read_only_the_library_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = build(GOOD, tmp_path)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(os, "scandir", refused)
    report = examine(tree)
    monkeypatch.undo()
    assert {check.id for check in report.checks if check.status in ("failure", "warning")} == {"library"}
    assert report.driver.version is None


def test_a_driver_is_asked_for_its_version_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is DRM_IOCTL_VERSION, whose struct has another size with 32 bits."""

    def answered(_descriptor: int, request: int, asked: Any) -> int:
        assert request == {8: 0xC0406400, 4: 0xC0246400}[struct.calcsize("P")]
        asked.major, asked.minor, asked.patch = 0, 9, 8
        ctypes.memmove(asked.name, b"rknpu", 5)
        ctypes.memmove(asked.date, b"20240828", 8)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", answered)
    assert drm.version("/dev/null") == {}  # no DRM device is asked nothing
    monkeypatch.setattr(os, "major", lambda _device: 226)
    assert drm.version("/dev/null") == {"name": "rknpu", "date": "20240828", "version": "0.9.8"}
    assert drm.version("/dev/none") == {}


def test_it_only_reads(tmp_path: Path) -> None:
    """Neither this machine nor a tree is written to, and no program, library or address is asked."""
    tree = build(GOOD, tmp_path)
    for name in ("freq", "volt", "power", "reset"):
        (tree / "sys/kernel/debug/rknpu").mkdir(parents=True, exist_ok=True)
        (tree / "sys/kernel/debug/rknpu" / name).write_text("1\n")
    (tree / "unreadable.txt").write_text("")
    program = """
import os, sys
from rkllm_rs import doctor, backends
doctor.examine()  # what is imported and loaded once
seen = []
def hook(event, told):
    if event == "open" and told[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        seen.append((event, told[0]))
    if event == "open" and str(told[0]).rpartition("/")[2] in ("freq", "volt", "power", "reset"):
        seen.append((event, told[0]))
    if event.split(".")[0] in ("socket", "subprocess", "shutil", "fcntl", "ctypes") or event in (
        "os.mkdir", "os.remove", "os.rename", "os.chmod", "os.truncate", "os.symlink", "os.system", "os.fork",
        "os.exec", "os.posix_spawn", "os.kill"):
        seen.append((event, *map(str, told[:2])))
sys.addaudithook(hook)
for root in ("/", sys.argv[1]):
    doctor.examine(root)
print(seen)
"""
    words = [sys.executable, "-c", program, str(tree)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_terminal_that_lacks_characters_is_no_traceback(tmp_path: Path) -> None:
    tree = build(TREES["rk3588-docker-closed"], tmp_path)
    done = doctor("--root", str(tree), PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_rules_of_udev_are_shown(tmp_path: Path) -> None:
    extra = {"etc/udev/rules.d/99-rknpu.rules": '# ours\nKERNEL=="rknpu", MODE="0660", GROUP="video"\n'}
    check = changed(tmp_path, extra).find("permissions")
    assert check is not None
    assert "99-rknpu.rules" in check.detail


def test_it_writes_nothing(tmp_path: Path) -> None:
    tree = build(GOOD, tmp_path)
    before = {path: path.lstat()[:9] for path in tree.rglob("*")}
    examine(tree)
    # All but the time of the last access.
    after = {path: path.lstat()[:9] for path in tree.rglob("*")}
    assert {p: s[:7] + s[8:] for p, s in before.items()} == {p: s[:7] + s[8:] for p, s in after.items()}
