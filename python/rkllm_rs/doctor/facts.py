"""What several checks need, read once."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from . import chips, kernel_log, library, npu

if TYPE_CHECKING:
    from .kernel_log import Log
    from .library import Found
    from .npu import Npu
    from .root import Root

CONTAINERS = {"/.dockerenv": "Docker", "/run/.containerenv": "Podman"}
_CGROUP = re.compile(r"docker|kubepods|containerd|lxc|libpod")
_SYSTEMD = re.compile(r"[a-z][a-z0-9-]{1,20}")


@dataclass(frozen=True)
class Facts:
    """A machine: the folder that it is read from, and what was found there."""

    root: Root

    @cached_property
    def log(self) -> Log:
        """The kernel's log."""
        return kernel_log.read(self.root)

    @cached_property
    def compatible(self) -> list[str]:
        """What the board says that it is."""
        return chips.compatible(self.root)

    @cached_property
    def model(self) -> str | None:
        """The board's name."""
        return chips.model(self.root)

    @cached_property
    def npu(self) -> Npu:
        """The NPU as the kernel knows it."""
        return npu.find(self.root, self.log, self.cache)

    @cached_property
    def chip_name(self) -> str | None:
        """The chip, of the board or else of the NPU."""
        return chips.chip_of(self.compatible) or chips.npu_chip(self.npu.compatible)

    @cached_property
    def chip(self) -> chips.Chip | None:
        """What is known of the chip."""
        return chips.CHIPS.get(self.chip_name or "")

    @cached_property
    def container(self) -> str | None:
        """The kind of container that this is in."""
        for path, kind in CONTAINERS.items():
            if self.root.exists(path):
                return kind
        if found := _CGROUP.search(self.root.text("/proc/1/cgroup") or ""):
            return found[0]
        told = self.root.line("/run/systemd/container") or ""
        return told if _SYSTEMD.fullmatch(told) else None

    @cached_property
    def arch(self) -> str | None:
        """The kernel's architecture, such as ``"aarch64"``."""
        return os.uname().machine if self.root.live else self.root.line("/proc/sys/kernel/arch")

    @cached_property
    def cpuinfo(self) -> str:
        """What the kernel says of the CPUs."""
        return self.root.text("/proc/cpuinfo", 1 << 18) or ""

    @cached_property
    def processor(self) -> str | None:
        """The processor's name, where it has one."""
        found = re.search(r"^model name\s*:\s*(\S.*)$", self.cpuinfo, re.MULTILINE)
        return found[1].strip() if found else None

    @cached_property
    def kind(self) -> Literal["rockchip", "other", "unknown"]:
        """Whether this is a machine with a Rockchip chip."""
        if self.npu.name or self.chip_name or any(one.startswith("rockchip,") for one in self.compatible):
            return "rockchip"
        foreign = re.search(r"^(vendor_id|CPU implementer\s*:\s*0x(?!41\b))", self.cpuinfo, re.MULTILINE)
        if self.compatible or foreign or re.fullmatch(r"x86_64|i.86|amd64|riscv.*", self.arch or ""):
            return "other"
        return "unknown"

    @cached_property
    def variables(self) -> dict[str, str]:
        """The variables of this process, or of the tree's."""
        if self.root.live:
            return dict(os.environ)
        words = self.root.strings("/proc/self/environ")
        return dict(word.split("=", 1) for word in words if "=" in word)

    @cached_property
    def cache(self) -> str | None:
        """Where this package remembers what the vendor's library has said of models."""
        if self.variables.get("RKLLM_RS_CACHE", "").lower() == "off":
            return None
        given, home = self.variables.get("XDG_CACHE_HOME", ""), self.variables.get("HOME")
        folder = given if given.startswith("/") else home and f"{home}/.cache"
        return folder and f"{folder}/rkllm_rs"

    @cached_property
    def userland(self) -> str | None:
        """The vendor's name of the architecture of this process, or of the tree's programs."""
        if self.root.live:
            names = {"aarch64": ("aarch64", "armhf"), "armv7l": ("", "armhf"), "armv8l": ("", "armhf")}
            machine = os.uname().machine
            return names.get(machine, (machine, machine))[struct.calcsize("P") == 4]  # noqa: PLR2004 - bytes
        linkers = {
            "aarch64": "ld-linux-aarch64.so.1",
            "armhf": "ld-linux-armhf.so.3",
            "x86_64": "ld-linux-x86-64.so.2",
        }
        found = [
            name
            for name, file in linkers.items()
            if any(self.root.exists(f"{folder}/{file}") for folder in ("/lib", "/lib64"))
        ]
        return found[0] if len(found) == 1 else None

    @cached_property
    def library(self) -> Found:
        """The files that may be Rockchip's library."""
        return library.find(self)

    @cached_property
    def use_cpu(self) -> str:
        """How to use the CPU runtime."""
        from rkllm_rs._cpu_runtime import GET_CPU_RUNTIME, cpu_library

        if self.root.live and cpu_library():
            return 'RKLLM("model.gguf")    # on the CPU runtime, which is installed'
        return f"use the CPU runtime with a .gguf model: {GET_CPU_RUNTIME}"

    @cached_property
    def vendor_kernel(self) -> str:
        """How to get a kernel that has the driver."""
        if self.root.exists("/etc/armbian-release"):
            packages = "linux-image-vendor-rk35xx linux-dtb-vendor-rk35xx"
            return f"sudo apt update && sudo apt install {packages} && sudo reboot"
        return (
            "sudo apt update && sudo apt full-upgrade && sudo reboot    # if that brings no newer kernel, "
            "flash the board vendor's newest image (kernel 5.10 or 6.1), or Armbian with its vendor kernel"
        )
