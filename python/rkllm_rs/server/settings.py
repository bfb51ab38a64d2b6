"""What the heart of a server is told: how requests wait, and how models are opened and kept."""

from __future__ import annotations

import dataclasses

__all__ = ["Settings"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the queue and of the models.

    Attributes:
        backend: ``"auto"``, ``"npu"`` or ``"cpu"``, for all models.
        library: Path of the library to load.
        queue: How many requests may wait, for all models together.
        queue_timeout: Most seconds that a request waits for its turn, and then for an NPU that other programs
            use; ``None`` has no limit.
        request_timeout: Most seconds that a whole request may take, its wait and its answer; ``None`` has no
            limit.
        load_wait: Most seconds that a request without a stream waits for its model to be loaded.
        keep_alive: Seconds that a model stays loaded without requests; negative for ever. ``None``: for ever
            if the server has one model, else 5 minutes.
        max_loaded: Most models that are loaded at a time; ``None`` leaves it to the memory there is.
        allow_manage: Clients may pull and delete models.
        metrics_compat: ``"vllm"`` adds the names that vLLM gives its figures.
        kill_after: Seconds after which a library that ignores its abort is killed.
        health_timeout: Seconds that the worker of an idle model has to answer when ``/health`` asks it.
        silence_timeout: Seconds without a token, after which ``/health`` takes a run that had begun to answer
            for stuck. A prompt may be computed for as long as it takes.
    """

    backend: str = "auto"
    library: str | None = None
    queue: int = 32
    queue_timeout: float | None = 300.0
    request_timeout: float | None = None
    load_wait: float = 120.0
    keep_alive: float | None = None
    max_loaded: int | None = None
    allow_manage: bool = False
    metrics_compat: str | None = None
    kill_after: float = 10.0
    health_timeout: float = 2.0
    silence_timeout: float = 360.0
