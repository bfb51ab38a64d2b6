#!/usr/bin/env python3
"""Runs the checks of each client in an environment of its own, against one server on a scripted library.

An environment is made from locked requirements (``requirements/clients/NAME.txt``) in ``.venv/clients/NAME``,
and made again when they change; with uv on the path that takes seconds. The checks are
``tests/clients/with_NAME.py``. The client ``rust`` is a program, ``tests/clients/rust``, which cargo builds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / "tests" / "clients"
LOCKS = ROOT / "requirements" / "clients"
RUST = "rust"
BOUND = 1800  # seconds for the checks of one client

#: What clients ask of the internet when they start, and what they write into a home.
OFFLINE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "OPENAI_API_KEY": "any",
    "ANTHROPIC_API_KEY": "any",
    "NO_PROXY": "127.0.0.1,localhost",
}

_LANDS = ("France", "Italy", "Norway", "Germany", "Spain")

#: Clients of which no check runs here, and why.
NOT_RUN = {
    "Open WebUI": "its wheel has 106 MB and 109 requirements, and does not take Python 3.13",
    "Home Assistant": "the packages that it pins run here, with its calls; the program itself does not",
    "Continue, Cline, Zed, n8n, Copilot": "not in Python; they use the routes that are tested here",
    "Claude Code, Codex": "not in Python; tests/python/server has their requests",
}

#: The first and the last Python that clients take which do not take all.
PYTHONS = {"aider": ((3, 10), (3, 12)), "open-responses": ((3, 11), (3, 99))}


def program(name: str) -> str:
    """The file of a client's checks."""
    return f"with_{name.replace('-', '_')}.py"


def command_of(name: str) -> list[str]:
    """What runs the checks of a client, once that is there."""
    if name != RUST:
        return [str(environment(name)), str(CHECKS / program(name))]
    target = ROOT / ".venv" / "clients" / RUST
    manifest = CHECKS / RUST / "Cargo.toml"
    build = ["cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", str(manifest)]
    subprocess.run([*build, "--target-dir", str(target)], check=True)  # noqa: S603 - a list of ours
    return [str(target / "release" / "rust-clients")]


def environment(name: str) -> Path:
    """Makes the environment of a client, if its requirements have changed; gives its Python."""
    folder = ROOT / ".venv" / "clients" / name
    python = folder / "bin" / "python"
    lock = LOCKS / f"{name}.txt"
    made = folder / "made-from.txt"
    if made.is_file() and made.read_bytes() == lock.read_bytes():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    venv.create(folder, with_pip=uv is None)
    if uv is not None:
        install = [uv, "pip", "install", "--python", str(python)]
    else:
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    # The list is complete. Older releases of pip look for others where one asks for another's extra.
    command = [*install, "--quiet", "--require-hashes", "--no-deps", "-r", str(lock)]
    subprocess.run(command, check=True)  # noqa: S603 - a list of ours
    made.write_bytes(lock.read_bytes())
    return python


