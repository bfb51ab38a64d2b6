"""Speaks to a fake through ctypes, with the layouts compiled from the vendor's headers."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakes import fake_library, fake_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ABI = Path(__file__).parents[1] / "abi"
WIDE = ctypes.sizeof(ctypes.c_void_p) == 8
TARGET = "x86_64" if WIDE else "armhf"
# There the hidden pointer to a returned struct is an ordinary first argument.
HIDDEN_IS_FIRST = platform.machine() in ("x86_64", "armv7l")
RESULT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
TOKENIZER = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int32),
    ctypes.c_int32,
)
EMBEDDER = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_int32),
    ctypes.c_uint64,
    ctypes.POINTER(ctypes.c_float),
    ctypes.c_uint64,
)
CANARY = 0xA5

Layouts = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Member:
    """An input by its parts: the union member's struct and its fields as bytes."""

    kind: int
    struct: str
    fields: dict[str, bytes]


Prompt = bytes | list[int] | Member


class Returned(ctypes.Structure):
    """Room for the parameters of any generation."""

    _fields_ = [("bytes", ctypes.c_ubyte * 1024)]


class Fake:
    """One loaded fake, spoken to through byte buffers."""

    def __init__(self, path: Path, generation: str) -> None:
        """Loads the library.

        Args:
            path: The copy to load.
            generation: Its layouts.
        """
        self.lib = ctypes.CDLL(os.fspath(path))
        self.generation = generation
        # The larger input structs of 1.2.1b1 serve both releases of v1_2_0.
        name = "v1_2_1b1" if generation == "v1_2_0" else generation
        self.layouts: Layouts = json.loads((ABI / f"{name}.{TARGET}.json").read_text())
        self.handle = ctypes.c_void_p()
        self.seen: list[tuple[int, bytes | None, int]] = []
        self.threads: list[int] = []
        self.matrices: list[tuple[str, list[float], int]] = []
        self.users: list[int | None] = []
        self.perf: tuple[Any, ...] | None = None
        self.answer: Callable[[int], int] = lambda _count: 0
        self.n_batch = 1
        # With a batch: the texts and ids of all rows, for each callback that has a result.
        self.batches: list[list[tuple[bytes | None, int]]] = []
        # Of 1.3.0; set before init.
        self.tokenizer: Callable[..., int] | None = None
        self.embedder: Callable[..., int] | None = None
        self.keep: list[Any] = []
        self.callback = RESULT(self._called)

    def at(self, struct_name: str, field: str) -> int:
        """Offset of a field."""
        offset: int = self.layouts[struct_name]["fields"][field]
        return offset

    def pointer(self, address: int) -> bytes:
        """An address as the target stores it."""
        return struct.pack("<Q" if WIDE else "<I", address)

    def text(self, value: bytes) -> bytes:
        """A pointer to a C string that lives as long as this object."""
        buffer = ctypes.create_string_buffer(value)
        self.keep.append(buffer)
        return self.pointer(ctypes.addressof(buffer))

    def floats(self, values: Sequence[float]) -> bytes:
        """A pointer to floats that live as long as this object."""
        buffer = (ctypes.c_float * len(values))(*values)
        self.keep.append(buffer)
        return self.pointer(ctypes.addressof(buffer))

    def defaults(self) -> bytearray:
        """What rkllm_createDefaultParam returns; unwritten bytes are the canary where possible."""
        create = self.lib.rkllm_createDefaultParam
        if HIDDEN_IS_FIRST:
            buffer = (ctypes.c_ubyte * 1024)(*([CANARY] * 1024))
            create.restype = ctypes.c_void_p
            assert create(buffer) == ctypes.addressof(buffer)
            return bytearray(buffer)
        create.restype = Returned
        return bytearray(create().bytes)

    def param(self, model: Path | str) -> bytearray:
        """Default parameters for a model, everything unwritten zeroed."""
        param = self.defaults()
        layout = self.layouts["RKLLMParam"]
        extend = layout["fields"]["extend_param"]
        reserved = extend + self.at("RKLLMExtendParam", "reserved")
        param[reserved:] = bytes(len(param) - reserved)
        path = self.text(os.fspath(model).encode())
        param[0 : len(path)] = path
        return param

    def init(self, model: Path | str, param: bytearray | None = None) -> int:
        """Calls rkllm_init."""
        buffer = (ctypes.c_ubyte * 1024)(*(param if param is not None else self.param(model)))
        third: Any = self.callback
        if self.generation >= "v1_3_0":
            asked = (self.tokenizer and TOKENIZER(self.tokenizer), self.embedder and EMBEDDER(self.embedder))
            self.keep.append(asked)
            given = [ctypes.cast(it, ctypes.c_void_p) if it else None for it in (self.callback, *asked)]
            third = (ctypes.c_void_p * 6)(given[0], 77, given[1], 78, given[2], 79)
        self.keep.append((buffer, third))
        return int(self.lib.rkllm_init(ctypes.byref(self.handle), buffer, third))

    def run(
        self,
        prompt: Prompt | Sequence[Prompt] = b"hi",
        *,
        mode: int = 0,
        user: int = 5,
        function: str = "rkllm_run",
        infer: dict[str, bytes] | None = None,
    ) -> int:
        """Calls rkllm_run with text, token ids or a member; with a batch, with a list of them."""
        inputs: Any = prompt if self.n_batch > 1 else [prompt]
        assert len(inputs) == self.n_batch
        source = ctypes.create_string_buffer(b"".join(map(self.input, inputs)))
        how = (ctypes.c_ubyte * self.layouts["RKLLMInferParam"]["size"])()
        how[0] = mode
        for field, value in (infer or {}).items():
            start = self.at("RKLLMInferParam", field)
            how[start : start + len(value)] = list(value)
        call = getattr(self.lib, function)
        return int(call(self.handle, source, how, ctypes.c_void_p(user)))

    def input(self, prompt: Prompt) -> bytes:
        """One RKLLMInput."""
        source = bytearray(self.layouts["RKLLMInput"]["size"])
        member = bytearray(len(source) - self.at("RKLLMInput", "prompt_input"))
        if isinstance(prompt, bytes):
            prompt = Member(0, "", {"": self.text(prompt)})
        elif isinstance(prompt, list):
            ids = (ctypes.c_int32 * len(prompt))(*prompt)
            self.keep.append(ids)
            where = {"input_ids": self.pointer(ctypes.addressof(ids)), "n_tokens": self.pointer(len(prompt))}
            prompt = Member(1, "RKLLMTokenInput", where)
        for field, value in prompt.fields.items():
            start = self.at(prompt.struct, field) if field else 0
            member[start : start + len(value)] = value
        source[self.at("RKLLMInput", "input_type")] = prompt.kind
        source[self.at("RKLLMInput", "prompt_input") :] = member
        if "role" in self.layouts["RKLLMInput"]["fields"]:
            role = self.text(b"user")
            source[0 : len(role)] = role
        return bytes(source)

    def call(self, function: str, *arguments: Any) -> int:
        """Calls a function of a handle."""
        return int(getattr(self.lib, function)(self.handle, *arguments))

    def texts(self, state: int = 0) -> list[bytes | None]:
        """The texts that came with a state."""
        return [text for its, text, _ in self.seen if its == state]

    def _called(self, result: int | None, user: int | None, state: int) -> int:
        self.threads.append(threading.get_native_id())
        self.users.append(user)
        if not result:
            self.seen.append((state, None, -1))
            return self.answer(len(self.seen))
        fields = self.layouts["RKLLMResult"]["fields"]
        batch = []
        stride = self.layouts["RKLLMResult"]["size"]
        for at in range(result, result + self.n_batch * stride, stride):
            text = ctypes.c_char_p.from_address(at).value
            token = ctypes.c_int32.from_address(at + fields["token_id"]).value
            batch.append((text, token))
            for name in ("last_hidden_layer", "logits"):
                if name in fields:
                    self._matrix(name, at + fields[name])
            if state == 2 and "perf" in fields:
                self.perf = struct.unpack("<fifif", ctypes.string_at(at + fields["perf"], 20))
        self.batches.append(batch)
        self.seen.append((state, *batch[0]))
        return self.answer(len(self.seen))

    def _matrix(self, name: str, address: int) -> None:
        base = ctypes.c_void_p.from_address(address).value
        word = ctypes.sizeof(ctypes.c_void_p)
        width, rows = struct.unpack("<ii", ctypes.string_at(address + word, 8))
        if base:
            values = (ctypes.c_float * (width * rows)).from_address(base)
            self.matrices.append((name, list(values), base))


def opened(tmp_path: Path, generation: str, **script: Any) -> Fake:
    """A fake with a model loaded, recording to tmp_path/record.jsonl."""
    fake = recorded(tmp_path, generation)
    assert fake.init(fake_model(tmp_path, **script)) == 0
    assert fake.handle.value
    return fake


def recorded(tmp_path: Path, generation: str) -> Fake:
    """A fake that records to tmp_path/record.jsonl, before any model is loaded."""
    record = tmp_path / "record.jsonl"
    return Fake(fake_library(tmp_path, generation, record=record, quiet=True), generation)


def opened_batch(tmp_path: Path, n_batch: int, *, generation: str = "v1_3_0", **script: Any) -> Fake:
    """A fake with a model of several batch rows loaded."""
    fake = recorded(tmp_path, generation)
    fake.n_batch = n_batch
    model = fake_model(tmp_path, **script)
    param = fake.param(model)
    param[fake.at("RKLLMParam", "extend_param") + fake.at("RKLLMExtendParam", "n_batch")] = n_batch
    assert fake.init(model, param) == 0
    return fake
