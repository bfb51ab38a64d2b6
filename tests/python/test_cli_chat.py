"""``rkllm-rs chat`` in a terminal and in pipes, on the fake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs.cli.chat.commands import COMMANDS
from support import PATIENCE, began
from terminals import PROMPT, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATE = """\
{%- for message in messages %}[{{ message.role }}]{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %};{% endfor -%}
{%- if tools %}[tools]{{ tools | tojson }}{% endif -%}
{%- if enable_thinking is defined %}[thinking {{ enable_thinking }}]{% endif -%}
[assistant]"""
ENDLESS = {"text": "on ", "repeat": 100_000, "delay_ms": 5}
COLOURS = re.compile(r"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9]+)*m")


@pytest.fixture
def words(make_model: Callable[..., Path], library: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a chat with a model of a script: a list of the steps of each answer."""
    template = tmp_path / "chat.jinja"
    template.write_text(TEMPLATE)

    def make(*runs: Any, arguments: tuple[object, ...] = (), **script: Any) -> list[str]:
        steps = [run if isinstance(run, dict) else {"steps": run} for run in runs]
        model = make_model({"runs": steps, **script})
        options = ["--library", library, "--chat-template", template, *arguments]
        quiet = ["-W", "ignore::UserWarning"]  # no machine that runs these tests has the NPU
        return [sys.executable, *quiet, "-m", "rkllm_rs", "chat", str(model), *map(str, options)]

    return make


def prompts(record: Path) -> list[str]:
    return [one["input"]["prompt_input"] for one in calls(record, "rkllm_run")]


def pipe(words: list[str], text: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, input=text, capture_output=True, text=True, timeout=PATIENCE, check=False, **keywords
    )


def test_an_answer_grows_in_markdown_and_thinking_is_dim(words: Callable[..., list[str]]) -> None:
    said = ["<think>", "Let me ", "see.", "</think>", "\n\n", "It is ", "**bold**.\n\n", "Wait ", ENDLESS]
    with Terminal(words(said, arguments=("--family", "qwen3"))) as terminal:
        terminal.ready(1)
        terminal.send("hi\r")
        terminal.see("Wait on on")  # while the model goes on
        assert "Let me see.\n\nIt is bold.\n\nWait on" in terminal.text
        assert terminal.styled("bold", "bold")
        assert "\x1b[2mLet me see." in terminal.raw


def test_ctrl_c_stops_the_answer_and_the_second_one_leaves(
    words: Callable[..., list[str]], record: Path
) -> None:
    with Terminal(words(["Go ", "on", ENDLESS], ["fine"])) as terminal:
        terminal.ready(1)
        terminal.send("1\r")
        terminal.see("Go onon on")
        terminal.send("typed ahead")
        terminal.send("\x03")
        terminal.ready(2)
        terminal.send("2\r")
        terminal.ready(3)
        assert prompts(record)[1].startswith("[user]1;[assistant]Go onon on")
        terminal.send("3\r")
        terminal.ready(4)
        terminal.send("\x03")
        terminal.ready(5)
        terminal.send("4\r")  # something between them: the next is a first one
        terminal.ready(6)
        terminal.send("\x03")
        terminal.ready(7)
        terminal.send("\x03")
        assert terminal.end() == 130


def test_ctrl_c_leaves_a_library_that_does_not_stop(words: Callable[..., list[str]]) -> None:
    stuck = {"steps": ["Go ", ENDLESS], "ignore_abort_ms": 1000}
    with Terminal(words(stuck)) as terminal:
        terminal.ready(1)
        terminal.send("1\r")
        terminal.see("Go on")
        terminal.send("\x03")
        terminal.ready(2)
        terminal.send("\x03")
        assert terminal.end() == 130


def test_commands(words: Callable[..., list[str]], record: Path, tmp_path: Path) -> None:
    saved, schema = tmp_path / "talk.json", tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}')
    steps = [["one"], ["two"], ['{"a"', ": 1}"], ["four"]]
    with Terminal(words(*steps, arguments=("--system", "Be brief.")), rows=40) as terminal:
        count = 1

        def enter(text: str) -> str:
            nonlocal count
            terminal.ready(count)
            before = len(terminal.text)
            terminal.send(text + "\r")
            count += 1
            return terminal.ready(count)[before:]

        said = enter("/help")
        assert all(f"/{name}" in said for name in COMMANDS)
        assert "/nonsense" in enter("/nonsense")
        enter("1")
        enter("/system Be kind.")
        assert "Be kind." in enter("/system")
        enter("2")
        assert re.search(r"answer: +1 tokens", enter("/stats"))
        enter("/undo")
        enter("/think off")
        enter(f"/save {saved}")
        enter(f"/schema {schema}")
        assert '{"a": 1}' in enter("3")
        enter("/schema off")
        enter("/clear")
        enter(f"/load {saved}")
        enter("/tools")
        enter("/image x.png")
        enter("4")
        terminal.send("/exit\r")
        assert terminal.end() == 0
    kind, first = "[system]Be kind.;", "[user]1;[assistant]one;"
    shown = prompts(record)
    assert shown[0] == "[system]Be brief.;[user]1;[assistant]"
    assert shown[1] == f"{kind}{first}[user]2;[assistant]"
    assert shown[2].endswith(f"{first}[user]3;[thinking False][assistant]")
    assert shown[3] == f"{kind}{first}[user]4;[thinking False][assistant]"
    assert len(shown) == 4
    assert [message["content"] for message in json.loads(saved.read_text())] == ["Be kind.", "1", "one"]


