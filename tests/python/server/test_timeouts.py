"""``request_timeout`` where there is no answer in words: embeddings, rerank, and what waits for a model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from serving import on_fake, run

from support import HELD

if TYPE_CHECKING:
    from pathlib import Path

#: What each of them has in the form of its family.
ASKED: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": ["a", "b"]},
    "/v1/rerank": {"query": "a", "documents": ["b", "a"]},
    "/api/embed": {"model": "one", "input": "a"},
    "/api/embeddings": {"model": "one", "prompt": "a"},
}


def test_what_gives_no_words_has_the_limit_too(tmp_path: Path, gate: Path) -> None:
    rows = {"rows": 1, "width": 4, "start": 1}
    script = {"gate": gate, "runs": [run(prefill_ms=HELD, hidden=rows)]}
    serving = on_fake(tmp_path / "server", {"one": script}, request_timeout=0.3, kill_after=0.2)
    try:
        serving.ready()

        def ask(path: str) -> tuple[str, int, str | None, Any]:
            answer = serving.post(path, ASKED[path])
            return path, answer.status_code, answer.headers.get("x-should-retry"), answer.json()["error"]

        with ThreadPoolExecutor(len(ASKED)) as pool:
            # One has the model, and the others wait for it.
            told = list(pool.map(ask, ASKED))
        for path, status, retry, error in told:
            assert (path, status, retry) == (path, 504, "false")
            if path.startswith("/v1"):
                assert (error["code"], error["type"]) == ("request_timeout", "server_error")
            else:
                assert isinstance(error, str)
        # The model is free, and the next one has it.
        gate.touch()
        for path, asked in ASKED.items():
            serving.wait_for(lambda p=path, a=asked: serving.post(p, a).status_code == 200, path)
    finally:
        gate.touch()
        serving.stop()
