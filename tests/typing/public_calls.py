"""What type checkers must see in the public calls. Checked, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import assert_type

import rkllm_rs
from rkllm_rs import (
    RKLLM,
    BackendStatus,
    Chunk,
    Evidence,
    Generation,
    GenerationTimeout,
    Identity,
    LibraryNotFoundError,
    ModelNotFoundError,
    PerfStats,
    RkllmError,
    Runtime,
    SamplingParams,
    TextStream,
    Tokens,
    TokenStream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Iterator


def opening() -> None:
    with RKLLM("model.rkllm") as llm:
        assert_type(llm, RKLLM)
        assert_type(llm.backend, Literal["npu", "cpu"])
        assert_type(llm.runtime, Runtime)
        assert_type(llm.model_path, str)
        assert_type(llm.max_context_len, int)
        assert_type(llm.max_new_tokens, int)
        assert_type(llm.sampling, SamplingParams)
        assert_type(llm.closed, bool)
        assert_type(llm.kv_cache_size(), list[int])
        llm.clear_kv_cache(keep_system_prompt=True)
    RKLLM(Path("model.gguf"), backend="cpu", library=b"librkllmrt.so", abi="v1_3_0", n_batch=2)
    RKLLM(["model.rkllm", Path("model.gguf")], sampling=SamplingParams(top_k=1), max_context_len=512)
    RKLLM("model.rkllm", backend="gpu")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RKLLM("model.rkllm", max_context_len="512")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RKLLM("model.rkllm", 512)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]


def generating(llm: RKLLM) -> None:
    answer = llm.generate(
        "hello", max_new_tokens=8, timeout=1, keep_history=True, role="user", thinking=False
    )
    assert_type(answer, Generation)
    assert_type(answer.text, str)
    assert_type(answer.token_ids, list[int])
    assert_type(answer.finish_reason, Literal["stop", "length", "cancelled", "tool_calls"])
    assert_type(answer.perf, PerfStats)
    assert_type(answer.perf.source, Literal["library", "measured"])
    assert_type(answer.perf.generate_tokens, int)
    assert_type(answer.perf.prefill_tokens, int | None)
    assert_type(answer.perf.generate_tokens_per_second, float | None)
    assert_type(answer.perf.total_time_ms, float)
    llm.generate(Tokens([1, 2]), sampling=SamplingParams(temperature=0))
    llm.generate([1, 2])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    answer.text = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def streaming(llm: RKLLM) -> None:
    stream = llm.stream("hello", sampling=SamplingParams(top_p=0.5))
    assert_type(stream, TokenStream)
    iterator: Iterator[Chunk] = stream
    async_iterator: AsyncIterator[Chunk] = stream
    print(iterator, async_iterator)
    for chunk in stream:
        assert_type(chunk, Chunk)
        assert_type(chunk.text, str)
        assert_type(chunk.token_id, int)
    texts = stream.texts()
    assert_type(texts, TextStream)
    text_iterator: Iterator[str] = texts
    async_text_iterator: AsyncIterator[str] = texts
    print(text_iterator, async_text_iterator, "".join(texts))
    for text in texts:
        assert_type(text, str)
    stream.cancel()
    assert_type(stream.result(), Generation)
    assert_type(texts.result(), Generation)


async def waiting(llm: RKLLM) -> None:
    async for chunk in llm.stream("hello"):
        assert_type(chunk, Chunk)
    async for text in llm.stream("hello").texts():
        assert_type(text, str)
    assert_type(await anext(llm.stream("hello")), Chunk)


def inputs() -> None:
    sampling = SamplingParams(top_k=1, top_p=1, temperature=0.5, mirostat=2)
    assert_type(sampling.top_k, int | None)
    assert_type(sampling.temperature, float | None)
    SamplingParams(0.7)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    SamplingParams(warmth=0.7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tokens = Tokens(range(3))
    assert_type(tokens[0], int)
    assert_type(len(tokens), int)
    assert_type(list(tokens), list[int])
    assert_type(tokens.to_list(), list[int])
    key: Hashable = tokens
    print(key)
    Tokens("abc")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def libraries() -> None:
    runtime = Runtime.load(Path("librkllmrt.so"), backend="npu", abi="v1_2_1")
    assert_type(runtime, Runtime)
    assert_type(Runtime.load(), Runtime)
    assert_type(runtime.path, str)
    assert_type(runtime.backend, Literal["npu", "cpu"])
    assert_type(runtime.capabilities, frozenset[str])
    assert_type(runtime.identity, Identity)
    assert_type(runtime.identity.abi, str)
    assert_type(runtime.identity.version, str | None)
    assert_type(runtime.identity.evidence, list[Evidence])
    assert_type(rkllm_rs.__version__, str)
    for status in rkllm_rs.backends():
        assert_type(status, BackendStatus)
        assert_type(status.name, Literal["npu", "cpu"])
        assert_type(status.available, bool)
        assert_type(status.library, str | None)
        assert_type(status.reason, str | None)
        assert_type(status.hint, str | None)


def failing(llm: RKLLM) -> None:
    try:
        llm.generate("hello")
    except GenerationTimeout as error:
        assert_type(error.partial, Generation | None)
        timeout: TimeoutError = error
        print(timeout)
    except (LibraryNotFoundError, ModelNotFoundError) as error:
        system: OSError = error
        print(system)
    except RkllmError as error:
        assert_type(error.hint, str | None)
        assert_type(error.log, list[str])