def test_editing_pasting_and_history(words: Callable[..., list[str]], record: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text("")
    with Terminal(words(["x"]), columns=200, RKLLM_RS_HOME=str(tmp_path / "own")) as terminal:
        for count, text in enumerate(
            [
                "wrld\x1b[D\x1b[D\x1b[Do",  # three to the left
                "\x1b[200~one\ntwo\r\nthree\n\x1b[201~",
                "four\x1b\rfive",
                '"""six\rseven"""',
            ],
            1,
        ):
            terminal.ready(count)
            terminal.send(text + "\r")
        terminal.ready(5)
        terminal.send("/sa\t")
        terminal.see("/save")
        terminal.send(f" {tmp_path}/ta\t")
        terminal.see("talk.json")
        terminal.send("\r")
        terminal.ready(6)
        assert (tmp_path / "talk.json").read_text() != ""
        terminal.send("\x1b[A\x1b[A\r")
        terminal.ready(7)
        terminal.send("\x04")
        assert terminal.end() == 0
    history = tmp_path / "own/chat_history"
    assert history.stat().st_mode & 0o077 == 0
    with Terminal(words(["x"]), RKLLM_RS_HOME=str(tmp_path / "own")) as terminal:
        terminal.ready(1)
        terminal.send("\x12wor\r\r")  # searches what was entered before
        terminal.ready(2)
    sent = [text.rpartition("[user]")[2].partition(";[assistant]")[0] for text in prompts(record)]
    assert sent == ["world", "one\ntwo\nthree", "four\nfive", "six\nseven", "six\nseven", "world"]


LONG = (
    "".join(f"{at}. item number {at} of the list\n" for at in range(1, 41))
    + "\n"
    + "long " * 200
    + "\n\nEnd."
)


@pytest.mark.parametrize("columns", [20, 80])
def test_an_answer_longer_than_the_screen_is_shown_once(
    words: Callable[..., list[str]], columns: int
) -> None:
    steps = [LONG[at : at + 7] for at in range(0, len(LONG), 7)]
    with Terminal(words({"steps": steps, "delay_ms": 1}), columns=columns, rows=10) as terminal:
        terminal.ready(1)
        terminal.send("Go\r")
        shown = terminal.ready(2).partition("Go\n")[2]
        expected = [*re.sub(r"(\d+)\.", r"\1", LONG).split(), PROMPT]
        assert shown.split() == expected


def test_the_window_may_change_its_size(words: Callable[..., list[str]]) -> None:
    steps = [LONG[at : at + 40] for at in range(0, len(LONG), 40)]
    with Terminal(words([*steps, "\n\n", ENDLESS], [LONG]), columns=60, rows=20) as terminal:
        terminal.ready(1)
        terminal.send("Go\r")
        terminal.see("on on")
        terminal.resize(20, 8)
        terminal.send("\x03")
        terminal.ready(2)
        terminal.resize(70, 24)
        terminal.send("Go on\r")
        shown = terminal.until(lambda text: text.endswith(f"End.\n\n{PROMPT}"))
        assert shown.split()[-6:] == ["long"] * 4 + ["End.", PROMPT]
        terminal.send("/exit\r")
        assert terminal.end() == 0


def test_no_colours(words: Callable[..., list[str]], tmp_path: Path) -> None:
    steps = ["# Head\n\n", "```py\nx = 1 # y\n```\n", "\n`code`"]
    for setting in [None, "1"]:
        with Terminal(words(steps), NO_COLOR=setting) as terminal:
            terminal.ready(1)
            terminal.send("/nonsense\r")
            terminal.ready(2)
            terminal.send("Go\r")
            terminal.ready(3)
            assert bool(COLOURS.search(terminal.raw)) == (setting is None)
            assert "x = 1 # y\n" in terminal.text


def test_a_dumb_terminal(words: Callable[..., list[str]]) -> None:
    with Terminal(words(["**a**", ENDLESS], ["b"]), TERM="dumb") as terminal:
        terminal.ready(1)
        terminal.send("Go\r")
        terminal.see("**a**on on")
        terminal.send("\x03")
        terminal.ready(2)
        terminal.send('"""one\r')
        terminal.see("\n...")
        terminal.send('two"""\r')
        terminal.see("\nb\n")
        terminal.send("\x04")
        assert terminal.end() == 0
        assert "\x1b" not in terminal.raw


def test_ctrl_c_at_the_prompt_and_while_the_model_loads(
    words: Callable[..., list[str]], record: Path
) -> None:
    with Terminal(words(["x"])) as terminal:
        terminal.ready(1)
        terminal.send("one\r\x03")  # before it can be answered
        terminal.see("again")
        terminal.send("some text\r")
        terminal.see("\nx\n")
        assert len(prompts(record)) == 1
        terminal.send("more text\x03")
        terminal.see("again", 2)
        terminal.send("\x03")
        assert terminal.end() == 130
    with Terminal(words(["x"], init={"delay_ms": 20_000})) as terminal:
        began(record, "rkllm_init", 2)
        terminal.send("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.text


TOOLS = """
import time
def fails(city: str) -> str:
    '''Fails.'''
    raise ValueError("no " + city)

def hangs() -> str:
    '''Hangs.'''
    print("hanging now", flush=True)
    time.sleep(600)
"""


def test_tools(words: Callable[..., list[str]], record: Path, tmp_path: Path) -> None:
    file = tmp_path / "tools.py"
    file.write_text(TOOLS)
    call = '<tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call>'
    fails = call.replace("NAME", "fails").replace("ARGUMENTS", '{"city": "Paris"}')
    hangs = call.replace("NAME", "hangs").replace("ARGUMENTS", "{}")
    with Terminal(words([fails], ["Sorry."], [hangs], ["fine"], arguments=("--tools", file))) as terminal:
        terminal.ready(1)
        terminal.send("/tools\r")
        terminal.ready(2)
        assert "fails(city)" in terminal.text
        terminal.send("1\r")
        terminal.ready(3)
        assert 'fails({"city": "Paris"})' in terminal.text
        assert "ValueError: no Paris" in terminal.text
        assert "Sorry." in terminal.text
        terminal.send("2\r")
        terminal.see("hanging now")
        terminal.send("\x03")
        terminal.ready(4)
        terminal.send("3\r")
        terminal.ready(5)
    assert "[user]2" not in prompts(record)[-1]


def test_a_worker_that_dies_is_told_and_the_chat_goes_on(
    words: Callable[..., list[str]], record: Path
) -> None:
    runs = [["one"], {"steps": ["two"], "crash": True}]
    with Terminal(words(*runs, arguments=("--isolate",))) as terminal:
        terminal.ready(1)
        terminal.send("1\r")
        terminal.ready(2)
        terminal.send("2\r")
        terminal.ready(3)
        assert "SIGSEGV" in terminal.text
        terminal.send("3\r")
        terminal.ready(4)
        assert terminal.text.count("one") == 2
        terminal.send("/exit\r")
        assert terminal.end() == 0
    assert prompts(record)[-1] == "[user]1;[assistant]one;[user]3;[assistant]"


def test_a_pipe_gets_the_answers_alone(words: Callable[..., list[str]], record: Path) -> None:
    done = pipe(words(["**one**"], ["two\n"]), '/system Be brief.\nhi\n\n"""a\nb"""')
    assert (done.returncode, done.stdout) == (0, "**one**\ntwo\n")
    assert prompts(record)[1] == "[system]Be brief.;[user]hi;[assistant]**one**;[user]a\nb;[assistant]"
    done = pipe(words(["one"]), "/nonsense\nhi\n")
    assert (done.returncode, done.stdout) == (1, "one\n")
    assert "/nonsense" in done.stderr
    assert len(prompts(record)) == 3


def test_the_system_message_of_a_modelfile(words: Callable[..., list[str]], record: Path) -> None:
    line = words(["one"])
    Path(line[line.index("chat") + 1]).with_name("Modelfile").write_text('SYSTEM="Be kind."\n')
    assert pipe(line, "hi\n").stdout == "one\n"
    assert pipe([*line, "--system", "Be brief."], "hi\n").stdout == "one\n"
    assert [prompt.partition(";")[0] for prompt in prompts(record)] == [
        "[system]Be kind.",
        "[system]Be brief.",
    ]


def test_a_reader_that_has_gone_is_no_error(words: Callable[..., list[str]]) -> None:
    command = "echo hi | {} | head -c 2".format(" ".join(f"'{word}'" for word in words(["on", ENDLESS])))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "on", "")


def test_answers_go_to_a_pipe_while_a_terminal_asks(words: Callable[..., list[str]], tmp_path: Path) -> None:
    command = " ".join(f"'{word}'" for word in words(["**one**"]))
    with Terminal(["bash", "-c", f"{command} > {tmp_path}/answers"]) as terminal:
        terminal.ready(1)
        terminal.send("hello wrld\x1b[D\x1b[D\x1b[Do\r")
        terminal.ready(2)
        terminal.send("\x04")
        assert terminal.end() == 0
        assert "hello world" in terminal.text
    assert (tmp_path / "answers").read_text() == "**one**\n"


def test_without_the_extra_it_says_what_to_install(words: Callable[..., list[str]], record: Path) -> None:
    for package in ("rich", "prompt_toolkit"):
        code = (
            f"import sys; sys.modules[{package!r}] = None; import rkllm_rs.cli; sys.exit(rkllm_rs.cli.main())"
        )
        python, _, _, _, _, *rest = words(["x"])
        done = pipe([python, "-c", code, *rest], "hi\n")
        assert done.returncode == 1
        assert "pip install 'rkllm_rs[cli]'" in done.stderr
    assert not calls(record, "rkllm_init")
