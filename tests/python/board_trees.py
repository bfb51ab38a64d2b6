"""Boards as files: what `rkllm-rs doctor --root` reads, for the kinds of system that people have.

Nobody of this project has a board. `source` says where a tree's facts were published; a number is that of a
public text. What no source tells was filled in as other boards of the kind have it: speeds, memory, groups.
A file that is not in a tree is not on that board. To look at one: `python tests/python/board_trees.py NAME FOLDER`.

Long because it is a table: the files of each board.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Link(NamedTuple):
    """A symbolic link."""

    to: str


class Node(NamedTuple):
    """A device node: a plain file with the node's mode."""

    mode: int = 0o660


Files = dict[str, "str | bytes | Link | Node"]


@dataclass
class Tree:
    """A board, and what `doctor` is to say of it."""

    source: str
    files: Files
    #: The status of the report.
    verdict: str
    failures: set[str] = field(default_factory=set)
    warnings: set[str] = field(default_factory=set)
    #: What only root may read.
    unreadable: list[str] = field(default_factory=list)
    #: Answers to DRM_IOCTL_VERSION, by node.
    ioctl: dict[str, dict[str, str]] = field(default_factory=dict)


def build(tree: Tree, folder: Path) -> Path:
    """Writes a tree's files into a folder."""
    files = dict(tree.files)
    if tree.unreadable:
        files["unreadable.txt"] = "".join(f"{path}\n" for path in tree.unreadable)
    if tree.ioctl:
        files["ioctl/drm_version.json"] = json.dumps(tree.ioctl)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.to)
        elif isinstance(content, Node):
            path.touch()
            path.chmod(content.mode)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def library(release: str, *, bits: int = 64) -> bytes:
    """The beginning of a library, with the text by which its release is told."""
    machine, kind = {64: (183, 2), 32: (40, 1)}[bits]
    header = b"\x7fELF" + bytes([kind, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine)
    return header.ljust(64, b"\0") + b"RKLLM SDK (version: %s rev: 0)\0" % release.encode()


def devfreq(at: str, steps: str, now: int, governor: str, **more: str) -> Files:
    """A clock; steps in MHz."""
    hertz = [int(step) * 1_000_000 for step in steps.split()]
    folder = f"sys/class/devfreq/{at}"
    files: Files = {
        f"{folder}/cur_freq": f"{now * 1_000_000}\n",
        f"{folder}/min_freq": f"{min(hertz)}\n",
        f"{folder}/max_freq": f"{max(hertz)}\n",
        f"{folder}/available_frequencies": " ".join(map(str, hertz)) + "\n",
        f"{folder}/governor": f"{governor}\n",
    }
    return files | {f"{folder}/{name}": text for name, text in more.items()}


def cpus(*clusters: tuple[str, int, int], governor: str = "schedutil", capacity: bool = True) -> Files:
    """CPUs in clusters: their numbers, their capacity, and the highest clock in MHz."""
    files: Files = {}
    every: list[int] = []
    for numbers, strength, clock in clusters:
        own = [int(number) for number in numbers.split()]
        every += own
        policy = f"sys/devices/system/cpu/cpufreq/policy{own[0]}"
        files[f"{policy}/related_cpus"] = numbers + "\n"
        files[f"{policy}/scaling_governor"] = governor + "\n"
        files[f"{policy}/scaling_cur_freq"] = f"{clock * 500}\n"
        files[f"{policy}/scaling_max_freq"] = files[f"{policy}/cpuinfo_max_freq"] = f"{clock * 1000}\n"
        if capacity:
            files |= {f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity": f"{strength}\n" for cpu in own}
    span = f"0-{max(every)}\n" if len(every) > 1 else "0\n"
    return files | {"sys/devices/system/cpu/online": span, "sys/devices/system/cpu/present": span}


RK3588_CPUS = cpus(("0 1 2 3", 530, 1800), ("4 5", 1024, 2352), ("6 7", 1024, 2352))
RK3576_CPUS = cpus(("0 1 2 3", 485, 2208), ("4 5 6 7", 1024, 2304))
RK3588_NPU = "300 400 500 600 700 800 900 1000"
DDR = devfreq("dmc", "528 1068 1560 2112", 2112, "performance", load="7@2112000000Hz\n")
GPU = devfreq("fb000000.gpu", "1000 900 800 700 600 500 400 300", 300, "simple_ondemand")


def thermal(first: str, *others: str) -> Files:
    """Temperatures of a board at rest."""
    zones = enumerate([first, *others])
    files = {}
    for place, name in zones:
        folder = f"sys/class/thermal/thermal_zone{place}"
        files |= {f"{folder}/type": f"{name}\n", f"{folder}/temp": f"{38_000 + 500 * place}\n"}
    return files


VENDOR_HEAT = thermal("soc-thermal", "bigcore0-thermal", "bigcore1-thermal", "littlecore-thermal",
                      "center-thermal", "gpu-thermal", "npu-thermal")  # fmt: skip
MAINLINE_HEAT = thermal("package-thermal", "bigcore0-thermal", "bigcore2-thermal")


def system(
    kernel: str, *, memory: int = 8, name: str = "Debian GNU/Linux 12 (bookworm)", bits: int = 64
) -> Files:
    """What every system has: memory in GiB."""
    total = memory << 20
    linker, triplet = {
        64: ("ld-linux-aarch64.so.1", "aarch64-linux-gnu"),
        32: ("ld-linux-armhf.so.3", "arm-linux-gnueabihf"),
    }[bits]
    glibc = "GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\n"
    return {
        "proc/sys/kernel/osrelease": f"{kernel}\n",
        "proc/meminfo": f"MemTotal: {total} kB\nMemAvailable: {total * 3 // 4} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
        "CmaTotal: 8192 kB\nCmaFree: 6144 kB\n",
        "proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 524288               files     \n"
        "Max locked memory         1018576              1018576              bytes     \n",
        "etc/os-release": f'PRETTY_NAME="{name}"\n',
        "etc/OpenCL/vendors/mali.icd": "libmali.so\n",
        f"lib/{linker}": "",
        f"lib/{triplet}/libgomp.so.1": "",
        f"lib/{triplet}/libOpenCL.so.1": "",
        f"lib/{triplet}/libc.so.6": glibc,
    }


def tree_of(chip_entries: str, model: str, npu: str, npu_compatible: str, status: str | None = None) -> Files:
    """The device tree, as far as it is read."""
    files: Files = {
        "proc/device-tree/compatible": chip_entries.replace(" ", "\0") + "\0",
        "proc/device-tree/model": f"{model}\0",
        f"proc/device-tree/{npu}/compatible": f"{npu_compatible}\0",
    }
    return files | ({f"proc/device-tree/{npu}/status": f"{status}\0"} if status else {})


def uevent(driver: str, name: str = "", full: str = "", compatible: str = "") -> str:
    """What the kernel says of a device."""
    lines = [f"DRIVER={driver}"]
    if name:
        lines += [
            f"OF_NAME={name}",
            f"OF_FULLNAME=/{full or name}",
            f"OF_COMPATIBLE_0={compatible}",
            "OF_COMPATIBLE_N=1",
        ]
        lines.append(f"MODALIAS=of:N{name}T(null)C{compatible}")
    return "\n".join(lines) + "\n"


def gem(device: str, full: str, compatible: str) -> Files:
    """Display and NPU as DRM devices, in the order of most boards."""
    return {
        "dev/dri/card0": Node(), "dev/dri/card1": Node(),
        "dev/dri/renderD128": Node(), "dev/dri/renderD129": Node(),
        "dev/dma_heap/system": Node(0o600), "dev/dma_heap/system-dma32": Node(0o666), "dev/mali0": Node(),
        "sys/class/drm/card0/device/uevent": uevent("rockchip-drm", "display-subsystem", "", "rockchip,display-subsystem"),
        "sys/class/drm/card1/device/uevent": uevent("RKNPU", "npu", full, compatible),
        f"sys/bus/platform/drivers/RKNPU/{device}": Link(f"../../../../devices/platform/{device}"),
        f"sys/devices/platform/{device}/uevent": uevent("RKNPU", "npu", full, compatible),
        "sys/kernel/iommu_groups/0/devices/" + device: Link(f"../../../../devices/platform/{device}"),
        f"sys/class/devfreq/{device}/device/of_node/compatible": f"{compatible}\0",
    }  # fmt: skip


RK3588 = "npu@fdab0000", "rockchip,rk3588-rknpu"
ORANGE = tree_of("rockchip,rk3588s-orangepi-5 rockchip,rk3588", "Orange Pi 5", *RK3588)
ROCK = tree_of("radxa,rock-5b-plus rockchip,rk3588", "Radxa ROCK 5B+", *RK3588)
RK3588_GEM = gem("fdab0000.npu", *RK3588) | devfreq(
    "fdab0000.npu", RK3588_NPU, 1000, "rknpu_ondemand", load="0@1000000000Hz\n"
)
LIBRARY = {"usr/lib/librkllmrt.so": library("1.2.3")}
VENDOR_61 = system("6.1.84-vendor-rk35xx") | RK3588_CPUS | DDR | GPU | VENDOR_HEAT | LIBRARY
VENDOR_510 = system("5.10.160-rockchip-rk3588") | RK3588_CPUS | DDR | GPU | VENDOR_HEAT | LIBRARY
MODULE = "sys/module/rknpu/version"


def kmsg(*lines: str) -> Files:
    """The kernel's log, as its device gives it."""
    return {
        "dev/kmsg": "".join(
            f"6,{400 + place},{3_000_000 + place},-;{line}\n" for place, line in enumerate(lines)
        )
    }


def without(files: Files, *beginnings: str) -> Files:
    """Files less some."""
    return {name: text for name, text in files.items() if not name.startswith(beginnings)}


IOMMU = "RKNPU fdab0000.npu: RKNPU: rknpu iommu is enabled, using iommu mode"

TREES: dict[str, Tree] = {
    "rk3588-vendor61-098": Tree(
        "Orange Pi 5: public texts 70904388144 (uevents), 42424564367 (compatible), 56295579795 (steps)",
        VENDOR_61 | ORANGE | RK3588_GEM | {MODULE: "0.9.8\n"}
        | kmsg("[drm] Initialized rknpu 0.9.8 20240828 for fdab0000.npu on minor 1", IOMMU),
        "ok",
        unreadable=["sys/kernel/debug"],
        ioctl={"renderD129": {"name": "rknpu", "version": "0.9.8", "date": "20240828"}},
    ),
    "rk3588-vendor510-082": Tree(
        "public text 31399122599; https://github.com/airockchip/rknn-llm/issues/413",
        VENDOR_510 | ORANGE | RK3588_GEM | {MODULE: "0.8.2\n", "sys/kernel/debug/rknpu/version": "RKNPU driver: v0.8.2\n"}
        | kmsg("[drm] Initialized rknpu 0.8.2 20220829 for fdab0000.npu on minor 1", IOMMU),
        "failure",
        failures={"driver", "release"},
        unreadable=["sys/kernel/debug"],
    ),
    "rk3588-vendor510-096": Tree(
        "Orange Pi image with kernel 5.10.160: public text 67213222456",
        VENDOR_510 | ORANGE | RK3588_GEM | {MODULE: "0.9.6\n"}
        | kmsg("[drm] Initialized rknpu 0.9.6 20240322 for fdab0000.npu on minor 1", IOMMU),
        "warning",
        warnings={"driver", "release"},
    ),
    "rk3588-h96-proc": Tree(
        "H96 Max: public text 69063023871 (/proc/rknpu, CPUs 1-4 are the fast ones); numbers of policies assumed",
        without(VENDOR_61, "sys/devices/system/cpu")
        | tree_of("rockchip,rk3588-h96 rockchip,rk3588", "H96 Max V58", *RK3588)
        | cpus(("0 5 6 7", 530, 1800), ("1 2", 1024, 2352), ("3 4", 1024, 2352))
        | RK3588_GEM
        | {"proc/rknpu/version": "RKNPU driver: v0.9.8\n",
           "proc/rknpu/load": "NPU load:  Core0:  0%, Core1:  0%, Core2:  0%,\n"},
        "ok",
    ),
    "rk3588-nodmc": Tree(
        "ROCK 5B+: https://github.com/airockchip/rknn-llm/issues/532 and /531, "
        "https://github.com/edk2-porting/edk2-rk3588/issues/205",
        without(VENDOR_61, "sys/class/devfreq/dmc", "etc/OpenCL", "lib/aarch64-linux-gnu/libOpenCL")
        | ROCK
        | without(RK3588_GEM, "dev/mali0")
        | {MODULE: "0.9.8\n", "sys/class/devfreq/fb000000.gpu/device/driver": Link("../../bus/platform/drivers/panthor")}
        | kmsg("rockchip-dmc dmc: current ATF version 0x0", "rockchip-dmc dmc: trusted firmware unsupported, please update.", IOMMU),
        "ok",
    ),
    "rk3588-ddr-parked": Tree(
        "public text 24609018112",
        without(VENDOR_61, "sys/class/devfreq/dmc") | ORANGE | RK3588_GEM | {MODULE: "0.9.8\n"} | kmsg(IOMMU)
        | devfreq("dmc", "528 1068 1560 2112", 528, "dmc_ondemand", load="7@528000000Hz\n"),
        "ok",
    ),
    "rk3576-vendor61-098": Tree(
        "LubanCat-3: public texts 71319944150, 67435344528 (950 MHz), 24156512742 (log)",
        system("6.1.99-rk3576") | RK3576_CPUS | DDR | VENDOR_HEAT | LIBRARY
        | tree_of("embedfire,lubancat-3 rockchip,rk3576", "EmbedFire LubanCat-3", "npu@27700000", "rockchip,rk3576-rknpu")
        | gem("27700000.npu", "npu@27700000", "rockchip,rk3576-rknpu")
        | devfreq("27700000.npu", "300 400 500 600 700 800 900 950", 950, "rknpu_ondemand")
        | {MODULE: "0.9.8\n", "sys/kernel/debug/rknpu/load": "NPU load:  Core0:  0%, Core1:  0%,\n"}
        | kmsg("[drm] Initialized rknpu 0.9.8 20240828 for 27700000.npu on minor 1",
               "RKNPU 27700000.npu: RKNPU: rknpu iommu is enabled, using iommu mode"),
        "ok",
    ),
    "rk3562-vendor61-098": Tree(
        "public texts 55425016741, 55290013277",
        system("6.1.75-rk3562", memory=4) | DDR | VENDOR_HEAT | LIBRARY | cpus(("0 1 2 3", 1024, 2016))
        | tree_of("rockchip,rk3562-evb2-v10 rockchip,rk3562", "Rockchip RK3562 EVB2 V10 Board", "npu@ff300000",
                  "rockchip,rk3562-rknpu")
        | gem("ff300000.npu", "npu@ff300000", "rockchip,rk3562-rknpu")
        | devfreq("ff300000.npu", "300 400 500 600 700 800 900 1000", 600, "rknpu_ondemand")
        | {MODULE: "0.9.8\n", "proc/rknpu/load": "NPU load:  0%\n"},
        "ok",
    ),
    "rk3562-disabled": Tree(
        "RK3562 tablet: public text 55050111504",
        system("6.1.75-rk3562", memory=4) | DDR | VENDOR_HEAT | LIBRARY | cpus(("0 1 2 3", 1024, 2016))
        | tree_of("rockchip,rk3562-rk817-tablet-v10 rockchip,rk3562", "Rockchip RK3562 RK817 TABLET LP4 Board",
                  "npu@ff300000", "rockchip,rk3562-rknpu", "disabled")
        | {"proc/device-tree/iommu@ff30a000/status": "disabled\0", MODULE: "0.9.8\n",
           "sys/bus/platform/drivers/RKNPU/bind": "", "dev/dri/card0": Node(), "dev/dri/renderD128": Node(),
           "sys/class/drm/card0/device/uevent": uevent("rockchip-drm"),
           "sys/class/drm/renderD128/device/uevent": uevent("rockchip-drm")},
        "failure",
        failures={"device-tree"},
    ),
    "rv1126b-armhf": Tree(
        "public texts 68493121792 (node, load), 60816238441 (log)",
        system("6.1.118", memory=2, bits=32, name="Debian GNU/Linux 12 (bookworm)") | cpus(("0 1 2 3", 1024, 1608))
        | thermal("cpu-thermal") | {"usr/lib/librkllmrt.so": library("1.2.3", bits=32)}
        | tree_of("rockchip,rv1126b-evb2-v10 rockchip,rv1126b", "Rockchip RV1126B EVB2 V10 Board", "npu@22000000",
                  "rockchip,rv1126b-rknpu")
        | devfreq("22000000.npu", "500 600 700 800 950", 800, "rknpu_ondemand", load="100@800000000Hz\n")
        | {"dev/rknpu": Node(0o600), "sys/class/misc/rknpu/dev": "10:60\n",
           "sys/bus/platform/drivers/RKNPU/22000000.npu": Link("../../../../devices/platform/22000000.npu"),
           "var/log/dmesg": "[    3.125000] RKNPU 22000000.npu: RKNPU: rknpu iommu is enabled, using iommu mode\n"
           "[    3.126000] RKNPU 22000000.npu: RKNPU: Initialized RKNPU driver: v0.9.8 for 20240828\n"},
        "failure",
        failures={"permissions"},
    ),
    "rk3588-mainline-618": Tree(
        "device trees of mainline Linux, as in https://github.com/u-boot/u-boot at 6073c36b",
        system("6.18.2-edge-rockchip64") | RK3588_CPUS | MAINLINE_HEAT | LIBRARY
        | tree_of("radxa,rock-5b rockchip,rk3588", "Radxa ROCK 5B", "npu@fdab0000", "rockchip,rk3588-rknn-core", "okay")
        | {"proc/device-tree/npu@fdac0000/compatible": "rockchip,rk3588-rknn-core\0",
           "proc/device-tree/npu@fdad0000/compatible": "rockchip,rk3588-rknn-core\0",
           "dev/accel/accel0": Node(), "sys/module/rocket/refcnt": "0\n", "etc/armbian-release": "BRANCH=edge\n"}
        | {f"sys/bus/platform/devices/{core}.npu/uevent": uevent("rocket", "npu", f"npu@{core}", "rockchip,rk3588-rknn-core")
           for core in ("fdab0000", "fdac0000", "fdad0000")}
        | kmsg("[drm] Initialized rocket 0.0.0 for rknn on minor 0",
               "rocket fdab0000.npu: Rockchip NPU core 0 version: 1179210309"),
        "failure",
        failures={"driver"},
    ),
    "rk3588-mainline-612": Tree(
        "device trees of mainline Linux, as in https://github.com/u-boot/u-boot at 6073c36b",
        system("6.12.30-current-rockchip64") | RK3588_CPUS | MAINLINE_HEAT | LIBRARY
        | {"proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0", "proc/device-tree/model": "Radxa ROCK 5B\0",
           "dev/dri/card0": Node(), "dev/dri/card1": Node(), "dev/dri/renderD128": Node(),
           "sys/class/drm/card0/device/uevent": uevent("rockchip-drm"),
           "sys/class/drm/card1/device/uevent": uevent("panthor"),
           "sys/class/drm/renderD128/device/uevent": uevent("panthor")},
        "failure",
        failures={"driver"},
    ),
    "rk3588-dkms-a": Tree(
        "driver as a module on mainline: public text 53113130200",
        system("6.12.30-current-rockchip64") | RK3588_CPUS | MAINLINE_HEAT | LIBRARY
        | tree_of("radxa,rock-5b rockchip,rk3588", "Radxa ROCK 5B", "npu@fdab0000", "rockchip,rk3588-rknpu")
        | {MODULE: "0.9.8\n", "dev/dri/card0": Node(), "dev/dri/renderD128": Node(),
           "sys/bus/platform/drivers/RKNPU/fdab0000.rknpu/drm/card0/uevent": "",
           "sys/bus/platform/drivers/RKNPU/fdab0000.rknpu/drm/renderD128/uevent": ""}
        | kmsg("RKNPU fdab0000.rknpu: RKNPU: rknpu iommu device-tree entry not found!, using non-iommu mode",
               "[drm] Initialized rknpu 0.9.8 for fdab0000.rknpu on minor 0"),
        "warning",
        warnings={"iommu", "cma"},
    ),
    "rk3588-dkms-b": Tree(
        "driver as a module on mainline 7.0: public text 71148990104",
        system("7.0.0-14-generic", name="Ubuntu 26.04 LTS") | RK3588_CPUS | MAINLINE_HEAT | LIBRARY
        | tree_of("radxa,rock-5b rockchip,rk3588", "Radxa ROCK 5B", "npu@fdab0000", "rockchip,rk3588-rknn-core")
        | {MODULE: "0.9.8\n"}
        | {f"dev/dri/{node}": Node() for node in ("card0", "card1", "card2", "renderD128", "renderD129")}
        | {"sys/class/drm/card0/device/uevent": uevent("rockchip-drm"),
           "sys/class/drm/card1/device/uevent": uevent("panthor"),
           "sys/class/drm/card2/device/uevent": ""}
        | {f"sys/bus/platform/devices/{core}.npu/uevent": uevent("RKNPU", "npu", f"npu@{core}", "rockchip,rk3588-rknn-core")
           for core in ("fdab0000", "fdac0000", "fdad0000")},
        "ok",
    ),
    "rk3588-docker": Tree(
        "https://github.com/airockchip/rknn-toolkit2/issues/33, public text 68867169966: /dev/dri was passed",
        without(VENDOR_61 | RK3588_GEM, "dev/dma_heap", "dev/mali0", "etc/OpenCL", "sys/devices/platform",
                "sys/class/drm/card1", "sys/class/devfreq/fdab0000.npu/device")
        | {".dockerenv": "", MODULE: "0.9.8\n",
           "sys/class/drm/renderD129/device/driver": Link("../../../bus/platform/drivers/RKNPU")},
        "ok",
    ),
    "rk3588-docker-closed": Tree(
        "the same without --device",
        without(VENDOR_61 | RK3588_GEM, "dev/", "etc/OpenCL", "sys/devices/platform", "sys/class/drm/card1",
                "sys/class/devfreq/fdab0000.npu/device")
        | {".dockerenv": "", MODULE: "0.9.8\n"},
        "failure",
        failures={"node"},
    ),
    "rk3568-lite": Tree(
        "https://github.com/airockchip/rknn-llm/issues/416",
        system("6.1.84-vendor-rk35xx", memory=4) | VENDOR_HEAT | LIBRARY | cpus(("0 1 2 3", 1024, 1992))
        | tree_of("radxa,rock-3a rockchip,rk3568", "Radxa ROCK 3A", "npu@fde40000", "rockchip,rk3568-rknpu")
        | gem("fde40000.npu", "npu@fde40000", "rockchip,rk3568-rknpu")
        | devfreq("fde40000.npu", "200 300 400 600 700 800 900 1000", 600, "rknpu_ondemand")
        | {MODULE: "0.9.8\n"},
        "failure",
        failures={"board"},
    ),
    "rk3582-2cores": Tree(
        "device tree of the Radxa E52C in https://github.com/u-boot/u-boot at 6073c36b; "
        "https://github.com/airockchip/rknn-llm/issues/353",
        without(VENDOR_61, "sys/devices/system/cpu")
        | cpus(("0 1 2 3", 530, 1800), ("4 5", 1024, 2352))
        | tree_of("radxa,e52c rockchip,rk3582 rockchip,rk3588s", "Radxa E52C", *RK3588)
        | RK3588_GEM
        | {MODULE: "0.9.8\n", "proc/rknpu/load": "NPU load:  Core0:  0%, Core1:  0%,\n"},
        "ok",
    ),
    "pc-x86": Tree(
        "a PC",
        {"proc/sys/kernel/osrelease": "6.1.0-31-amd64\n", "proc/sys/kernel/arch": "x86_64\n",
         "proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD Ryzen 7 5800U\n",
         "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
         "sys/devices/system/cpu/online": "0-15\n", "lib64/ld-linux-x86-64.so.2": "",
         "dev/dri/card0": Node(), "dev/dri/renderD128": Node(),
         "sys/class/drm/renderD128/device/uevent": "DRIVER=amdgpu\n"},
        "not_applicable",
    ),
}  # fmt: skip


if __name__ == "__main__":
    build(TREES[sys.argv[1]], Path(sys.argv[2]))
