"""What is measured; each function gives rows, ours and the floor taken in turns.

Long because each figure of the performance page is a function here, beside its floor.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from harness import TOKEN, NullModel, Row, Size, extension, queue_floor

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable
    from typing import IO


def timed(items: Iterable[object], count: int) -> tuple[float, float]:
    """Nanoseconds for each item of a loop that does nothing, and the loop's CPU time."""
    start, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in items:
        pass
    return (time.perf_counter_ns() - start) / count, (time.thread_time_ns() - cpu) / count


async def timed_async(items: AsyncIterable[object], count: int) -> tuple[float, float]:
    """:func:`timed` for an ``async for`` that does nothing."""
    start, cpu = time.perf_counter_ns(), time.thread_time_ns()
    async for _ in items:
        pass
    return (time.perf_counter_ns() - start) / count, (time.thread_time_ns() - cpu) / count


def throughput(size: Size) -> list[Row]:
    """A loop over a run that comes as fast as the callback takes it."""
    floor, model, count = extension("str_floor"), NullModel(), size.tokens
    rows = (
        Row("str, flat out", "ns/token"),
        Row("str, flat out, reader's CPU time", "ns/token"),
        Row("Chunk, flat out", "ns/token"),
        Row("Chunk, flat out, reader's CPU time", "ns/token"),
    )
    # Short, so many: of a busy machine only the undisturbed rounds tell anything.
    for _ in range(3 * size.rounds):
        least = timed(floor.strings(count, TOKEN), count)
        texts = timed(model.stream(count).texts(), count)
        chunks = timed(model.stream(count), count)
        for row, ours, only_str in zip(rows, texts + chunks, least + least, strict=True):
            row.ours.append(ours)
            row.floor.append(only_str)
    model.close()
    return list(rows)


def asynchronous(size: Size) -> list[Row]:
    """``async for`` over a run that comes as fast as it is taken, beside an eventfd design in C."""
    floor, model, count = extension("async_floor"), NullModel(), size.tokens // 4
    rows = (
        Row("async for over str", "ns/token"),
        Row("async for over str, reader's CPU time", "ns/token"),
    )
    for _ in range(3 * size.rounds):
        least = asyncio.run(timed_async(floor.strings(count, TOKEN), count))
        texts = asyncio.run(timed_async(model.stream(count).texts(), count))
        for row, ours, only in zip(rows, texts, least, strict=True):
            row.ours.append(ours)
            row.floor.append(only)
    model.close()
    return list(rows)


def rows_of_floats(size: Size) -> list[Row]:
    """Logits and hidden states, from the library's memory to an array in Python.

    The floor of the callback is a memcpy of the same bytes; that of the array is such a memcpy in another
    thread, which then wakes the one that asked for it.
    """
    import numpy as np

    model = NullModel()
    shapes = (
        ("logits 1 x 151936", model.llm.stream_logits, 1, 151_936),
        ("hidden states 128 x 2048", model.llm.stream_hidden_states, 128, 2048),
    )
    rows = []
    for name, call, count, width in shapes:
        callback = Row(f"{name}: the callback", "us")
        array = Row(f"{name}: callback to NumPy array", "us")
        for _ in range(size.rounds):
            callbacks, arrays = [], []
            for _ in range(size.starts):
                stream = call(f"{count} {width}")
                got = np.asarray(next(stream))
                arrays.append(time.monotonic_ns() - model.stamps[0])
                callbacks.append(model.stamps[1] - model.stamps[0])
                list(stream)
                del got
            # Not in between: each would find the other's memory in the caches.
            copies = [model.memcpy(count * width) for _ in range(size.starts)]
            handed = [model.handed_over(count * width) for _ in range(size.starts)]
            for row, ours, floor in ((callback, callbacks, copies), (array, arrays, handed)):
                row.ours.append(statistics.median(ours) / 1e3)
                row.floor.append(statistics.median(floor) / 1e3)
        rows += [callback, array]
    model.close()
    return rows


