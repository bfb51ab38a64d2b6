"""Puts the built library into the wheel and names the wheel after the platform."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PREBUILT = "RKLLM_RS_CPU_PREBUILT"
PLATFORM = "RKLLM_RS_CPU_PLATFORM"
LIBRARY = Path("python/rkllm_rs_cpu/lib/librkllmrt_cpu.so")


class LibraryHook(BuildHookInterface[Any]):
    """Builds the library, or takes the file that `RKLLM_RS_CPU_PREBUILT` names."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Makes the file and the wheel's tag before hatchling collects the files."""
        root = Path(self.root)
        target = root / LIBRARY
        prebuilt = os.environ.get(PREBUILT)
        if prebuilt:
            if not Path(prebuilt).is_file():
                message = f"{PREBUILT} names {prebuilt}, which is not there"
                raise FileNotFoundError(message)
            if Path(prebuilt).resolve() != target.resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(prebuilt, target)
        else:
            subprocess.run(["sh", str(root / "build.sh"), sys.executable], check=True, stdout=sys.stderr)
        if version == "editable":
            return
        platform = os.environ.get(PLATFORM) or sysconfig.get_platform()
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform.replace('-', '_').replace('.', '_')}"
