"""What transformers gives a chat template, rebuilt on jinja2: the witness for our engine.

The facts are from transformers 5: a sandbox in which nothing can be changed, a ``tojson`` that escapes
nothing for HTML, ``raise_exception``, ``strftime_now``, a ``dict`` that can only be called, and
``{% generation %}`` as a scope.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Seconds since the epoch that every rendering takes for now: a noon, so that its date is one everywhere.
NOW = 1_767_355_200.0
REASONING = ("reasoning_content", "thinking", "reasoning")


class Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what an assistant has written; for the text it is a scope."""

    tags = {"generation"}  # noqa: RUF012 - of the base class

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class Dict:
    """``dict``, for calls only."""

    def __call__(self, *args: Any, **named: Any) -> dict[Any, Any]:
        return dict(*args, **named)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class Namespace(jinja2.utils.Namespace):
    """``namespace``, without names that begin with an underscore."""

    def __init__(*args: Any, **named: Any) -> None:
        self, *given = args
        values = dict(*given, **named)
        for name in values:
            _check(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


def _check(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        message = f"the namespace refuses {name!r}"
        raise jinja2.exceptions.SecurityError(message)


def _raise(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - by place as well
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime(style: str) -> str:
    return dt.datetime.fromtimestamp(NOW).strftime(style)  # noqa: DTZ006 - local time, as there


def compiled(source: str) -> jinja2.Template:
    """The template of a text."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise, strftime_now=_strftime, dict=Dict(), namespace=Namespace
    )
    return environment.from_string(source)


def _prepared(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    message = {key: value for key, value in message.items() if value is not None}
    found = [message[name] for name in REASONING if name in message]
    return {"thinking": found[0], **message, "reasoning_content": found[0]} if found else message


def render(
    template: jinja2.Template, messages: Iterable[Any], tokens: Mapping[str, str], **given: Any
) -> str:
    """The text that transformers would give to a tokenizer."""
    names = {"tools": None, "documents": None, "add_generation_prompt": False}
    messages = [_prepared(message) for message in messages]
    return template.render(**{**tokens, **names, "messages": messages, **given})
