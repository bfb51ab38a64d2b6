"""Speaks to a fake through ctypes, with the layouts compiled from the vendor's headers."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ABI = Path(__file__).parents[1] / "abi"
WIDE = ctypes.sizeof(ctypes.c_void_p) == 8
TARGET = "x86_64" if WIDE else "armhf"
# There the hidden pointer to a returned struct is an ordinary first argument.
HIDDEN_IS_FIRST = platform.machine() in ("x86_64", "armv7l")
RESULT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
CANARY = 0xA5

Layouts = dict[str, dict[str, Any]]


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
        if self.generation == "v1_3_0":
            third = (ctypes.c_void_p * 6)(ctypes.cast(self.callback, ctypes.c_void_p), 77)
        self.keep.append((buffer, third))
        return int(self.lib.rkllm_init(ctypes.byref(self.handle), buffer, third))

    def run(
        self,
        prompt: bytes | list[int] = b"hi",
        *,
        mode: int = 0,
        user: int = 5,
        function: str = "rkllm_run",
        infer: dict[str, bytes] | None = None,
    ) -> int:
        """Calls rkllm_run with text or token ids."""
        source = (ctypes.c_ubyte * self.layouts["RKLLMInput"]["size"])()
        kind = self.at("RKLLMInput", "input_type")
        if isinstance(prompt, bytes):
            source[kind] = 0
            member = self.text(prompt)
        else:
            source[kind] = 1
            ids = (ctypes.c_int32 * len(prompt))(*prompt)
            self.keep.append(ids)
            member = self.pointer(ctypes.addressof(ids)) + self.pointer(len(prompt))
        start = self.at("RKLLMInput", "prompt_input")
        source[start : start + len(member)] = list(member)
        if "role" in self.layouts["RKLLMInput"]["fields"]:
            role = self.text(b"user")
            source[0 : len(role)] = list(role)
        how = (ctypes.c_ubyte * self.layouts["RKLLMInferParam"]["size"])()
        how[0] = mode
        for field, value in (infer or {}).items():
            start = self.at("RKLLMInferParam", field)
            how[start : start + len(value)] = list(value)
        call = getattr(self.lib, function)
        return int(call(self.handle, source, how, ctypes.c_void_p(user)))

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
        text = ctypes.c_char_p.from_address(result).value
        token = ctypes.c_int32.from_address(result + fields["token_id"]).value
        self.seen.append((state, text, token))
        for name in ("last_hidden_layer", "logits"):
            if name in fields:
                self._matrix(name, result + fields[name])
        if state == 2 and "perf" in fields:
            self.perf = struct.unpack("<fifif", ctypes.string_at(result + fields["perf"], 20))
        return self.answer(len(self.seen))

    def _matrix(self, name: str, address: int) -> None:
        base = ctypes.c_void_p.from_address(address).value
        word = ctypes.sizeof(ctypes.c_void_p)
        width, rows = struct.unpack("<ii", ctypes.string_at(address + word, 8))
        if base:
            values = (ctypes.c_float * (width * rows)).from_address(base)
            self.matrices.append((name, list(values), base))
