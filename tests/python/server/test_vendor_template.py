"""A model whose chat template only the library has: it answers in each dialect, also to those that wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from serving import on_fake, run

from support import HELD

if TYPE_CHECKING:
    from pathlib import Path

HI: Any = [{"role": "user", "content": "Hi"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"model": "one", "max_tokens": 9, "messages": HI},
    "/api/chat": {"model": "one", "messages": HI},
}


def test_its_chats_are_answered_without_a_count(tmp_path: Path, gate: Path) -> None:
    script = {"gate": gate, "runs": [run("there", prefill_ms=HELD)]}
    serving = on_fake(tmp_path / "server", {"one": script}, chat_template=None)
    try:
        serving.ready()

        def ask(path: str, stream: bool) -> tuple[str, bool, int, bool]:  # noqa: FBT001
            answer = serving.post(path, {**ASKED[path], "stream": stream})
            return path, stream, answer.status_code, "there" in answer.text

        ways = [(path, stream) for path in ASKED for stream in (False, True)]
        with ThreadPoolExecutor(len(ways)) as pool:
            asking = [pool.submit(ask, *way) for way in ways]
            # One has its turn at once; the others wait, and could be counted meanwhile.
            serving.wait_for(lambda: queue(serving) == (1, len(ways) - 1), "those that wait")
            gate.touch()
            assert [one.result() for one in asking] == [(*way, 200, True) for way in ways]
        # Whoever asks for nothing but a count is told that there is none.
        counted = serving.post("/v1/messages/count_tokens", {"model": "one", "messages": HI})
        assert counted.status_code == 400
    finally:
        gate.touch()
        serving.stop()


def queue(serving: Any) -> tuple[int, int]:
    told = serving.http.get("/status").json()["queue"]
    return told["running"], told["waiting"]
