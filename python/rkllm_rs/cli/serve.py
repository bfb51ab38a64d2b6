"""The command ``rkllm-rs serve``: models for OpenAI, Ollama and Anthropic clients, over HTTP."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from .output import plain_warnings
from .parsing import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

HELP = "Serve models over HTTP, for clients of OpenAI, Ollama and Anthropic."
EXAMPLES = """\
examples:
  rkllm-rs serve model.rkllm
  rkllm-rs serve qwen3=qwen3-1.7b.rkllm small=smollm2.gguf --ollama-port 11434
  rkllm-rs serve model.rkllm --host 0.0.0.0 --api-key SECRET
  rkllm-rs serve --config /etc/rkllm-rs/server.toml

A setting is taken from the flag, else from the environment (RKLLM_RS_API_KEY, RKLLM_RS_LIB,
RKLLM_RS_BACKEND), else from the file of --config, else from the defaults. In the file, settings have the
names of the flags: `queue-timeout = 60`. Models are a table: [models], and below it `qwen3 = "qwen3.rkllm"`.

It needs the extra "server": pip install 'rkllm_rs[server]'.

SIGHUP reads the file again. SIGTERM ends the server once its requests have ended; a second one ends it now.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.usage = "rkllm-rs serve [options] [NAME=]MODEL…"
    parser.add_argument(
        "models",
        nargs="*",
        metavar="[NAME=]MODEL",
        help="a model, and the name that clients use (default: the file's name)",
    )
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    where.add_argument("--port", type=int, metavar="N", help="port; 0 takes a free one (default: 8080)")
    where.add_argument(
        "--ollama-port", type=int, metavar="N", help="a second port, for clients that expect Ollama's 11434"
    )
    who = parser.add_argument_group("who may use it")
    who.add_argument(
        "--api-key", action="append", metavar="KEY", help="API key; repeatable (default: RKLLM_RS_API_KEY)"
    )
    who.add_argument("--allowed-hosts", metavar="HOST,…", help="further names that the Host header may have")
    who.add_argument(
        "--cors-origin", metavar="ORIGIN,…", help="web pages that may use it, such as https://chat.example"
    )
    who.add_argument(
        "--allow-manage", action="store_true", default=None, help="let clients pull and delete models"
    )
    who.add_argument(
        "--insecure", action="store_true", default=None, help="let other machines use it without a key"
    )
    models = parser.add_argument_group("how models are opened and kept")
    models.add_argument(
        "--backend", choices=("auto", "npu", "cpu"), help="what runs the models (default: auto, by the file)"
    )
    models.add_argument("--library", metavar="FILE", help="path of the library (default: the usual places)")
    models.add_argument(
        "--max-context-len", type=count, metavar="N", help="size of the context window in tokens"
    )
    models.add_argument(
        "--keep-alive",
        type=float,
        metavar="SECONDS",
        help="unload a model after so long without requests; -1 never (default: 300, never for one model)",
    )
    waits = parser.add_argument_group("how requests wait")
    waits.add_argument("--queue", type=int, metavar="N", help="how many requests may wait (default: 32)")
    waits.add_argument(
        "--queue-timeout", type=float, metavar="SECONDS", help="limit of the wait for a turn (default: 300)"
    )
    waits.add_argument(
        "--request-timeout",
        type=float,
        metavar="SECONDS",
        help="limit of a whole request, wait and answer together (default: none)",
    )
    waits.add_argument(
        "--load-wait",
        type=float,
        metavar="SECONDS",
        help="limit of the wait for a model to be loaded, without streaming (default: 120)",
    )
    waits.add_argument(
        "--drain-timeout",
        type=float,
        metavar="SECONDS",
        help="how long requests may go on after SIGTERM (default: 30)",
    )
    parser.add_argument(
        "--metrics-compat", choices=("vllm",), help="give the figures of /metrics the names of vLLM as well"
    )
    parser.add_argument("--config", metavar="FILE", help="read settings from this TOML file")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    with _hangups_kept():
        return _run(arguments)


@contextlib.contextmanager
def _hangups_kept() -> Generator[None, None, None]:
    """Lets SIGHUP wait until the server can act on it; a server that starts would end."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        # One that came too late: the command's own end and its status are told.
        signal.sigtimedwait({signal.SIGHUP}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run(arguments: argparse.Namespace) -> int:
    from rkllm_rs.server import run as server

    plain_warnings()
    settings = {
        name: value
        for name, value in vars(arguments).items()
        if name in server.SETTINGS and name != "models" and value is not None
    }
    return server.run(settings, arguments.models, file=arguments.config)
