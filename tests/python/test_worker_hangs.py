"""Libraries in workers that do not come back, each from another call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from fakes import fake_library
from rkllm_rs import AsyncRKLLM, ClosedError, CrossAttention, WorkerCrashed
from support import SOON, began, in_thread, newest, wait_until
from surface import aio
from test_cross_attention import parts
from workers import ENDLESS, HANGS, alive, kill, pid_of, processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

pytestmark = [pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")]


@pytest.mark.hazard("N4", "L4")
def test_a_library_that_ignores_its_abort_is_killed(open_model: Opener) -> None:
    runs = [{"steps": ["a"]}, {"steps": ["b", {"text": "c", "delay_ms": 600_000}], "ignore_abort": True}]
    model = open_model({"runs": runs}, isolate=True, kill_after=0.2)
    for _ in range(3):
        assert model.generate("x").text == "a"
        stream = model.stream("y")
        assert next(stream).text == "b"
        stream.cancel()
        begin = time.monotonic()
    assert model.generate("x").text == "a"
    assert time.monotonic() - begin < SOON


def test_closing_waits_no_longer_than_that(open_model: Opener) -> None:
    run = {"steps": ["b", {"text": "c", "delay_ms": 600_000}], "ignore_abort": True}
    model = open_model({"runs": [run]}, isolate=True, kill_after=0.2)
    stream = model.stream("y")
    assert next(stream).text == "b"
    pid = pid_of(model)
    model.close()
    with pytest.raises(ClosedError):
        next(stream)
    wait_until(lambda: not alive(pid), "the worker's end")
    # Nobody else has to wait for it.
    assert open_model(["a"], isolate=True).generate("x").text == "a"


def test_a_worker_that_is_stopped_holds_nobody_up(open_model: Opener) -> None:
    model = open_model({"runs": [ENDLESS]}, isolate=True, kill_after=0.2)
    stream = model.stream("x")
    assert next(stream).text == "x"
    os.kill(pid_of(model), signal.SIGSTOP)
    begin = time.monotonic()
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    assert time.monotonic() - begin < SOON
    assert model.generate("x", max_new_tokens=1).text == "x"


def test_closing_while_it_loads_ends_the_worker(
    open_model: Opener, make_model: Any, library: Path, record: Path
) -> None:
    async def main() -> None:
        model = AsyncRKLLM(make_model({"init": {"delay_ms": 600_000}}), library=library, isolate=True)
        opening = asyncio.ensure_future(model.open())
        await asyncio.to_thread(began, record, "rkllm_init")
        await model.close()
        with pytest.raises(ClosedError):
            await opening

    asyncio.run(main())
    assert open_model(["a"], isolate=True).generate("x").text == "a"


@pytest.fixture
def processes_before() -> set[str]:
    return processes()


def adapter(folder: Path) -> Path:
    path = folder / "style.rkllm"
    path.write_bytes(bytes(64))
    return path


#: The call, the script's key, and the function of the library that does not come back.
REQUESTS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "get_kv_cache_size": ("get_kv_cache_size", lambda llm, _: llm.kv_cache_size()),
    "clear_kv_cache": ("clear_kv_cache", lambda llm, _: llm.clear_kv_cache()),
    "load_lora": ("load_lora", lambda llm, folder: llm.load_lora(adapter(folder))),
    "load_prompt_cache": ("load_prompt_cache", lambda llm, folder: llm.load_prompt_cache(folder / "cache")),
    "release_prompt_cache": ("release_prompt_cache", lambda llm, _: llm.release_prompt_cache()),
    "set_chat_template": ("set_chat_template", lambda llm, _: llm.set_chat_template("a", "b", "c")),
    "set_function_tools": ("set_function_tools", lambda llm, _: llm.set_function_tools('[{"name": "f"}]')),
    "set_cross_attn_params": (
        "set_cross_attn_params",
        lambda llm, _: llm.set_cross_attention(CrossAttention(**parts())),
    ),
}


@pytest.mark.hazard("N4", "L4")
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_from_which_the_library_does_not_come_back(
    open_model: Opener, record: Path, tmp_path: Path, name: str
) -> None:
    key, call = REQUESTS[name]
    script = {"runs": [{"steps": ["a"]}], key: HANGS}
    model = open_model(script, isolate=True, kill_after=0.1, use_cross_attn=True)
    model.generate("x", save_prompt_cache=tmp_path / "cache")

    async def main() -> None:
        # Who gives it up is as one who aborts a run.
        left = asyncio.create_task(call(aio(model), tmp_path))
        await asyncio.to_thread(began, record, f"rkllm_{name}")
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert (await aio(model).generate("x")).text == "a"
        # Who closes the model does not wait for it.
        waiting = asyncio.create_task(call(aio(model), tmp_path))
        await asyncio.to_thread(began, record, f"rkllm_{name}", 2)
        pid = pid_of(model)
        begin = time.monotonic()
        await aio(model).close()
        with pytest.raises(ClosedError):
            await waiting
        await asyncio.to_thread(wait_until, lambda: not alive(pid), "the worker's end")
        assert time.monotonic() - begin < SOON

    asyncio.run(main())


def test_a_request_that_is_waited_for_is_not_ended(open_model: Opener) -> None:
    script = {"runs": [{"steps": ["a"]}], "kv_cache_size": [5], "get_kv_cache_size": {"delay_ms": 400}}
    model = open_model(script, isolate=True, kill_after=0.05)
    pid = pid_of(model)
    assert model.kv_cache_size() == 5
    assert pid_of(model) == pid


ROWS = {"rows": 1, "width": 4}
RUNS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "prefill": ({"prefill_ms": 600_000}, lambda llm: llm.generate("x")),
    "logits": ({"delay_ms": 600_000}, lambda llm: llm.logits("x")),
    "hidden states": ({"delay_ms": 600_000}, lambda llm: llm.hidden_states("x")),
    "embed": ({"delay_ms": 600_000}, lambda llm: llm.embed("x")),
}


@pytest.mark.hazard("N4", "L4")
@pytest.mark.parametrize("how", RUNS)
def test_a_run_from_which_the_library_does_not_come_back(open_model: Opener, record: Path, how: str) -> None:
    run, call = RUNS[how]
    script = {
        "runs": [{"steps": ["a"], "ignore_abort": True, **run}],
        "logits": [ROWS] * 2,
        "hidden": [ROWS] * 2,
    }
    model = open_model(script, isolate=True, kill_after=0.1)

    async def main() -> None:
        left = asyncio.create_task(call(aio(model)))
        await asyncio.to_thread(began, record)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        # What waits is begun by the next worker.
        waiting = asyncio.create_task(call(aio(model)))
        await asyncio.to_thread(began, record, "rkllm_run", 2)
        await aio(model).close()
        with pytest.raises(ClosedError):
            await waiting

    asyncio.run(main())


@pytest.mark.hazard("N4", "L4")
def test_an_abort_and_a_destroy_that_hang(open_model: Opener, record: Path) -> None:
    script = {"runs": [{"steps": ["a"]}, ENDLESS], "abort": HANGS, "destroy": HANGS}
    model = open_model(script, isolate=True, kill_after=0.1)
    assert model.generate("x").text == "a"
    stream = model.stream("x")
    next(stream)
    begin = time.monotonic()
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    began(record, "rkllm_abort")
    assert model.generate("x").text == "a"
    pid = pid_of(model)
    model.close()
    wait_until(lambda: not alive(pid), "the worker's end")
    assert len(open_model(["b"], isolate=True).generate("x").text) == 1
    assert time.monotonic() - begin < 2 * SOON


@newest
def test_a_library_that_hangs_while_it_is_loaded(
    make_model: Callable[..., Path], abi_version: str, tmp_path: Path
) -> None:
    begun, never = tmp_path / "begun", tmp_path / "never"
    library = fake_library(
        tmp_path / "hangs", abi_version, quiet=True, constructor_touch=begun, constructor_wait=never
    )

    async def main() -> None:
        model = AsyncRKLLM(make_model(["a"]), library=library, isolate=True)
        opening = asyncio.ensure_future(model.open())
        await asyncio.to_thread(wait_until, begun.exists, "the library's constructor")
        begin = time.monotonic()
        await model.close()
        with pytest.raises(ClosedError):
            await opening
        assert time.monotonic() - begin < SOON

    asyncio.run(main())


@newest
def test_killed_while_it_loads_the_library(
    open_model: Opener, abi_version: str, tmp_path: Path, processes_before: set[str]
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    library = fake_library(
        tmp_path / "slow", abi_version, quiet=True, constructor_touch=begun, constructor_wait=go_on
    )
    opening = in_thread(lambda: open_model(["a"], library=library, isolate=True))
    wait_until(begun.exists, "the library's constructor")
    (pid,) = processes() - processes_before
    os.kill(int(pid), signal.SIGKILL)
    with pytest.raises(WorkerCrashed) as caught:
        opening()
    assert caught.value.signal == signal.SIGKILL
    # And again for a model that is open.
    go_on.touch()
    model = open_model(["a"], library=library, isolate=True)
    begun.unlink()
    go_on.unlink()
    kill(model)
    stream = model.stream("x")
    wait_until(begun.exists, "the library's constructor")
    kill(model)
    with pytest.raises(WorkerCrashed):
        stream.result()
    go_on.touch()
    assert model.generate("x").text == "a"


def test_a_library_that_hangs_while_the_model_is_opened_again(
    open_model: Opener, make_model: Any, record: Path
) -> None:
    path = make_model(["a"])
    model = open_model(path, isolate=True)
    path.write_text('{"init": {"delay_ms": 600000}}')
    kill(model)
    stream = model.stream("x")
    began(record, "rkllm_init", 2)
    pid = pid_of(model)
    model.close()
    with pytest.raises(ClosedError):
        stream.result()
    wait_until(lambda: not alive(pid), "the worker's end")


@pytest.mark.parametrize("where", ["rkllm_init", "rkllm_load_lora"])
@pytest.mark.parametrize("what", ["run", "request"])
def test_a_library_that_hangs_while_the_model_is_opened_again_for_nobody(
    open_model: Opener, make_model: Any, record: Path, tmp_path: Path, where: str, what: str
) -> None:
    path = make_model(["a"])
    model = open_model(path, isolate=True, kill_after=0.1)
    model.load_lora(adapter(tmp_path))
    good = path.read_text()
    path.write_text(json.dumps({where.removeprefix("rkllm_"): HANGS}))
    kill(model)
    if what == "run":
        stream = model.stream("x")
        began(record, where, 2)
        pid = pid_of(model)
        stream.cancel()
    else:

        async def main() -> int:
            asking = asyncio.ensure_future(aio(model).kv_cache_size())
            await asyncio.to_thread(began, record, where, 2)
            pid = pid_of(model)
            asking.cancel()
            await asyncio.wait([asking])
            return pid

        pid = asyncio.run(main())
    wait_until(lambda: not alive(pid), "the end of what nobody waits for")
    # In one step: the worker reads it whenever it is opened again.
    new = path.with_suffix(".new")
    new.write_text(good)
    new.replace(path)
    assert model.generate("x").text == "a"