def stopping(size: Size) -> list[Row]:
    """What eight stop strings cost a token: the same run with and without them."""
    model, count = NullModel(), size.tokens
    # Each begins as the tokens do, so that every token could be the beginning of one.
    stop = [TOKEN * at + "\n" for at in range(1, 5)] + ["\n\n", "</s>", "<|im_end|>", "Observation:"]
    row = Row("eight stop strings", "ns/token")
    for _ in range(size.rounds):
        row.ours.append(model.produced(count, stop))
        row.floor.append(model.produced(count, None))
    model.close()
    return [row]


def kept_to_a_form(size: Size) -> list[Row]:
    """What a constraint costs a token that fits: the same run with and without it."""
    model, count = NullModel(), size.tokens
    row = Row("a constraint that is never violated", "ns/token")
    model.produced(10, regex="[^{}]*")
    for _ in range(size.rounds):
        row.ours.append(model.produced(count, regex="[^{}]*"))
        row.floor.append(model.produced(count))
    model.close()
    return [row]


def paced(model: NullModel, tokens: int, microseconds: int) -> dict[str, float]:
    """One run of ours at a pace: latency from the callback to the loop's body, switches, CPU time."""
    seen: list[int] = []
    see, now = seen.append, time.monotonic_ns
    before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.process_time_ns()
    for _ in model.stream(tokens, microseconds).texts():
        see(now())
    cpu = time.process_time_ns() - cpu
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    latencies = [at - made for at, made in zip(seen, model.stamps, strict=False)]
    return {
        "p50_ns": statistics.median(latencies),
        "switches": switches / tokens,
        "cpu_ns": cpu / tokens,
    }


