"""What each figure may be, in one table; every row has a goal here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """The most that a figure may be, or the least with ``at_least``.

    ``times`` its floor, so much ``over`` its floor, or in ``itself``.
    """

    limit: float
    of: Literal["times", "over", "itself"] = "times"
    at_least: bool = False


#: How much worse than another build a row may be: a part of the figure, or of the limit if it is no ratio.
WORSE = 0.05

GOALS = {
    "str, flat out": Goal(1.5),
    "str, flat out, reader's CPU time": Goal(1.5),
    "Chunk, flat out": Goal(2.5),
    "Chunk, flat out, reader's CPU time": Goal(2.5),
    "async for over str": Goal(2.0),
    "async for over str, reader's CPU time": Goal(2.0),
    "callback to loop body, p50, 1 ms a token": Goal(1.5),
    "context switches, 1 ms a token": Goal(2.1, of="itself"),
    "stream() to first callback, p50, 20 ms idle": Goal(2.0),
    "stream() to first callback, p50, 1 ms idle": Goal(2.0),
    "CPU time, 20 ms a token": Goal(2.0),
    "import rkllm_rs": Goal(3.0, of="over"),
    "rkllm-rs version": Goal(60.0, of="over"),
    "rkllm-rs run, one token": Goal(30.0, of="over"),
    # With the start of both processes; it is a twentieth of a real model's answer of this length at most.
    "rkllm-rs run, 10,000 tokens, 0.1 ms a token": Goal(1.1),
    "memory growth, a million tokens dropped": Goal(1.0, of="itself"),
    "logits 1 x 151936: the callback": Goal(1.3),
    "logits 1 x 151936: callback to NumPy array": Goal(1.3),
    "hidden states 128 x 2048: the callback": Goal(1.5),
    "hidden states 128 x 2048: callback to NumPy array": Goal(1.5),
    "a run with the NPU lock": Goal(20.0, of="over"),
    "check of a model's file": Goal(5.0, of="itself"),
    # A worker process, beside the same thing in this process.
    "worker: str, flat out": Goal(4.0),
    "worker: callback to loop body, p50, 1 ms a token": Goal(3.0),
    "worker: CPU time, 20 ms a token": Goal(2.0),
    "worker: logits 1 x 151936, callback to NumPy array": Goal(1.5),
    "worker: start": Goal(150.0, of="itself"),
    "worker: memory": Goal(25.0, of="itself"),
    "eight stop strings": Goal(50.0, of="over"),
    "a constraint that is never violated": Goal(1000.0, of="over"),
    "chat template, 40 messages": Goal(0.2),
    "chat_stream, flat out": Goal(200.0, of="over"),
    "chat_stream, flat out, reader's CPU time": Goal(200.0, of="over"),
    "1 MB of arguments, dict[str, int]": Goal(20.0, of="over"),
    "1 MB of arguments, list[int]": Goal(20.0, of="over"),
    "1 MB of arguments, a str of escapes": Goal(20.0, of="over"),
    # Beside those of 1 MB.
    "2 MB of arguments, dict[str, int]": Goal(2.5),
    "2 MB of arguments, list[int]": Goal(2.5),
    "2 MB of arguments, a str of escapes": Goal(2.5),
    "second turn after 1,000 tokens, computed": Goal(16.0, of="over"),
    "second turn after 1,000 tokens, greedy, computed": Goal(32.0, of="over"),
    "second turn after 1,000 tokens, a template that changes, computed": Goal(32.0, of="over"),
    # Beside a C++ server that writes the same events, each when it is made.
    "server: SSE, flat out": Goal(2.5),
    "server: SSE, flat out, server's CPU time": Goal(2.5),
    # Beside the iterator of a model in a worker, as the server's is.
    "server: request to first token, p50": Goal(5.0, of="over"),
    "server: longest pause of the loop, 1,000 idle and 100 active": Goal(50.0, of="itself"),
    "server: longest use of the loop, 1,000 idle and 100 active": Goal(50.0, of="itself"),
    "server: memory, 1,000 idle and 100 active": Goal(60.0, of="itself"),
    # Beside a plain greedy run of the real small model, whose tokens take the least time there is.
    "token time, json_schema": Goal(1.02),
    "token time, logprobs=0": Goal(1.1),
    "token time, logprobs=20": Goal(1.1),
    'token time, sampler="own"': Goal(1.05),
    "token time, logits_processor": Goal(1.1),
    # In blocks of 64, for equal answers, where llama-cpp-python computes 512 at once.
    "CPU runtime, prompt": Goal(0.9, at_least=True),
    "CPU runtime, answer": Goal(0.95, at_least=True),
}
