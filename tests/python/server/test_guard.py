"""Who may ask: checks F1 to F3 of the server's reference, and errors in the form of each family."""

from __future__ import annotations

import hmac
import socket
from typing import TYPE_CHECKING, Any

import pytest
from wire import Server, subject

from rkllm_rs.errors import InvalidArgumentError
from rkllm_rs.server import guard as guard_module
from rkllm_rs.server.errors import ApiError
from rkllm_rs.server.guard import Guard
from rkllm_rs.server.http import Limits, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = "https://chat.example"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subject(
        guard={"keys": ["right", "zweit-ü"], "allowed_hosts": ["board.lan"], "cors_origins": [ORIGIN]}
    ) as one:
        yield one


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.2", 403),
        ("", 403),
        ("[::1", 403),
        ("localhost", 200),
        ("LOCALHOST:1234", 200),
        ("app.localhost", 200),
        ("127.0.0.1", 200),
        ("127.9.9.9:80", 200),
        ("[::1]:8080", 200),
        ("board.lan", 200),
        (socket.gethostname(), 200),
        (socket.gethostname().partition(".")[0] + ".local:8080", 200),
        ("another-board.local", 403),
    ],
)
def test_f1_host(server: Server, host: str, status: int) -> None:
    answer = server.ask("GET", "/", Host=host)
    assert answer.status == status, answer


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost:8080/v1/models/a%2Fb", "localhost", 200),
        ("HTTP://localhost/v1/models/a%2Fb?x=1", "evil.example", 200),  # the target's own host counts
        ("http://localhost/v1/nothing", "localhost", 404),
        ("http://evil.example/v1/models/a%2Fb", "localhost", 403),
        ("http:///v1/models/a%2Fb", "localhost", 403),
    ],
)
def test_f1_a_target_with_its_host(server: Server, target: str, host: str, status: int) -> None:
    answer = server.ask("GET", target, Host=host, x_api_key="right")
    assert answer.status == status, answer
    if status == 200:
        assert answer.json == {"id": "a/b"}
    assert server.ask("GET", "http://localhost", Host=host).status == 200


def test_f1_two_hosts_and_none(server: Server) -> None:
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert client.answer().status == 400
    with server.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")  # the health checks of old proxies
        assert client.head()[0] == 200


def test_f2_origin(server: Server) -> None:
    before = server.state().get("echo", 0)
    for origin in ("https://evil.example", "null", "http://localhost:3000", ORIGIN + ".evil.example"):
        answer = server.ask(
            "POST", "/v1/echo", {}, Origin=origin, Authorization="Bearer right", Content_Type="text/plain"
        )
        assert answer.status == 403, answer
        assert "access-control-allow-origin" not in answer.headers
    assert server.state().get("echo", 0) == before
    allowed = server.ask("POST", "/v1/echo", {}, Origin=ORIGIN, Authorization="Bearer right")
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert allowed.headers["vary"] == "Origin"
    refused = server.ask("POST", "/v1/echo", {}, Origin=ORIGIN)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)  # readable there
    own = server.ask("POST", "/v1/echo", {}, Origin="http://localhost", Authorization="Bearer right")
    assert own.status == 200


def test_f2_preflight(server: Server) -> None:
    asks = {
        "Origin": ORIGIN,
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "Authorization, x-stainless-os, x-evil",
    }
    answer = server.ask("OPTIONS", "/v1/echo", **asks)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    assert "access-control-allow-credentials" not in answer.headers
    foreign = server.ask("OPTIONS", "/v1/echo", **{**asks, "Origin": "https://evil.example"})
    assert foreign.status == 403
    assert "access-control-allow-origin" not in foreign.headers


def test_f3_key(server: Server) -> None:
    def ask(**headers: str) -> Any:
        answer = server.ask("GET", "/v1/models/x", **headers)
        return answer.status, answer.body

    missing = ask()
    assert missing[0] == 401
    for wrong in ("wrong", "righ", "right2", "", "Right", "ü", "r\u00efght"):
        assert ask(Authorization=f"Bearer {wrong}") == missing
        assert ask(x_api_key=wrong) == missing
    assert ask(Authorization="Basic right") == missing
    for right in ("Bearer right", "bearer right", "Bearer  right"):
        assert ask(Authorization=right)[0] == 200
    assert ask(x_api_key="right")[0] == 200
    second = "zweit-ü".encode().decode("latin-1")
    assert ask(x_api_key=second)[0] == 200
    assert ask(x_api_key="wrong", Authorization="Bearer right")[0] == 200
    assert server.ask("GET", "/v1/models/x?api_key=right").status == 401
    for path in ("/", "/health"):
        assert server.ask("GET", path).status == 200


def test_f3_every_key_is_compared_at_a_fixed_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        seen.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(guard_module.hmac, "compare_digest", spy)
    guard = Guard(keys=["a", "b" * 100, "c"])

    def check(key: bytes) -> int | None:
        seen.clear()
        scope = {
            "method": "GET",
            "path": "/",
            "headers": [(b"host", b"localhost"), (b"x-api-key", key)],
            "http_version": "1.1",
        }
        try:
            guard.check(Request(scope, None, Limits()), public=False)  # type: ignore[arg-type]
        except ApiError as error:
            return error.status
        return None

    lengths = []
    for key, status in ((b"a", None), (b"", 401), (b"b" * 100, None), (b"x" * 10_000, 401)):
        assert check(key) == status
        lengths.append(list(seen))
    assert lengths == [[(32, 32)] * 3] * 4


