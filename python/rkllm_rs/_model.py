"""``RKLLM``: a model, from Python."""

from __future__ import annotations

import os

from . import _native
from ._library import options
from ._native import (  # noqa: TC001 - at run time too, for typing.get_type_hints(): they cost nothing
    Generation,
    Runtime,
    SamplingParams,
    Tokens,
    TokenStream,
)
from .errors import BackendFallbackWarning, RkllmWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Literal

    from typing_extensions import Self

    from ._library import Path


class RKLLM:
    """An open model (``LLMHandle``).

    Runs on one model are served in turn, in the order of the calls, from any thread or task. Use it in
    a ``with`` block, or call :meth:`close`.

    Example:
        >>> with RKLLM("model.gguf") as llm:  # doctest: +SKIP
        ...     print(llm.generate("Why is the sky blue?").text)
    """

    __slots__ = ("__weakref__", "_model")

    def __init__(
        self,
        model: Path | Sequence[Path],
        *,
        backend: Literal["auto", "npu", "cpu"] = "auto",
        library: Path | None = None,
        abi: str | None = None,
        max_context_len: int | None = None,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        n_keep: int | None = None,
        skip_special_token: bool | None = None,
        ignore_eos_token: bool | None = None,
        img_start: str | None = None,
        img_end: str | None = None,
        img_content: str | None = None,
        base_domain_id: int | None = None,
        embed_flash: bool | None = None,
        enabled_cpus_num: int | None = None,
        enabled_cpus_mask: int | None = None,
        n_batch: int | None = None,
        use_cross_attn: bool | None = None,
    ) -> None:
        """Opens library and model (``rkllm_init``); returns when the model is loaded.

        Ctrl-C during the load raises at once; what the library then has is given back behind it.

        Args:
            model: A ``.rkllm`` or ``.gguf`` file, a folder with one, a name without suffix, or several
                of these in order of preference.
            backend: ``"npu"`` is the vendor's library, ``"cpu"`` the CPU runtime; ``"auto"`` takes what
                fits model and machine. ``RKLLM_RS_BACKEND`` replaces ``"auto"``.
            library: The library's file; obeyed.
            abi: The generation, such as ``"v1_3_0"``, where the library does not tell.
            max_context_len: Context window in tokens.
            max_new_tokens: Most tokens of an answer; without it, the size of the context window.
            sampling: Sampling for all calls that give none.
            n_keep: Positions kept at the start when the window shifts; from 1.2.0.
            skip_special_token: Whether special tokens are left out of the text.
            ignore_eos_token: Whether an end-of-sequence token does not end an answer; from 1.3.0.
            img_start: Marker before image tokens; 1.1.0 to 1.2.3.
            img_end: Marker after image tokens; 1.1.0 to 1.2.3.
            img_content: Placeholder of image tokens; 1.1.0 to 1.2.3.
            base_domain_id: IOMMU domain in which the model starts loading.
            embed_flash: Whether word embeddings are read from storage; from 1.2.0.
            enabled_cpus_num: How many CPUs are used; from 1.2.0.
            enabled_cpus_mask: Which ones, bit i for CPU i; from 1.2.0.
            n_batch: Prompts in one run, 1 to 100; from 1.2.1.
            use_cross_attn: Whether cross attention is used; from 1.2.1.

        Raises:
            LibraryNotFoundError: No library could be loaded.
            UnsupportedRuntimeError: The library found is not certain, or too old.
            UnsupportedFeatureError: A setting that the loaded release does not have.
            ModelError: The model could not be opened; ``ModelNotFoundError``, ``ModelFormatError``,
                ``ModelPlatformError``, ``ModelVersionError``, ``NpuMemoryError`` say more.
            BusyError: A second model, with a release before 1.2.2.
            InvalidArgumentError: A value that can never be right (also a ``ValueError``).
            InvalidTypeError: A value of the wrong type (also a ``TypeError``).
        """
        path, runtime, notes, fallback = _native.resolve(model, *options(library, backend, abi))
        if notes or fallback:
            _warn(notes, fallback)
        self._model: _native.Model = _native.Model.open(
            runtime,
            path,
            max_context_len=max_context_len,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            n_keep=n_keep,
            skip_special_token=skip_special_token,
            ignore_eos_token=ignore_eos_token,
            img_start=img_start,
            img_end=img_end,
            img_content=img_content,
            base_domain_id=base_domain_id,
            embed_flash=embed_flash,
            enabled_cpus_num=enabled_cpus_num,
            enabled_cpus_mask=enabled_cpus_mask,
            n_batch=n_batch,
            use_cross_attn=use_cross_attn,
        )

    @property
    def backend(self) -> Literal["npu", "cpu"]:
        """``"npu"`` or ``"cpu"``."""
        return self._model.runtime.backend

    @property
    def runtime(self) -> Runtime:
        """The library that runs it."""
        return self._model.runtime

    @property
    def model_path(self) -> str:
        """The model's file."""
        return self._model.path

    @property
    def max_context_len(self) -> int:
        """Context window in tokens, as opened."""
        return self._model.max_context_len

    @property
    def max_new_tokens(self) -> int:
        """Most tokens of an answer, as opened."""
        return self._model.max_new_tokens

    @property
    def sampling(self) -> SamplingParams:
        """Sampling as opened, every value known."""
        return self._model.sampling

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._model.closed

    def stream(
        self,
        input: str | Tokens,  # noqa: A002 - the field's word
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        timeout: float | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> TokenStream:
        """Starts a run and returns its tokens as they come (``rkllm_run``). Never blocks.

        Args:
            input: Text, or token ids as ``Tokens``. Text gets the model's chat template from RKLLM
                1.2.0 on.
            max_new_tokens: Most tokens of this answer.
            sampling: Sampling of this answer; before RKLLM 1.3.0 only what the model was opened with.
            timeout: Deadline in seconds, over waiting, prompt and answer.
            keep_history: Whether the conversation goes on from the run before; from 1.2.0.
            role: ``"user"`` or ``"tool"``; from 1.2.1.
            thinking: Thinking mode of models that have one; from 1.2.1.

        Returns:
            A stream to iterate with ``for`` or ``async for``, to cancel, or to ask for its result.

        Raises:
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.
            InvalidArgumentError: A value that can never be right, such as an empty prompt.
            ContextLengthError: More tokens than the context window holds.
            UnsupportedFeatureError: The loaded release cannot do that.
        """
        return self._model.stream(
            input,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            timeout=timeout,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )

    def generate(
        self,
        input: str | Tokens,  # noqa: A002 - the field's word
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        timeout: float | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> Generation:
        """Runs to the end and returns the whole answer (``rkllm_run``).

        Args:
            input: As for :meth:`stream`.
            max_new_tokens: As for :meth:`stream`.
            sampling: As for :meth:`stream`.
            timeout: As for :meth:`stream`.
            keep_history: As for :meth:`stream`.
            role: As for :meth:`stream`.
            thinking: As for :meth:`stream`.

        Returns:
            Text, token ids, why it ended, and figures.

        Raises:
            GenerationError: The run failed; ``.log`` has the library's own lines.
            GenerationTimeout: The deadline passed; ``.partial`` has what came.
            RkllmError: As for :meth:`stream`.
        """
        return self._model.stream(
            input,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            timeout=timeout,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        ).result()

    def clear_kv_cache(self, *, keep_system_prompt: bool = False) -> None:
        """Empties the KV cache (``rkllm_clear_kv_cache``).

        Args:
            keep_system_prompt: Whether the system prompt's part stays.

        Raises:
            UnsupportedFeatureError: Before 1.2.0.
            GenerationError: The library refused.
        """
        self._model.clear_kv_cache(keep_system_prompt=keep_system_prompt)

    def kv_cache_size(self) -> list[int]:
        """Tokens in the KV cache, one number for each row of a batch (``rkllm_get_kv_cache_size``).

        Returns:
            ``n_batch`` numbers.

        Raises:
            UnsupportedFeatureError: Before 1.2.1.
            GenerationError: The library refused.
        """
        return self._model.kv_cache_size()

    def close(self) -> None:
        """Ends all runs and gives the model back (``rkllm_destroy``). May be called again.

        Returns at once: if the library is in a run, it is asked to abort, and the model is destroyed
        when it has come back.
        """
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        model: _native.Model | None = getattr(self, "_model", None)
        if model is None:
            return "<rkllm_rs.RKLLM (not opened)>"
        state = "closed" if model.closed else f"{self.backend}, context {model.max_context_len}"
        return f"<rkllm_rs.RKLLM {os.path.basename(model.path)!r} ({state}, {self.runtime.identity.abi})>"


def _warn(notes: Sequence[str], fallback: str | None) -> None:
    import warnings

    for note in notes:
        warnings.warn(note, RkllmWarning, stacklevel=3)
    if fallback:
        warnings.warn(fallback, BackendFallbackWarning, stacklevel=3)
