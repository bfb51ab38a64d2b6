#!/usr/bin/env python3
"""Runs fuzz targets that ``scripts/fuzz.sh`` has built, and prints what each has done.

What a target learns is kept under ``target/fuzz/corpus``; ``fuzz/corpus/TARGET.tar.xz`` begins it, beside the
examples of the tests. An input that crashes, hangs or eats memory is left under ``fuzz/artifacts`` and fails
the run.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
#: A target ends before its time when it has run so often; -1 is no limit.
RUNS = int(os.environ.get("FUZZ_RUNS", "-1"))
ENVIRONMENT = os.environ | {
    # A stack that is made for one rendering would leave behind what is kept to find uses of dead variables.
    "ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=1:allocator_may_return_null=1",
    "LSAN_OPTIONS": f"suppressions={ROOT / 'scripts/leaks.txt'}:print_suppressions=0",
}
#: No input may take longer, in seconds, or more memory, in MB.
SLOWEST, LARGEST = 10, 2048

_TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {
                    "type": "object",
                    "properties": {"a": {"type": "string", "enum": ["x"]}, "n": {"type": "integer"}},
                    "required": ["a"],
                },
            },
        }
    ]
)
_MESSAGES = json.dumps(
    [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": "x"}}}],
        },
        {"role": "tool", "name": "f", "content": "3"},
        {"role": "user", "content": [{"type": "text", "text": "and?"}]},
    ]
)


def _rows(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def _templates() -> list[str]:
    files = [*ROOT.glob("tests/templates/*.jinja"), *ROOT.glob("crates/text/src/families/templates/*.jinja")]
    return [file.read_text(encoding="utf-8") + "\0Be kind.\0Hi" for file in sorted(files)]


def _answers() -> list[str]:
    outputs = [one.get("output") for one in _rows("crates/text/src/answer/cases.json")["cases"]]
    return [chr(at % 40) + "\0\1" + output for at, output in enumerate(outputs) if isinstance(output, str)]


def _response_templates() -> list[str]:
    rows = _rows("crates/text/src/families/families.json")
    return [json.dumps(row["response_template"]) + "\0<think>a</think>b" for row in rows]


_TOKENIZER = json.dumps(
    {
        "model": {"type": "BPE", "vocab": {"a": 0, "\u0120b": 1, "<0x0A>": 2}, "merges": []},
        "added_tokens": [{"id": 3, "content": "</s>", "special": True}],
    }
)

#: What the tests have for a target.
EXAMPLES: dict[str, Callable[[], list[str]]] = {
    "answer": _answers,
    "calls": lambda: [chr(at) + "\1" + _TOOLS + "\0xxxx" for at in range(40)],
    "digest": lambda: ["\3some bytes", "\77short"],
    "inspect": lambda: [
        chr(at) + head for at in range(4) for head in ("GGUF\3", "RKNN", "<!DOCTYPE html>", "")
    ],
    "json_schema": lambda: [json.dumps(one["schema"]) for one in _rows("tests/schemas.json")],
    "lark": lambda: ['start: "a" x+\nx: /[0-9]+/ | "b"', 'start: %json {"type": "integer"}'],
    "messages": lambda: [chr(at) + "\3" + _MESSAGES + "\0" + _TOOLS for at in range(40)],
    "npu_record": lambda: ['{"ticket":0,"pid":1,"uid":0,"program":"p","what":"run","asked":1.5,"had":2.5}\0'],
    "regex": lambda: [r"[a-z]+@[a-z]+\.(com|org)", r"(\d{4}-\d{2}){1,3}", "a|b*c?"],
    "response_template": _response_templates,
    "stop": lambda: ["STOP\0</s>\0\0some ST\0OP text", "ab\0b\0\0xa\0b"],
    "template": _templates,
    "tokenizer_json": lambda: [_TOKENIZER],
    "tools": lambda: [_TOOLS + '\0{"a": "x"}'],
    "vendor_lines": lambda: [
        "E rkllm: " + line for row in _rows("data/vendor-lines.json") for line in row["lines"]
    ],
}


def run(folder: Path, target: str) -> tuple[str, bool]:
    """Runs one target.

    Returns:
        A row of the table, and whether nothing was found.
    """
    corpus = ROOT / "target/fuzz/corpus" / target
    artifacts = ROOT / "fuzz/artifacts" / target
    for path in (corpus, artifacts):
        path.mkdir(parents=True, exist_ok=True)
    begin(target, corpus)
    for number, example in enumerate(EXAMPLES.get(target, list)()):
        (corpus / f"example-{number}").write_text(example, encoding="utf-8")
    command = [
        str(folder / target), f"-max_total_time={SECONDS}", f"-runs={RUNS}", f"-timeout={SLOWEST}",
        f"-rss_limit_mb={LARGEST}", f"-artifact_prefix={artifacts}/", "-print_final_stats=1",
        "-max_len=16384", str(corpus),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT)  # noqa: S603 - built here
    said = done.stderr.decode(errors="replace")
    executions = _last(r"stat::number_of_executed_units: +(\d+)", said)
    covered = _last(r" cov: (\d+)", said)
    well = done.returncode == 0
    if not well:
        print(said[-6000:], file=sys.stderr)
    seconds = max(1, _last(r"Done \d+ runs in (\d+) second", said))
    row = f"| `{target}` | {executions:,} | {seconds:,} | {covered:,} | {'nothing' if well else 'FOUND'} |"
    return row, well


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def kept_of(target: str) -> Path:
    """The archive of what is kept for a target."""
    return ROOT / "fuzz/corpus" / f"{target}.tar.xz"


def kept(target: str) -> Iterator[tuple[str, bytes]]:
    """What is kept for a target: names and inputs."""
    if kept_of(target).is_file():
        with tarfile.open(kept_of(target)) as packed:
            for member in packed:
                opened = packed.extractfile(member)
                if opened is not None:
                    yield Path(member.name).name, opened.read()


def begin(target: str, folder: Path) -> None:
    """Adds what is kept to what a target begins with."""
    for name, data in kept(target):
        (folder / name).write_bytes(data)


def tell(target: str) -> None:
    """Writes what is kept for a target, and the examples, each behind its length."""
    examples = [example.encode() for example in EXAMPLES.get(target, list)()]
    for data in [*(data for _, data in kept(target)), *examples]:
        sys.stdout.buffer.write(len(data).to_bytes(8, "little") + data)


def merge(folder: Path, target: str) -> None:
    """Keeps the fewest inputs of at most 2 KB that reach what all of those reach."""
    corpus, smaller = (ROOT / "target/fuzz" / part / target for part in ("corpus", "merged"))
    shutil.rmtree(smaller, ignore_errors=True)
    for path in (corpus, smaller):
        path.mkdir(parents=True, exist_ok=True)
    begin(target, corpus)
    command = [str(folder / target), "-set_cover_merge=1", "-max_len=2048", str(smaller), str(corpus)]
    subprocess.run(command, check=True, env=ENVIRONMENT)  # noqa: S603
    kept_of(target).parent.mkdir(exist_ok=True)
    with tarfile.open(kept_of(target), "w:xz") as packed:
        for path in sorted(smaller.iterdir()):
            data = path.read_bytes()
            # Alike on every machine.
            member = tarfile.TarInfo(path.name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))


def main() -> None:
    """Runs the targets that are named, or all; with ``--merge`` keeps what they have learned."""
    if sys.argv[1] == "--kept":
        tell(sys.argv[2])
        return
    folder, *names = Path(sys.argv[1]), *sys.argv[2:]
    keeps = "--merge" in names
    names = [one for one in names if one != "--merge"]
    every = sorted(path.stem for path in (ROOT / "fuzz/fuzz_targets").glob("*.rs"))
    unknown = sorted(set(names) - set(every))
    if unknown:
        sys.exit(f"no such target: {', '.join(unknown)}; there are {', '.join(every)}")
    if keeps:
        for target in names or every:
            merge(folder, target)
        return
    print("| target | executions | seconds | places covered | found |")
    print("|---|---|---|---|---|", flush=True)
    all_well = True
    for target in names or every:
        row, well = run(folder, target)
        all_well &= well
        print(row, flush=True)
    if not all_well:
        sys.exit("the inputs are under fuzz/artifacts")


if __name__ == "__main__":
    main()
