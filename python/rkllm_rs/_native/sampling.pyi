"""How tokens are chosen."""

from typing import ClassVar, final

from typing_extensions import Self

@final
class SamplingParams:
    """How the next token is chosen (``RKLLMSamplingParam``).

    All settings are keywords and optional. One that is not set, or ``None``, keeps the value that the
    model was opened with, or there the library's default. C holds them as ``float``, so that 0.7 is
    read back as the nearest number that ``float`` has.

    Before RKLLM 1.3.0 the library takes them only when a model is opened; a call that differs raises
    ``UnsupportedFeatureError``.

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
    ) -> Self:
        """Checks and keeps the settings.

        Args:
            top_k: Only the k most likely tokens are drawn from; 1 is greedy. 0 or more.
            top_p: Only the most likely tokens that together have this probability are drawn from; 0 to 1.
            temperature: Flattens the distribution above 1, sharpens it below; 0 is greedy. 0 or more.
            repeat_penalty: Divides the likelihood of tokens that are there already; 1 changes nothing.
                Above 0.
            frequency_penalty: Lowers a token's likelihood for each time it has appeared; -2 to 2, 0
                changes nothing.
            presence_penalty: Lowers a token's likelihood once it has appeared; -2 to 2, 0 changes nothing.
            mirostat: 0 is off, 1 is mirostat, 2 is mirostat 2.0.
            mirostat_tau: Surprise that mirostat aims at (tau), in bits per token. 0 or more.
            mirostat_eta: How fast mirostat learns (eta). 0 or more.

        Raises:
            InvalidArgumentError: A value out of its range (also a ``ValueError``).
            InvalidTypeError: A value of the wrong type (also a ``TypeError``).
        """

    @property
    def top_k(self) -> int | None:
        """Only the k most likely tokens are drawn from; 1 is greedy."""
    @property
    def top_p(self) -> float | None:
        """Only the most likely tokens that together have this probability are drawn from; 0 to 1."""
    @property
    def temperature(self) -> float | None:
        """Flattens the distribution above 1, sharpens it below; 0 is greedy."""
    @property
    def repeat_penalty(self) -> float | None:
        """Divides the likelihood of tokens that are there already; 1 changes nothing."""
    @property
    def frequency_penalty(self) -> float | None:
        """Lowers a token's likelihood for each time it has appeared; -2 to 2, 0 changes nothing."""
    @property
    def presence_penalty(self) -> float | None:
        """Lowers a token's likelihood once it has appeared; -2 to 2, 0 changes nothing."""
    @property
    def mirostat(self) -> int | None:
        """0 is off, 1 is mirostat, 2 is mirostat 2.0."""
    @property
    def mirostat_tau(self) -> float | None:
        """Surprise that mirostat aims at (tau), in bits per token."""
    @property
    def mirostat_eta(self) -> float | None:
        """How fast mirostat learns (eta)."""
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: floats that compare equal need not be meant as equal.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int | float | None]]: ...
