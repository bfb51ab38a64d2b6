#!/usr/bin/env python3
"""Sends mutated requests to a server on the scripted fake; nothing may be answered with 5xx.

    RKLLM_RS_FAKES=target/release python scripts/fuzz_server.py [--bodies 100000] [--seconds 3600] [--seed 0]

The requests are those of real clients, for every route and dialect, with bytes or values changed. With
--seconds, or FUZZ_SECONDS, they go on for so long instead, and each tenth of it tells how they were answered.
The worker must never die, and the server's memory must not have grown by more than 32 MB. Ends with
1 at the first answer that breaks this, and prints the request, so that it can be sent again.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python" / "server"))

from mutations import mutated
from wire import Server

from conversations import TEMPLATE
from fakes import fake_library, fake_model

_OURS = 500
_GROWTH_KB = 32 << 10


def _resident(pid: int) -> int:
    """Resident memory of a process in kB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def _start(folder: Path) -> Any:
    library = fake_library(folder / "lib", "v1_3_1", quiet=True)
    fake_model(folder / "one", runs=[{"steps": ["a", "b", "c"]}])
    (folder / "one" / "chat_template.jinja").write_text(TEMPLATE)
    words = ["-m", "rkllm_rs", "serve", "one", "--port", "0", "--library", str(library)]
    return Server(words, cwd=folder, env={**os.environ, "RKLLM_RS_NPU_LOCK": str(folder / "npu.lock")})


def _restarts(server: Any) -> Any:
    """How often the worker has died; requests may unload the model, which is another thing."""
    return server.ask("GET", "/status").json["models"][0]["restarts"]


def _told(statuses: dict[int, int]) -> str:
    return ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))


def main() -> int:
    """Sends them, and prints how they were answered."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "0")))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)  # noqa: S311 - no secret
    statuses: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = _start(Path(folder))
        try:
            began = time.monotonic()

            def share(number: int) -> float:
                """How much of the work is done."""
                if arguments.seconds:
                    return float((time.monotonic() - began) / arguments.seconds)
                return float(number / arguments.bodies)

            server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
            before, tenths, number = 0, 0, 0
            client = server.connect()
            while (done := share(number)) < 1:
                path, body = mutated(dice)
                client.ask("POST", path, body)
                answer = client.answer()
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
                if answer.status >= _OURS:
                    print(f"{path} {body!r}\n{answer!r}")
                    return 1
                if answer.headers.get("connection") == "close":
                    client.close()
                    client = server.connect()
                number += 1
                if done * 10 >= tenths + 1:
                    tenths += 1
                    before = before or _resident(server.process.pid)
                    if arguments.seconds:
                        print(f"{number} bodies: {_told(statuses)}", flush=True)
            growth = _resident(server.process.pid) - before
            seconds = time.monotonic() - began
            print(f"{number} bodies in {seconds:.0f} s: {_told(statuses)}; memory {growth:+} kB")
            if _restarts(server):
                print("the worker has died")
                return 1
            return 1 if growth > _GROWTH_KB else 0
        finally:
            server.close()


if __name__ == "__main__":
    sys.exit(main())
