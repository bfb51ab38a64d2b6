"""A terminal that can do more than plain text: Markdown that grows, colours, and dimmed thinking."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import CodeBlock, Markdown
from rich.segment import Segment
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.text import Text

from . import parts
from .screen import what

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from markdown_it.token import Token
    from rich.console import ConsoleOptions, RenderableType, RenderResult

#: How often in a second the part of an answer that is not finished is drawn.
_PER_SECOND = 12
#: What a terminal would obey. A model's text must not move the cursor, or set the window's title.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _visible(text: str) -> str:
    """The text with pictures of its control characters."""
    return _CONTROL.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd", text)


def _spinner(console: Console) -> str:
    """The name of a spinner that can be shown."""
    return "dots" if console.encoding.startswith("utf") else "line"


class TerminalScreen:
    """A terminal, through rich, which knows its width, its colours and ``NO_COLOR``."""

    def __init__(self) -> None:
        """Takes stdout for the terminal."""
        # The window may change its size, unlike these variables.
        variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self._console = Console(highlight=False, markup=False, emoji=False, _environ=variables)

    @property
    def width(self) -> int:
        """As of ``Screen``."""
        return self._console.width

    def show(self, text: str) -> None:
        """As of ``Screen``."""
        self._console.print(Text(_visible(text)))

    def note(self, text: str) -> None:
        """As of ``Screen``."""
        self._console.print(Text(_visible(text), style="dim"))

    def problem(self, error: Exception | str) -> None:
        """As of ``Screen``."""
        message, _, hint = what(error).partition("\nhint: ")
        self._console.print(Text(_visible(message), style="red"))
        if hint:
            self._console.print(Text(_visible(hint)))

    @contextlib.contextmanager
    def busy(self, text: str) -> Generator[None]:
        """As of ``Screen``."""
        with self._console.status(Text(_visible(text), style="dim"), spinner=_spinner(self._console)):
            self._console.show_cursor(show=True)
            yield

    def answer(self, *, markdown: bool) -> TerminalAnswer:
        """As of ``Screen``."""
        return TerminalAnswer(self._console, markdown=markdown)


class _Kind:
    """A kind of text in an answer: how it is cut into parts, and how a part is shown."""

    def __init__(
        self, cut: Callable[[str], tuple[list[parts.Part], int]], show: Callable[[str], RenderableType]
    ) -> None:
        self.cut = cut
        self.show = show


class TerminalAnswer:
    """An answer that grows.

    What can no longer change is printed once, and scrolls away as any other text does. The part behind it is
    drawn again and again at the bottom of the screen, as much of its end as fits. So an answer may be longer
    than the screen.
    """

    def __init__(self, console: Console, *, markdown: bool) -> None:
        """Begins an answer, and shows that it is waited for."""
        self._console = console
        self._said = _MARKDOWN if markdown else _PLAIN
        self._kind = self._said
        self._rest = ""  # what may still change
        self._fresh = True  # whether nothing of this kind has come yet
        self._gap = False  # whether an empty line comes before it
        self._printed = False
        self._drawn: str | None = None
        # The thread that draws, and the one that prints what is finished, take turns.
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._over = threading.Event()
        self._wait()

    def _wait(self) -> None:
        """Shows that the model is working, and begins to draw."""
        self._spinner = Spinner(_spinner(self._console), style="dim")
        self._drawn, self._over = None, threading.Event()
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self._unfinished,
        )
        self._live.start(refresh=True)
        # Not hidden: a library that crashes would leave the shell without one.
        self._console.show_cursor(show=True)
        self._thread = threading.Thread(target=self._draw, args=(self._live, self._over), daemon=True)
        self._thread.start()

    def _draw(self, live: Live, over: threading.Event) -> None:
        """Draws what is not finished, until it is."""
        pause = 1 / _PER_SECOND
        while not over.wait(pause):
            with self._lock:
                begun = time.monotonic()
                if not over.is_set() and (not self._rest or self._rest != self._drawn):
                    live.refresh()
            # A long block of code takes its time; the model needs the processor, too.
            pause = max(1 / _PER_SECOND, 4 * (time.monotonic() - begun))

    def _unfinished(self) -> RenderableType:
        self._drawn = self._rest
        if not self._rest:
            return Text() if self._over.is_set() else self._spinner
        return _End(self._shown(self._kind.cut(self._rest)[0]))

    def _shown(self, found: list[parts.Part]) -> Group:
        """The parts with empty lines between them, where they belong."""
        shown: list[RenderableType] = []
        for part in found:
            if self._gap if part is found[0] else part.apart:
                shown.append(Text())
            shown.append(self._kind.show(part.text))
        return Group(*shown)

    def thought(self, text: str) -> None:
        """As of ``Answer``."""
        self._grow(_THOUGHT, text)

    def said(self, text: str) -> None:
        """As of ``Answer``."""
        self._grow(self._said, text)

    def _grow(self, kind: _Kind, text: str) -> None:
        if self._live is None:
            self._wait()
        with self._lock:
            if kind is not self._kind:
                self._finish()
                self._kind, self._fresh = kind, True
            if self._fresh:
                text = text.lstrip("\n")
                self._fresh = not text
            self._rest += _visible(text)
            if "\n" not in text:
                return  # only the end of a line settles something
            found, settled = kind.cut(self._rest)
            if settled:
                self._rest = self._rest[found[settled].start :]
                self._print(found[:settled])
                self._gap = found[settled].apart

    def _finish(self) -> None:
        """Prints what was not finished: nothing follows it."""
        rest, self._rest = self._rest.rstrip(), ""
        if rest:
            self._print(self._kind.cut(rest)[0])
        self._gap = self._printed

    def _print(self, found: list[parts.Part]) -> None:
        """Prints what can no longer change, above what can."""
        with self._console:  # in one write
            if self._live is not None:
                gap, self._gap = self._gap, False
                self._live.refresh()
                self._gap = gap
            self._console.print(self._shown(found))
            self._printed = True

    def calls(self, text: str) -> None:
        """As of ``Answer``."""
        self._pause()
        self._console.print(Text(_visible(text), style="cyan"))
        self._printed = True

    def returned(self, text: str) -> None:
        """As of ``Answer``."""
        self._console.print(Text(_visible(text), style="dim"))
        self._gap = True
        self._wait()

    def end(self) -> None:
        """As of ``Answer``."""
        self._pause()
        if self._printed:
            self._console.print()

    def _pause(self) -> None:
        """Prints what has come, and no longer draws."""
        if self._live is None:
            return
        with self._lock:
            self._over.set()
            self._finish()
            live, self._live = self._live, None
            live.stop()
        self._thread.join()


class _End:
    """The last lines of something, as many as the screen has room for."""

    def __init__(self, whole: RenderableType) -> None:
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._whole, options.update(height=None), pad=False)
        yield from _joined(lines[-max(1, console.height - 1) :])


class _Block:
    """A block of Markdown, without the empty lines that rich puts around some."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(_Markdown(self._text), options, pad=False)
        bare = [_without_end(line) for line in lines]
        full = [at for at, line in enumerate(bare) if line]
        yield from _joined(bare[full[0] : full[-1] + 1] if full else [])


