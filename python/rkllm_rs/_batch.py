"""``BatchStream``: the rows of one run."""

from __future__ import annotations

from ._abc import Iterator  # noqa: TC001
from ._native import Generation, TokenStream  # noqa: TC001


class BatchStream:
    """The streams of a batch, one for each input, in their order.

    A sequence: ``len()``, indexing and iteration give the ``TokenStream`` of each row. Rows can be read in
    any order, or from several threads or tasks; a row that nobody reads holds up nothing.
    """

    __slots__ = ("_streams",)

    def __init__(self, streams: list[TokenStream]) -> None:
        """Joins the streams; ``RKLLM.stream_batch`` does it.

        Args:
            streams: One for each row.
        """
        self._streams = streams

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, row: int) -> TokenStream:
        return self._streams[row]

    def __iter__(self) -> Iterator[TokenStream]:
        return iter(self._streams)

    def cancel(self) -> None:
        """Ends all rows (``rkllm_abort``)."""
        for stream in self._streams:
            stream.cancel()

    def results(self) -> list[Generation]:
        """Waits for the end of all rows.

        Returns:
            The answer of each.

        Raises:
            GenerationError: The run failed.
            GenerationTimeout: The deadline passed.
        """
        return [stream.result() for stream in self._streams]

    def __repr__(self) -> str:
        return f"<rkllm_rs.BatchStream of {len(self)} rows>"
