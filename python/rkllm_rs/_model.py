"""``RKLLM``: a model, from Python.

Long because of one docstring: all arguments of ``RKLLM`` are described where people look first.
"""

from __future__ import annotations

import os

from . import _native
from ._async import Awaiting
from ._library import Path, options
from ._native import (  # noqa: TC001 - at run time too, for typing.get_type_hints(): they cost nothing
    ModelInfo,
    Runtime,
    SamplingParams,
)
from ._types import (  # noqa: TC001
    Callable,
    Floats,
    Iterable,
    Literal,
    Sequence,
)
from .errors import BackendFallbackWarning, RkllmWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self


class RKLLM(Awaiting):
    """An open model (``LLMHandle``).

    Runs on one model are served in turn, in the order of the calls, from any thread or task. Use it in
    a ``with`` block, or call :meth:`close`.

    Example:
        >>> with RKLLM("model.gguf") as llm:  # doctest: +SKIP
        ...     print(llm.generate("Why is the sky blue?").text)
    """

    __slots__ = ("__weakref__",)

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
        enabled_cpus_mask: int | Iterable[int] | None = None,
        n_batch: int | None = None,
        use_cross_attn: bool | None = None,
        template: Literal["model", "raw"] | tuple[str, str, str] = "model",
        tokenizer: Callable[[str], Iterable[int]] | None = None,
        embedder: Callable[[list[int]], Floats] | None = None,
        open_timeout: float | None = 60.0,
        vendor_log: Literal["warnings", "quiet", "all", "direct"] | None = None,
    ) -> None:
        """Opens library and model (``rkllm_init``); returns when the model is loaded.

        Ctrl-C during the load raises at once; what the library then has is given back behind it.

        Args:
            model: A ``.rkllm`` or ``.gguf`` file, a folder with one, a name without suffix, or several
                of these in order of preference. ``~`` stands for the home folder here and in all other
                paths.
            backend: ``"npu"`` is the vendor's library, ``"cpu"`` the CPU runtime; ``"auto"`` takes what
                fits model and machine. ``RKLLM_RS_BACKEND`` replaces ``"auto"``.
            library: The library's file; obeyed.
            abi: The ABI version, such as ``"v1_3_0"``, where the library does not tell.
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
            enabled_cpus_mask: Which ones: their numbers, such as ``{4, 5, 6, 7}``, or a mask with bit i for
                CPU i; from 1.2.0.
            n_batch: Prompts in one run, 1 to 100; from 1.2.1.
            use_cross_attn: Whether cross attention is used; from 1.2.1.
            template: The chat template of text: the model's own, ``"raw"`` for none, or system prompt,
                prefix and postfix as for :meth:`set_chat_template`.
            tokenizer: Gives the token ids of a text, for models exported without a tokenizer; from 1.3.0.
                Called on the thread that waits for the model.
            embedder: Gives embeddings of tokens, float32 (n, width), for models exported without an
                embedding layer; from 1.3.0. Called likewise.
            open_timeout: How many seconds to wait for a model that was closed and is still busy in the
                library; ``None`` waits without limit.
            vendor_log: What to print of the library's own lines: ``"warnings"`` (errors and warnings, to
                stderr), ``"quiet"`` (nothing), ``"all"`` (everything, to stderr) or ``"direct"`` (leave the
                library's output alone). The choice is for the whole process, and the last one counts;
                ``None`` leaves it as it is. At first it is that of ``RKLLM_RS_VENDOR_LOG``, or
                ``"warnings"``. ``"direct"`` must be chosen before the first library is loaded. If the
                logger ``rkllm_rs.vendor`` has a handler of its own, nothing is printed.

        Raises:
            LibraryNotFoundError: No library could be loaded.
            UnsupportedRuntimeError: The library found is not certain, or too old.
            UnsupportedFeatureError: A setting that the loaded release does not have.
            ModelError: The model could not be opened; ``ModelNotFoundError``, ``ModelFormatError``,
                ``ModelPlatformError``, ``ModelVersionError``, ``NpuMemoryError`` say more.
            BusyError: A second model, with a release before 1.2.2; or ``open_timeout`` has passed.
            InvalidArgumentError: A value that can never be right (also a ``ValueError``).
            InvalidTypeError: A value of the wrong type (also a ``TypeError``).
        """
        path, runtime, notes, fallback = _native.resolve(model, *options(library, backend, abi, vendor_log))
        if notes or fallback:
            _warn(notes, fallback)
        opening = _native.Model.open(
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
            template=template,
            tokenizer=tokenizer,
            embedder=embedder,
            open_timeout=open_timeout,
        )
        self._model: _native.Model = opening.result()
        _advise(self._model)

    @classmethod
    async def aopen(
        cls,
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
        enabled_cpus_mask: int | Iterable[int] | None = None,
        n_batch: int | None = None,
        use_cross_attn: bool | None = None,
        template: Literal["model", "raw"] | tuple[str, str, str] = "model",
        tokenizer: Callable[[str], Iterable[int]] | None = None,
        embedder: Callable[[list[int]], Floats] | None = None,
        open_timeout: float | None = 60.0,
        vendor_log: Literal["warnings", "quiet", "all", "direct"] | None = None,
    ) -> Self:
        """Opens library and model for an event loop: ``llm = await RKLLM.aopen(...)``.

        A task that is cancelled gives up; what the library then has is given back behind it.

        Args:
            model: As for the class.
            backend: As for the class.
            library: As for the class.
            abi: As for the class.
            max_context_len: As for the class.
            max_new_tokens: As for the class.
            sampling: As for the class.
            n_keep: As for the class.
            skip_special_token: As for the class.
            ignore_eos_token: As for the class.
            img_start: As for the class.
            img_end: As for the class.
            img_content: As for the class.
            base_domain_id: As for the class.
            embed_flash: As for the class.
            enabled_cpus_num: As for the class.
            enabled_cpus_mask: As for the class.
            n_batch: As for the class.
            use_cross_attn: As for the class.
            template: As for the class.
            tokenizer: As for the class.
            embedder: As for the class.
            open_timeout: As for the class.
            vendor_log: As for the class.

        Returns:
            The model, open; for ``async with`` as well.

        Raises:
            RkllmError: As for the class.
        """
        import asyncio

        from ._aio import done

        arguments = options(library, backend, abi, vendor_log)
        loop = asyncio.get_running_loop()
        # Files are read whole before they are loaded, which takes a moment.
        path, runtime, notes, fallback = await loop.run_in_executor(None, _native.resolve, model, *arguments)
        if notes or fallback:
            _warn(notes, fallback)
        opening = _native.Model.open(
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
            template=template,
            tokenizer=tokenizer,
            embedder=embedder,
            open_timeout=open_timeout,
        )
        opened = await done(opening)
        _advise(opened)
        return cls._of(opened)

    @classmethod
    def _of(cls, model: _native.Model) -> Self:
        """Wraps a model that is open."""
        llm = cls.__new__(cls)
        llm._model = model  # noqa: SLF001 - the new object is its own
        return llm

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
    def n_batch(self) -> int:
        """Prompts in one run, as opened."""
        return self._model.n_batch

    @property
    def info(self) -> ModelInfo:
        """What is known of the model, each fact with where it is known from."""
        return self._model.info

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._model.closed

    def close(self) -> None:
        """Ends all runs and gives the model back (``rkllm_destroy``). May be called again.

        Returns at once: if the library is in a run, it is asked to abort, and the model is destroyed
        when it has come back.
        """
        self._model.close()

    async def aclose(self) -> None:
        """:meth:`close`, for an event loop; returns when the library has let go of an idle model."""
        import asyncio

        await asyncio.get_running_loop().run_in_executor(None, self._model.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: object,
    ) -> None:
        await self.aclose()

    def __reduce_ex__(self, protocol: object, /) -> str | tuple[object, ...]:
        """Refuses ``copy`` and ``pickle``: an open model is in the library's hands.

        Raises:
            InvalidTypeError: Always (also a ``TypeError``).
        """
        from .errors import InvalidTypeError

        message = "an open model cannot be copied or pickled"
        hint = "Share the one object between threads and tasks, or open the model again by its model_path."
        raise InvalidTypeError(message, hint=hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: object,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        model: _native.Model | None = getattr(self, "_model", None)
        if model is None:
            return "<rkllm_rs.RKLLM (not opened)>"
        state = "closed" if model.closed else f"{self.backend}, context {model.max_context_len}"
        return f"<rkllm_rs.RKLLM {os.path.basename(model.path)!r} ({state}, {self.runtime.identity.abi})>"


if not TYPE_CHECKING:
    Self = RKLLM  # for typing.get_type_hints()


def _advice(model: _native.Model) -> list[str]:
    """What is known to give wrong text, and was not refused by the library."""
    info = model.info
    advice: list[str] = []
    if info.context_limit is not None and model.max_context_len > info.context_limit:
        advice.append(
            f"max_context_len {model.max_context_len} is above the model's limit of {info.context_limit}: "
            "beyond it the text may be garbage"
        )
    driver = info.driver_version
    numbers = [int(part) for part in driver.split(".") if part.isdigit()] if driver else []
    if numbers and numbers < [0, 9, 8]:
        advice.append(
            f"the NPU driver is {driver}: below 0.9.8 runs may succeed with garbage; "
            "update the board's kernel"
        )
    if info.template_problem is not None:
        advice.append(
            f"{info.template_problem}. Prompts go to the model as they are: pass the strings to put around "
            'them as template=, or template="raw" if that is meant'
        )
    return advice


def _advise(model: _native.Model) -> None:
    """Warns of what :func:`_advice` finds; where warnings are errors, the model is not left open."""
    advice = _advice(model)
    if not advice:
        return
    try:
        _warn(advice, None, above=4)
    except BaseException:
        # Whoever keeps the exception keeps the model.
        model.close()
        raise


def _warn(notes: Sequence[str], fallback: str | None, above: int = 3) -> None:
    import warnings

    for note in notes:
        warnings.warn(note, RkllmWarning, stacklevel=above)
    if fallback:
        warnings.warn(fallback, BackendFallbackWarning, stacklevel=above)