def _without_end(line: list[Segment]) -> list[Segment]:
    """A line without the spaces that fill it, which would be copied with it."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    if line:
        text, style, control = line[-1]
        line = [*line[:-1], Segment(text.rstrip(), style, control)]
    return line


def _joined(lines: list[list[Segment]]) -> Iterator[Segment]:
    for line in lines:
        yield from line
        yield Segment.line()


class _Code(CodeBlock):
    """Code in the terminal's own colours, and without a margin, so that it can be copied."""

    info = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        """As of ``CodeBlock``; keeps what is more than the name of a language."""
        made = cls(token.info.partition(" ")[0] or "text", markdown.code_theme)
        made.info = token.info if " " in token.info.strip() else ""
        return made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.info:
            yield Text(self.info, style="dim")
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme="ansi_dark", word_wrap=True, background_color="default")


class _Markdown(Markdown):
    """Markdown as models write it."""

    elements: ClassVar = {**Markdown.elements, "fence": _Code, "code_block": _Code}

    def __init__(self, text: str) -> None:
        """Reads a text; line breaks in it stay."""
        super().__init__(text, hyperlinks=False)
        self.parsed = parts.markdown_parser().parse(text)
        for token in self.parsed:
            for inner in token.children or ():
                if inner.type == "softbreak":
                    inner.type = "hardbreak"


_MARKDOWN = _Kind(parts.blocks, _Block)
_PLAIN = _Kind(parts.lines, Text)
_THOUGHT = _Kind(parts.lines, lambda text: Text(text, style="dim"))
