"""The calls of ``RKLLM`` that can take long, for event loops.

All have the name of the ordinary call with an ``a`` in front, its arguments and its errors. Nothing blocks
the loop: the model's own thread wakes it, and what computes for long runs on a thread of the loop's executor.
A task that is cancelled cancels its run.

Long because each call is written out with its own signature and docstring, which editors show.
"""

from __future__ import annotations

from . import _native
from ._library import Path  # noqa: TC001
from ._measure import Measuring, _inputs
from ._native import (
    Chunk,
    CrossAttention,
    FloatArray,
    Generation,
    SamplingParams,
    Tokens,
)
from ._results import Score
from ._state import Keeping, _json
from ._types import (  # noqa: TC001
    Callable,
    Input,
    Literal,
    Mapping,
    Sequence,
)


class Awaiting(Measuring, Keeping):
    """The part of ``RKLLM`` for event loops."""

    __slots__ = ()

    async def agenerate(
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
        """:meth:`generate`, for an event loop.

        Args:
            input: As for :meth:`generate`.
            max_new_tokens: As for :meth:`generate`.
            sampling: As for :meth:`generate`.
            stop: As for :meth:`generate`.
            seed: As for :meth:`generate`.
            timeout: As for :meth:`generate`.
            lora: As for :meth:`generate`.
            save_prompt_cache: As for :meth:`generate`.
            keep_history: As for :meth:`generate`.
            role: As for :meth:`generate`.
            thinking: As for :meth:`generate`.
            on_token: As for :meth:`generate`.

        Returns:
            As :meth:`generate`.

        Raises:
            RkllmError: As for :meth:`generate`.
        """
        from ._aio import finished

        stream = self.stream(
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
        )
        return await finished(stream)

    async def agenerate_batch(
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
        """:meth:`generate_batch`, for an event loop.

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
            As :meth:`generate_batch`.

        Raises:
            RkllmError: As for :meth:`generate_batch`.
        """
        from ._aio import all_finished

        streams = self.stream_batch(
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
        )
        return await all_finished(list(streams))

    async def alogits(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> FloatArray:
        """:meth:`logits`, for an event loop.

        Args:
            input: As for :meth:`logits`.
            timeout: As for :meth:`logits`.
            lora: As for :meth:`logits`.
            keep_history: As for :meth:`logits`.
            role: As for :meth:`logits`.
            thinking: As for :meth:`logits`.

        Returns:
            As :meth:`logits`.

        Raises:
            RkllmError: As for :meth:`logits`.
        """
        from ._aio import finished

        stream = self.stream_logits(
            input,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return await finished(stream)

    async def alogits_batch(
        self,
        inputs: Sequence[Input],
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | Sequence[str] | None = None,
        thinking: bool | Sequence[bool] | None = None,
    ) -> list[FloatArray]:
        """:meth:`logits_batch`, for an event loop.

        Args:
            inputs: As for :meth:`logits_batch`.
            timeout: As for :meth:`logits_batch`.
            lora: As for :meth:`logits_batch`.
            keep_history: As for :meth:`logits_batch`.
            role: As for :meth:`logits_batch`.
            thinking: As for :meth:`logits_batch`.

        Returns:
            As :meth:`logits_batch`.

        Raises:
            RkllmError: As for :meth:`logits_batch`.
        """
        from ._aio import all_finished

        streams = self._rows(
            inputs,
            logits=True,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return await all_finished(streams)

    async def ahidden_states(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> FloatArray:
        """:meth:`hidden_states`, for an event loop.

        Args:
            input: As for :meth:`hidden_states`.
            timeout: As for :meth:`hidden_states`.
            lora: As for :meth:`hidden_states`.
            keep_history: As for :meth:`hidden_states`.
            role: As for :meth:`hidden_states`.
            thinking: As for :meth:`hidden_states`.

        Returns:
            As :meth:`hidden_states`.

        Raises:
            RkllmError: As for :meth:`hidden_states`.
        """
        from ._aio import finished

        stream = self.stream_hidden_states(
            input,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return await finished(stream)

    async def ahidden_states_batch(
        self,
        inputs: Sequence[Input],
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | Sequence[str] | None = None,
        thinking: bool | Sequence[bool] | None = None,
    ) -> list[FloatArray]:
        """:meth:`hidden_states_batch`, for an event loop.

        Args:
            inputs: As for :meth:`hidden_states_batch`.
            timeout: As for :meth:`hidden_states_batch`.
            lora: As for :meth:`hidden_states_batch`.
            keep_history: As for :meth:`hidden_states_batch`.
            role: As for :meth:`hidden_states_batch`.
            thinking: As for :meth:`hidden_states_batch`.

        Returns:
            As :meth:`hidden_states_batch`.

        Raises:
            RkllmError: As for :meth:`hidden_states_batch`.
        """
        from ._aio import all_finished

        streams = self._rows(
            inputs,
            logits=False,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return await all_finished(streams)

    async def aembed(
        self,
        texts: Input | Sequence[Input],
        *,
        pooling: Literal["last", "mean"] = "last",
        normalize: bool = True,
        timeout: float | None = None,
        lora: str | None = None,
    ) -> FloatArray:
        """:meth:`embed`, for an event loop.

        Args:
            texts: As for :meth:`embed`.
            pooling: As for :meth:`embed`.
            normalize: As for :meth:`embed`.
            timeout: As for :meth:`embed`.
            lora: As for :meth:`embed`.

        Returns:
            As :meth:`embed`.

        Raises:
            RkllmError: As for :meth:`embed`.
        """
        from ._aio import all_finished, elsewhere

        _native.check_pooling(pooling, normalize)
        single, inputs = _inputs(texts)
        states: list[FloatArray] = []
        for padded, wanted in self._groups(inputs):
            streams = self._rows(padded, logits=False, timeout=timeout, lora=lora)
            states += (await all_finished(streams))[:wanted]
        return await elsewhere(_native.pool, states, pooling, normalize, single)

    async def ascore(
        self,
        prompt: str | Tokens,
        continuation: str | Tokens,
        *,
        timeout: float | None = None,
        lora: str | None = None,
    ) -> Score:
        """:meth:`score`, for an event loop.

        Args:
            prompt: As for :meth:`score`.
            continuation: As for :meth:`score`.
            timeout: As for :meth:`score`.
            lora: As for :meth:`score`.

        Returns:
            As :meth:`score`.

        Raises:
            RkllmError: As for :meth:`score`.
        """
        from ._aio import elsewhere

        before = await self._aids("prompt", prompt, leading=True)
        after = await self._aids("continuation", continuation, leading=False)
        scorer = _native.Scorer(before + after, len(after))
        async with self.stream_logits(Tokens(before + after), timeout=timeout, lora=lora) as stream:
            async for logits in stream:
                # The thread that reads the rows also lets go of them, which takes long.
                rows = [logits]
                del logits
                await elsewhere(_add_last, scorer, rows)
        return Score(after, scorer.logprobs())

    async def _aids(self, name: str, text: str | Tokens, *, leading: bool) -> list[int]:
        from ._aio import done

        own = self._own_ids(name, text)
        return await done(self._model.tokenize(str(text), leading)) if own is None else own

    async def aload_lora(self, path: Path, *, name: str | None = None, scale: float = 1.0) -> None:
        """:meth:`load_lora`, for an event loop.

        Args:
            path: As for :meth:`load_lora`.
            name: As for :meth:`load_lora`.
            scale: As for :meth:`load_lora`.

        Raises:
            RkllmError: As for :meth:`load_lora`.
        """
        from ._aio import done

        await done(self._model.load_lora(path, name, scale))

    async def aload_prompt_cache(self, path: Path, *, verify: bool = True) -> None:
        """:meth:`load_prompt_cache`, for an event loop.

        Args:
            path: As for :meth:`load_prompt_cache`.
            verify: As for :meth:`load_prompt_cache`.

        Raises:
            RkllmError: As for :meth:`load_prompt_cache`.
        """
        from ._aio import done

        await done(self._model.load_prompt_cache(path, verify))

    async def arelease_prompt_cache(self) -> None:
        """:meth:`release_prompt_cache`, for an event loop.

        Raises:
            RkllmError: As for :meth:`release_prompt_cache`.
        """
        from ._aio import done

        await done(self._model.release_prompt_cache())

    async def aclear_kv_cache(
        self, *, keep_system_prompt: bool = False, ranges: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """:meth:`clear_kv_cache`, for an event loop.

        Args:
            keep_system_prompt: As for :meth:`clear_kv_cache`.
            ranges: As for :meth:`clear_kv_cache`.

        Raises:
            RkllmError: As for :meth:`clear_kv_cache`.
        """
        from ._aio import done

        await done(self._model.clear_kv_cache(keep_system_prompt=keep_system_prompt, ranges=ranges))

    async def akv_cache_size(self) -> list[int]:
        """:meth:`kv_cache_size`, for an event loop.

        Returns:
            As :meth:`kv_cache_size`.

        Raises:
            RkllmError: As for :meth:`kv_cache_size`.
        """
        from ._aio import done

        return await done(self._model.kv_cache_size())

    async def aset_chat_template(
        self, system_prompt: str = "", prompt_prefix: str = "", prompt_postfix: str = ""
    ) -> None:
        """:meth:`set_chat_template`, for an event loop.

        Args:
            system_prompt: As for :meth:`set_chat_template`.
            prompt_prefix: As for :meth:`set_chat_template`.
            prompt_postfix: As for :meth:`set_chat_template`.

        Raises:
            RkllmError: As for :meth:`set_chat_template`.
        """
        from ._aio import done

        await done(self._model.set_chat_template(system_prompt, prompt_prefix, prompt_postfix))

    async def aset_function_tools(
        self,
        tools: str | Sequence[Mapping[str, object]],
        *,
        system_prompt: str = "",
        tool_response_str: str = "tool_response",
    ) -> None:
        """:meth:`set_function_tools`, for an event loop.

        Args:
            tools: As for :meth:`set_function_tools`.
            system_prompt: As for :meth:`set_function_tools`.
            tool_response_str: As for :meth:`set_function_tools`.

        Raises:
            RkllmError: As for :meth:`set_function_tools`.
        """
        from ._aio import done

        await done(self._model.set_function_tools(_json(tools), system_prompt, tool_response_str))

    async def aset_cross_attention(self, encoder: CrossAttention) -> None:
        """:meth:`set_cross_attention`, for an event loop.

        Args:
            encoder: As for :meth:`set_cross_attention`.

        Raises:
            RkllmError: As for :meth:`set_cross_attention`.
        """
        from ._aio import done

        await done(self._model.set_cross_attention(encoder))


def _add_last(scorer: _native.Scorer, rows: list[FloatArray]) -> None:
    scorer.add(rows.pop())
