"""The command ``rkllm-rs serve``: checks E13, E17 and F12 of the reference, its settings and its page.

Long because a whole server is started for each thing that the command is to do.
"""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import html.parser
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from wire import Client, Server

from fakes import calls, fake_library, fake_model
from rkllm_rs.cli import parser_of
from rkllm_rs.errors import FileMissingError, InvalidArgumentError, InvalidTypeError
from rkllm_rs.server import config, run, running
from support import HELD, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rkllm_rs.server import App

ROOT = Path(__file__).parents[3]
SERVE = ["-m", "rkllm_rs", "serve"]
CHAT = {"model": "one", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scripted models and their library."""
    folder = tmp_path_factory.mktemp("serve")
    fake_library(folder / "lib", "v1_3_1", quiet=True)
    for name, words in (("one", ["Hello", " one"]), ("two", ["Hello", " two", "!"])):
        fake_model(folder / name, runs=[{"steps": words}] * 100)
    return folder


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RKLLM_")},
        "RKLLM_RS_LIB": str(folder / "lib" / "librkllmrt.so"),
        "RKLLM_RS_NPU_LOCK": str(folder / "npu.lock"),
    }


@pytest.fixture
def serve(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., Server]]:
    """Starts the command with ports that the system chooses."""
    made: list[Server] = []

    def start(*words: object, program: Sequence[str] = SERVE, **variables: str) -> Server:
        line = [*program, "--port", "0", *map(str, words)]
        made.append(Server(line, env={**environment, **variables}, cwd=folder))
        return made[-1]

    yield start
    for server in made:
        server.close()


def until_ready(server: Server) -> None:
    end = time.monotonic() + PATIENCE
    while server.ask("GET", "/health").status != 200:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_serve_answers_on_every_port_and_ends(serve: Callable[..., Server]) -> None:
    server = serve("one=one", "two", "--ollama-port", "0", "--metrics-compat", "vllm")
    assert len(server.ports) == 2
    for port in server.ports:
        server.port = port
        assert [one["id"] for one in server.ask("GET", "/v1/models").json["data"]] == ["one", "two"]
        answer = server.ask("POST", "/v1/chat/completions", CHAT)
        assert answer.json["choices"][0]["message"]["content"] == "Hello one"
    figures = server.ask("GET", "/metrics").body.decode()
    assert 'vllm:generation_tokens_total{model_name="one"} 4' in figures
    list(text_string_to_metric_families(figures))
    server.signal(signal.SIGTERM)
    status, log = server.end()
    assert status == 0, log
    line = next(line for line in log.splitlines() if "route=/v1/chat/completions" in line)
    assert " model=one " in line
    assert " generated_tokens=2 " in line
    assert "Hi" not in line


def test_e13_the_figures_are_the_clients_sums(serve: Callable[..., Server]) -> None:
    server = serve("one=one", "--api-key", "k")
    assert server.ask("GET", "/metrics").status == 401

    def figures() -> dict[tuple[str, str], float]:
        text = server.ask("GET", "/metrics", x_api_key="k")
        assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {
            (
                sample.name,
                ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items())),
            ): sample.value
            for family in text_string_to_metric_families(text.body.decode())
            for sample in family.samples
        }

    used = [server.ask("POST", "/v1/chat/completions", CHAT, x_api_key="k").json["usage"] for _ in range(3)]
    for number in range(50):  # what strangers write becomes no label
        server.ask("POST", "/v1/chat/completions", {**CHAT, "model": f"no-{number}"}, x_api_key="k")
        server.ask("GET", f"/nothing/{number}", x_api_key="k")
    seen = figures()
    one = "model_name=one"
    assert seen["rkllm_prompt_tokens_total", one] == sum(usage["prompt_tokens"] for usage in used)
    assert seen["rkllm_generated_tokens_total", one] == sum(usage["completion_tokens"] for usage in used)
    assert seen["rkllm_time_to_first_token_seconds_count", one] == 3
    assert seen["rkllm_answers_total", "finish_reason=stop,model_name=one"] == 3
    assert seen["rkllm_requests_total", "route=/v1/chat/completions,status=200"] == 3
    assert seen["rkllm_requests_total", "route=/v1/chat/completions,status=404"] == 50
    assert seen["rkllm_requests_total", "route=other,status=404"] == 50
    assert seen["rkllm_model_loaded", one] == 1
    assert seen["rkllm_requests_running", one] == 0
    assert 0 < seen["rkllm_kv_cache_usage_ratio", one] < 1
    assert len(seen) < 250
    assert not [name for name, _labels in seen if name.startswith("vllm")]


class _Page(html.parser.HTMLParser):
    """What matters of a page: where it points, and what a keyboard reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fields: set[str] = set()
        self.labels: set[str] = set()
        self.bad: list[str] = []
        self.language = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.links += [found[name] for name in ("src", "href", "action") if name in found]
        self.bad += [name for name in found if name.startswith("on") or name == "style"]
        if int(found.get("tabindex", "0")) > 0:
            self.bad.append("tabindex")
        if tag == "html":
            self.language = found.get("lang", "")
        if tag in ("input", "select", "textarea"):
            self.fields.add(found["id"])
        if tag == "label":
            self.labels.add(found["for"])


def test_a_server_without_a_temporary_folder(serve: Callable[..., Server], folder: Path) -> None:
    """As in a unit with ``ProtectSystem=strict``: ``rkllm-rs ps`` is told nothing, and all else goes on."""
    code = """if True:
        import sys, tempfile
        def none():
            raise FileNotFoundError(2, "No usable temporary directory found")
        tempfile.gettempdir = none
        from rkllm_rs._presence import servers
        from rkllm_rs.cli import main
        assert servers() == []
        sys.exit(main(sys.argv[1:]))
    """
    server = serve("one=one", program=["-c", code, "serve"], XDG_RUNTIME_DIR=str(folder / "none"))
    until_ready(server)
    assert server.ask("POST", "/v1/chat/completions", CHAT).status == 200


def test_the_page_and_the_text(serve: Callable[..., Server]) -> None:
    server = serve("one=one", "--api-key", "k")
    for accept in ("*/*", "application/json"):
        plain = server.ask("GET", "/", Accept=accept)
        assert (plain.status, plain.body) == (200, b"rkllm_rs is running")
    assert server.ask("HEAD", "/").status == 200
    page = server.ask("GET", "/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parsed = _Page()
    parsed.feed(page.body.decode())
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert parsed.fields == parsed.labels
    assert parsed.language == "en"
    assert parsed.bad == []
    assert b"innerHTML" not in page.body
    assert server.ask("GET", "/status").status == 401
    status = server.ask("GET", "/status", x_api_key="k").json
    assert [model["name"] for model in status["models"]] == ["one"]
    assert status["queue"]["limit"] == 32
    assert type(status["npu_lock"]["on"]) is bool
    assert str(os.sep) not in json.dumps(status["npu_lock"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - what is refused
def test_f12_other_machines_need_a_key(folder: Path, environment: dict[str, str], host: str) -> None:
    words = [sys.executable, *SERVE, "one", "--host", host]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, None)
    assert "--insecure" in done.stderr
    assert not done.stdout


def test_f12_with_a_key_or_without_care(serve: Callable[..., Server]) -> None:
    guarded = serve("one", "--host", "0.0.0.0", RKLLM_RS_API_KEY="k")  # noqa: S104 - a test of it
    assert guarded.ask("GET", "/v1/models").status == 401
    assert guarded.ask("GET", "/v1/models", x_api_key="k", Host="board.example").status == 200
    assert guarded.ask("GET", "/health", Host="board.example").status in (200, 503)
    open_ = serve("one", "--host", "0.0.0.0", "--insecure", "--allowed-hosts", "board.lan")  # noqa: S104
    assert open_.ask("GET", "/v1/models", Host="board.lan").status == 200
    assert open_.ask("GET", "/v1/models", Host="evil.example").status == 403


def test_f2_the_page_under_a_name_of_its_own(serve: Callable[..., Server]) -> None:
    """A page under an unknown name could be anyone's: the answer names the option that makes it known."""
    unnamed = serve("one", "--host", "0.0.0.0", "--insecure")  # noqa: S104 - a test of it
    name = f"chat.example:{unnamed.port}"
    assert unnamed.ask("GET", "/", Host=name, Accept="text/html").status == 200
    refused = unnamed.ask("POST", "/v1/chat/completions", CHAT, Host=name, Origin=f"http://{name}")
    assert (refused.status, refused.json["error"]["code"]) == (403, "origin_not_allowed")
    assert "--allowed-hosts" in refused.json["error"]["message"]
    foreign = unnamed.ask("POST", "/v1/chat/completions", CHAT, Host=name, Origin="http://evil.example")
    assert "--cors-origin" in foreign.json["error"]["message"]
    named = serve("one", "--host", "0.0.0.0", "--insecure", "--allowed-hosts", "chat.example")  # noqa: S104
    name = f"chat.example:{named.port}"
    assert named.ask("POST", "/v1/chat/completions", CHAT, Host=name, Origin=f"http://{name}").status == 200


def test_sighup_takes_the_file_and_loses_no_request(serve: Callable[..., Server], folder: Path) -> None:
    fake_model(folder / "long", runs=[{"steps": [" word"] * 60, "delay_ms": 20}] * 9)
    file = folder / "server.toml"

    def write(*models: str, key: str) -> None:
        lines = "\n".join(f'{name} = "{name}"' for name in models)
        file.write_text(f'api-key = ["{key}"]\nqueue = 7\n[models]\n{lines}\n')

    write("one", "long", key="old")
    server = serve("--config", file)
    assert server.ask("GET", "/status", x_api_key="old").json["queue"]["limit"] == 7
    chat = {**CHAT, "model": "long", "stream": True}
    with server.connect() as stream, server.connect() as queued:
        for client in (stream, queued):
            client.ask("POST", "/v1/chat/completions", chat, {"x-api-key": "old"})
        assert stream.head()[0] == 200
        stream.chunk()
        write("two", key="new")
        server.signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while server.ask("GET", "/v1/models", x_api_key="new").status != 200:
            assert time.monotonic() < end
        assert [one["id"] for one in server.ask("GET", "/v1/models", x_api_key="new").json["data"]] == ["two"]
        assert server.ask("GET", "/v1/models", x_api_key="old").status == 401
        assert server.ask("POST", "/v1/chat/completions", chat, x_api_key="new").status == 404
        file.write_text("this is not TOML")
        server.signal(signal.SIGHUP)
        for client in (stream, queued):
            if client is queued:
                client.head()
            text = b"".join(iter(client.chunk, b""))
            assert text.count(b" word") >= 59
            assert b"[DONE]" in text
    assert server.ask("GET", "/v1/models", x_api_key="new").status == 200
    assert "is not TOML" in server.stop()


def told(server: Server, text: str) -> None:
    """Waits until the log has it."""
    end = time.monotonic() + PATIENCE
    while text not in server.log():
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)


def test_sighup_asks_for_a_key_where_the_server_is_bound(serve: Callable[..., Server], folder: Path) -> None:
    file = folder / "bound.toml"
    models = '[models]\none = "one"\n'
    file.write_text(f'host = "0.0.0.0"\napi-key = ["k1"]\n{models}')
    server = serve("--config", file)
    until_ready(server)
    file.write_text(f'host = "127.0.0.1"\nallow-manage = true\n{models}')
    server.signal(signal.SIGHUP)
    told(server, "there is no API key")
    assert server.ask("GET", "/v1/models").status == 401
    assert server.ask("DELETE", "/api/delete", {"model": "one"}, x_api_key="k1").status == 403
    # With a key it is taken, and again: who is bound to all addresses stays so.
    file.write_text(f'host = "127.0.0.1"\napi-key = ["k2"]\n{models}')
    for _ in range(2):
        server.signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while server.ask("GET", "/v1/models", x_api_key="k2", Host="board.example").status != 200:
            assert time.monotonic() < end
    file.write_text(models)
    server.signal(signal.SIGHUP)
    while server.log().count("there is no API key") < 2:
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)
    assert server.ask("GET", "/v1/models").status == 401


@pytest.fixture
def reloads(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs something with the app of a server, and what writes its file and reads it again."""
    file = tmp_path / "server.toml"

    def start(check: Callable[[App, Callable[..., None]], None]) -> None:
        def write(**changed: object) -> None:
            models = changed.pop("models", {"one": str(folder / "one")})
            settings = {
                "host": "127.0.0.1",
                "port": 0,
                "library": str(folder / "lib/librkllmrt.so"),
                **changed,
            }
            lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
            assert isinstance(models, dict)
            table = [f"{json.dumps(name)} = {json.dumps(path)}" for name, path in models.items()]
            file.write_text("\n".join([*lines, "[models]", *table]))

        def serving(app: App, sockets: list[socket.socket], **given: Any) -> int:
            for one in sockets:
                one.close()

            def reload(**changed: object) -> None:
                write(**changed)
                given["on_reload"]()

            async def main() -> None:
                check(app, reload)

            asyncio.run(main())
            return 0

        write()
        monkeypatch.setattr(running, "serve", serving)
        assert run.run({}, file=str(file)) == 0

    return start


def test_sighup_takes_each_setting_or_tells_that_it_does_not(
    reloads: Callable[..., Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others: dict[str, object] = {
        "models": {"two": str(folder / "two")},
        "host": "127.0.0.2",
        "port": 1,
        "ollama_port": 2,
        "api_key": ["k"],
        "backend": "cpu",
        "library": "other.so",
        "max_context_len": 99,
        "queue": 1,
        "queue_timeout": 2.5,
        "request_timeout": 3.5,
        "load_wait": 4.5,
        "drain_timeout": 5.5,
        "keep_alive": 6.5,
        "allowed_hosts": ["board.lan"],
        "cors_origin": ["https://chat.example"],
        "allow_manage": True,
        "insecure": True,
        "metrics_compat": "vllm",
    }
    assert set(others) == set(run.SETTINGS)
    #: What only a whole server shows; the tests of `Guard` and of a reload on the wire have them.
    elsewhere = {"allowed_hosts", "cors_origin", "insecure"}

    def check(app: App, reload: Callable[..., None]) -> None:
        for name, value in others.items():
            caplog.clear()
            reload(**{name: value})
            warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
            warned = any(name in one.split() for one in warnings)
            taken = {
                "models": list(app.server.models.entries) == ["two"],
                "api_key": app.guard.has_keys,
            }.get(name, getattr(app.server.settings, name, None) == value)
            assert warned != (taken or name in elsewhere), name
            if name == "request_timeout":
                assert app.work_seconds == value
            if name == "queue":
                assert app.server.queue.limit == value

    # The server's log goes no further than to its own handlers.
    log = logging.getLogger("rkllm_rs.server")
    log.addHandler(caplog.handler)
    try:
        reloads(check)
    finally:
        log.removeHandler(caplog.handler)


@pytest.mark.parametrize("name", ["bad\nname", "", "x" * 201])
def test_sighup_refuses_names_that_a_start_refuses(
    reloads: Callable[..., Any], folder: Path, name: str
) -> None:
    def check(app: App, reload: Callable[..., None]) -> None:
        with pytest.raises(InvalidArgumentError):
            reload(models={name: str(folder / "two")}, api_key=["k"])
        assert list(app.server.models.entries) == ["one"]
        assert not app.guard.has_keys

    reloads(check)


def test_a_removed_model_is_unloaded_once_after_its_last_request(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    library = fake_library(tmp_path / "lib", "v1_3_1", record=record, quiet=True)
    fake_model(tmp_path / "old", runs=[{"steps": [" word"] * 10, "delay_ms": 10}] * 9)
    fake_model(tmp_path / "new", runs=[])
    file = tmp_path / "server.toml"
    file.write_text('[models]\nold = "old"\n')
    server = serve("--config", file, RKLLM_RS_LIB=str(library))
    until_ready(server)
    chat = {**CHAT, "model": "old", "stream": True}
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in clients:
            client.ask("POST", "/v1/chat/completions", chat)
        clients[0].head()
        clients[0].chunk()
        file.write_text('[models]\nnew = "new"\n')
        server.signal(signal.SIGHUP)
        for client in clients:
            if client is not clients[0]:
                client.head()
            assert b"[DONE]" in b"".join(iter(client.chunk, b""))
    end = time.monotonic() + PATIENCE
    while not calls(record, "rkllm_destroy"):
        assert time.monotonic() < end
        time.sleep(0.02)
    server.stop()
    assert len(calls(record, "rkllm_destroy")) == len(calls(record, "rkllm_init")) == 1


def test_sighup_during_the_start_waits_for_the_server(serve: Callable[..., Server]) -> None:
    program = """if True:
        import os, signal, sys
        from rkllm_rs.cli import main
        from rkllm_rs.server import running

        listen = running.listen

        def late(*given):
            os.kill(os.getpid(), signal.SIGHUP)
            return listen(*given)

        running.listen = late
        sys.exit(main(["serve", *sys.argv[1:]]))
    """
    server = serve("one", program=["-c", program])
    assert server.ask("GET", "/v1/models").status == 200
    told(server, "read again")


def test_flags_before_variables_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    file = tmp_path / "server.toml"
    file.write_text(
        textwrap.dedent("""
            api_key = "file"
            backend = "npu"
            library = "./lib.so"
            queue-timeout = 5
            request-timeout = 60
            allowed-hosts = ["a", "b"]
            cors-origin = "https://a.example, https://b.example"
            [models]
            here = "m.gguf"
            hub = "hub:OWNER/NAME"
        """)
    )
    read = config.load({}, file=str(file), environment={})
    assert dict(read.models) == {"here": str(tmp_path / "m.gguf"), "hub": "hub:OWNER/NAME"}
    assert (read.api_key, read.backend, read.library) == (("file",), "npu", str(tmp_path / "lib.so"))
    assert (read.queue_timeout, read.request_timeout, read.allowed_hosts) == (5, 60, ("a", "b"))
    assert read.cors_origin == ("https://a.example", "https://b.example")
    variables = {"RKLLM_RS_API_KEY": "env,1", "RKLLM_RS_BACKEND": "cpu", "RKLLM_RS_LIB": "/env.so"}
    read = config.load({}, file=str(file), environment=variables)
    assert (read.api_key, read.backend, read.library) == (("env,1",), "cpu", "/env.so")
    flags = {"api_key": ["flag", "2"], "backend": "auto", "library": "f.so", "queue_timeout": 1.5}
    read = config.load(flags, ["x=y.gguf", "/a/z.rkllm"], file=str(file), environment=variables)
    assert (read.api_key, read.backend, read.library) == (("flag", "2"), "auto", "f.so")
    assert dict(read.models) == {"x": "y.gguf", "z": "/a/z.rkllm"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[models]",
        'models = ["a"]',
        "[models]\na = 1",
        'port = "80"\n[models]\na = "b"',
        'port = 99999\n[models]\na = "b"',
        'queue = true\n[models]\na = "b"',
        'queue = -1\n[models]\na = "b"',
        'keep-alive = "5m"\n[models]\na = "b"',
        'backend = "gpu"\n[models]\na = "b"',
        'metrics-compat = "tgi"\n[models]\na = "b"',
        'no-such-setting = 1\n[models]\na = "b"',
        'api-key = [1]\n[models]\na = "b"',
        'host = "0.0.0.0"\n[models]\na = "b"',
        "=",
        "\xff",
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "server.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises((InvalidArgumentError, InvalidTypeError)) as caught:
        config.load({}, file=str(file), environment={})
    assert caught.value.hint
    with pytest.raises(FileMissingError):
        config.load({}, file=str(tmp_path / "none"), environment={})


@pytest.mark.parametrize("models", [["a.gguf", "b/a.gguf"], ["x=a", "x=b"], ["=a"], ["a="]])
def test_names_of_models(models: list[str]) -> None:
    with pytest.raises(InvalidArgumentError):
        config.load({}, models, environment={})


def _fails(words: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_cannot_be_started(folder: Path, environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in _fails([*SERVE, "one", "--port", port], environment, folder)
    assert "no-such-model" in _fails([*SERVE, "no-such-model"], environment, folder)
    _fails(SERVE, environment, folder)
    _fails([*SERVE, "one", "--host", "no.such.host.example."], environment, folder)
    without = "import sys; sys.modules['uvicorn'] = None; from rkllm_rs.cli import main; sys.exit(main())"
    assert "pip install 'rkllm_rs[server]'" in _fails(["-c", without, "serve", "one"], environment, folder)
    # Where the file chooses the library.
    del environment["RKLLM_RS_LIB"]
    for name in ("notes.txt", "page.gguf"):
        (folder / name).write_text("<!doctype html>")
        assert name in _fails([*SERVE, name], environment, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_e9_a_signal_for_all_ends_no_answer(serve: Callable[..., Server], folder: Path, number: int) -> None:
    """Ctrl-C in a terminal reaches the workers too, and so does systemd: they leave the end to the server."""
    fake_model(folder / "slow", runs=[{"steps": [" word"] * 40, "delay_ms": 20}])
    server = serve("slow")
    with server.connect() as stream:
        stream.ask("POST", "/v1/chat/completions", {**CHAT, "model": "slow", "stream": True})
        stream.head()
        stream.chunk()
        os.killpg(server.process.pid, number)
        end = time.monotonic() + PATIENCE
        while (health := server.ask("GET", "/health")).status != 503:
            assert time.monotonic() < end
        assert health.json["status"] == "draining"
        assert server.ask("GET", "/livez").status == 200
        text = b"".join(iter(stream.chunk, b""))
        assert text.count(b" word") >= 39
        assert b"[DONE]" in text
    status, log = server.end()
    assert status == 0, log


def _block(text: str, language: str) -> str:
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_guide_s_file_can_be_used(tmp_path: Path) -> None:
    """Every line of it, and it has every setting that there is."""
    text = (ROOT / "docs/guides/server.md").read_text()
    file = tmp_path / "server.toml"
    file.write_text(_block(text, "toml"))
    read = config.load({}, file=str(file), environment={})
    assert read.ollama_port == 11434
    assert dict(read.models)["small"] == "/models/smollm2.gguf"
    defaults = config.Config()
    for name in ("port", "queue", "queue_timeout", "load_wait", "drain_timeout"):
        assert getattr(read, name) == getattr(defaults, name), "the guide shows the defaults"
    parser = parser_of("serve")
    flags = {word for action in parser._actions for word in action.option_strings}
    for name in config.NAMES:
        flag = name.replace("_", "-")
        assert flag in _block(text, "toml"), flag
        assert flag == "models" or f"--{flag}" in flags


def test_the_unit_and_the_container_start_this_command() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "docker/rkllm-rs.service")
    service = unit["Service"]
    program, name, *words = shlex.split(service["ExecStart"])
    assert (os.path.basename(program), name) == ("rkllm-rs", "serve")
    assert parser_of("serve").read(words).config
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    assert "HUP" in service["ExecReload"]
    # Its file for `rkllm-rs ps` is where root looks for it.
    assert service["Environment"] == f"XDG_RUNTIME_DIR=%t/{service['RuntimeDirectory']}"
    assert service["RuntimeDirectory"] == "rkllm-rs"
    # They take turns with other programs of the board, and find its NPU.
    assert "/run/lock" in service["ReadWritePaths"].split()
    assert "PrivateDevices" not in service
    compose = (ROOT / "docker/compose.server.yaml").read_text()
    command = re.findall(r"^      - (--\S+)$", compose, re.MULTILINE)
    drain = parser_of("serve").read(["model", *command]).drain_timeout
    assert drain < int(re.search(r"stop_grace_period: (\d+)s", compose)[1])  # type: ignore[index]
    assert config.Config().drain_timeout < int(service["TimeoutStopSec"])
    assert "/health" in compose
    assert "RKLLM_RS_API_KEY" in compose
    assert "privileged" not in compose
    assert "rkllm_rs[server]==" in (ROOT / "docker/Dockerfile").read_text()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / "rkllm-rs.service"
    text = (ROOT / "docker/rkllm-rs.service").read_text()
    # It looks for the program, too.
    unit.write_text(text.replace("/opt/rkllm/venv/bin/rkllm-rs", sys.executable))
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_container_s_health_check(
    serve: Callable[..., Server], environment: dict[str, str], tmp_path: Path
) -> None:
    """It takes what the image has, which is Python, and asks the server itself, whatever proxy there is."""
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load((ROOT / "docker/compose.server.yaml").read_text())["services"]["rkllm"]
    kind, program, *words = service["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    assert "FROM python:" in (ROOT / "docker/Dockerfile").read_text()
    (port,) = (one.partition(":")[2] for one in service["ports"])
    gate = tmp_path / "gate"
    fake_model(tmp_path / "models", "slow", init={"delay_ms": HELD}, gate=str(gate))
    server = serve(tmp_path / "models/slow")
    words = [word.replace(port, str(server.port)) for word in words]
    assert str(server.port) in " ".join(words)

    def status() -> int:
        proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        return subprocess.run(
            [sys.executable, *words], env={**environment, **proxy}, stderr=subprocess.DEVNULL, check=False
        ).returncode

    assert status() == 1
    gate.touch()
    until_ready(server)
    assert status() == 0


def test_a_log_that_nobody_reads_holds_up_nothing(folder: Path, environment: dict[str, str]) -> None:
    """A full pipe would stop the event loop. Lines are lost then, which the log says once it is read."""
    words = [sys.executable, *SERVE, "one", "--port", "0"]
    process = subprocess.Popen(
        words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(re.findall(r":(\d+)\b", process.stdout.readline())[0])
        with Client(port) as client:
            for _ in range(3000):
                client.ask("GET", "/livez", None, {"x-request-id": "x" * 128})
                assert client.answer().status == 200
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_e12_no_dialect_logs_prompts_answers_or_keys(folder: Path, environment: dict[str, str]) -> None:
    """At all levels, of all modules, with a worker that dies."""
    fake_model(
        folder / "told", runs=[{"steps": ["canary-answer"]}, {"steps": ["canary-answer"], "crash": True}]
    )
    program = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG);"
        "logging.getLogger('rkllm_rs.server').setLevel(logging.DEBUG);"
        "from rkllm_rs.cli import main; sys.exit(main())"
    )
    words = ["-c", program, "serve", "told", "--port", "0", "--api-key", "canary-key"]
    server = Server(words, env=environment, cwd=folder)
    try:
        messages = [{"role": "user", "content": "canary-prompt"}]
        bodies: list[tuple[str, dict[str, Any]]] = [
            ("/v1/chat/completions", {"messages": messages}),
            ("/v1/chat/completions", {"messages": messages, "stream": True}),
            ("/v1/chat/completions", {"messages": messages, "temperature": "canary-value"}),
            ("/v1/completions", {"prompt": "canary-prompt", "stop": "canary-stop"}),
            (
                "/v1/messages",
                {"messages": messages, "system": "canary-system", "max_tokens": 5, "model": "told"},
            ),
            ("/api/chat", {"messages": messages, "model": "told"}),
            ("/api/generate", {"prompt": "canary-prompt", "model": "canary-model"}),
            ("/api/embed", {"input": "canary-input", "model": "told"}),
            ("/v1/responses", {"input": "canary-prompt"}),
            ("/tokenize", {"content": "canary-prompt"}),
        ]
        answers = [server.ask("POST", path, body, x_api_key="canary-key") for path, body in bodies]
        assert b"canary-answer" in answers[0].body
        log = server.stop()
        assert all(answer.headers["x-request-id"] in log for answer in answers)
        assert "canary" not in log.lower(), [line for line in log.splitlines() if "canary" in line.lower()]
    finally:
        server.close()
