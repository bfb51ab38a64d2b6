"""What strangers send to the whole server: checks F4, F6, F8, F9 and F13 of the server's reference."""

from __future__ import annotations

import json
import os
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
from mutations import VALUES, mutated
from wire import Server

from conversations import TEMPLATE
from fakes import fake_library, fake_model

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Tells of each file that is opened under a name that a test made up.
PROGRAM = """
import sys
def tell(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "subprocess.Popen") and "canary" in str(arguments[0]):
        sys.stderr.write(f"OPENED {arguments[0]!r}\\n")
sys.addaudithook(tell)
from rkllm_rs.cli import main
sys.exit(main())
"""
MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    library = fake_library(folder / "lib", "v1_3_1", quiet=True)
    fake_model(folder / "one", runs=[{"steps": ["a", "b", "c"]}], hidden={"width": 3})
    (folder / "one" / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "canary-is-here.rkllm").touch()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RKLLM_")}
    variables["RKLLM_RS_NPU_LOCK"] = str(folder / "npu.lock")
    words = ["serve", "one", "--port", "0", "--library", str(library)]
    one = Server(["-c", PROGRAM, *words], env=variables, cwd=folder)
    yield one
    one.close()


def restarts(server: Server) -> Any:
    """How often the worker has died; requests may unload the model, which is another thing."""
    return server.ask("GET", "/status").json["models"][0]["restarts"]


@pytest.mark.parametrize(
    "name",
    [
        "../canary-is-here",
        "..\\canary-is-here",
        "%2e%2e%2fcanary-is-here.rkllm",
        "./canary-is-here.rkllm",
        "canary-is-here",
        "canary-not-here",
        "/etc/canary/passwd",
        "file:///canary-is-here.rkllm",
        "canary\x00.rkllm",
        "C:canary",
        "hub:canary/canary",
        "canary" * 200_000,
    ],
    ids=lambda name: name[:30],
)
def test_f4_names_are_looked_up_and_opened_nowhere(server: Server, name: str) -> None:
    answers = [
        server.ask("POST", "/v1/chat/completions", {"model": name, "messages": MESSAGES}),
        server.ask("POST", "/v1/completions", {"model": name, "prompt": "x"}),
    ]
    if len(name) < 1000 and "\x00" not in name:
        for path in (name, name.replace("/", "%2F").replace(".", "%2e").replace("\\", "%5c")):
            answers.append(server.ask("GET", f"/v1/models/{path}"))  # noqa: PERF401
    answers += [
        server.ask("POST", "/v1/messages", {"model": name, "messages": MESSAGES, "max_tokens": 2}),
        server.ask("POST", "/api/chat", {"model": name, "messages": MESSAGES}),
        server.ask("POST", "/api/show", {"model": name}),
        server.ask("POST", "/api/generate", {"model": name, "keep_alive": 0}),
    ]
    for answer in answers:
        assert answer.status in (400, 404), answer
        assert answer.json["error"]
        assert len(answer.body) < 2000
    for method, path in (("POST", "/api/pull"), ("DELETE", "/api/delete"), ("POST", "/api/create")):
        assert server.ask(method, path, {"model": name}).status == 403
    server._log.seek(0)
    assert "OPENED" not in server._log.read()


def test_f4_nothing_tells_which_files_there_are(server: Server) -> None:
    def told(name: str) -> tuple[int, str]:
        answer = server.ask("POST", "/v1/chat/completions", {"model": name, "messages": MESSAGES})
        return answer.status, answer.body.decode().replace(name, "NAME")

    assert told("canary-is-here.rkllm") == told("canary-not-here.rkllm")
    assert told("canary-is-here.rkllm")[0] == 404


def test_f4_what_is_told_of_a_model_names_no_path(server: Server) -> None:
    folder = os.readlink(f"/proc/{server.process.pid}/cwd")
    assert "hostile" in folder
    answers = [server.ask("GET", path) for path in ("/v1/models", "/api/tags", "/api/ps", "/api/version")]
    answers.append(server.ask("POST", "/api/show", {"model": "one", "verbose": True}))
    for answer in answers:
        assert answer.status == 200
        assert folder not in answer.body.decode(), answer


