"""The C ABI of the CPU runtime as seen from ctypes: what a test needs of it, without the package above.

Long because it declares each struct and function that the tests call.
"""

from __future__ import annotations

import ctypes as c
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from typing_extensions import Self

GENERATE, HIDDEN_STATES, LOGITS = range(3)
NORMAL, WAITING, FINISH, ERROR = range(4)
PROMPT, TOKEN, EMBED, MULTIMODAL = range(4)
PAUSE: Final = 1
#: What a run may take from the cache.
AUTO, HELD, NONE = 0, 1, 2


class ExtendParam(c.Structure):
    _fields_ = (
        ("base_domain_id", c.c_int32),
        ("embed_flash", c.c_int8),
        ("enabled_cpus_num", c.c_int8),
        ("enabled_cpus_mask", c.c_uint32),
        ("n_batch", c.c_uint8),
        ("use_cross_attn", c.c_int8),
        ("reserved", c.c_uint8 * 104),
    )


class Param(c.Structure):
    _fields_ = (
        ("model_path", c.c_char_p),
        ("max_context_len", c.c_int32),
        ("max_new_tokens", c.c_int32),
        ("top_k", c.c_int32),
        ("n_keep", c.c_int32),
        ("top_p", c.c_float),
        ("temperature", c.c_float),
        ("repeat_penalty", c.c_float),
        ("frequency_penalty", c.c_float),
        ("presence_penalty", c.c_float),
        ("mirostat", c.c_int32),
        ("mirostat_tau", c.c_float),
        ("mirostat_eta", c.c_float),
        ("skip_special_token", c.c_bool),
        ("ignore_eos_token", c.c_bool),
        ("is_async", c.c_bool),
        ("extend_param", ExtendParam),
    )


class Sampling(c.Structure):
    _fields_ = (
        ("top_k", c.c_int32),
        ("top_p", c.c_float),
        ("temperature", c.c_float),
        ("repeat_penalty", c.c_float),
        ("frequency_penalty", c.c_float),
        ("presence_penalty", c.c_float),
        ("mirostat", c.c_int32),
        ("mirostat_tau", c.c_float),
        ("mirostat_eta", c.c_float),
    )


class LoraAdapter(c.Structure):
    _fields_ = (("path", c.c_char_p), ("name", c.c_char_p), ("scale", c.c_float))


class LoraParam(c.Structure):
    _fields_ = (("name", c.c_char_p),)


class CacheParam(c.Structure):
    _fields_ = (("save", c.c_int), ("path", c.c_char_p))


class FloatRows(c.Structure):
    _fields_ = (("data", c.POINTER(c.c_float)), ("count", c.c_size_t))


class TokenRows(c.Structure):
    _fields_ = (("data", c.POINTER(c.c_int32)), ("count", c.c_size_t))


class Payload(c.Union):
    _fields_ = (
        ("prompt", c.c_char_p),
        ("embed", FloatRows),
        ("token", TokenRows),
        ("multimodal", c.c_void_p * 18),
    )


class Input(c.Structure):
    _fields_ = (
        ("role", c.c_char_p),
        ("enable_thinking", c.c_bool),
        ("input_type", c.c_int),
        ("payload", Payload),
    )


class InferParam(c.Structure):
    _fields_ = (
        ("mode", c.c_int),
        ("lora", c.POINTER(LoraParam)),
        ("cache", c.POINTER(CacheParam)),
        ("sampling", c.POINTER(Sampling)),
        ("keep_history", c.c_int),
        ("max_new_tokens", c.c_int32),
    )


class Values(c.Structure):
    _fields_ = (("data", c.POINTER(c.c_float)), ("width", c.c_int), ("count", c.c_int))


class Perf(c.Structure):
    _fields_ = (
        ("prefill_time_ms", c.c_float),
        ("prefill_tokens", c.c_int),
        ("generate_time_ms", c.c_float),
        ("generate_tokens", c.c_int),
        ("memory_usage_mb", c.c_float),
    )


