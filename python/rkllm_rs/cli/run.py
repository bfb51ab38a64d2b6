"""The command ``rkllm-rs run``: one prompt, one answer."""

from __future__ import annotations

import os
import sys
import time

from .opening import add_model_arguments, add_sampling_arguments, generation_keywords, open_model
from .output import Busy, add_json, note, printable, say
from .parsing import UsageError
from .reading import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

    from rkllm_rs import RKLLM, ChatAnswer, ChatStream, Generation, TokenStream

    from .parsing import Parser

HELP = "Answer one prompt. The answer goes to stdout as it is generated, everything else to stderr."
EXAMPLES = """\
examples:
  rkllm-rs run model.rkllm "Why is the sky blue?" --max-new-tokens 64
  rkllm-rs run model.rkllm --system "Answer in French." --temperature 0 "What is a moon?"
  rkllm-rs run model.rkllm "Summarise this text." --file notes.txt --stats
  git diff | rkllm-rs run model.rkllm "Write a commit message." -
  rkllm-rs run model.rkllm "Name a city." --json-schema city.json --json

The prompt is the words behind MODEL, then the text of --file, then that of stdin for a -, with an empty line
between them. Without any of these it is read from stdin. One line break at the end of a file is left out.

Thinking is shown dimmed if stderr is a terminal. Otherwise it is left out, unless --thinking is given: then
it is written to stderr. With --json it is "reasoning".
"""
#: How many parts of an answer are written at once at most, though more are there already.
_MOST = 1024
#: Seconds between two writes at least. What comes faster is written together.
_PAUSE = 0.002


def add_arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.intermixed = True
    parser.usage = "rkllm-rs run [options] MODEL [PROMPT …]"
    add_model_arguments(parser)
    parser.add_argument("prompt", nargs="*", default=[], metavar="PROMPT", help="the prompt; - is stdin")
    parser.add_argument(
        "--file", action="append", metavar="FILE", help="read the prompt from this file; repeatable"
    )
    parser.add_argument(
        "--system",
        metavar="TEXT",
        help="system message; default: that of the model's Modelfile, if it has one",
    )
    parser.add_argument(
        "--raw", action="store_true", help="continue the prompt as it is, without a chat template"
    )
    parser.add_argument("--image", metavar="FILE", help="not supported yet")
    add_json(parser)
    parser.add_argument(
        "--stream", action="store_true", help="with --json: an object a line, as the answer is generated"
    )
    parser.add_argument("--stats", action="store_true", help="print timings to stderr")
    add_sampling_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    if arguments.image is not None:
        from rkllm_rs.errors import UnsupportedFeatureError

        message = "images are not supported yet"
        raise UnsupportedFeatureError(message, hint="Leave --image out.")
    keywords = generation_keywords(arguments)
    prompt = _prompt(arguments)
    if arguments.raw and arguments.system is not None:
        message = "--system requires a chat template, which --raw turns off"
        raise UsageError(message, hint="Leave one of them out.")
    with Busy(f"Loading {os.path.basename(arguments.model)} …"):
        llm = open_model(arguments, **({"template": "raw"} if arguments.raw else {}))
    with llm, _asked(arguments, llm, prompt, keywords) as stream:
        _answer(arguments, stream)
    return 0


def _asked(
    arguments: argparse.Namespace, llm: RKLLM, prompt: str, keywords: dict[str, Any]
) -> TokenStream | ChatStream:
    """Starts the answer."""
    if arguments.raw:
        return llm.stream(prompt, **keywords)
    messages = [{"role": "user", "content": prompt}]
    system = _system(arguments, llm)
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return llm.chat_stream(messages, **keywords)


def _system(arguments: argparse.Namespace, llm: RKLLM) -> str | None:
    """The system message: that of the ``Modelfile`` beside the model unless another one is given."""
    if arguments.system is not None:
        return str(arguments.system)
    from rkllm_rs.models import modelfile

    beside = modelfile(str(llm.model_path))
    return beside.system if beside else None


def _prompt(arguments: argparse.Namespace) -> str:
    words: list[str] = [word for word in arguments.prompt if word != "-"]
    files: list[str] = [*(arguments.file or ()), *("-" for word in arguments.prompt if word == "-")]
    if not words and not files:
        if sys.stdin.isatty():
            message = "prompt must be given"
            hint = f"Write it behind the model, or use `rkllm-rs chat {arguments.model}`."
            raise UsageError(message, hint=hint)
        files = ["-"]
    if files.count("-") + (arguments.json_schema == "-") > 1:
        message = "stdin can be read only once"
        raise UsageError(message, hint="Name it once as -.")
    parts = [" ".join(words)] if words else []
    parts += [read_text(file).removesuffix("\n").removesuffix("\r") for file in files]
    prompt = "\n\n".join(part for part in parts if part)
    if not prompt:
        message = "prompt must not be empty"
        raise UsageError(message, hint="Pass some text.")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        message = "prompt must be UTF-8 text"
        raise UsageError(message, hint="Set a UTF-8 locale, such as `LC_ALL=C.UTF-8`.") from error
    return prompt