#: Of each count, on each route that has it, one more than the most, and far more.
TOO_MANY: dict[str, dict[str, list[object]]] = {
    CHAT: {
        "n": [9, 10**6, 10**30],
        "top_logprobs": [21, 10**6, 10**30],
        "max_tokens": [2**53 + 1, 10**30],
        "max_completion_tokens": [2**53 + 1, 10**30],
        "top_k": [2**31, 10**30],
        "messages": [MESSAGES * 2001],
        "tools": [[TOOL] * 129],
        "stop": [["x"] * 17, ["x" * 257]],
    },
    "/v1/completions": {
        "n": [9, 10**6, 10**30],
        "best_of": [2, 9, 10**6, 10**30],
        "logprobs": [6, 10**6, 10**30],
        "max_tokens": [2**53 + 1, 10**30],
        "prompt": [["x"] * 129],
        "stop": [["x"] * 17],
    },
    "/v1/responses": {
        "max_output_tokens": [2**53 + 1, 10**30],
        "top_logprobs": [21, 10**6, 10**30],
        "tools": [[{"type": "function", "name": "f"}] * 129],
        "input": [[{"role": "user", "content": "x"}] * 2001],
    },
    "/v1/messages": {
        "max_tokens": [2**53 + 1, 10**30],
        "top_k": [2**31, 10**30],
        "thinking": [{"type": "enabled", "budget_tokens": 10**30}],
        "messages": [MESSAGES * 2001],
        "tools": [[{"name": "f", "input_schema": {}}] * 129],
        "stop_sequences": [["x"] * 17],
    },
    "/api/chat": {
        "options": [{"num_predict": 2**53 + 1}, {"num_ctx": 10**30}, {"top_k": 2**31}],
        "top_logprobs": [21, 10**6, 10**30],
        "messages": [MESSAGES * 2001],
        "tools": [[TOOL] * 129],
    },
    "/api/generate": {
        "options": [{"num_predict": 2**53 + 1}, {"num_ctx": 10**30}, {"stop": ["x"] * 17}],
        "top_logprobs": [21, 10**6, 10**30],
    },
    "/v1/embeddings": {"input": [["x"] * 2049], "dimensions": [10**30]},
    "/api/embed": {"input": [["x"] * 2049], "dimensions": [10**30]},
    "/v1/rerank": {"documents": [["x"] * 2049]},
}
#: What each route needs besides.
NEEDED: dict[str, dict[str, object]] = {
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/api/generate": {"prompt": "Hi", "stream": False},
    "/v1/embeddings": {"input": "Hi"},
    "/api/embed": {"input": "Hi"},
    "/v1/rerank": {"query": "Hi", "documents": ["x"]},
}


@pytest.mark.parametrize(
    ("path", "field"), [(path, field) for path, fields in TOO_MANY.items() for field in fields]
)
def test_f6_every_count_has_a_bound(server: Server, path: str, field: str) -> None:
    """Refused with its name, before any of it is done."""
    needed = NEEDED.get(path, {"messages": MESSAGES, "max_tokens": 2, "stream": False})
    more = {"logprobs": True} if field == "top_logprobs" else {}
    for value in TOO_MANY[path][field]:
        answer = server.ask("POST", path, {"model": "one", **needed, **more, field: value})
        assert answer.status == 400, (field, str(value)[:80], answer)
        assert field in answer.body.decode(), answer