class Result(c.Structure):
    _fields_ = (
        ("text", c.c_char_p),
        ("token_id", c.c_int32),
        ("hidden", Values),
        ("logits", Values),
        ("perf", Perf),
    )


ResultCallback = c.CFUNCTYPE(c.c_int, c.POINTER(Result), c.c_void_p, c.c_int)


class Callback(c.Structure):
    _fields_ = (("result", ResultCallback), ("userdata", c.c_void_p), ("others", c.c_void_p * 4))


#: Told the userdata of a run, a row, and the logits of its next token, which it may change.
PROCESSOR = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.POINTER(c.c_float), c.c_int)


class Table(c.Structure):
    """The private table."""

    _fields_ = (
        ("version", c.c_uint32),
        ("size", c.c_uint32),
        ("count_tokens", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_size_t, c.c_char_p)),
        ("vocab_size", c.CFUNCTYPE(c.c_int, c.c_void_p)),
        ("embd_size", c.CFUNCTYPE(c.c_int, c.c_void_p)),
        ("context_limit", c.CFUNCTYPE(c.c_int, c.c_void_p)),
        ("set_seed", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.c_uint64)),
        (
            "tokenize",
            c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_size_t, c.c_int, c.POINTER(c.c_int32), c.c_int),
        ),
        ("template_problem", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_int)),
        (
            "detokenize",
            c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(c.c_int32), c.c_size_t, c.c_int, c.c_char_p, c.c_int),
        ),
        ("end_pause", c.CFUNCTYPE(c.c_int, c.c_void_p)),
        ("set_reuse", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)),
        (
            "prompt_figures",
            c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(c.c_int32 * 2), c.c_int),
        ),
        ("vocabulary", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_int)),
        ("set_logits_processor", c.CFUNCTYPE(c.c_int, c.c_void_p, PROCESSOR)),
    )


assert [c.sizeof(kind) for kind in (Param, Input, InferParam, Result, Callback)] == [184, 160, 40, 72, 48]

POINTERS: Final = {
    "run": 3,
    "run_async": 3,
    "abort": 0,
    "is_running": 0,
    "destroy": 0,
    "load_lora": 1,
    "load_prompt_cache": 1,
    "release_prompt_cache": 0,
    "get_kv_cache_size": 1,
    "set_chat_template": 3,
    "set_function_tools": 3,
    "set_cross_attn_params": 1,
}


class Library:
    """The opened library, one function an attribute."""

    def __init__(self, path: Path) -> None:
        library = c.CDLL(str(path), mode=c.RTLD_LOCAL)
        self.create_default_param = library.rkllm_createDefaultParam
        self.create_default_param.restype = Param
        self.init = library.rkllm_init
        self.init.argtypes = [c.c_void_p] * 3
        self.clear_kv_cache = library.rkllm_clear_kv_cache
        self.clear_kv_cache.argtypes = [c.c_void_p, c.c_int, c.c_void_p, c.c_void_p]
        for name, pointers in POINTERS.items():
            function = library[f"rkllm_{name}"]
            function.argtypes = [c.c_void_p] * (1 + pointers)
            setattr(self, name, function)
        library.rkllm_rs_cpu_table.restype = c.POINTER(Table)
        self.table: Table = library.rkllm_rs_cpu_table(1).contents


@dataclass
class Row:
    """What the callback got for one row."""

    tokens: list[int] = field(default_factory=list)
    text: bytes = b""
    values: list[np.ndarray] = field(default_factory=list)
    ended: bool = False

    def take(self, result: Result) -> None:
        self.text += result.text or b""
        values = result.hidden if result.hidden.data else result.logits
        if values.data:
            self.values.append(np.ctypeslib.as_array(values.data, (values.count, values.width)).copy())
        elif result.token_id >= 0:
            assert not self.ended, "a row goes on after its end"
            self.tokens.append(result.token_id)
        else:
            self.ended = True


