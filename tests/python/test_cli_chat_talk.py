"""``rkllm-rs chat`` without a terminal: messages, what stays of a stopped turn, and Markdown in parts."""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pyte
import pytest
from rich.console import Console

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from rkllm_rs import InvalidArgumentError, ToolError
from rkllm_rs.cli.chat import commands, files, parts, reading, terminal
from rkllm_rs.cli.chat.talk import Called, Returned, Talk
from support import HELD

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener

TEMPLATE = """\
{%- for message in messages %}[{{ message.role }}]{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}
{% endfor -%}
{%- if tools %}[tools]{{ tools | tojson }}{% endif -%}
[assistant]"""
ENDLESS = {"text": " on", "repeat": 100_000, "delay_ms": 5}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.fixture
def talk(open_model: Opener) -> Callable[..., Talk]:
    def begin(*runs: list[Any], **keywords: Any) -> Talk:
        llm = open_model({"runs": [{"steps": steps} for steps in runs]}, chat_template=TEMPLATE)
        return Talk(llm, **keywords)

    return begin


def said(talk: Talk, text: str, *, stop_after: int | None = None) -> list[Any]:
    """What came of a message; stops it when so many parts have come."""
    found: list[Any] = []
    for part in talk.send(text):
        found.append(part)
        if len(found) == stop_after:
            talk.stop()
    return found


def test_a_stopped_answer_stays_as_far_as_it_came(talk: Callable[..., Talk]) -> None:
    one = talk(["Go ", "on", ENDLESS], ["fine"], system="Be brief.")
    said(one, "1", stop_after=2)
    assert one.stopped
    assert one.kept
    system, user, answer = one.messages
    assert (system["role"], user["content"], answer["role"]) == ("system", "1", "assistant")
    assert answer["content"].startswith("Go on")
    said(one, "2")
    assert not one.stopped
    assert [message["content"] for message in one.messages[3:]] == ["2", "fine"]


def test_a_turn_that_was_stopped_before_it_said_something_leaves_nothing(
    talk: Callable[..., Talk], gate: Path
) -> None:
    # For both turns: the first may be stopped before the library knows of it.
    one = talk([{"text": "fine", "delay_ms": HELD}])
    parts = one.send("1")
    one.stop()  # before it has begun
    list(parts)
    assert one.messages == []
    gate.touch()
    said(one, "2")
    assert len(one.messages) == 2


def test_a_tool_that_is_stopped_leaves_nothing(talk: Callable[..., Talk]) -> None:
    def get_weather(city: str) -> str:
        """Tells the weather."""
        signal.raise_signal(signal.SIGINT)
        return city

    one = talk([CALL], ["fine"], tools=[get_weather])
    before = signal.signal(signal.SIGINT, lambda *_: one.stop())
    try:
        found = said(one, "1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(found[-1], Called)
    assert one.stopped
    assert not one.kept
    assert one.messages == []


def test_what_tools_do_is_told(talk: Callable[..., Talk]) -> None:
    def get_weather(city: str) -> str:
        """Tells the weather."""
        raise ValueError(city)

    one = talk([CALL], ["Sorry."], tools=[get_weather])
    called, returned = (part for part in said(one, "1") if isinstance(part, (Called, Returned)))
    assert [call.name for call in called.calls] == ["get_weather"]
    assert [message["content"] for message in returned.messages] == ["ValueError: Paris"]
    assert [message["role"] for message in one.messages] == ["user", "assistant", "tool", "assistant"]
    assert one.undo() == "1"
    assert one.messages == []


def test_a_tool_that_ends_the_program_is_an_error(talk: Callable[..., Talk]) -> None:
    def get_weather(city: str) -> None:
        """Tells the weather."""
        sys.exit(city)

    one = talk([CALL], ["fine"], tools=[get_weather])
    with pytest.raises(ToolError):
        said(one, "1")
    assert one.messages == []


def test_the_system_message_comes_and_goes(talk: Callable[..., Talk]) -> None:
    one = talk(["x"])
    said(one, "1")
    one.system = "Be brief."
    assert [message["role"] for message in one.messages] == ["system", "user", "assistant"]
    one.system = "Be kind."
    one.clear()
    assert one.messages == [{"role": "system", "content": "Be kind."}]
    one.system = None
    assert one.messages == []


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/help", ("help", "")),
        ("/save a b.json ", ("save", "a b.json")),
        ("/system one\ntwo", ("system", "one\ntwo")),
        ("/", ("", "")),
        ("/nonsense here", ("nonsense", "here")),
        ("/usr/bin/python is what?", None),
        ("/* a comment */", None),
        ("// another", None),
        (" /help", None),
        ("help", None),
    ],
)
def test_what_is_a_command(text: str, command: tuple[str, str] | None) -> None:
    assert commands.parse(text) == command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"""one\ntwo"""', "one\ntwo"),
        ('"""\none\n\ntwo\n"""  ', "one\n\ntwo"),
        ('say """this"""', 'say """this"""'),
        ("one\ntwo\n", "one\ntwo"),
        ('""""""', ""),
    ],
)
def test_quotes_around_a_message(text: str, message: str) -> None:
    assert not reading.is_open(text)
    assert reading.message(text) == message


@pytest.mark.parametrize("text", ['"""', '"""one', ' """one\ntwo"', '""""'])
def test_quotes_that_are_open(text: str) -> None:
    assert reading.is_open(text)


