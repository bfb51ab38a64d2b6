"""The model that is verified, and what several checks ask of it."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from rkllm_rs.errors import RkllmError
from rkllm_rs.llm import RKLLM

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkllm_rs._native import Generation, Runtime, Tokens
    from rkllm_rs._types import Input

#: What models write between brackets, and tokenizers take for one token.
MARKER = re.compile(r"<[|\uff5c][^<>]{1,40}[|\uff5c]>|</?[a-z_]{1,30}>|\[/?[A-Z_]{2,20}\]")
HELLO = "Say hello."


class Failed(Exception):  # noqa: N818 - a verdict
    """What was seen is not what was expected."""

    def __init__(self, reason: str, value: object = None) -> None:
        super().__init__(reason)
        self.value = value


class Skipped(Exception):  # noqa: N818 - a verdict
    """It cannot be verified here."""


def fail(reason: str, value: object = None) -> NoReturn:
    """Ends an item: what was seen is not what was expected."""
    raise Failed(reason, value)


def skip(reason: str) -> NoReturn:
    """Ends an item that cannot be verified here."""
    raise Skipped(reason)


@dataclass(frozen=True)
class Job:
    """What is to be verified.

    Attributes:
        model: The model's file.
        backend: As for ``RKLLM``.
        library: Likewise.
        lora: An adapter, or ``None``.
        prompt_cache: A prompt cache of this model, or ``None``.
        soak: Minutes.
        timeout: Limit in seconds for the load, and for each item.
    """

    model: str
    backend: str = "auto"
    library: str | None = None
    lora: str | None = None
    prompt_cache: str | None = None
    soak: float = 0
    timeout: float = 300

    @property
    def kill_after(self) -> float:
        """How long a library may ignore an abort."""
        return min(30, self.timeout / 6)

    @property
    def run_timeout(self) -> float:
        """Limit for a single run."""
        return self.timeout / 3


@dataclass
class Session:
    """An open model in a worker, and what is known of it."""

    job: Job
    #: Says that a model is about to be opened, which may take long.
    opening: Callable[[], None] = lambda: None
    _llm: RKLLM | None = None
    _kind: str = ""
    #: Warnings of the last load.
    notes: list[str] = field(default_factory=list[str])
    #: The library, once it was found, and what was noticed then.
    runtime: Runtime | None = None
    found: list[str] = field(default_factory=list[str])

    def open(self, kind: str = "main") -> RKLLM:
        """The model, with its chat template (``"main"``) or with an empty one (``"raw"``)."""
        if self._llm is not None and self._kind == kind:
            return self._llm
        self.close()
        self.opening()
        special: dict[str, Any] = {"template": "raw", "skip_special_token": False} if kind == "raw" else {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._llm = RKLLM(
                self.job.model,
                backend=self.job.backend,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                library=self.job.library,
                isolate=True,
                kill_after=self.job.kill_after,
                open_timeout=self.job.run_timeout,
                vendor_log="quiet",
                # Equal prompts have equal answers, and the token with the largest logit is taken.
                top_k=1,
                repeat_penalty=1.0,
                **special,
            )
        self._kind = kind
        self.notes = [str(one.message).partition("\n")[0] for one in caught]
        return self._llm

    @property
    def llm(self) -> RKLLM:
        """The model as it is open."""
        return self._llm if self._llm is not None else self.open()

    def close(self) -> None:
        """Closes the model."""
        if self._llm is not None:
            self._llm.close()
        self._llm, self._kind = None, ""

    def able(self, name: str) -> bool:
        """Whether the library has a capability."""
        return name in self.llm.runtime.capabilities

    def require(self, name: str, what: str) -> None:
        """Skips the item if the library lacks a capability."""
        if not self.able(name):
            release = self.llm.runtime.identity.version or self.llm.runtime.identity.abi
            skip(f"{what} is not supported by RKLLM {release}")

    def generate(self, prompt: Input, max_new_tokens: int = 24, **options: Any) -> Generation:
        """An answer within the limit for a run."""
        options.setdefault("timeout", self.job.run_timeout)
        return self.llm.generate(prompt, max_new_tokens=max_new_tokens, **options)

    def anew(self) -> dict[str, Any]:
        """Keywords for a run that takes nothing from the KV cache, as far as the library can do that."""
        caps = self.llm.runtime.capabilities
        return {"reuse": False} if "prefix_reuse" in caps and {"seed", "clear_kv_cache"} & set(caps) else {}

    def size(self) -> int | None:
        """Number of tokens in the KV cache; ``None`` if the library has no way to ask."""
        return int(self.llm.kv_cache_size()) if self.able("kv_cache_size") else None

    def fed(self, prompt: Input, **options: Any) -> int | None:
        """How many tokens the library makes of a prompt; ``None`` if it does not report it."""
        perf = self.generate(prompt, 1, **(self.anew() | options)).perf
        if perf.source == "library" and perf.prefill_tokens:
            # What was taken from the KV cache was part of the prompt, too.
            return perf.prefill_tokens + (perf.cached_tokens or 0)
        size = self.size()
        # The token that was generated is not part of the prompt.
        return size - 1 if size else None

    def ids(self, text: str, *, special: bool = True) -> list[int] | None:
        """The ids of a text; ``None`` without a tokenizer."""
        try:
            return self.llm.tokenize(text, add_special_tokens=special)
        except RkllmError:
            return None

    def some_ids(self, count: int) -> Tokens:
        """Valid token ids: of a text if there is a tokenizer, else of an answer of the model."""
        from rkllm_rs._native import Tokens

        ids = self.ids("The quick brown fox jumps over the lazy dog. " * (count // 4 + 1))
        if ids is None:
            ids = [one for one in self.generate(HELLO).token_ids if one >= 0]
        if not ids:
            skip("there are no token ids: no tokenizer, and the model's answer was empty")
        return Tokens((ids * (count // len(ids) + 1))[:count])

    def pid(self) -> int | None:
        """The worker's process ID."""
        return self.llm.worker_pid

    def room(self) -> int:
        """How many tokens a long prompt may have here."""
        return max(16, min(512, self.llm.max_context_len // 2))


def told(error: BaseException) -> str:
    """An error in one line."""
    first = str(error).partition("\n")[0]
    log = [str(line) for line in getattr(error, "log", ())][-2:]
    lines = f" (the library's log: {' | '.join(log)})" if log else ""
    return f"{type(error).__name__}: {first}{lines}"


def shown(text: str, limit: int = 80) -> str:
    """A text as part of a sentence."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def markers(session: Session) -> list[str]:
    """Special tokens that the model's chat template writes."""
    with contextlib.suppress(RkllmError):
        text = session.llm.render_chat([{"role": "user", "content": "Hello"}])
        return list(dict.fromkeys(MARKER.findall(text)))
    return []


def name_of(path: str) -> str:
    """A file's name, without the folders that may name a user."""
    return os.path.basename(path)
