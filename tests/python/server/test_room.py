"""Which model goes when another one needs its memory."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from serving import run

from rkllm_rs.server import registry, room
from rkllm_rs.server.registry import Models
from rkllm_rs.server.settings import Settings
from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rkllm_rs.server.entry import Entry


@pytest.fixture
def models(make_model: Callable[..., Path], library: Path) -> Callable[[], Models]:
    paths = {name: str(make_model({"runs": [run(name)]})) for name in "abc"}
    return lambda: Models(paths, Settings(library=str(library), keep_alive=-1), {})


def loaded(models: Models) -> str:
    return "".join(name for name, entry in models.entries.items() if entry.llm is not None)


@pytest.mark.only_here("the models are in workers anyway")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_model_that_was_used_longest_ago_goes(
    models: Callable[[], Models], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        several = models()
        # Room for two.
        monkeypatch.setattr(registry, "has_memory", lambda *_: len(loaded(several)) < 2)
        entries = several.entries

        async def use(name: str) -> None:
            async with several.hold(entries[name], since=time.monotonic(), patience=PATIENCE):
                assert name in loaded(several)

        for name in "aba":
            await use(name)
        await use("c")
        assert loaded(several) == "ac"
        # One that is in use does not go; who needs the room waits for it.
        in_use = asyncio.Event()
        done = asyncio.Event()

        async def keep(entry: Entry) -> None:
            async with several.hold(entry, since=time.monotonic(), patience=PATIENCE):
                in_use.set()
                await done.wait()

        kept = [asyncio.create_task(keep(entries[name])) for name in "ac"]
        await in_use.wait()
        await asyncio.sleep(0)
        waits = asyncio.create_task(use("b"))
        done_now, _ = await asyncio.wait([waits], timeout=0.2)
        assert not done_now
        assert loaded(several) == "ac"
        # Whoever comes after it does not keep it from its turn.
        later = asyncio.create_task(use("a"))
        done.set()
        await asyncio.wait_for(waits, PATIENCE)
        await asyncio.wait_for(later, PATIENCE)
        await asyncio.gather(*kept)
        await several.close()
        assert loaded(several) == ""

    asyncio.run(main())


@pytest.mark.only_here("the models are in workers anyway")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_end_ends_a_removed_model_that_is_in_use(models: Callable[[], Models]) -> None:
    async def main() -> None:
        several = models()
        removed = several.entries["a"]
        async with several.hold(removed, since=time.monotonic(), patience=PATIENCE):
            several.replace({"b": several.entries["b"].path}, keep_alive=None)
            await several.close()
            assert removed.llm is None

    asyncio.run(main())


def test_room_is_what_the_plan_says(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(make_model({"runs": []}))
    assert room.has_memory(path)
    none: dict[str, Any] = {"MemAvailable": 1000}
    monkeypatch.setattr("rkllm_rs.doctor.memory.meminfo", lambda _facts: none)
    assert not room.has_memory(path)
