"""Bodies from strangers: checks F5, F10 and F11 of the server's reference, on the floor alone."""

from __future__ import annotations

import gzip
import json
import random
import socket
import time
from typing import TYPE_CHECKING

import pytest
from mutations import mutated_bytes
from wire import Server, subject

from rkllm_rs.server import json_body
from rkllm_rs.server.errors import ApiError
from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
LIMIT = 10 * MIB


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subject(limits={"body_seconds": 0.6}, header_seconds=0.6) as one:
        one.ask("POST", "/v1/echo", {"warm": ["x" * 100_000]})
        yield one


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/messages", "/api/echo"])
def test_f5_too_large(server: Server, path: str) -> None:
    before = server.state()["rss_kb"]
    body = b'{"a":"' + b"x" * 11 * MIB + b'"}'
    whole = server.ask("POST", path, body)
    with server.connect() as client:
        client.ask("POST", path, headers={"Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 65536):
            part = body[start : start + 65536]
            client.send(b"%x\r\n%s\r\n" % (len(part), part))
        client.send(b"0\r\n\r\n")
        chunked = client.answer()
    with server.connect() as client:  # refused before any of it was read
        client.ask("POST", path, headers={"Content-Length": "1000000000000"})
        began = time.monotonic()
        claimed = client.answer()
        assert time.monotonic() - began < 60
    for answer in (whole, chunked, claimed):
        assert answer.status == 413
        assert answer.headers["content-type"] == "application/json"
    assert claimed.headers["x-should-retry"] == "false"
    assert server.state()["rss_kb"] - before < 32 * 1024


def test_f5_a_body_at_the_limit_is_served(server: Server) -> None:
    body = b'{"a":"' + b"x" * (LIMIT - 8) + b'"}'
    assert len(body) == LIMIT
    assert server.ask("POST", "/v1/echo", body).json["keys"] == ["a"]


@pytest.mark.parametrize("length", ["5000", None])
def test_f5_a_slow_body_ends_with_408(server: Server, length: str | None) -> None:
    """A byte now and then is no progress, and others are served meanwhile."""
    with server.connect() as client:
        headers = {"Content-Length": length} if length else {"Transfer-Encoding": "chunked"}
        client.ask("POST", "/v1/echo", headers=headers)
        client.sock.settimeout(0.1)
        began = time.monotonic()
        while True:
            client.send(b"x" if length else b"1\r\nx\r\n")
            assert server.ask("GET", "/").status == 200
            try:
                if client.sock.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                assert time.monotonic() - began < PATIENCE
        client.sock.settimeout(30)
        answer = client.answer()
    assert (answer.status, answer.headers["x-should-retry"]) == (408, "false")


def test_f5_an_endless_body_is_cut_off(server: Server) -> None:
    with server.connect() as client:
        client.ask("POST", "/v1/echo", headers={"Transfer-Encoding": "chunked"})
        with pytest.raises((ConnectionError, TimeoutError)):  # noqa: PT012 - one of many sends
            for _ in range(4096):
                client.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
    assert server.ask("GET", "/").status == 200


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "deflate, gzip"])
def test_f5_compressed(server: Server, encoding: str) -> None:
    bomb = gzip.compress(b" " * 100 * MIB)
    before = server.state()["peak_kb"]
    answer = server.ask("POST", "/v1/echo", bomb, content_encoding=encoding)
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
    assert server.state()["peak_kb"] - before < 32 * 1024