@pytest.mark.parametrize("origin", ["*", "chat.example", "https://a.example/path", ""])
def test_origins_must_be_exact(origin: str) -> None:
    with pytest.raises(InvalidArgumentError):
        Guard(cors_origins=[origin])


def test_rebinding_on_an_open_address_needs_a_name_that_is_known() -> None:
    def allowed(guard: Guard, host: bytes) -> bool:
        headers = [(b"host", host), (b"origin", b"http://" + host)]
        scope = {"method": "POST", "path": "/", "headers": headers, "http_version": "1.1"}
        try:
            guard.check(Request(scope, None, Limits()), public=True)  # type: ignore[arg-type]
        except ApiError:
            return False
        return True

    open_to_all = Guard(loopback=False)
    assert allowed(open_to_all, b"192.168.1.7:8080")
    assert not allowed(open_to_all, b"evil.example:8080")
    assert allowed(Guard(loopback=False, keys=["k"]), b"board.example:8080")  # the page has no key


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/nothing", 404),
        ("/v1/messages/nothing", 404),
        ("/api/nothing", 404),
        ("/v1/echo", 405),
        ("/v1/messages", 405),
        ("/api/echo", 405),
    ],
)
def test_errors_have_the_form_of_their_family(server: Server, path: str, status: int) -> None:
    for answer, expected in (
        (server.ask("GET", path), 401),
        (server.ask("GET", path, x_api_key="right"), status),
        (server.ask("GET", path, Host="evil.example"), 403),
        (server.ask("POST", path, Origin="null"), 403),
    ):
        assert answer.status == expected
        assert answer.headers["content-type"] == "application/json"
        data = answer.json
        if path.startswith("/api/"):
            assert list(data) == ["error"]
            assert isinstance(data["error"], str)
        elif path.startswith("/v1/messages"):
            assert (data["type"], data["request_id"]) == ("error", answer.headers["request-id"])
            kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
            assert data["error"]["type"] == kinds.get(expected, "invalid_request_error")
        else:
            assert set(data["error"]) == {"message", "type", "param", "code"}
            assert isinstance(data["error"]["code"], str)


def test_a_base_url_without_v1_or_with_one_too_many_is_told(server: Server) -> None:
    for path, there in (("/messages", "/v1/messages"), ("/v1/api/echo", "/api/echo"), ("/v1/nothing", None)):
        answer = server.ask("POST", path, x_api_key="right")
        assert answer.status == 404
        assert (f"; {there} is" in answer.body.decode()) == (there is not None), answer


def test_405_names_the_methods_and_head_is_get(server: Server) -> None:
    assert server.ask("GET", "/v1/echo", x_api_key="right").headers["allow"] == "OPTIONS, POST"
    head = server.ask("HEAD", "/")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "7")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/org/name:tag", "org/name:tag"),
        ("/v1/models/org%2Fname%3Atag", "org/name:tag"),
        ("/v1/models/%252e%252e%252f", "%2e%2e%2f"),  # decoded once
        ("/v1/models/x/", "x"),
        ("//v1/models/x", "x"),
        ("/v1/v1/models/x", "x"),
    ],
)
def test_a_model_in_the_path(server: Server, path: str, name: str) -> None:
    assert server.ask("GET", path, x_api_key="right").json == {"id": name}


def test_request_ids(server: Server) -> None:
    assert server.ask("GET", "/", x_request_id="abc-123").headers["x-request-id"] == "abc-123"
    for bad in ("", "a b", "é", "x" * 129):
        made = server.ask("GET", "/", x_request_id=bad).headers["x-request-id"]
        assert made not in ("", bad)
    assert server.ask("GET", "/").headers["x-request-id"] != server.ask("GET", "/").headers["x-request-id"]


@pytest.mark.parametrize(
    ("server", "works"),
    [
        (("127.0.0.1", 8080), True),  # as behind a proxy of this machine
        (("::ffff:127.0.0.1", 8080), True),
        (("::1", 8080), True),
        (("/run/server.sock", None), True),
        (("testserver", 80), True),
        (None, True),
        (("192.168.1.7", 8080), False),
        (("0.0.0.0", 8080), False),  # noqa: S104 - what is refused
        (("::ffff:192.168.1.7", 8080), False),
        (("fe80::1%eth0", 8080), False),
    ],
)
def test_f12_an_app_that_another_program_serves_to_others(server: Any, *, works: bool) -> None:
    """It does not know where it listens before somebody asks."""
    scope = {"method": "GET", "path": "/", "headers": [(b"host", b"localhost")], "http_version": "1.1"}
    asked = Request({**scope, "server": server}, None, Limits())  # type: ignore[arg-type]
    for guard in (Guard(keys=["k"]), Guard(loopback=False)):
        guard.check(asked, public=True)
    for public in (False, True):
        if works:
            Guard().check(asked, public=public)
        else:
            with pytest.raises(ApiError) as raised:
                Guard(allowed_hosts=["localhost"]).check(asked, public=public)
            assert (raised.value.status, raised.value.code) == (403, "api_key_needed")
