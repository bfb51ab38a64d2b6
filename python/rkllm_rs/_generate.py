"""Calls that generate: one input or several, whole or as they come."""

from __future__ import annotations

from . import _native  # noqa: TC001
from ._library import Path  # noqa: TC001
from ._native import (  # noqa: TC001 - at run time too, for typing.get_type_hints(): they cost nothing
    Chunk,
    Generation,
    SamplingParams,
    Steps,
    TokenStream,
)
from ._results import BatchStream
from ._types import (  # noqa: TC001
    Callable,
    Input,
    Sequence,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._native import ArrayStream

    _Stream = TokenStream | ArrayStream | Steps


class Generating:
    """The part of ``RKLLM`` that generates."""

    __slots__ = ("_model",)

    _model: _native.Model

    def _caller(self) -> int | None:
        """The task that calls, where that matters: its own ``steps()`` may be under way."""
        if not self._model.in_steps:
            return None
        from ._tasks import task_number

        return task_number()

    def _noted(self, streams: Sequence[_Stream]) -> None:
        """Notes that the running task, if there is one, reads these streams."""
        from ._tasks import running_task

        if running_task() is not None:
            from ._aio import note_reader

            for stream in streams:
                note_reader(stream)

    def stream(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        lora: str | None = None,
        save_prompt_cache: Path | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
        on_token: Callable[[Chunk], object] | None = None,
    ) -> TokenStream:
        """Starts a run and returns its tokens as they come (``rkllm_run``). Never blocks.

        Args:
            input: Text, token ids, embeddings, or text with embeddings of images in it. Text gets the
                model's chat template from RKLLM 1.2.0 on.
            max_new_tokens: Most tokens of the answer.
            sampling: Sampling of this call; before RKLLM 1.3.0 only what the model was opened with.
            stop: One string or several that end the answer, before which the text ends.
            seed: Seed for sampling, 0 to 2**64 - 1; the CPU runtime only.
            timeout: Deadline in seconds, over waiting, prompt and answer.
            lora: Name of the adapter to use.
            save_prompt_cache: File to which the prompt's KV cache is saved; a side file with the suffix
                ``.json`` tells which model it is of.
            keep_history: Whether the conversation goes on from the run before; from 1.2.0.
            role: ``"user"`` or ``"tool"``; from 1.2.1.
            thinking: Thinking mode of models that have one; from 1.2.1.
            on_token: Called with each chunk, on the thread that reads; what it raises ends the run and is
                raised to the caller.

        Returns:
            A stream to iterate with ``for`` or ``async for``, to cancel, or to ask for its result.

        Raises:
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.
            BusyError: From inside a callback of this model, or in the middle of its ``steps()``.
            InvalidArgumentError: A value that can never be right, such as an empty prompt.
            ContextLengthError: More tokens than the context window holds.
            UnsupportedFeatureError: The loaded release cannot do that.
        """
        stream = self._model.stream(
            input,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop=stop,
            seed=seed,
            timeout=timeout,
            lora=lora,
            save_prompt_cache=save_prompt_cache,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
            on_token=on_token,
            caller=self._caller(),
        )
        self._noted([stream])
        return stream

    def generate(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        lora: str | None = None,
        save_prompt_cache: Path | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
        on_token: Callable[[Chunk], object] | None = None,
    ) -> Generation:
        """Runs to the end and returns the whole answer (``rkllm_run``).

        Args:
            input: As for :meth:`stream`.
            max_new_tokens: As for :meth:`stream`.
            sampling: As for :meth:`stream`.
            stop: As for :meth:`stream`.
            seed: As for :meth:`stream`.
            timeout: As for :meth:`stream`.
            lora: As for :meth:`stream`.
            save_prompt_cache: As for :meth:`stream`.
            keep_history: As for :meth:`stream`.
            role: As for :meth:`stream`.
            thinking: As for :meth:`stream`.
            on_token: As for :meth:`stream`.

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
            stop=stop,
            seed=seed,
            timeout=timeout,
            lora=lora,
            save_prompt_cache=save_prompt_cache,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
            on_token=on_token,
            caller=self._caller(),
        ).result()

    def stream_batch(
        self,
        inputs: Sequence[Input],
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        lora: str | None = None,
        save_prompt_cache: Path | None = None,
        keep_history: bool = False,
        role: str | Sequence[str] | None = None,
        thinking: bool | Sequence[bool] | None = None,
        on_token: Callable[[Chunk], object] | None = None,
    ) -> BatchStream:
        """Starts one run of several inputs, on a model that was opened with ``n_batch``; from 1.2.1.

        Each row ends at its own time. The library is asked to stop when no row is wanted any more.

        Args:
            inputs: Exactly ``n_batch`` of them.
            max_new_tokens: Most tokens of the answer.
            sampling: Sampling of this call; before RKLLM 1.3.0 only what the model was opened with.
            stop: One string or several that end the answer, before which the text ends.
            seed: Seed for sampling, 0 to 2**64 - 1; the CPU runtime only.
            timeout: Deadline in seconds, over waiting, prompt and answer.
            lora: Name of the adapter to use.
            save_prompt_cache: File to which the prompt's KV cache is saved; a side file with the suffix
                ``.json`` tells which model it is of.
            keep_history: Whether the conversation goes on from the run before; from 1.2.0.
            role: ``"user"`` or ``"tool"``, for all rows or one for each.
            thinking: Thinking mode of models that have one, for all rows or one for each.
            on_token: Called with each chunk, on the thread that reads; what it raises ends the run and is
                raised to the caller.

        Returns:
            A stream for each row.

        Raises:
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.
            BusyError: From inside a callback of this model, or in the middle of its ``steps()``.
            InvalidArgumentError: A value that can never be right, such as an empty prompt.
            ContextLengthError: More tokens than the context window holds.
            UnsupportedFeatureError: The loaded release cannot do that.
        """
        streams = self._model.stream_batch(
            inputs,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop=stop,
            seed=seed,
            timeout=timeout,
            lora=lora,
            save_prompt_cache=save_prompt_cache,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
            on_token=on_token,
            caller=self._caller(),
        )
        self._noted(streams)
        return BatchStream(streams)

    def generate_batch(
        self,
        inputs: Sequence[Input],
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        lora: str | None = None,
        save_prompt_cache: Path | None = None,
        keep_history: bool = False,
        role: str | Sequence[str] | None = None,
        thinking: bool | Sequence[bool] | None = None,
        on_token: Callable[[Chunk], object] | None = None,
    ) -> list[Generation]:
        """Runs several inputs to their ends in one run, on a model that was opened with ``n_batch``.

        Args:
            inputs: As for :meth:`stream_batch`.
            max_new_tokens: As for :meth:`stream_batch`.
            sampling: As for :meth:`stream_batch`.
            stop: As for :meth:`stream_batch`.
            seed: As for :meth:`stream_batch`.
            timeout: As for :meth:`stream_batch`.
            lora: As for :meth:`stream_batch`.
            save_prompt_cache: As for :meth:`stream_batch`.
            keep_history: As for :meth:`stream_batch`.
            role: As for :meth:`stream_batch`.
            thinking: As for :meth:`stream_batch`.
            on_token: As for :meth:`stream_batch`.

        Returns:
            An answer for each row.

        Raises:
            GenerationError: The run failed; ``.log`` has the library's own lines.
            RkllmError: As for :meth:`stream_batch`.
        """
        return self.stream_batch(
            inputs,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop=stop,
            seed=seed,
            timeout=timeout,
            lora=lora,
            save_prompt_cache=save_prompt_cache,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
            on_token=on_token,
        ).results()

    def steps(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        lora: str | None = None,
        save_prompt_cache: Path | None = None,
        role: str | None = None,
        thinking: bool | None = None,
        on_token: Callable[[Chunk], object] | None = None,
    ) -> Steps:
        """Starts a run that pauses after each token, to look and to intervene; from 1.2.1.

        The library keeps the KV cache while it is paused. What is sent takes the place of the token just
        given; without, the run goes on as if it had not been paused. Other runs wait until the steps end.

        Args:
            input: As for :meth:`stream`.
            max_new_tokens: Most tokens of the answer.
            sampling: Sampling of this call; before RKLLM 1.3.0 only what the model was opened with.
            stop: One string or several that end the answer, before which the text ends.
            seed: Seed for sampling, 0 to 2**64 - 1; the CPU runtime only.
            timeout: Deadline in seconds, over waiting, prompt and answer.
            lora: Name of the adapter to use.
            save_prompt_cache: File to which the prompt's KV cache is saved; a side file with the suffix
                ``.json`` tells which model it is of.
            role: ``"user"`` or ``"tool"``; from 1.2.1.
            thinking: Thinking mode of models that have one; from 1.2.1.
            on_token: Called with each chunk, on the thread that reads; what it raises ends the run and is
                raised to the caller.

        Returns:
            A generator of chunks, with ``send()`` and ``close()``; also for ``async for``.

        Raises:
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.
            BusyError: From inside a callback of this model, or in the middle of its ``steps()``.
            InvalidArgumentError: A value that can never be right, such as an empty prompt.
            ContextLengthError: More tokens than the context window holds.
            UnsupportedFeatureError: The loaded release cannot do that.
        """
        steps = self._model.steps(
            input,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop=stop,
            seed=seed,
            timeout=timeout,
            lora=lora,
            save_prompt_cache=save_prompt_cache,
            role=role,
            thinking=thinking,
            on_token=on_token,
        )
        self._noted([steps])
        return steps
