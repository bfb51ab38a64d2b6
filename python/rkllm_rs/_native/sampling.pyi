"""How tokens are chosen."""

from collections.abc import Mapping
from typing import ClassVar, final

from typing_extensions import Self

@final
class SamplingParams:
    """Parameters for sampling the next token (``RKLLMSamplingParam``).

    All are optional keywords. A parameter that is not given, or ``None``, defaults to the model's setting, or
    else to the library's default. C stores them as ``float``, so 0.7 reads back as the nearest ``float``.

    Before RKLLM 1.3.0 the library accepts them only when a model is opened. A call whose parameters differ
    then raises ``UnsupportedFeatureError``.

    Immutable; any number of threads and tasks may use it at the same time.

    Args:
        top_k: Sample from the k most likely tokens only; 0 or more, 1 is greedy.
        top_p: Sample from the most likely tokens whose probabilities add up to this value; 0 to 1.
        temperature: Above 1 flattens the distribution, below 1 sharpens it; 0 or more, 0 is greedy.
        repeat_penalty: Penalty for tokens that have already occurred; greater than 0, 1 changes nothing.
        frequency_penalty: Penalty for each time a token has occurred; -2 to 2, 0 changes nothing.
        presence_penalty: Penalty for a token that has occurred at least once; -2 to 2, 0 changes nothing.
        mirostat: 0 is off, 1 is Mirostat, 2 is Mirostat 2.0.
        mirostat_tau: Target surprise of Mirostat (tau), in bits per token; 0 or more.
        mirostat_eta: Learning rate of Mirostat (eta); 0 or more.
        min_p: Sample only from tokens of at least this share of the most likely token's probability; 0 to 1,
            0 is off. On the NPU only with ``sampler="own"``, like the next two.
        typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to this
            value; 0 to 1, 1 is off.
        logit_bias: A dict of token ids with numbers to add to their logits; ``-inf`` bans a token.

    Raises:
        InvalidArgumentError: A value is out of range (also a ``ValueError``).
        InvalidTypeError: A value has the wrong type (also a ``TypeError``).

    Example:
        >>> from rkllm_rs import SamplingParams
        >>> SamplingParams(temperature=0.7, top_k=40)
        SamplingParams(top_k=40, temperature=0.7)
    """

    def __new__(
        cls,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
        temperature: float | None = None,
        repeat_penalty: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        mirostat: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
    ) -> Self: ...
    @property
    def top_k(self) -> int | None:
        """Sample from the k most likely tokens only; 1 is greedy. ``None`` if not set."""
    @property
    def top_p(self) -> float | None:
        """Sample from the most likely tokens whose probabilities add up to this. ``None`` if not set."""
    @property
    def temperature(self) -> float | None:
        """Above 1 flattens the distribution, below 1 sharpens it; 0 is greedy. ``None`` if not set."""
    @property
    def repeat_penalty(self) -> float | None:
        """Penalty for tokens that have already occurred; 1 changes nothing. ``None`` if not set."""
    @property
    def frequency_penalty(self) -> float | None:
        """Penalty for each time a token has occurred; 0 changes nothing. ``None`` if not set."""
    @property
    def presence_penalty(self) -> float | None:
        """Penalty for a token that has occurred at all; 0 changes nothing. ``None`` if not set."""
    @property
    def mirostat(self) -> int | None:
        """0 is off, 1 is Mirostat, 2 is Mirostat 2.0. ``None`` if not set."""
    @property
    def mirostat_tau(self) -> float | None:
        """Target surprise of Mirostat (tau), in bits per token. ``None`` if not set."""
    @property
    def mirostat_eta(self) -> float | None:
        """Learning rate of Mirostat (eta). ``None`` if not set."""
    @property
    def min_p(self) -> float | None:
        """Least share of the most likely token's probability; 0 is off. ``None`` if not set."""
    @property
    def typical_p(self) -> float | None:
        """Share of the most typical tokens; 1 is off. ``None`` if not set."""
    @property
    def logit_bias(self) -> dict[int, float] | None:
        """What is added to the logits of tokens, by their ids. ``None`` if not set."""
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: floats that compare equal need not be meant as equal.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int | float | dict[int, float] | None]]:
        """Supports ``copy`` and ``pickle``."""
