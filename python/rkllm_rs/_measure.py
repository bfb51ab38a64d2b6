"""Calls that give rows of floats, and what is computed from them."""

from __future__ import annotations

from . import _native
from ._generate import Generating
from ._native import (
    ArrayStream,
    Embeddings,
    FloatArray,
    Multimodal,
    Tokens,
)
from ._results import Score, all_results
from ._types import (  # noqa: TC001
    Input,
    Iterator,
    Literal,
    Sequence,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._native.settings import RowSettings


class Measuring(Generating):
    """The part of ``RKLLM`` that measures: logits, hidden states, embeddings, probabilities."""

    __slots__ = ()

    def _rows(
        self, inputs: Sequence[Input], *, logits: bool, **options: Unpack[RowSettings]
    ) -> list[ArrayStream]:
        streams = self._model.stream_rows(inputs, logits=logits, caller=self._caller(), **options)
        self._noted(streams)
        return streams

    def logits(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> FloatArray:
        """Logits of each position (``RKLLM_INFER_GET_LOGITS``). From 1.2.0.

        Text gets the model's chat template; for exact positions give ``Tokens``.

        Args:
            input: As for :meth:`generate`.
            timeout: Deadline in seconds, over waiting and computing.
            lora: Name of the adapter to use.
            keep_history: Whether it goes on from the run before; from 1.2.0.
            role: ``"user"`` or ``"tool"``; from 1.2.1.
            thinking: Thinking mode of models that have one; from 1.2.1.

        Returns:
            float32 of the shape (n, vocabulary), one row for each position.

        Raises:
            UnsupportedFeatureError: The loaded release cannot do that.
            GenerationError: The run failed, or the library gave none.
            RkllmError: As for :meth:`generate`.
        """
        return self.stream_logits(
            input,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        ).result()

    def logits_batch(
        self,
        inputs: Sequence[Input],
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | Sequence[str] | None = None,
        thinking: bool | Sequence[bool] | None = None,
    ) -> list[FloatArray]:
        """:meth:`logits` of several inputs in one run, on a model that was opened with ``n_batch``.

        Args:
            inputs: Exactly ``n_batch`` of them.
            timeout: As for :meth:`logits`.
            lora: As for :meth:`logits`.
            keep_history: As for :meth:`logits`.
            role: As for :meth:`logits`.
            thinking: As for :meth:`logits`.

        Returns:
            An array for each.

        Raises:
            RkllmError: As for :meth:`logits`.
        """
        streams = self._rows(
            inputs,
            logits=True,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return all_results(streams)

    def stream_logits(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> ArrayStream:
        """:meth:`logits` as they come, one array for each callback of the library. Never blocks.

        Args:
            input: As for :meth:`logits`.
            timeout: As for :meth:`logits`.
            lora: As for :meth:`logits`.
            keep_history: As for :meth:`logits`.
            role: As for :meth:`logits`.
            thinking: As for :meth:`logits`.

        Returns:
            A stream to iterate with ``for`` or ``async for``.

        Raises:
            RkllmError: As for :meth:`logits`.
        """
        (stream,) = self._rows(
            [input],
            logits=True,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return stream

    def hidden_states(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> FloatArray:
        """Hidden states of the last layer (``RKLLM_INFER_GET_LAST_HIDDEN_LAYER``).

        Text gets the model's chat template; for exact positions give ``Tokens``.

        Args:
            input: As for :meth:`generate`.
            timeout: Deadline in seconds, over waiting and computing.
            lora: Name of the adapter to use.
            keep_history: Whether it goes on from the run before; from 1.2.0.
            role: ``"user"`` or ``"tool"``; from 1.2.1.
            thinking: Thinking mode of models that have one; from 1.2.1.

        Returns:
            float32 of the shape (n, width), one row for each position.

        Raises:
            UnsupportedFeatureError: The loaded release cannot do that.
            GenerationError: The run failed, or the library gave none.
            RkllmError: As for :meth:`generate`.
        """
        return self.stream_hidden_states(
            input,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        ).result()

    def hidden_states_batch(
        self,
        inputs: Sequence[Input],
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | Sequence[str] | None = None,
        thinking: bool | Sequence[bool] | None = None,
    ) -> list[FloatArray]:
        """:meth:`hidden_states` of several inputs in one run, on a model that was opened with ``n_batch``.

        Args:
            inputs: Exactly ``n_batch`` of them.
            timeout: As for :meth:`hidden_states`.
            lora: As for :meth:`hidden_states`.
            keep_history: As for :meth:`hidden_states`.
            role: As for :meth:`hidden_states`.
            thinking: As for :meth:`hidden_states`.

        Returns:
            An array for each.

        Raises:
            RkllmError: As for :meth:`hidden_states`.
        """
        streams = self._rows(
            inputs,
            logits=False,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return all_results(streams)

    def stream_hidden_states(
        self,
        input: Input,  # noqa: A002 - the field's word
        *,
        timeout: float | None = None,
        lora: str | None = None,
        keep_history: bool = False,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> ArrayStream:
        """:meth:`hidden_states` as they come, one array for each callback of the library. Never blocks.

        Args:
            input: As for :meth:`hidden_states`.
            timeout: As for :meth:`hidden_states`.
            lora: As for :meth:`hidden_states`.
            keep_history: As for :meth:`hidden_states`.
            role: As for :meth:`hidden_states`.
            thinking: As for :meth:`hidden_states`.

        Returns:
            A stream to iterate with ``for`` or ``async for``.

        Raises:
            RkllmError: As for :meth:`hidden_states`.
        """
        (stream,) = self._rows(
            [input],
            logits=False,
            timeout=timeout,
            lora=lora,
            keep_history=keep_history,
            role=role,
            thinking=thinking,
        )
        return stream

    def embed(
        self,
        texts: Input | Sequence[Input],
        *,
        pooling: Literal["last", "mean"] = "last",
        normalize: bool = True,
        timeout: float | None = None,
        lora: str | None = None,
    ) -> FloatArray:
        """Embeddings of texts, out of the hidden states of their positions.

        Args:
            texts: One input, or a list of them. Text gets the model's chat template; for exact positions
                give ``Tokens``.
            pooling: ``"last"`` takes the state of the last position, ``"mean"`` the mean of all.
            normalize: Whether each vector is brought to length 1.
            timeout: Deadline in seconds for each text.
            lora: Name of the adapter to use.

        Returns:
            float32: one vector for one input, (n, width) for a list.

        Raises:
            InvalidArgumentError: No texts, or another pooling.
            RkllmError: As for :meth:`hidden_states`.
        """
        _native.check_pooling(pooling, normalize)
        single, inputs = _inputs(texts)
        states: list[FloatArray] = []
        for padded, wanted in self._groups(inputs):
            streams = self._rows(padded, logits=False, timeout=timeout, lora=lora)
            states += all_results(streams)[:wanted]
        return _native.pool(states, pooling, normalize, single)

    def _groups(self, inputs: list[Input]) -> Iterator[tuple[list[Input], int]]:
        """As many inputs at once as a run takes; the last group is filled up, and how many count."""
        size = self._model.n_batch
        for at in range(0, len(inputs), size):
            group = inputs[at : at + size]
            # A batch is always full; what fills it up is computed and thrown away.
            yield group + group[-1:] * (size - len(group)), len(group)

    def score(
        self,
        prompt: str | Tokens,
        continuation: str | Tokens,
        *,
        timeout: float | None = None,
        lora: str | None = None,
    ) -> Score:
        """How likely the model holds a continuation of a prompt; from 1.2.0.

        No chat template is used. With the vendor's library, whose C API has no tokenizer, text needs
        ``tokenizer=`` at opening; else give ``Tokens``. Prompt and continuation are tokenized apart.

        Args:
            prompt: What is before; at least one token.
            continuation: What is scored; at least one token.
            timeout: Deadline in seconds.
            lora: Name of the adapter to use.

        Returns:
            The continuation's tokens with the natural logarithms of their probabilities, their sum, and the
            perplexity.

        Raises:
            UnsupportedFeatureError: Text, and nothing to tokenize it with.
            InvalidArgumentError: No token before the continuation, or none in it.
            RkllmError: As for :meth:`logits`.
        """
        before = self._ids("prompt", prompt, leading=True)
        after = self._ids("continuation", continuation, leading=False)
        scorer = _native.Scorer(before + after, len(after))
        for logits in self.stream_logits(Tokens(before + after), timeout=timeout, lora=lora):
            scorer.add(logits)
        return Score(after, scorer.logprobs())

    def _ids(self, name: str, text: str | Tokens, *, leading: bool) -> list[int]:
        own = self._own_ids(name, text)
        return self._model.tokenize(str(text), leading).result() if own is None else own

    def _own_ids(self, name: str, text: object) -> list[int] | None:
        """The ids of a text, if the library is not needed for them."""
        if isinstance(text, Tokens):
            return text.to_list()
        if isinstance(text, str):
            return self._model.own_tokens(text)
        from .errors import InvalidTypeError

        message = f"{name}: expected a str or Tokens, got {type(text).__name__}"
        raise InvalidTypeError(message, hint="Give a str or Tokens.")


def _inputs(texts: Input | Sequence[Input]) -> tuple[bool, list[Input]]:
    """Whether it was one input, and the list of them."""
    if isinstance(texts, (str, Tokens, Embeddings, Multimodal)):
        return True, [texts]
    try:
        inputs = list(texts)
    except TypeError:
        from .errors import InvalidTypeError

        message = f"texts: expected an input or a list of inputs, got {type(texts).__name__}"
        raise InvalidTypeError(message, hint="Give a str, Tokens, Embeddings or Multimodal.") from None
    # All of them before the first is computed.
    _native.check_inputs("texts", inputs)
    return False, inputs