def test_saved_messages_are_read_again(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Knapp."}, {"role": "user", "content": "Grüße\n日本"}]
    path = tmp_path / "talk.json"
    files.save(messages, str(path))
    assert json.loads(path.read_text("utf-8")) == messages
    assert path.stat().st_mode & 0o077 == 0
    assert files.load(str(path)) == messages
    files.save(messages[:1], str(path))
    assert files.load(str(path)) == messages[:1]


def test_saving_spares_other_files(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("important")
    with pytest.raises(InvalidArgumentError):
        files.save([], str(path))
    assert path.read_text() == "important"


@pytest.mark.parametrize(
    "content",
    ["", "no", "3", "{}", '[{"role": "nobody"}]', '[{"role": "user", "content": 3}]', '["x"]', "[" * 9999],
)
def test_other_files_are_not_conversations(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InvalidArgumentError) as caught:
        files.load(str(path))
    assert caught.value.hint is not None


def test_a_conversation_of_a_program_can_be_loaded(open_model: Opener, tmp_path: Path) -> None:
    conversation = open_model().conversation(system="Be brief.")
    conversation.save(tmp_path / "talk.json")
    assert files.load(str(tmp_path / "talk.json")) == conversation.messages


TOOLS = """\
import os
from json import dumps
from dataclasses import dataclass
from neighbour import helper

@dataclass
class Place:
    city: str

def get_weather(place: Place) -> str:
    '''Tells the weather.'''
    return dumps(place.city)

def _private(): ...

def add(a: int, b: int = 1) -> int:
    '''Adds.'''
    return helper(a, b)
"""


def test_the_public_functions_of_a_file_are_tools(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("def helper(a, b): return a + b\n")
    path = tmp_path / "weather tools.py"
    path.write_text(TOOLS)
    tools = files.load_tools(str(path))
    assert tools.names == ["get_weather", "add"]
    assert tools.run("get_weather", {"place": {"city": "Paris"}}).value == '"Paris"'
    assert tools.run("add", {"a": 2}).value == 3
    path.write_text(TOOLS + "\n__all__ = ['add']\n")
    assert files.load_tools(str(path)).names == ["add"]


@pytest.mark.parametrize(
    "content", ["", "1/0", "def f(", "import sys; sys.exit(3)", "def f(x): pass", "__all__ = ['x']"]
)
def test_a_file_that_has_no_tools_says_why(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tools.py"
    path.write_text(content)
    with pytest.raises(ToolError) as caught:
        files.load_tools(str(path))
    assert caught.value.hint is not None


def test_the_picture_of_a_terminal_has_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import chat_screen

    screen = pyte.Screen(20, 3)
    pyte.Stream(screen).feed("a <b>\r\n  \x1b[1;31mred  &\x1b[0m end")
    texts = list(ET.fromstring(chat_screen.svg(screen)).iter("{http://www.w3.org/2000/svg}text"))  # noqa: S314
    assert [text.text for text in texts] == ["a <b>", "red  &", "end"]
    assert texts[1].get("font-weight") == "bold"


PIECES = st.sampled_from(
    [
        "\n",
        "\n\n",
        "word ",
        "**",
        "`",
        "```\n",
        "```py\n",
        "- ",
        "1. ",
        "> ",
        "| a | b |\n",
        "|---|---|\n",
        "# ",
        *["---\n", "===\n", "<b>", "<div>\n", "[1]: u\n", "[a](b)", "    ", "\t", "日本", "\\", "* * *\n"],
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join), PIECES)
def test_settled_parts_of_markdown_do_not_change(text: str, more: str) -> None:
    found, settled = parts.blocks(text)
    grown, _ = parts.blocks(text + more)
    assert grown[:settled] == found[:settled]
    for part in found:
        assert text.startswith(part.text, part.start)
    whole = "".join(part.text for part in found)
    assert whole.split() == text.split()


def drawn(chunks: list[tuple[str, str]], columns: int, rows: int) -> list[str]:
    """The lines of a terminal at the end of an answer that came in such parts."""
    written = io.StringIO()
    console = Console(
        file=written, force_terminal=True, width=columns, height=rows, _environ={"TERM": "xterm"}
    )
    answer = terminal.TerminalAnswer(console, markdown=True)
    for kind, text in chunks:
        getattr(answer, kind)(text)
    answer.end()
    screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=1e-9)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(written.getvalue())
    above = ["".join(line[at].data for at in range(columns)) for line in screen.history.top]
    return "\n".join(line.rstrip() for line in [*above, *screen.display]).rstrip().split("\n")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(["hm ", "so\n", "\n"]), max_size=9).map("".join),
    st.lists(PIECES, max_size=30).map("".join),
    st.integers(1, 9),
    st.sampled_from([(20, 6), (60, 12)]),
)
def test_an_answer_looks_the_same_however_it_comes(
    thought: str, said: str, size: int, shape: tuple[int, int]
) -> None:
    def cut(kind: str, text: str) -> list[tuple[str, str]]:
        return [(kind, text[at : at + size]) for at in range(0, len(text), size)]

    whole = [(kind, text) for kind, text in (("thought", thought), ("said", said)) if text]
    assert drawn(cut("thought", thought) + cut("said", said), *shape) == drawn(whole, *shape)
