"""What type checkers must see in the public calls. Checked, never run."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import rkllm_rs
from rkllm_rs import (
    RKLLM,
    ArrayStream,
    AsyncRKLLM,
    BackendStatus,
    BatchStream,
    Chunk,
    CrossAttention,
    Embeddings,
    Evidence,
    FileMissingError,
    FloatArray,
    Generation,
    GenerationTimeout,
    Identity,
    LibraryNotFoundError,
    LoraAdapter,
    ModelInfo,
    ModelNotFoundError,
    Multimodal,
    PerfStats,
    PromptCacheError,
    RkllmError,
    Runtime,
    SamplingParams,
    Score,
    Steps,
    TextStream,
    Tokens,
    TokenStream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Iterator


def ids_of(text: str) -> list[int]:
    return [len(text)]


def rows_of(ids: list[int]) -> NDArray[np.float32]:
    return np.zeros((len(ids), 8), np.float32)


async def opening_in_a_loop() -> None:
    llm = AsyncRKLLM("model.rkllm", n_batch=2, template="model", tokenizer=ids_of, temperature=0.5)
    assert_type(await llm.open(), AsyncRKLLM)
    async with AsyncRKLLM(Path("model.gguf"), backend="cpu") as llm:
        assert_type(llm, AsyncRKLLM)
        assert_type(llm.info, ModelInfo)
        await llm.close()


class Own(RKLLM):
    """A subclass stays what it is."""


class OwnAsync(AsyncRKLLM):
    """So does this one."""


async def opening_a_subclass() -> None:
    async with OwnAsync("model.rkllm") as model:
        assert_type(model, OwnAsync)
    with Own("model.rkllm") as llm:
        assert_type(llm, Own)


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
        assert_type(llm.n_batch, int)
        assert_type(llm.info, ModelInfo)
    RKLLM(Path("model.gguf"), backend="cpu", library=b"librkllmrt.so", abi="v1_3_0", n_batch=2)
    RKLLM(["model.rkllm", Path("model.gguf")], sampling=SamplingParams(top_k=1), max_context_len=512)
    RKLLM("model.rkllm", template="raw", enabled_cpus_mask={4, 5}, tokenizer=ids_of, embedder=rows_of)
    RKLLM("model.rkllm", template=("", "<user>", "<answer>"), enabled_cpus_mask=0xF0)
    RKLLM("model.rkllm", tokenizer=lambda text: np.array([len(text)]))
    RKLLM("model.rkllm", embedder=lambda ids: [0.5 for _ in ids])  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    RKLLM("model.rkllm", template="none")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
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
    llm.generate(Embeddings(np.zeros((2, 8), np.float32)), lora="style", save_prompt_cache=Path("cache"))
    llm.generate(Multimodal("<image>", np.zeros((1, 4, 8), np.float32)), seed=1, stop="end")
    llm.generate("hello", stop=["end", "stop"], on_token=print)
    llm.generate("hello", on_token=lambda chunk: assert_type(chunk, Chunk))
    llm.generate("hello", on_token=ids_of)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    llm.generate("hello", stop=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    llm.generate("hello", temperature=0.7, top_k=40, top_p=0.9, repeat_penalty=1.1, mirostat=0)
    llm.generate("hello", max_tokens=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
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


def batches(llm: RKLLM) -> None:
    answers = llm.generate_batch(["a", Tokens([1])], role=["user", "tool"], thinking=[True, False], seed=1)
    assert_type(answers, list[Generation])
    rows = llm.stream_batch(["a", "b"], role="user", thinking=True, stop="end", on_token=print)
    assert_type(rows, BatchStream)
    assert_type(len(rows), int)
    assert_type(rows[0], TokenStream)
    for row in rows:
        assert_type(row, TokenStream)
    rows.cancel()
    assert_type(rows.results(), list[Generation])
    llm.generate_batch(["a", "b"], temperature=0.7, top_k=1)
    llm.generate_batch(["a"], max_tokens=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    llm.generate_batch([1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def stepping(llm: RKLLM) -> None:
    with llm.steps("hello", max_new_tokens=4, stop=("end",), lora="style", role="user") as steps:
        assert_type(steps, Steps)
        assert_type(next(steps), Chunk)
        assert_type(steps.send(Tokens([1])), Chunk)
        assert_type(steps.send(None), Chunk)
        for step in steps:
            assert_type(step, Chunk)
        llm.clear_kv_cache(ranges=[(0, 1)])
        steps.send(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    steps.close()
    steps.cancel()
    assert_type(steps.result(), Generation)


async def stepping_in_a_loop(llm: RKLLM) -> None:
    steps = llm.steps("hello")
    async for step in steps:
        assert_type(step, Chunk)
    assert_type(await steps.asend(Tokens([1])), Chunk)
    assert_type(await anext(steps), Chunk)


def measuring(llm: RKLLM) -> None:
    rows = llm.logits("hello", timeout=1, lora="style", keep_history=True, role="user", thinking=True)
    assert_type(rows, FloatArray)
    assert_type(llm.hidden_states(Tokens([1])), FloatArray)
    assert_type(llm.logits_batch(["a", "b"], role=["user", "tool"]), list[FloatArray])
    assert_type(llm.hidden_states_batch(["a", "b"], thinking=[True, False]), list[FloatArray])
    stream = llm.stream_logits("hello")
    assert_type(stream, ArrayStream)
    assert_type(llm.stream_hidden_states("hello", keep_history=True), ArrayStream)
    for part in stream:
        assert_type(part, FloatArray)
    stream.cancel()
    assert_type(stream.result(), FloatArray)
    assert_type(llm.embed("hello", pooling="mean", normalize=False), FloatArray)
    assert_type(llm.embed(["hello", Tokens([1])], timeout=1, lora="style"), FloatArray)
    llm.embed("hello", pooling="max")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(llm.tokenize("a", add_special_tokens=False), list[int])
    assert_type(llm.detokenize([1, 2], skip_special_tokens=True), str)
    assert_type(llm.count_tokens("a"), int)
    score = llm.score("a", Tokens([1]), timeout=1, lora="style")
    assert_type(score, Score)
    assert_type(score.token_ids, list[int])
    assert_type(score.logprobs, list[float])
    assert_type(score.logprob, float)
    assert_type(score.perplexity, float)


def arrays(rows: FloatArray) -> None:
    assert_type(rows.shape, tuple[int, ...])
    assert_type((rows.ndim, rows.size, rows.nbytes, len(rows)), tuple[int, int, int, int])
    assert_type(rows.tobytes(), bytes)
    assert_type(rows.to_numpy(), NDArray[np.float32])
    view: NDArray[np.float32] = np.asarray(rows)
    lent = np.from_dlpack(rows)
    assert_type(rows.__dlpack_device__(), tuple[int, int])
    row: FloatArray = rows[-1]
    number: float = row[0]
    table: list[list[float]] = rows.tolist()
    print(view, lent, number, table, [float(value) for value in row])
    Embeddings(rows)


def keeping(llm: RKLLM) -> None:
    assert_type(llm.loras, tuple[LoraAdapter, ...])
    llm.load_lora(Path("style.gguf"), name="style", scale=0.5)
    for adapter in llm.loras:
        assert_type(adapter.name, str)
        assert_type(adapter.path, str)
        assert_type(adapter.scale, float)
    llm.load_prompt_cache("cache", verify=False)
    llm.release_prompt_cache()
    assert_type(llm.kv_cache_size(), int | Any)
    llm.clear_kv_cache(keep_system_prompt=True)
    llm.clear_kv_cache(ranges=((0, 1), (2, 3)))
    llm.clear_kv_cache(ranges=[0, 1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    llm.set_chat_template("system", "prefix", "postfix")
    llm.set_chat_template(prompt_prefix="<user>")
    llm.set_function_tools([{"type": "function"}], system_prompt="", tool_response_str="tool_response")
    llm.set_function_tools("[]")
    llm.set_function_tools({"type": "function"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    floats = np.zeros((1, 2, 3, 4), np.float32)
    encoder = CrossAttention(floats, floats, array("f", [1, 1]), np.arange(2))
    assert_type(encoder.num_tokens, int)
    llm.set_cross_attention(encoder)


def facts(info: ModelInfo) -> None:
    assert_type(info.context_limit, int | None)
    assert_type(info.vocab_size, int | None)
    assert_type(info.hidden_size, int | None)
    assert_type(info.npu_cores, int | None)
    assert_type(info.platform, str | None)
    assert_type(info.toolkit_version, str | None)
    assert_type(info.dtype, str | None)
    assert_type(info.driver_version, str | None)
    assert_type(info.sources, dict[str, Literal["log", "cpu runtime", "results"]])


async def awaiting(llm: AsyncRKLLM) -> None:
    assert_type(await llm.generate("hello", stop="end", seed=1, on_token=print), Generation)
    assert_type(await llm.generate_batch(["a", "b"], role=["user", "tool"]), list[Generation])
    assert_type(await llm.logits("hello", keep_history=True), FloatArray)
    assert_type(await llm.logits_batch(["a", "b"]), list[FloatArray])
    assert_type(await llm.hidden_states("hello", timeout=1), FloatArray)
    assert_type(await llm.hidden_states_batch(["a", "b"], thinking=True), list[FloatArray])
    assert_type(await llm.embed(["a", "b"], pooling="last", normalize=True), FloatArray)
    assert_type(await llm.score("a", "b"), Score)
    assert_type(await llm.tokenize("a", add_special_tokens=False), list[int])
    assert_type(await llm.detokenize([1, 2], skip_special_tokens=True), str)
    assert_type(await llm.count_tokens("a"), int)
    assert_type(await llm.kv_cache_size(), int | Any)
    await llm.load_lora("style.gguf", name="style", scale=1)
    await llm.load_prompt_cache("cache", verify=True)
    await llm.release_prompt_cache()
    await llm.clear_kv_cache(keep_system_prompt=False, ranges=[(0, 1)])
    await llm.set_chat_template("", "", "")
    await llm.set_function_tools([], system_prompt="", tool_response_str="")
    async for part in llm.stream_logits("hello"):
        assert_type(part, FloatArray)
    assert_type(await anext(llm.stream_hidden_states("hello")), FloatArray)


async def awaiting_the_encoder(llm: AsyncRKLLM, encoder: CrossAttention) -> None:
    await llm.set_cross_attention(encoder)


async def waiting(llm: RKLLM) -> None:
    async for chunk in llm.stream("hello"):
        assert_type(chunk, Chunk)
    async for text in llm.stream("hello").texts():
        assert_type(text, str)
    assert_type(await anext(llm.stream("hello")), Chunk)


class Interface:
    """An array of some other library."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3}


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
    flat = array("f", [0.5, 1.0])
    assert_type(Embeddings(flat, width=2).shape, tuple[int, int])
    assert_type(len(Embeddings(memoryview(flat), width=2)), int)
    Embeddings(Interface())
    Embeddings([[0.5, 1.0]])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    image = Multimodal("<image>", flat, n_image_tokens=1, n_image=1, image_width=8, image_height=8)
    Multimodal("<image>", flat, image_start="(", image_end=")", image_content=".")
    Multimodal("<video>", video_embed=flat, n_frame_tokens=1, n_frame_per_video=1, n_video=1)
    Multimodal("<video>", video_embed=flat, video_start="(", video_end=")", video_content=".")
    Multimodal("<video>", video_embed=flat, frame_width=8, frame_height=8)
    Multimodal("<audio>", audio_embed=flat, n_audio_tokens=1, n_audio=1)
    Multimodal("<audio>", audio_embed=flat, audio_start="(", audio_end=")", audio_content=".")
    assert_type(image.prompt, str)
    assert_type((image.n_image, image.n_image_tokens, image.n_video), tuple[int, int, int])
    assert_type(image.n_audio, int)
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
    except (LibraryNotFoundError, ModelNotFoundError, FileMissingError) as error:
        system: OSError = error
        print(system)
    except PromptCacheError as error:
        value: ValueError = error
        print(value)
    except RkllmError as error:
        assert_type(error.hint, str | None)
        assert_type(error.log, list[str])
