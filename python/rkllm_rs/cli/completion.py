"""The command ``rkllm-rs completion``: scripts for shells, made from the parsers of all commands.

Each shell finds the command in the words before the cursor, by the same rule: a word that continues a known
command is a part of it, any other is an argument.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple, cast

from . import COMMANDS, parser_of
from .output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = "Print a script that completes commands, options and their values in a shell."
EXAMPLES = """\
examples:
  rkllm-rs completion bash > ~/.local/share/bash-completion/completions/rkllm-rs
  rkllm-rs completion fish > ~/.config/fish/completions/rkllm-rs.fish
  source <(rkllm-rs completion zsh)                 for this shell; put it into ~/.zshrc for all
"""
_GLOBAL = {"--help": "show the commands", "--version": "print the version", "--debug": "show tracebacks"}


class _Option(NamedTuple):
    names: list[str]
    text: str
    value: list[str] | str | None  #: Choices; else "file" or "other"; none for a flag.


class _Command(NamedTuple):
    path: str
    below: dict[str, str]
    options: list[_Option]
    words: list[str]  #: What its first argument can be; empty for files.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("shell", choices=tuple(_SCRIPTS))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    say(_SCRIPTS[arguments.shell]([_top(), *_commands()]))
    return 0


def _top() -> _Command:
    options = [_Option([name], text, None) for name, text in _GLOBAL.items()]
    return _Command("", {name: text for name, (_, text) in COMMANDS.items()}, options, [])


def _commands() -> Iterator[_Command]:
    for name in COMMANDS:
        yield from _read(name, parser_of(name))


def _read(path: str, parser: argparse.ArgumentParser) -> Iterator[_Command]:
    """A command and those below it. What a parser has is told by its private names only."""
    below: dict[str, str] = {}
    options: list[_Option] = []
    words: list[str] = []
    deeper: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            below = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001
            choices = cast("dict[str, argparse.ArgumentParser]", action.choices)
            deeper = [(f"{path} {name}", sub) for name, sub in choices.items()]
        elif action.option_strings:
            options.append(_Option(list(action.option_strings), action.help or "", _value(action)))
        elif not words:
            words = [str(choice) for choice in action.choices or ()]
    yield _Command(path, below, options, words)
    for name, sub in deeper:
        yield from _read(name, sub)


def _value(action: argparse.Action) -> list[str] | str | None:
    if action.nargs == 0:
        return None
    if action.choices:
        return [str(choice) for choice in action.choices]
    return "file" if action.metavar in ("FILE", "DIR") else "other"


def _bash(commands: list[_Command]) -> str:
    paths = "|".join(f'" {one.path}"' for one in commands if one.path)
    values: list[str] = []
    words: list[str] = []
    for one in commands:
        at = f" {one.path}" if one.path else ""
        kinds: dict[str, list[str]] = {}
        for option in one.options:
            if option.value is not None:
                does = {"file": "__rkllm_rs_files", "other": "COMPREPLY=()"}.get(str(option.value))
                does = does or f'__rkllm_rs_words "{" ".join(option.value)}"'
                kinds.setdefault(does, []).extend(f'"{at}:{name}"' for name in option.names)
        values += [f"        {'|'.join(names)}) {does}; return;;" for does, names in kinds.items()]
        names = " ".join(name for option in one.options for name in option.names)
        first = " ".join([*one.below, *one.words])
        words.append(f'        "{at}") options="{names}"; first="{first}";;')
    return _BASH.format(paths=paths, values="\n".join(values), words="\n".join(words))


_BASH = """\
# bash completion of rkllm-rs
__rkllm_rs_words() {{
    COMPREPLY=($(compgen -W "$1" -- "$cur"))
}}
__rkllm_rs_files() {{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}}
_rkllm_rs() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} path= options= first= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path ${{COMP_WORDS[i]}}" in
            {paths}) path="$path ${{COMP_WORDS[i]}}";;
        esac
    done
    # Bash takes --option=value apart.
    [[ $cur == = ]] && cur=
    [[ $prev == = ]] && prev=${{COMP_WORDS[COMP_CWORD-2]}}
    case "$path:$prev" in
{values}
    esac
    case "$path" in
{words}
    esac
    if [[ $cur == -* ]]; then
        __rkllm_rs_words "$options"
    elif [[ $first ]]; then
        __rkllm_rs_words "$first"
    else
        __rkllm_rs_files
    fi
}}
complete -F _rkllm_rs rkllm-rs"""


def _zsh(commands: list[_Command]) -> str:
    cases: list[str] = []
    for one in commands:
        lines = [f"        '{one.path}')"]
        entries = [f"{_quote(f'{name}:{text}')}" for name, text in one.below.items()]
        specs = [_zsh_option(name, option) for option in one.options for name in option.names]
        if entries:
            lines.append(f"            below=({' '.join(entries)})")
            last = "'1:command:{_describe command below}'"
        else:
            last = f"'*:argument:({' '.join(one.words)})'" if one.words else "'*:file:_files'"
        lines.append(f"            _arguments {' '.join([*specs, last])};;")
        cases.append("\n".join(lines))
    paths = "|".join(f"'{one.path}'" for one in commands if one.path)
    return _ZSH.format(paths=paths, cases="\n".join(cases))


def _zsh_option(name: str, option: _Option) -> str:
    text = option.text.replace("[", "(").replace("]", ")").replace(":", ";")
    value = {"None": "", "file": ":file:_files", "other": ":value: "}.get(str(option.value))
    if value is None:
        value = f":value:({' '.join(option.value or ())})"
    equals = "=" if value and name.startswith("--") else ""
    return _quote(f"*{name}{equals}[{text}]{value}")


_ZSH = """\
#compdef rkllm-rs
_rkllm_rs() {{
    local at= depth=1 word
    local -a below
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "${{at:+$at }}$word" in
            {paths}) at="${{at:+$at }}$word"; depth=${{words[(i)$word]}};;
        esac
    done
    # What is behind the command's name is parsed as if that were all.
    words=("${{(@)words[depth,-1]}}")
    (( CURRENT -= depth - 1 ))
    case "$at" in
{cases}
    esac
}}
if [ "$funcstack[1]" = _rkllm_rs ]; then _rkllm_rs "$@"; else compdef _rkllm_rs rkllm-rs; fi"""


def _fish(commands: list[_Command]) -> str:
    lines: list[str] = []
    for one in commands:
        start = f"complete -c rkllm-rs -n '__rkllm_rs_at {one.path}'"
        if one.below or one.words:
            lines.append(f"{start} -f")
        lines += [f"{start} -a {name} -d {_quote(text)}" for name, text in one.below.items()]
        if one.words:
            lines.append(f"{start} -a '{' '.join(one.words)}'")
        for option in one.options:
            names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            kinds = {"None": "", "file": " -r -F", "other": " -x"}
            value = kinds.get(str(option.value))
            if value is None:
                value = f" -x -a '{' '.join(option.value or ())}'"
            lines.append(f"{start} {' '.join(names)}{value} -d {_quote(option.text)}")
    paths = " ".join(f"'{one.path}'" for one in commands if one.path)
    return _FISH.format(paths=paths, lines="\n".join(lines))


_FISH = """\
# fish completion of rkllm-rs
function __rkllm_rs_at
    set -l path
    for word in (commandline -opc)[2..-1]
        contains -- (string join -- ' ' $path $word) {paths}
        and set path $path $word
    end
    test "$path" = "$argv"
end
{lines}"""


def _quote(text: str) -> str:
    """A word for a shell, in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
