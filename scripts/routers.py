"""Routers of others before several servers, with the settings that docs/guides/several-boards.md shows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from test_clients import environment  # noqa: E402 - the folder is named above

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

GUIDE = ROOT / "docs" / "guides" / "several-boards.md"
#: Where programs lie that are for administrators.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def found(name: str) -> bool:
    """Whether a router can be started: vllm-router is installed for that, the others must be there."""
    return name == "vllm-router" or shutil.which(name, path=_PATH) is not None


def version(name: str) -> str:
    """What a router says of its version."""
    program = _program(name)
    # nginx says it on stderr.
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)  # noqa: S603
    line = (done.stdout or done.stderr).splitlines()[0] if done.returncode == 0 else name
    return re.sub(r"^(?:nginx version: )?(.*?)(?: \d{4}/.*)?$", r"\1", line)


def start(name: str, folder: Path, nodes: Sequence[int], more: Sequence[str] = ()) -> tuple[int, Started]:
    """Starts a router.

    Args:
        name: ``"vllm-router"``, ``"haproxy"`` or ``"nginx"``.
        folder: For its files; ``router.txt`` has what it prints.
        nodes: The ports of the servers.
        more: Pairs of texts, of which the first is replaced by the second: in a file of settings, or in the
            command of a router that has none.

    Returns:
        Its port, and its process.
    """
    port = free_port()
    if name == "vllm-router":
        words = ["--port", str(port), "--prometheus-port", str(free_port())]
        urls = [f"http://127.0.0.1:{node}" for node in nodes]
        command = [_program(name), *_command(), *more, *words, "--worker-urls", *urls]
    else:
        text = _settings(name)
        for old, new in zip(more[::2], more[1::2], strict=True):
            if old not in text:
                message = f"{old!r} is not in the guide's settings of {name}"
                raise ValueError(message)
            text = text.replace(old, new)
        text = re.sub(r"\b(bind|listen) :?8000", rf"\1 127.0.0.1:{port}", text)
        for at, node in enumerate(nodes, 1):
            text = text.replace(f"board{at}:8080", f"127.0.0.1:{node}")
        file = folder / f"{name}-{port}.conf"
        if name == "nginx":
            text = f"pid nginx-{port}.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{_TEMPORARY}{text}}}\n"
            command = [_program(name), "-p", str(folder), "-c", str(file), "-e", "stderr"]
            command += ["-g", "daemon off; master_process off;"]
        else:
            command = [_program(name), "-db", "-f", str(file)]
        file.write_text(text, encoding="utf-8")
    log = open(folder / "router.txt", "ab")  # noqa: SIM115 - as long as the router
    return port, Started(subprocess.Popen(command, stdout=log, stderr=log), log)  # noqa: S603 - ours


#: Folders that nginx would make where only root may.
_TEMPORARY = "".join(
    f"{kind}_temp_path {kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


class Started:
    """A router that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.process = process
        self.log = log

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait()
        self.log.close()


def _program(name: str) -> str:
    if name == "vllm-router":
        return str(environment(name).with_name(name))
    path = shutil.which(name, path=_PATH)
    if path is None:
        message = f"{name} is not installed"
        raise FileNotFoundError(message)
    return path


def _section(name: str) -> str:
    return GUIDE.read_text(encoding="utf-8").split(f"\n## {name}\n")[1].split("\n## ")[0]


def _settings(name: str) -> str:
    """The file of settings that the guide shows."""
    text: str = re.findall(r"```text\n(.*?)```", _section(name), re.DOTALL)[0]
    return text


def _command() -> list[str]:
    """The options of vllm-router that the guide shows, without addresses."""
    command = re.findall(r"^vllm-router (.*?)^```", _section("vllm-router"), re.DOTALL | re.MULTILINE)[0]
    words = command.replace("\\\n", " ").split()
    options = [word for word in words if not word.startswith("http://")]
    for name, values in (("--port", 1), ("--worker-urls", 0)):
        at = options.index(name)
        del options[at : at + 1 + values]
    return options