def _batches(stream: TokenStream | ChatStream) -> Iterator[list[Any]]:
    """What has come of an answer since it was looked at last; waits for at least one part."""
    last = 0.0
    for part in stream:
        batch: list[Any] = [part]
        try:
            rest = last + _PAUSE - time.monotonic()
            if rest > 0:
                time.sleep(rest)
            while len(batch) < _MOST and (more := stream._poll()) is not None:  # noqa: SLF001 - our own
                batch.append(more)
        except StopAsyncIteration:
            pass
        except (Exception, KeyboardInterrupt):
            yield batch  # nothing of an answer is lost
            raise
        yield batch
        last = time.monotonic()


def _answer(arguments: argparse.Namespace, stream: TokenStream | ChatStream) -> None:
    """Writes an answer, as it comes."""
    streams = arguments.stream or not arguments.json
    paper: _Lines | _Text | None = None
    if streams:
        paper = _Lines() if arguments.json else _Text(reasons=arguments.thinking is True)
        try:
            for batch in _batches(stream):
                if arguments.raw:
                    text, reasoning = "".join([part.text for part in batch]), ""
                else:
                    text = "".join([part.content for part in batch])
                    reasoning = "".join([part.reasoning for part in batch])
                paper.put(text, reasoning)
        finally:
            paper.end()
    _close(arguments, stream.result(), streamed=streams)


def _close(arguments: argparse.Namespace, answer: Generation | ChatAnswer, *, streamed: bool) -> None:
    """Writes what is known at the end of an answer, and all of it if it was not written as it came."""
    content, reasoning = getattr(answer, "content", answer.text), getattr(answer, "reasoning", None)
    if arguments.json:
        import json

        from .stats import perf_dict

        whole: dict[str, Any] = {"text": "" if streamed else content}
        if not arguments.raw and not streamed:
            whole["reasoning"] = reasoning
        if arguments.json_schema is not None:
            whole["parsed"] = answer.parsed
        say(json.dumps({**whole, "finish_reason": answer.finish_reason, "perf": perf_dict(answer.perf)}))
    sys.stdout.flush()
    if reasoning and not content:
        note("note: the answer ended while the model was thinking; try --no-thinking")
    for remark in getattr(answer, "notes", ()):
        note(f"note: {remark}")
    if arguments.stats:
        from .stats import perf_lines

        sys.stderr.write("".join(f"{line}\n" for line in perf_lines(answer.perf)))


class _Lines:
    """An answer as JSON, an object a line."""

    def put(self, text: str, reasoning: str) -> None:
        """Writes what has come."""
        import json

        if text or reasoning:
            say(json.dumps({"text": text, **({"reasoning": reasoning} if reasoning else {})}))
            sys.stdout.flush()

    def end(self) -> None:
        """The answer has ended."""


class _Text:
    """An answer as text, with thinking beside it where it is wanted."""

    def __init__(self, *, reasons: bool) -> None:
        self.shown, self.seen = sys.stderr.isatty(), sys.stdout.isatty()
        self.reasons = reasons or self.shown
        dims = self.shown and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.dim, self.normal = ("\x1b[2m", "\x1b[22m") if dims else ("", "")
        self.thinks = False
        self.last = ""

    def put(self, text: str, reasoning: str) -> None:
        """Writes what has come."""
        if reasoning and self.reasons:
            if not self.thinks:
                self.thinks = True
                sys.stderr.write(self.dim)
            sys.stderr.write(printable(reasoning) if self.shown else reasoning)
            sys.stderr.flush()
        if text:
            self.awake()
            self.last = text
            sys.stdout.write(printable(text) if self.seen else text)
            sys.stdout.flush()

    def awake(self) -> None:
        """Thinking has ended."""
        if self.thinks:
            self.thinks = False
            sys.stderr.write(f"{self.normal}\n\n" if self.shown else "\n")
            sys.stderr.flush()

    def end(self) -> None:
        """The answer has ended."""
        self.awake()
        if self.last and not self.last.endswith("\n"):
            sys.stdout.write("\n")
