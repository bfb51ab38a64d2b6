"""Where the messages of a chat come from: a terminal with line editing, a dumb one, or lines of a pipe."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, Protocol

from rkllm_rs.errors import InvalidArgumentError, RkllmError
from rkllm_rs.runtimes.store import home, make_folder

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

    from .screen import Screen

_PROMPT = ">>> "
_MORE = "... "
_QUOTES = '"""'
_QUOTED = re.compile(r'\s*"""(.*)"""\s*', re.DOTALL)
_HISTORY = "chat_history"


class Reader(Protocol):
    """What gives the user's messages, one after the other."""

    #: Whether a person is there to see a prompt, and to press Ctrl-C.
    interactive: bool

    def read(self) -> str:
        """The next message.

        Raises:
            EOFError: There are no more.
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        ...


def is_open(text: str) -> bool:
    """Whether a message has begun with three quotes that are not closed yet."""
    return text.lstrip().startswith(_QUOTES) and _QUOTED.fullmatch(text) is None


def message(text: str) -> str:
    """The message that a text is: without the three quotes around it, and the line breaks at its end."""
    quoted = _QUOTED.fullmatch(text)
    return (quoted[1] if quoted else text).strip("\n")


class Lines:
    """Lines of stdin. Each is a message, or several are, between three quotes."""

    interactive = False

    def read(self) -> str:
        """As of ``Reader``."""
        text = self._line(_PROMPT)
        with contextlib.suppress(EOFError):
            while is_open(text):
                text += "\n" + self._line(_MORE)
        return message(text)

    def _line(self, prompt: str) -> str:
        del prompt
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        try:
            return line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            text = f"the standard input must be UTF-8 text; byte {error.start} of a line is not"
            raise InvalidArgumentError(text, hint="Convert it, for example with `iconv -t UTF-8`.") from error


class Dumb(Lines):
    """A terminal that cannot move its cursor: the kernel's own line editing."""

    interactive = True

    def _line(self, prompt: str) -> str:
        # Not input(), which would use readline where something has imported it.
        sys.stderr.write(prompt)
        sys.stderr.flush()
        try:
            return super()._line(prompt)
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")
            raise


class Editor:
    """A terminal, through prompt_toolkit: line editing, history, several lines, pasted text."""

    interactive = True

    def __init__(self, screen: Screen, commands: Mapping[str, str]) -> None:
        """Prepares line editing.

        Args:
            screen: Told what is wrong with the history.
            commands: The slash commands with their arguments, for completion.
        """
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import create_output
        from prompt_toolkit.output.vt100 import Vt100_Output

        output = create_output(sys.stdout if sys.stdout.isatty() else sys.stderr)
        if isinstance(output, Vt100_Output):
            # A prompt does not need to know where it is; a terminal that does not answer costs a warning.
            output.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(
            _PROMPT,
            multiline=True,
            prompt_continuation=_continuation,
            key_bindings=_keys(),
            completer=_completer(commands),
            complete_while_typing=False,
            history=_history(screen),
            enable_suspend=True,
            enable_open_in_editor=True,
            output=output,
        )

    def read(self) -> str:
        """As of ``Reader``."""
        text = self._session.prompt()
        self._heed_ctrl_c()
        return message(text)

    def _heed_ctrl_c(self) -> None:
        """Finds the Ctrl-C that was pressed so soon after Enter that the terminal took it for a key."""
        from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
        from prompt_toolkit.keys import Keys

        source = self._session.app.input
        keys = get_typeahead(source)
        at = next((at for at, key in enumerate(keys) if key.key == Keys.ControlC), None)
        store_typeahead(source, keys if at is None else keys[at + 1 :])
        if at is not None:
            raise KeyboardInterrupt


def _continuation(_width: int, _line: int, wrapped: int) -> str:
    """What stands before the second line and those after it; nothing, where it is the same line."""
    return "" if wrapped else _MORE


def _completer(commands: Mapping[str, str]) -> Completer:
    """Completes commands, and what stands behind them: a file, or one of a few words."""
    from prompt_toolkit.completion import Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    files = PathCompleter(expanduser=True)

    class Slash(Completer):
        """Completes lines that begin with a slash."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            line = document.text_before_cursor
            name, space, rest = line.partition(" ")
            argument = commands.get(name[1:], "")
            if "FILE" in argument and space:
                yield from files.get_completions(Document(rest, len(rest)), complete_event)
                return
            known = argument.split("|") if space else [f"/{one}" for one in commands]
            for word in known:
                if line.startswith("/") and word.startswith(rest if space else name) and word.islower():
                    yield Completion(word, start_position=-len(rest if space else name))

    return Slash()


def _keys() -> KeyBindings:
    """Enter sends, Alt-Enter begins a new line."""
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))  # and not a search
    def send(event: KeyPressEvent) -> None:
        if is_open(event.current_buffer.text):
            event.current_buffer.insert_text("\n")
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def more(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history(screen: Screen) -> History:
    """What was entered before, in this chat and in others."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        folder = home()
        make_folder(folder)
        path = os.path.join(folder, _HISTORY)
        # What is written to a model is nobody else's business.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except (OSError, RkllmError) as error:
        screen.problem(error)
        screen.note("What you enter is not kept for later chats.")
        return InMemoryHistory()

    class Kept(FileHistory):
        """A file that may no longer be writable: a message is worth more than its history."""

        def store_string(self, string: str) -> None:
            with contextlib.suppress(OSError):
                super().store_string(string)

    return Kept(path)


@contextlib.contextmanager
def no_echo() -> Generator[None]:
    """Keeps what is typed meanwhile off the screen, for the next prompt; Ctrl-C works."""
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):  # not a terminal
        yield
        return
    quiet = list(before)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