@pytest.mark.parametrize(
    "field",
    [
        "max_tokens",
        "max_completion_tokens",
        "n",
        "seed",
        "top_logprobs",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "stop",
        "stream",
        "tools",
        "tool_choice",
        "response_format",
        "messages",
        "model",
        "chat_template_kwargs",
        "reasoning_effort",
        "stream_options",
        "user",
    ],
)
def test_f6_every_field_with_every_value(server: Server, field: str) -> None:
    for value in VALUES:
        body = {"model": "one", "messages": MESSAGES, "max_tokens": 2, field: value}
        answer = server.ask("POST", "/v1/chat/completions", body)
        assert answer.status < 500, (field, value, answer)
        if answer.status != 200:
            assert set(answer.json["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *(
            ("/v1/messages", field)
            for field in ("max_tokens", "temperature", "top_k", "stop_sequences", "system")
        ),
        *(("/v1/messages", field) for field in ("thinking", "tools", "tool_choice", "messages", "stream")),
        *(
            ("/api/chat", field)
            for field in ("options", "think", "format", "keep_alive", "tools", "messages")
        ),
        *(("/api/generate", field) for field in ("prompt", "options", "raw", "suffix", "context", "system")),
        *(("/v1/completions", field) for field in ("prompt", "max_tokens", "echo", "logprobs", "n", "stop")),
        *(("/api/embed", field) for field in ("input", "dimensions", "truncate")),
        ("/api/chat", "options.num_predict"),
        ("/api/chat", "options.num_ctx"),
        ("/api/chat", "options.seed"),
        ("/api/chat", "options.temperature"),
        ("/api/chat", "options.stop"),
    ],
)
def test_f6_other_dialects(server: Server, path: str, field: str) -> None:
    for value in VALUES:
        body: dict[str, Any] = {
            "model": "one",
            "stream": False,
            "max_tokens": 2,
            "options": {"num_predict": 2},
        }
        body["prompt" if path in ("/api/generate", "/v1/completions") else "messages"] = MESSAGES
        if "prompt" in body:
            body["prompt"] = "Hi"
        if path == "/api/embed":
            body = {"model": "one", "input": "Hi"}
        place, _, inner = field.partition(".")
        body[place] = {inner: value} if inner else value
        answer = server.ask("POST", path, body)
        assert answer.status < 500, (path, field, value, answer)


@pytest.mark.parametrize("path", [CHAT, "/apply-template"])
def test_f8_variables_of_the_template(server: Server, path: str) -> None:
    """They change no argument: neither what is counted nor the text."""

    def told(**more: object) -> Any:
        answer = server.ask("POST", path, {"model": "one", "messages": MESSAGES, "max_tokens": 2, **more})
        assert answer.status in (200, 400), answer
        if answer.status != 200:
            return None
        usage = answer.json.get("usage")
        return answer.json if usage is None else usage["prompt_tokens"]

    plain = told()
    assert plain is not None
    given: list[dict[str, object]] = [
        {"tokenize": False},
        {"messages": [{"role": "user", "content": "other " * 50}]},
        {"tools": [{}]},
        {"documents": ["x"], "chat_template": "{{ 1 }}"},
        {"add_generation_prompt": False},
        {"continue_final_message": True},
        {"add_special_tokens": False, "return_token_strs": True},
        {"__class__": 1, "__init__": {}},
        {"a": "x" * (1 << 20)},
        {"self": 1, "conversation": 2},
    ]
    answers = [told(chat_template_kwargs=one) for one in given]
    assert all(answer in (None, plain) for answer in answers), answers
    # Some are served: else nothing was shown.
    assert plain in answers


def test_f9_images_are_refused_and_fetched_from_nowhere(server: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.setblocking(False)  # noqa: FBT003
        port = other.getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}/a.png",
            "file:///canary.png",
            "data:image/png;base64," + "A" * 100_000,
        ):
            part = {"type": "image_url", "image_url": {"url": url}}
            body = {"model": "one", "messages": [{"role": "user", "content": [part]}]}
            answer = server.ask("POST", "/v1/chat/completions", body)
            assert answer.status == 400, answer
        with pytest.raises(BlockingIOError):
            other.accept()


def test_f13_two_thousand_bodies(server: Server) -> None:
    """The whole of them is `scripts/fuzz_server.py`."""
    dice = random.Random(13)  # noqa: S311 - the same each time
    statuses: dict[int, int] = {}
    with server.connect() as client:
        for _ in range(2000):
            path, body = mutated(dice)
            client.ask("POST", path, body)
            answer = client.answer()
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            assert answer.status < 500, (path, body, answer)
            if answer.status != 200:
                assert json.loads(answer.body)["error"], (path, body)
    assert {200, 400, 404} <= set(statuses), statuses
    assert restarts(server) == 0