def run(name: str, url: str, home: Path) -> list[dict[str, Any]]:
    """Runs the checks of a client; gives their lines."""
    began = time.monotonic()
    try:
        command = command_of(name)
    except (subprocess.CalledProcessError, OSError) as error:
        return [{"client": name, "check": "install", "ok": False, "error": str(error)}]
    home.mkdir()
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "SSL_CERT_FILE") if key in os.environ}
    variables = {**kept, **OFFLINE, "HOME": str(home), "RKLLM_RS_TEST_URL": url}
    installed = time.monotonic() - began
    try:
        done = subprocess.run(  # noqa: S603 - a program of ours
            command,
            capture_output=True,
            env=variables,
            text=True,
            timeout=BOUND,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [{"client": name, "check": "all", "ok": False, "error": f"no end within {BOUND} seconds"}]
    lines = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT {")]
    if not any("check" in line for line in lines):
        lines.append({"check": "start", "ok": False, "error": done.stderr or f"status {done.returncode}"})
    for line in lines:
        line["client"] = name
    lines[0]["seconds"] = round(time.monotonic() - began - installed, 1)
    return lines


def scored(folder: Path) -> Any:
    """Serves the real model, and writes texts down with their ``RKLLM.score()``; gives the server."""
    from serving import MODEL, on_model

    from rkllm_rs import RKLLM

    places = ("Paris", "Rome", "Oslo", "Berlin")
    pairs = [(f"The capital of {land} is", f" {one}.") for land in _LANDS for one in places]
    with RKLLM(MODEL, backend="cpu", max_context_len=256, isolate=True) as llm:
        items = [
            {"prompt": one, "continuation": other, "logprob": sum(llm.score(one, other).logprobs)}
            for one, other in pairs
        ]
    serving = on_model(folder / "model", 256).ready()
    file = folder / "scores.json"
    file.write_text(json.dumps({"url": serving.url, "items": items}), encoding="utf-8")
    OFFLINE["RKLLM_RS_TEST_SCORES"] = str(file)
    return serving


def boards(folder: Path) -> list[Any]:
    """Starts two servers that a client's router stands before; each takes one request at a time."""
    from serving import on_fake, run

    held = run("Hello", " ", "world", "!", prefill_ms=120_000)
    servers: list[Any] = []
    told: list[dict[str, Any]] = []
    for name in ("board1", "board2"):
        gate = folder / f"{name}.gate"
        script = {"gate": str(gate), "runs": [held]}
        one = on_fake(folder / name, {"agent": script}, family="qwen3", queue=0).ready()
        told.append({"url": one.url, "pid": one.process.pid, "gate": str(gate), "record": str(one.record)})
        servers.append(one)
    OFFLINE["RKLLM_RS_TEST_BOARDS"] = json.dumps(told)
    return servers


def takes_this_python(name: str) -> bool:
    """Whether a client can be installed for the Python that runs here."""
    here = sys.version_info[:2]
    first, last = PYTHONS.get(name, (here, here))
    return first <= here <= last


def main() -> int:
    """Runs all, or those that are named; 1 if a check failed."""
    known = sorted(path.stem for path in LOCKS.glob("*.txt") if (CHECKS / program(path.stem)).is_file())
    known.append(RUST)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"all, or some of: {', '.join(known)}")
    parser.add_argument("--json", metavar="FILE", help="write the results there as well")
    parser.add_argument("--throw-away", action="store_true", help="remove each environment after its checks")
    given = parser.parse_args()
    if unknown := set(given.clients) - set(known):
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    sys.path[:0] = [str(CHECKS), str(ROOT / "tests" / "python"), str(ROOT / "tests" / "python" / "server")]
    from scripted import start

    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="clients-") as text:
        folder = Path(text)
        serving = start(folder / "server")
        others: list[Any] = [start(folder / "keyed", api_key="KEY")]
        OFFLINE["RKLLM_RS_TEST_KEYED"] = others[0].url
        try:
            if "lm-eval" in (given.clients or known):
                others.append(scored(folder))
            if "litellm" in (given.clients or known):
                others += boards(folder)
            for name in filter(takes_this_python, given.clients or known):
                lines = run(name, serving.url, folder / name)
                tell(lines)
                results += lines
                if given.throw_away:
                    shutil.rmtree(ROOT / ".venv" / "clients" / name, ignore_errors=True)
        finally:
            for one in (serving, *others):
                one.stop()
    checks = [line for line in results if "check" in line]
    failed = [line for line in checks if not line["ok"]]
    for client, reason in NOT_RUN.items():
        print(f"not run: {client}: {reason}")
    for client in (name for name in given.clients or known if not takes_this_python(name)):
        print(f"not run: {client}: does not take Python {sys.version_info[0]}.{sys.version_info[1]}")
    print(f"{len(checks)} checks, {len(failed)} failed")
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def tell(lines: list[dict[str, Any]]) -> None:
    """Prints the lines of a client."""
    for line in lines:
        if "versions" in line:
            print(f"{line['client']}: {', '.join(' '.join(pair) for pair in line['versions'].items())}")
        elif "cases" in line:
            print(f"  {line['cases']} cases on {', '.join(line['routes'])}")
        elif line["ok"]:
            print(f"  {line['check']}: ok, {line['seconds']} s")
        else:
            print(f"  {line['check']}: FAILED\n{line.get('error', '')}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