@dataclass
class Run:
    """What a run gave."""

    code: int
    rows: list[Row]
    finished: int
    errors: int
    prefilled: int
    generated: int
    #: Whether its last call was answered with a pause.
    paused: bool = False

    def take(self, results: Any, state: int) -> None:
        """What a call of the callback says."""
        if state == FINISH:
            self.finished += 1
            self.prefilled = results[0].perf.prefill_tokens
            self.generated = results[0].perf.generate_tokens
        elif state == ERROR:
            self.errors += 1
        else:
            for at, row in enumerate(self.rows):
                row.take(results[at])

    @property
    def tokens(self) -> list[int]:
        return self.rows[0].tokens

    @property
    def text(self) -> str:
        return self.rows[0].text.decode(errors="replace")

    @property
    def values(self) -> np.ndarray:
        return np.concatenate(self.rows[0].values)


def sampling(**settings: float) -> Sampling:
    """Greedy and without penalties, but for what is given."""
    values: dict[str, Any] = {
        "top_k": 40,
        "top_p": 1.0,
        "temperature": 0.0,
        "repeat_penalty": 1.0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
    }
    return Sampling(**(values | settings))


class Model:
    """An open model. Inputs are str, lists of token ids, or float32 arrays of embeddings."""

    def __init__(
        self,
        library: Library,
        path: Path | str,
        *,
        context: int = 512,
        rows: int = 1,
        skip_special: bool = True,
    ) -> None:
        self.library = library
        self.rows = rows
        self._on_call: Callable[[Any, int], int] = lambda _results, _state: 0
        # ctypes calls it as long as the model is open.
        self._callback = Callback(
            result=ResultCallback(lambda results, _, state: self._on_call(results, state))
        )
        param = library.create_default_param()
        param.model_path = str(path).encode()
        param.max_context_len = context
        param.temperature = 0.0
        param.repeat_penalty = 1.0
        param.skip_special_token = skip_special
        param.extend_param.n_batch = rows
        if os.environ.get("PYTEST_XDIST_WORKER"):
            # One core for each process of tests: two runs on all cores only get in each other's way.
            param.extend_param.enabled_cpus_num = 1
            param.extend_param.enabled_cpus_mask = 0
        handle = c.c_void_p()
        code = library.init(c.byref(handle), c.byref(param), c.byref(self._callback))
        assert code == 0, "the model does not open"
        self.handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.library.destroy(self.handle) == 0

    def run(
        self,
        *inputs: str | Sequence[int] | np.ndarray,
        mode: int = GENERATE,
        most: int = 0,
        keep: bool = False,
        lora: str | None = None,
        save: Path | None = None,
        settings: Sampling | None = None,
        role: str = "user",
        thinking: bool = False,
        answer: Callable[[list[Row]], int] | None = None,
    ) -> Run:
        """Runs; `answer` says what the callback returns for tokens and values."""
        run = Run(-2, [Row() for _ in range(self.rows)], 0, 0, 0, 0)

        def on_call(results: Any, state: int) -> int:
            run.take(results, state)
            said = answer(run.rows) if answer and state in {NORMAL, WAITING} else 0
            run.paused = said == PAUSE
            return said

        self._on_call = on_call
        array = (Input * len(inputs))(*(as_input(one, role, thinking=thinking) for one in inputs))
        infer = InferParam(mode=mode, keep_history=keep, max_new_tokens=most)
        if lora is not None:
            infer.lora = c.pointer(LoraParam(lora.encode()))
        if save is not None:
            infer.cache = c.pointer(CacheParam(1, str(save).encode()))
        if settings is not None:
            infer.sampling = c.pointer(settings)
        run.code = self.library.run(self.handle, array, c.byref(infer), None)
        return run

    def go(self, *inputs: str | Sequence[int] | np.ndarray, **keywords: Any) -> Run:
        """A run that succeeds, and says that it has finished unless it is paused."""
        run = self.run(*inputs, **keywords)
        assert (run.code, run.finished, run.errors) == (0, 0 if run.paused else 1, 0)
        return run

    def load_lora(self, path: Path | str, name: str, scale: float = 1.0) -> int:
        adapter = LoraAdapter(str(path).encode(), name.encode(), scale)
        return self.library.load_lora(self.handle, c.byref(adapter))

    def load_cache(self, path: Path) -> int:
        return self.library.load_prompt_cache(self.handle, str(path).encode())

    def clear(self, *ranges: tuple[int, int], keep_system: bool = False) -> int:
        """Clears all, or a range of each row."""
        if not ranges:
            return self.library.clear_kv_cache(self.handle, keep_system, None, None)
        columns = [(c.c_int * len(ranges))(*column) for column in zip(*ranges, strict=True)]
        return self.library.clear_kv_cache(self.handle, keep_system, *columns)

    def sizes(self) -> list[int]:
        sizes = (c.c_int * self.rows)()
        assert self.library.get_kv_cache_size(self.handle, sizes) == 0
        return list(sizes)

    def template(self, system: str = "", prefix: str = "", postfix: str = "") -> int:
        texts = (text.encode() for text in (system, prefix, postfix))
        return self.library.set_chat_template(self.handle, *texts)

    def seed(self, seed: int | None) -> None:
        assert self.library.table.set_seed(self.handle, seed is not None, seed or 0) == 0

    def tokenize(self, text: str | bytes, *, leading: bool = False, capacity: int = 4096) -> list[int]:
        raw = text.encode() if isinstance(text, str) else text
        out = (c.c_int32 * max(capacity, 1))()
        count = self.library.table.tokenize(self.handle, raw, len(raw), leading, out, capacity)
        assert count >= 0
        return list(out[:count]) if count <= capacity else [count]

    def detokenize(self, ids: Sequence[int], *, skip_special: bool = False) -> bytes | None:
        raw = (c.c_int32 * max(len(ids), 1))(*ids)
        ask = self.library.table.detokenize
        count = ask(self.handle, raw, len(ids), skip_special, None, 0)
        if count < 0:
            return None
        out = c.create_string_buffer(count + 1)
        assert ask(self.handle, raw, len(ids), skip_special, out, count) == count
        return out.raw[:count]

    def end_pause(self) -> None:
        assert self.library.table.end_pause(self.handle) == 0

    def reuse(self, how: int) -> None:
        assert self.library.table.set_reuse(self.handle, how) == 0

    def figures(self) -> list[tuple[int, int]]:
        """The prompt tokens of the last run's rows, and those of them that were held."""
        out = (c.c_int32 * 2 * self.rows)()
        count = self.library.table.prompt_figures(self.handle, out, self.rows)
        assert count in {0, self.rows}
        return [(one[0], one[1]) for one in out[:count]]


def as_input(one: str | Sequence[int] | np.ndarray, role: str, *, thinking: bool) -> Input:
    """A row's input, which keeps alive what it points to."""
    made = Input(role=role.encode(), enable_thinking=thinking)
    if isinstance(one, str):
        made.input_type = PROMPT
        made.payload.prompt = one.encode()
    elif isinstance(one, np.ndarray):
        assert one.dtype == np.float32
        assert one.flags.c_contiguous
        made.input_type = EMBED
        made.payload.embed.data = one.ctypes.data_as(c.POINTER(c.c_float))
        made.payload.embed.count = len(one)
        made.kept = one
    else:
        ids = (c.c_int32 * len(one))(*one)
        made.input_type = TOKEN
        made.payload.token.data = c.cast(ids, c.POINTER(c.c_int32))
        made.payload.token.count = len(one)
        made.kept = ids
    return made
