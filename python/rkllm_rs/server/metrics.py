"""Figures for Prometheus, in its text format 0.0.4; written by hand, since they are few."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TOKEN_SECONDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)

Labels = tuple[str, ...]


class _Family:
    """One figure for each set of labels.

    Not locked: it is used on the event loop only.
    """

    kind = ""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.text = text
        self.labels = tuple(labels)

    def key(self, labels: dict[str, str]) -> Labels:
        """Returns the labels' values in order.

        Raises:
            KeyError: A label is missing.
        """
        return tuple(labels[name] for name in self.labels)

    def samples(self, name: str) -> list[str]:
        """Returns the lines, under a name."""
        raise NotImplementedError

    def lines(self, name: str) -> list[str]:
        """Returns the lines with their header, under a name."""
        return [f"# HELP {name} {self.text}", f"# TYPE {name} {self.kind}", *self.samples(name)]


class Value(_Family):
    """A gauge, or with ``kind`` a counter."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), kind: str = "gauge") -> None:
        super().__init__(name, text, labels)
        self.kind = kind
        self._values: dict[Labels, float] = {} if self.labels else {(): 0}

    def add(self, amount: float = 1, **labels: str) -> None:
        """Adds to the figure of these labels."""
        key = self.key(labels)
        self._values[key] = self._values.get(key, 0) + amount

    def set(self, value: float, **labels: str) -> None:
        """Sets the figure of these labels."""
        self._values[self.key(labels)] = value

    def get(self, **labels: str) -> float:
        """Returns the figure of these labels, 0 if there is none."""
        return self._values.get(self.key(labels), 0)

    def clear(self) -> None:
        """Forgets every set of labels, such as those of models that are gone."""
        self._values.clear()

    def samples(self, name: str) -> list[str]:
        """Returns the lines, under a name."""
        return [f"{name}{_labels(self.labels, key)} {_number(value)}" for key, value in self._values.items()]


class Histogram(_Family):
    """How many observations there were up to each bound."""

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self.bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, count: int = 1, **labels: str) -> None:
        """Adds an observation, or ``count`` equal ones."""
        key = self.key(labels)
        counts = self._counts.setdefault(key, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, value)] += count
        self._sums[key] = self._sums.get(key, 0.0) + value * count

    def samples(self, name: str) -> list[str]:
        """Returns the lines, under a name."""
        lines: list[str] = []
        for key, counts in self._counts.items():
            total = 0
            for bound, count in zip((*map(_number, self.bounds), "+Inf"), counts, strict=True):
                total += count
                lines.append(f"{name}_bucket{_labels((*self.labels, 'le'), (*key, bound))} {total}")
            lines.append(f"{name}_sum{_labels(self.labels, key)} {_number(self._sums[key])}")
            lines.append(f"{name}_count{_labels(self.labels, key)} {total}")
        return lines


class Metrics:
    """All figures of a server.

    Labels have few values: ``model_name`` is a name of the served list, never the text of a request, and
    ``route`` is a pattern. Everything is counted on the event loop.

    Attributes:
        refresh: Called before the figures are written, to set those that are looked up.
    """

    def __init__(self) -> None:
        model = ("model_name",)
        self.requests_running = Value("requests_running", "Requests that a model is answering.", model)
        self.requests_waiting = Value("requests_waiting", "Requests that wait for a model.", model)
        self.kv_cache_usage = Value("kv_cache_usage_ratio", "Part of the context window in use.", model)
        self.prompt_tokens = Value("prompt_tokens_total", "Tokens of prompts.", model, "counter")
        self.generated_tokens = Value("generated_tokens_total", "Generated tokens.", model, "counter")
        self.cached_tokens = Value(
            "prefix_cached_tokens_total", "Tokens of prompts that were not computed again.", model, "counter"
        )
        self.time_to_first_token = Histogram(
            "time_to_first_token_seconds", "Time until the first token, queue included.", _SECONDS, model
        )
        self.inter_token = Histogram("inter_token_seconds", "Time between tokens.", _TOKEN_SECONDS, model)
        self.request_seconds = Histogram("request_seconds", "Time of a whole request.", _SECONDS, ("route",))
        self.run_seconds = Histogram("run_seconds", "Time of a run, queue included.", _SECONDS, model)
        self.queue_seconds = Histogram("queue_seconds", "Time in the queue.", _SECONDS, model)
        self.answers = Value(
            "answers_total", "Answers by why they ended.", (*model, "finish_reason"), "counter"
        )
        self.requests = Value(
            "requests_total", "Requests by route and HTTP status.", ("route", "status"), "counter"
        )
        self.aborted = Value("aborted_total", "Requests cut off, by reason.", ("reason",), "counter")
        self.worker_restarts = Value(
            "worker_restarts_total", "Worker processes that were started again.", model, "counter"
        )
        self.model_loaded = Value("model_loaded", "1 for a model that is loaded, else 0.", model)
        self.draining = Value("draining", "1 while the server is stopping, else 0.")
        self.refresh: list[Callable[[], None]] = []

    def render(self, *, vllm: bool = False) -> str:
        """Returns the text for Prometheus.

        Args:
            vllm: Add the names that dashboards and routers for vLLM read.
        """
        for refresh in self.refresh:
            refresh()
        families = [family for family in vars(self).values() if isinstance(family, _Family)]
        lines = [line for family in families for line in family.lines(f"rkllm_{family.name}")]
        if vllm:
            lines += [line for name, family in self._vllm() for line in family.lines(f"vllm:{name}")]
        return "\n".join(lines) + "\n"

    def _vllm(self) -> list[tuple[str, _Family]]:
        finished = Value(
            "request_success_total", self.answers.text, ("model_name", "finished_reason"), "counter"
        )
        finished._values = self.answers._values  # noqa: SLF001 - the same figures under other labels
        return [
            ("num_requests_running", self.requests_running),
            ("num_requests_waiting", self.requests_waiting),
            ("kv_cache_usage_perc", self.kv_cache_usage),
            ("prompt_tokens_total", self.prompt_tokens),
            ("generation_tokens_total", self.generated_tokens),
            ("prefix_cache_queries_total", self.prompt_tokens),
            ("prefix_cache_hits_total", self.cached_tokens),
            ("time_to_first_token_seconds", self.time_to_first_token),
            ("inter_token_latency_seconds", self.inter_token),
            ("e2e_request_latency_seconds", self.run_seconds),
            ("request_success_total", finished),
        ]


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