def test_f5_much_made_of_little(server: Server) -> None:
    """What a small text would become in memory is bounded before it is read."""
    before = server.state()["peak_kb"]
    keys = ",".join(f'"{number}":0' for number in range(10**6)).encode()
    for body in (
        b"{" + keys[: LIMIT - 2].rpartition(b",")[0] + b"}",
        b'{"a":[' + b"0," * (LIMIT // 2 - 10) + b"0]}",
        b'{"a":[' + b'"",' * (LIMIT // 3 - 10) + b"0]}",
        b'{"a":[' + b"{}," * (LIMIT // 3 - 10) + b"0]}",
        b'{"a":' * (LIMIT // 8) + b"1" + b"}" * (LIMIT // 8),
        b"[" * LIMIT,
        b'"' + b'\\"' * (LIMIT // 2 - 2),
    ):
        assert len(body) <= LIMIT
        answer = server.ask("POST", "/v1/echo", body)
        assert answer.status == 400, answer
    assert server.state()["peak_kb"] - before < 64 * 1024
    assert server.ask("POST", "/v1/echo", {"input": [[1] * 500] * 2000}).status == 200  # token ids to embed


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"a"',
        b"1",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":' + b"1" * 5000 + b"}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\n"}',
        b'{"a":1}{"b":2}',
        '{"a":1}'.encode("utf-16"),
        b"\x00",
        b'{"a":01}',
        b"a=1&b=2",
    ],
)
def test_f5_not_json(server: Server, text: bytes) -> None:
    answer = server.ask("POST", "/v1/echo", text)
    assert answer.status == 400, answer
    assert answer.json["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', 1),
        (b'{"a":"\\ud83d"}', "\ufffd"),
        (b'{"a":"\\ude00x\\ud83d\\ude00"}', "\ufffdx😀"),
        (b'{"a":"\\\\ud83d"}', "\\ud83d"),
        (b'{"a":' + b"[" * 62 + b"]" * 62 + b"}", None),
        (b'{"a":"[[[[\\"{{{{,,,:::"}', '[[[["{{{{,,,:::'),
        (b' \r\n\t{"a":1.5e3} ', 1500.0),
    ],
)
def test_f5_json_with_marks_and_halves(text: bytes, value: object) -> None:
    data = json_body.parse(text)
    if value is not None:
        assert data == {"a": value}
    json.dumps(data, ensure_ascii=False).encode()


def test_f5_whatever_the_content_type_is_called(server: Server) -> None:
    form = server.ask("POST", "/api/echo", {"a": 1}, content_type="application/x-www-form-urlencoded")
    assert form.json["keys"] == ["a"]


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_f10_what_is_not_http(server: Server, request_: bytes) -> None:
    with server.connect() as client:
        client.send(request_)
        try:
            status, headers = client.head()
        except (AssertionError, ConnectionError):
            return  # closed, and nothing was taken for a request
        assert status in (400, 431)
        assert headers["content-type"] == "application/json"
        assert headers["connection"] == "close"
        assert headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "family"),
    [("/v1/messages", "anthropic"), ("/api/chat", "ollama"), ("/v1/echo", "openai"), ("", "openai")],
)
def test_answers_without_a_request_have_the_form_of_their_family(
    server: Server, path: str, family: str
) -> None:
    rests = {
        400: b"Content-Length: x\r\n\r\n",
        408: b"A: b",
        431: b"A: " + b"a" * 100_000,
    }
    for status, rest in rests.items():
        with server.connect() as client:
            client.send(b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s" % (path.encode() or b"*", rest))
            answer = client.answer()
        assert answer.status == status
        number = answer.headers["x-request-id"]
        data = answer.json
        if family == "ollama":
            assert isinstance(data["error"], str)
        elif family == "anthropic":
            assert (data["type"], data["request_id"], answer.headers["request-id"]) == (
                "error",
                number,
                number,
            )
        else:
            assert data["error"].keys() == {"message", "type", "param", "code"}


def test_f10_length_and_chunks_are_not_two_requests(server: Server) -> None:
    smuggled = b"0\r\n\r\nGET /v1/models/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lengths = b"Content-Length: %d\r\nTransfer-Encoding: chunked" % len(smuggled)
    with server.connect() as client:
        client.send(b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\n" + lengths + b"\r\n\r\n" + smuggled)
        assert client.head()[0] == 400
        assert b"smuggled" not in client.file.read()


def test_a_refused_body_does_not_cost_the_connection(server: Server) -> None:
    with server.connect() as client:
        for _ in range(3):
            client.ask("POST", "/v1/nothing", {"a": "x" * 1000})
            assert client.answer().status == 404


def test_f10_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.connect() as client:
        for number in range(20):
            client.ask("POST", "/v1/echo", {"n": number}) if number % 2 else client.ask(
                "GET", f"/v1/models/{number}"
            )
        for number in range(20):
            data = client.answer().json
            assert data == ({"keys": ["n"], "data": {"n": number}} if number % 2 else {"id": str(number)})


def test_f11_slow_headers(server: Server) -> None:
    """Headers that never end are closed by a deadline, also on a connection that was used before."""
    clients = [server.connect() for _ in range(200)]
    try:
        for number, client in enumerate(clients):
            if number % 2:
                client.ask("GET", "/")
                assert client.answer().status == 200
            client.send(b"GET / HTTP/1.1\r\nHost: loc")
        assert server.ask("GET", "/").status == 200
        for client in clients:
            assert client.answer().status == 408
            assert client.is_closed()
    finally:
        for client in clients:
            client.close()
    assert server.ask("GET", "/").status == 200


def test_f13_mutated_texts_are_read_or_refused() -> None:
    dice = random.Random(17)  # noqa: S311 - the same mutations each time
    body = json.dumps({"a": [1, -2.5, 'é\\"😀', None, True], "b": {"c": {}, "d": ["\ud83d"]}}).encode()
    read = 0
    for _ in range(5000):
        try:
            data = json_body.parse(mutated_bytes(body, dice))
        except ApiError as error:  # noqa: PERF203 - one of many
            assert error.status == 400  # noqa: PT017 - a body that is read is right too
        else:
            read += 1
            json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    assert 0 < read < 5000


def test_f11_there_is_a_limit_of_connections() -> None:
    with subject(connections=5) as server:
        held = [server.connect() for _ in range(5)]
        for client in held:
            client.ask("GET", "/")
            assert client.answer().status == 200
        with server.connect() as further:
            assert further.is_closed()
        held.pop().close()
        server.until()
        for client in held:
            client.ask("GET", "/")
            assert client.answer().status == 200
            client.close()