def queue(mode: str, count: int, microseconds: int) -> dict[str, float]:
    """The C++ queue's figures."""
    command = [queue_floor(), mode, str(count), str(microseconds)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def delivery(size: Size) -> list[Row]:
    """A token each millisecond."""
    model = NullModel()
    latency = Row("callback to loop body, p50, 1 ms a token", "us")
    switches = Row("context switches, 1 ms a token", "/token")
    queue_floor()
    for _ in range(size.rounds):
        for figures, into in (
            (paced(model, size.paced, 1000), "ours"),
            (queue("paced", size.paced, 1000), "floor"),
        ):
            getattr(latency, into).append(figures["p50_ns"] / 1e3)
            getattr(switches, into).append(figures["switches"])
    model.close()
    return [latency, switches]


def cpu(size: Size) -> list[Row]:
    """What a token costs at the pace of a real model."""
    model = NullModel()
    row = Row("CPU time, 20 ms a token", "us/token")
    queue_floor()
    for _ in range(size.rounds):
        row.ours.append(paced(model, size.slow, 20_000)["cpu_ns"] / 1e3)
        row.floor.append(queue("paced", size.slow, 20_000)["cpu_ns"] / 1e3)
    model.close()
    return [row]


def until_first(model: NullModel, starts: int, gap: float) -> float:
    """The median of what passes between a call, after so many seconds of sleep, and the first callback."""
    latencies = []
    for _ in range(starts):
        time.sleep(gap)
        asked = time.monotonic_ns()
        model.stream(1).result()
        latencies.append(model.stamps[0] - asked)
    return statistics.median(latencies)


def first(size: Size) -> list[Row]:
    """From ``stream()`` to the first callback, by a library that answers at once."""
    model = NullModel()
    rows = []
    # Long enough for every cache to be somebody else's; and as one request follows another.
    for gap in (0.02, 0.001):
        row = Row(f"stream() to first callback, p50, {gap * 1e3:g} ms idle", "us")
        rows.append(row)
        for _ in range(size.rounds):
            row.ours.append(until_first(model, size.starts, gap) / 1e3)
            row.floor.append(queue("first", size.starts, round(gap * 1e6))["p50_ns"] / 1e3)
    model.close()
    return rows


def started(program: str) -> float:
    """Milliseconds that an interpreter takes for a program."""
    start = time.perf_counter_ns()
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
    return (time.perf_counter_ns() - start) / 1e6


def imported(size: Size) -> list[Row]:
    """``import rkllm_rs`` over an interpreter that does nothing."""
    row = Row("import rkllm_rs", "ms")
    for _ in range(size.imports):
        row.ours.append(started("import rkllm_rs"))
        row.floor.append(started("pass"))
    return [row]


def grown(tokens: int) -> float:
    """Megabytes by which this process grows over so many tokens in runs that are dropped."""
    model, length = NullModel(), 1000

    def resident() -> float:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def drop(runs: int) -> None:
        for run in range(runs):
            stream = model.stream(length)
            # Read wholly, in part, or not at all.
            for at, _ in enumerate(stream):
                if run % 3 and at == length // (run % 3 * 2):
                    break

    drop(max(20, tokens // length // 20))
    before = resident()
    drop(tokens // length)
    after = resident()
    model.close()
    return after - before


def memory(size: Size) -> list[Row]:
    """Growth over a million tokens, in a process that has done nothing before."""
    row = Row("memory growth, a million tokens dropped", "MB")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import measures as m; print(m.grown(10**6))"
    here = os.path.dirname(os.path.abspath(__file__))
    for _ in range(min(size.rounds, 3)):
        command = [sys.executable, "-c", code, here]
        row.ours.append(float(subprocess.run(command, check=True, capture_output=True).stdout))
    return [row]


def templates(size: Size) -> list[Row]:
    """A conversation of 40 messages in Python's lists, rendered by our engine and by jinja2."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.insert(0, os.path.join(root, "tests", "python"))
    import jinja_witness
    from rkllm_rs._native import ChatTemplate

    row = Row("chat template, 40 messages", "us")
    with open(os.path.join(root, "tests", "templates", "json-tools.jinja"), encoding="utf-8") as file:
        source = file.read()
    messages = [{"role": "system", "content": "Be kind."}]
    for at in range(39):
        role = "assistant" if at % 2 else "user"
        messages.append({"role": role, "content": f"Message {at}: " + "some words " * 50})
    theirs, ours = jinja_witness.compiled(source), ChatTemplate(source)
    if ours.render(messages) != jinja_witness.render(theirs, messages, {}):
        message = "the two do not give the same text"
        raise SystemExit(message)

    def median(render: Callable[[], str]) -> float:
        times = []
        for _ in range(50):
            start = time.perf_counter_ns()
            render()
            times.append(time.perf_counter_ns() - start)
        return statistics.median(times) / 1000

    for _ in range(size.rounds):
        # jinja2 alone: what transformers does around it comes on top.
        row.floor.append(median(lambda: theirs.render(messages=messages, add_generation_prompt=True)))
        row.ours.append(median(lambda: ours.render(messages, add_generation_prompt=True)))
    return [row]


def lock(size: Size) -> list[Row]:
    """A short run that holds the NPU's lock, which nobody else wants.

    The floor is the same run without a lock, and a ``flock`` taken and given back.
    """
    row = Row("a run with the NPU lock", "us")
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("RKLLM_RS_NPU_LOCK")
        models = []
        for place in (os.path.join(folder, "npu.lock"), "off"):
            os.environ["RKLLM_RS_NPU_LOCK"] = place
            models.append(NullModel())
        del os.environ["RKLLM_RS_NPU_LOCK"]
        if before is not None:
            os.environ["RKLLM_RS_NPU_LOCK"] = before

        def run(model: NullModel) -> int:
            start = time.perf_counter_ns()
            model.stream(1).result()
            return time.perf_counter_ns() - start

        def flock(file: IO[bytes]) -> int:
            start = time.perf_counter_ns()
            fcntl.flock(file, fcntl.LOCK_EX)
            fcntl.flock(file, fcntl.LOCK_UN)
            return time.perf_counter_ns() - start

        with open(os.path.join(folder, "flock"), "wb") as file:
            for _ in range(size.rounds):
                # In turns, since a busy machine changes from one moment to the next.
                turns = [(run(models[0]), run(models[1]) + flock(file)) for _ in range(10 * size.starts)]
                row.ours.append(statistics.median(with_lock for with_lock, _ in turns) / 1e3)
                row.floor.append(statistics.median(without for _, without in turns) / 1e3)
        for model in models:
            model.close()
    return [row]


def large_head(words: int) -> bytes:
    """The head of a `.rkllm` file with so many words and as many merges, which is what takes time in one."""

    def masked(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + bytes(byte ^ 0x5A for byte in text.encode())

    head = bytearray(bytes(byte ^ 0x5A for byte in b"GGUF") + struct.pack("<IQQ", 3, 1, 3))
    head += masked("general.architecture") + struct.pack("<I", 8) + masked("qwen3")
    for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"):
        head += masked(name) + struct.pack("<IIQ", 9, 8, words)
        head += b"".join(masked(f"w{at}") for at in range(words))
    return bytes(head + masked("output.weight") + struct.pack("<IQIQ", 1, 64, 0, 0))


def checked(size: Size) -> list[Row]:
    """The check of a model's file before every load, with a vocabulary as large as Qwen's.

    It is measured as a part of ``inspect``, which does no less. The floor reads the same bytes.
    """
    from rkllm_rs._native import inspect_file

    row = Row("check of a model's file", "ms")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.rkllm")
        head = large_head(151_936)
        with open(path, "wb") as file:
            file.write(head + bytes(4096))

        def floor() -> None:
            with open(path, "rb", buffering=0) as file:
                file.read(len(head))

        if not json.loads(inspect_file(path))["loadable"]:
            message = "the file that is measured must be one that is loaded"
            raise SystemExit(message)
        for _ in range(size.rounds):
            for call, into in ((lambda: inspect_file(path), row.ours), (floor, row.floor)):
                times: list[float] = []
                for _ in range(size.starts):
                    start = time.perf_counter_ns()
                    call()
                    times.append((time.perf_counter_ns() - start) / 1e6)
                into.append(statistics.median(times))
    return [row]


def cpu_of(pid: int) -> float:
    """Nanoseconds that the threads of a process have computed."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total


#: Microseconds before the rows come, in which everybody goes to sleep, as while a model reads its prompt.
PREFILL = 1000


def isolated(size: Size) -> list[Row]:
    """A worker process; the floors are the same things in this process."""
    import numpy as np

    flat = Row("worker: str, flat out", "ns/token")
    latency = Row("worker: callback to loop body, p50, 1 ms a token", "us")
    cost = Row("worker: CPU time, 20 ms a token", "us/token")
    logits = Row("worker: logits 1 x 151936, callback to NumPy array", "us")
    start, memory = Row("worker: start", "ms"), Row("worker: memory", "MB")
    for _ in range(size.rounds):
        for isolate in (True, False):
            model = NullModel(isolate=isolate)
            side = "ours" if isolate else "floor"
            start.__dict__[side].append(model.opened)
            pid = model.llm.worker_pid
            if pid:  # now, since a library that is faster than the reader leaves its tokens waiting here
                with open(f"/proc/{pid}/statm", "rb") as file:
                    memory.ours.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
            flat.__dict__[side].append(
                min(timed(model.stream(size.tokens).texts(), size.tokens)[0] for _ in range(3))
            )
            latency.__dict__[side].append(paced(model, size.paced, 1000)["p50_ns"] / 1e3)
            before = cpu_of(pid) if pid else 0.0
            here = paced(model, size.slow, 20_000)["cpu_ns"]
            there = (cpu_of(pid) - before) / size.slow if pid else 0.0
            cost.__dict__[side].append((here + there) / 1e3)
            arrays = []
            for _ in range(size.starts):
                stream = model.llm.stream_logits(f"1 151936 {PREFILL}")
                got = np.asarray(next(stream))
                arrays.append(time.monotonic_ns() - model.stamps[0])
                list(stream)
                del got
            logits.__dict__[side].append(statistics.median(arrays) / 1e3)
            model.close()
    return [flat, latency, cost, logits, start, memory]


MEASURES: dict[str, Callable[[Size], list[Row]]] = {
    "throughput": throughput,
    "delivery": delivery,
    "first": first,
    "cpu": cpu,
    "import": imported,
    "memory": memory,
    "async": asynchronous,
    "rows": rows_of_floats,
    "stop": stopping,
    "constraint": kept_to_a_form,
    "templates": templates,
    "lock": lock,
    "check": checked,
    "worker": isolated,
}
