"""What a verification finds: plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "fail", "skipped", "measured"]

#: What each item expects, in the order of the report.
CHECKS = {
    "identity": "the release of the library is found, and nothing contradicts it",
    "layout": "the library's default parameters lie where the layout of its release has them",
    "load": "the model is loaded",
    "text": "at least one of three simple questions is answered correctly",
    "tokens": "there is one valid id per token, and the ids are the text",
    "streaming": "chunks arrive while the answer is generated, and together are the answer",
    "abort-prefill": "a run that is aborted in prefill returns at once, and the next run works",
    "abort-tokens": "a run that is aborted while it generates stops, and the next run works",
    "utf8": "characters of several bytes arrive whole",
    "sampling": "the same prompt has the same answer with top_k=1, and different ones at a high temperature",
    "history": "keep_history=True continues the conversation, and the next run without it begins anew",
    "cache": "the KV cache grows with a run, is empty once it is cleared, and the model works after that",
    "logits": "logits are finite, and the largest one is the token that greedy decoding takes",
    "hidden-states": "hidden states are finite, equal for equal input, and different for different input",
    "lora": "the adapter is loaded, and changes the answer",
    "prompt-cache": "a prompt cache is saved and loaded, and the answer is the same with it",
    "chat": "a conversation with a system message and an earlier turn is answered",
    "structured": "the answer is JSON that fits the schema",
    "isolation": "the program survives the death of its worker, and the next run works",
    "soak": "every run works, equal prompts have equal answers, and memory does not grow",
}
MEASUREMENTS = {
    "raw-text": "text with an empty chat template arrives as it is; special tokens in it are recognized",
    "bos": "a token for the beginning (BOS) is added to text, to token input, and to each further run",
    "prefix-reuse": "a prompt that begins like the previous one is computed again as a whole, or not",
    "pause-cost": "what a pause after each token costs, and whether the KV cache survives it",
    "logits-cost": "how long logits() takes, by number of tokens, with an empty and with a filled KV cache",
    "markers": "which special tokens are part of the text with skip_special_token=False",
}
EXPECTED = CHECKS | MEASUREMENTS
IDS = tuple(EXPECTED)


@dataclass(frozen=True)
class Item:
    """One thing that was verified or measured. Immutable; any number of threads may use it.

    Attributes:
        id: Name of the item, such as ``"streaming"``. No two items of a report have the same.
        verdict: ``"pass"``, ``"fail"``, ``"skipped"``, or ``"measured"`` for a question that has no wrong
            answer.
        seconds: How long it took.
        reason: What was seen, or why it was skipped.
        value: What was measured, as JSON has it, or ``None``.
        expected: What was expected, or what is measured.
    """

    id: str
    verdict: Verdict
    seconds: float
    reason: str
    value: Any = None

    @property
    def expected(self) -> str:
        """What was expected, or what is measured."""
        return EXPECTED[self.id]

    def to_dict(self) -> dict[str, Any]:
        """The item as JSON has it."""
        return {**asdict(self), "expected": self.expected}


@dataclass(frozen=True)
class Report:
    """What ``run()`` found. Immutable; any number of threads may use it.

    Attributes:
        backend: ``"npu"``, ``"cpu"``, or ``None`` if no library could be loaded.
        npu: Whether it ran on an NPU: the vendor's library, on a machine with its driver.
        items: One item per check and measurement, always all of them, in a fixed order.
        facts: The library, the model and this package, as far as they are known.
        interrupted: Whether it was stopped by Ctrl-C.
    """

    backend: str | None
    npu: bool
    items: list[Item]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    interrupted: bool = False

    def find(self, id: str) -> Item | None:  # noqa: A002 - as the attribute is called
        """The item with this id, or ``None``."""
        return next((item for item in self.items if item.id == id), None)

    @property
    def failed(self) -> bool:
        """Whether an item failed."""
        return any(item.verdict == "fail" for item in self.items)

    def count(self, verdict: Verdict) -> int:
        """How many items have a verdict."""
        return sum(item.verdict == verdict for item in self.items)

    @property
    def ran_on(self) -> str:
        """What it ran on, in words."""
        if self.backend is None:
            return "no library could be loaded: nothing was run"
        if self.backend == "cpu":
            return "the CPU runtime: this says nothing about an NPU"
        if self.npu:
            return f"the NPU{' of ' + self.facts['chip'] if self.facts.get('chip') else ''}"
        return "a library for the NPU, on a machine without its driver: this says nothing about an NPU"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it: what ``rkllm-rs verify --json`` prints."""
        return {
            "backend": self.backend,
            "npu": self.npu,
            "interrupted": self.interrupted,
            "facts": self.facts,
            "items": [item.to_dict() for item in self.items],
        }
