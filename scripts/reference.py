#!/usr/bin/env python3
"""Writes the reference pages, docs/reference/*.md, from the stubs and the docstrings.

    scripts/reference.py          rewrites the pages
    scripts/reference.py --check  only names the pages that would change, with exit status 1

It reads the sources and needs nothing that is built. The stubs must be current (scripts/stub_docs.py).

Long because one pass reads the stubs and writes each kind of entry.
"""

from __future__ import annotations

import argparse
import ast
import copy
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "rkllm_rs"
PAGES = ROOT / "docs" / "reference"
#: Width at which a signature is spread over lines.
WIDTH = 100
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Page(NamedTuple):
    """A page: its file's name, its title, what it says first, and whose documentation it has."""

    name: str
    title: str
    lead: str
    names: list[str]
    source: str
    #: Whether programs make the objects, so that the constructor is of interest.
    made: bool = True


TOPICS = [
    Page("model", "RKLLM", "The model, synchronous.", ["RKLLM"], "llm.py"),
    Page(
        "asynchronous",
        "AsyncRKLLM",
        "The model for event loops. [`RKLLM`](model.md) describes what they share.",
        ["AsyncRKLLM"],
        "aio.py",
    ),
    Page(
        "sampling",
        "SamplingParams",
        "How the next token is sampled.",
        ["SamplingParams"],
        "_native/sampling.pyi",
    ),
    Page(
        "inputs",
        "Inputs",
        "Inputs other than a `str`.",
        ["Tokens", "Embeddings", "Multimodal", "CrossAttention"],
        "_native/inputs.pyi",
    ),
    Page(
        "results",
        "Answers",
        "What `generate()` returns.",
        ["Generation", "Constraint", "PerfStats", "Chunk"],
        "_native/outputs.pyi",
        made=False,
    ),
    Page("results", "", "", ["TokenLogprob", "TopLogprob"], "logprobs.py", made=False),
    Page(
        "streams",
        "Streams",
        "What `stream()`, `steps()`, `stream_batch()` and `stream_logits()` return.",
        ["TokenStream", "TextStream", "Steps", "ArrayStream"],
        "_native/streams.pyi",
        made=False,
    ),
    Page("streams", "", "", ["BatchStream"], "results.py", made=False),
    Page(
        "chat",
        "Chat",
        "What `chat()`, `chat_stream()` and `run_tools()` return.",
        ["ChatAnswer", "ToolCall", "ChatStream", "ChatTexts", "ChatDelta", "ToolCallDelta"],
        "_native/chat.pyi",
        made=False,
    ),
    Page(
        "conversation",
        "Conversations",
        "What `RKLLM.conversation()` and `AsyncRKLLM.conversation()` return. "
        "[How to use it](../guides/conversation.md).",
        ["Conversation", "ConversationStream"],
        "chat/conversation.py",
        made=False,
    ),
    Page(
        "conversation",
        "",
        "",
        ["AsyncConversation", "AsyncConversationStream"],
        "chat/async_conversation.py",
        made=False,
    ),
    Page(
        "arrays",
        "Arrays and scores",
        "What `logits()`, `hidden_states()`, `embed()` and `score()` return.",
        ["FloatArray"],
        "_native/arrays.pyi",
        made=False,
    ),
    Page("arrays", "", "", ["Score"], "results.py", made=False),
    Page(
        "info",
        "Model and library",
        "What is known about an open model and about the library that runs it.",
        ["ModelInfo", "LoraAdapter"],
        "_native/model.pyi",
        made=False,
    ),
    Page(
        "info",
        "",
        "",
        ["Runtime", "Identity", "Evidence", "BackendStatus"],
        "_native/library.pyi",
        made=False,
    ),
    Page("info", "", "", ["backends"], "_library.py"),
    Page(
        "lock",
        "NPU lock",
        "The lock of the NPU, for your own calls. [How to use it](../guides/npu-lock.md).",
        ["npu_lock"],
        "_native/lock.pyi",
    ),
    Page("lock", "", "", ["NpuLock"], "_native/lock.pyi", made=False),
    Page(
        "tools",
        "rkllm_rs.chat.tools",
        "Python functions as tools for a model. [How to use it](../guides/tools.md). `MAX_CHARACTERS` is the "
        "default of `max_characters`.",
        ["Tools"],
        "chat/tools.py",
    ),
    Page("tools", "", "", ["Tool", "CheckedArguments"], "chat/tool.py"),
    Page("tools", "", "", ["ToolResult"], "chat/results.py", made=False),
    Page("tools", "", "", ["ToolLoop"], "chat/loops.py"),
    Page("tools", "", "", ["get_json_schema"], "chat/tool.py"),
    Page("tools", "", "", ["strict_schema"], "chat/strict.py"),
    Page(
        "errors",
        "Errors and warnings",
        "All of them are also names of `rkllm_rs`. [What to do about them](../guides/errors.md).",
        [],
        "errors.py",
        made=False,
    ),
    Page(
        "server",
        "rkllm_rs.server",
        "One endpoint for clients of OpenAI, Ollama and Anthropic. [How to use it](../guides/server.md).",
        ["create_app"],
        "server/app.py",
    ),
    Page("server", "", "", ["Settings"], "server/settings.py"),
    Page("server", "", "", ["Limits"], "server/http.py"),
    Page(
        "runtimes",
        "rkllm_rs.runtimes",
        "Install, verify and select Rockchip's library. [How to use it](../guides/runtimes.md).",
        [],
        "runtimes/__init__.py",
    ),
    Page("runtimes", "", "", ["folder", "home", "installed", "verify"], "runtimes/store.py"),
    Page(
        "runtimes",
        "",
        "",
        ["machine", "official", "OfficialFile", "VerifiedFile", "InstalledRuntime"],
        "runtimes/table.py",
        made=False,
    ),
    Page(
        "doctor",
        "rkllm_rs.doctor",
        "What a machine has that RKLLM needs. [How to use it](../guides/doctor.md).",
        ["examine"],
        "doctor/__init__.py",
    ),
    Page("doctor", "", "", ["Report", "Check", "Board", "Driver", "Cpu"], "doctor/report.py", made=False),
    Page(
        "verify",
        "rkllm_rs.verify",
        "Whether everything works with a model on this machine. [How to use it](../guides/verify.md).",
        ["run"],
        "verify/__init__.py",
    ),
    Page("verify", "", "", ["Report", "Item"], "verify/report.py", made=False),
    Page(
        "bench",
        "rkllm_rs.bench",
        "How fast models are on this machine. [How to use it](../guides/command-line.md#how-fast-bench).",
        ["run"],
        "bench/__init__.py",
    ),
    Page("bench", "", "", ["Report", "Result", "Failure"], "bench/report.py", made=False),
    Page("bench", "", "", ["table"], "bench/text.py"),
    Page("bench", "", "", ["plot"], "bench/svg.py"),
    Page(
        "models",
        "rkllm_rs.models",
        "Files of models: where they are, what they are, and whether they fit. "
        "[How to use it](../guides/model-files.md).",
        ["find"],
        "models/finding.py",
    ),
    Page("models", "", "", ["installed", "InstalledModel"], "models/listing.py", made=False),
    Page("models", "", "", ["pull"], "models/pulling.py"),
    Page("models", "", "", ["Candidate"], "models/choosing.py", made=False),
    Page("models", "", "", ["describe"], "models/describing.py"),
    Page("models", "", "", ["modelfile", "Modelfile"], "models/settings.py", made=False),
    Page("models", "", "", ["remove", "Removal"], "models/removing.py", made=False),
    Page("models", "", "", ["inspect", "Inspection", "Problem"], "models/inspection.py", made=False),
    Page("models", "", "", ["plan", "Plan", "PlannedModel"], "models/planning.py", made=False),
]


class Text(NamedTuple):
    """A docstring: what stands before its sections, and these by name."""

    lead: str
    sections: dict[str, str]


def text_of(node: ast.AST) -> Text:
    """Takes a docstring apart."""
    found = ast.get_docstring(node) if isinstance(node, ast.ClassDef | Function) else None
    parts = re.split(r"(?m)^(Args|Returns|Raises|Attributes|Example):\n", (found or "") + "\n")
    return Text(parts[0].strip(), dict(zip(parts[1::2], parts[2::2], strict=True)))


class Reference:
    """All pages, and where each name has its heading."""

    def __init__(self) -> None:
        self.trees = {page.source: ast.parse((PACKAGE / page.source).read_text("utf-8")) for page in TOPICS}
        self.places: dict[str, str] = {}
        self.headings: set[tuple[str, str]] = set()
        for page in TOPICS:
            for node in self.nodes(page):
                self.places[node.name] = self.place(page.name, node.name)
                self.headings.add((page.name, node.name))
                if isinstance(node, ast.ClassDef):
                    for member in self.methods(node):
                        name = f"{node.name}.{member.name}"
                        self.places[name] = self.place(page.name, name)
                        self.headings.add((page.name, name))

    @staticmethod
    def place(page: str, heading: str) -> str:
        """The link to a heading, with the anchor that Git hosts give it."""
        return f"{page}.md#{heading.lower().replace('.', '')}"

    def nodes(self, page: Page) -> list[ast.ClassDef | Function]:
        """The classes and functions of a page, in its order; all public ones where it names none."""
        public = {
            node.name: node
            for node in self.trees[page.source].body
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_")
        }
        return [public[name] for name in page.names or public]

    @staticmethod
    def methods(node: ast.ClassDef) -> list[Function]:
        """The public methods of a class, without its attributes."""
        return [
            member
            for member in node.body
            if isinstance(member, Function) and not member.name.startswith("_") and not is_attribute(member)
        ]

    def linked(self, text: str, owner: str, page: str) -> str:
        """Markdown out of the markup of docstrings; names become links, except below their own heading.

        These are classes, ``Class.method`` and, with parentheses, functions and methods of the class at hand.
        """

        def link(match: re.Match[str]) -> str:
            name, called = match[1], bool(match[2])
            whole = f"{owner}.{name}" if called and f"{owner}.{name}" in self.places else name
            if whole == owner or not (called or name[0].isupper()):
                return match[0]
            # Several pages have a function of the same name: its own page's is meant.
            own = self.place(page, whole) if (page, whole) in self.headings else None
            place = (own or self.places.get(whole, "")).removeprefix(f"{page}.md")
            return f"[{match[0]}]({place})" if place else match[0]

        text = re.sub(r":meth:`([\w.]+)`", r"`\1()`", text)
        text = re.sub(r":(?:class|func|attr):(?=`)", "", text)
        text = re.sub(r"``([^`]+)``", r"`\1`", text)
        text = re.sub(r"`([A-Za-z_][\w.]*)(\(\))?`", link, text)
        return re.sub(r"(?<!`)\*\*(\w+:)", r"\\*\\*\1", text)

    def members(self, body: str, owner: str, page: str) -> Iterator[str]:
        """The lines of ``Args:``, ``Raises:`` and ``Attributes:`` as a list."""
        for name, words in re.findall(r"(?m)^    (\*{0,2}\w+): (.+\n(?: {8}.*\n|\n(?= {8}))*)", body):
            if name != "**unknown":
                item = f"`{name}`: {' '.join(words.split())}"
                yield f"- {self.linked(item, owner, page)}"

    def described(self, text: Text, owner: str, page: str, skip: set[str]) -> Iterator[str]:
        """A docstring as Markdown, except the sections that are described elsewhere."""
        if text.lead:
            yield self.linked(indented_code(text.lead), owner, page)
        for title, section in (("Arguments", "Args"), ("Raises", "Raises")):
            if section in text.sections and section not in skip:
                items = list(self.members(text.sections[section], owner, page))
                if items:
                    yield f"**{title}**\n\n" + "\n".join(items)
            if title == "Arguments" and "Returns" in text.sections:
                words = " ".join(text.sections["Returns"].split())
                yield f"**Returns** {self.linked(words, owner, page)}"
        if "Example" in text.sections:
            yield example(text.sections["Example"])

    def member(self, node: Function, owner: str, page: str) -> Iterator[str]:
        """A method or function."""
        yield f"### {owner}.{node.name}" if owner else f"## {node.name}"
        yield fenced(signature(self.shown(node)))
        text, skip = text_of(node), set[str]()
        twin = f"RKLLM.{node.name}"
        if owner == "AsyncRKLLM" and twin in self.places:
            other = text_of(next(one for one in self.methods(self.the("RKLLM")) if one.name == node.name))
            skip = {
                name for name in ("Args", "Raises") if text.sections.get(name) == other.sections.get(name)
            }
        yield from self.described(text, owner, page, skip)
        if skip & set(text.sections):
            yield f"More: [`{twin}`]({self.places[twin]})."

    def shown(self, node: Function) -> Function:
        """A function with the arguments that it shows: some take theirs as one dictionary."""
        names = {one.id if isinstance(one, ast.Name) else ast.unparse(one) for one in node.decorator_list}
        shown = copy.copy(node)
        types = ast.parse((PACKAGE / "_types.py").read_text("utf-8")).body
        if "takes_keywords" in names:
            shown.args = next(
                one for one in types if isinstance(one, Function) and one.name == "prompted"
            ).args
        for name in names:
            if name.startswith("shows("):
                shown.args = copy.copy(node.args)
                fields = list(self.fields_of(types, name.removeprefix("shows(").removesuffix(")")))
                shown.args.kwonlyargs = [*node.args.kwonlyargs, *(ast.arg(*field) for field in fields)]
                shown.args.kw_defaults = [*node.args.kw_defaults, *(ast.Constant(None) for _ in fields)]
                shown.args.kwarg = None
        return shown

    def fields_of(self, types: list[ast.stmt], name: str) -> Iterator[tuple[str, ast.expr]]:
        """The keywords of a dictionary of ``_types.py``, those that it inherits first."""
        for node in types:
            if isinstance(node, ast.ClassDef) and node.name == name:
                for base in node.bases:
                    yield from self.fields_of(types, ast.unparse(base))
                for one in node.body:
                    if isinstance(one, ast.AnnAssign):
                        yield ast.unparse(one.target), one.annotation

    def the(self, name: str) -> ast.ClassDef:
        """A class by its name."""
        found = (node for page in TOPICS for node in self.nodes(page) if node.name == name)
        return next(node for node in found if isinstance(node, ast.ClassDef))

    def cls(self, node: ast.ClassDef, page: Page) -> Iterator[str]:
        """A class: its constructor, its attributes, its methods."""
        yield f"## {node.name}"
        text = text_of(node)
        made = [one for one in node.body if isinstance(one, Function) and one.name in {"__init__", "__new__"}]
        if page.made and made:
            yield fenced(signature(made[0], node.name))
        if page.name == "errors":
            yield "Base: " + ", ".join(
                self.linked(f"`{ast.unparse(base)}`", "", page.name) for base in node.bases
            )
        listed = text.sections.pop("Attributes", "")
        yield from self.described(text, node.name, page.name, set())
        if page.made and made and not text.sections.get("Args"):
            skip = {"Args", "Raises"} if node.name == "AsyncRKLLM" else set[str]()
            yield from self.described(text_of(made[0]), node.name, page.name, skip)
            if skip:
                yield "Arguments and errors: [`RKLLM`](model.md#rkllm)."
        fields = [*self.members(listed, node.name, page.name), *self.fields(node, page.name)]
        if fields:
            yield "**Attributes**\n\n" + "\n".join(fields)
        for member in self.methods(node):
            yield from self.member(member, node.name, page.name)

    def fields(self, node: ast.ClassDef, page: str) -> Iterator[str]:
        """The attributes of a class that are properties."""
        for member in node.body:
            name = getattr(member, "name", "")
            if isinstance(member, Function) and is_attribute(member) and not name.startswith("_"):
                kind = unparsed(member.returns) if member.returns else ""
                words = " ".join((ast.get_docstring(member) or "").split())
                yield f"- `{name}` (`{kind}`): {self.linked(words, node.name, page)}"

    def pages(self) -> dict[str, str]:
        """Every page's text by the name of its file."""
        parts: dict[str, list[str]] = {}
        for page in TOPICS:
            part = parts.setdefault(f"{page.name}.md", [f"# {page.title}", page.lead])
            for node in self.nodes(page):
                part += (
                    self.cls(node, page)
                    if isinstance(node, ast.ClassDef)
                    else self.member(node, "", page.name)
                )
        return {name: "\n\n".join(filter(None, part)) + "\n" for name, part in parts.items()}


def is_attribute(node: Function) -> bool:
    """Whether a function is the getter of a property."""
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)


def signature(node: Function, name: str = "") -> str:
    """The first lines of a function, without ``self`` and what only catches wrong keywords."""
    given = node.args
    both = [*given.posonlyargs, *given.args]
    missing: list[ast.expr | None] = [None] * (len(both) - len(given.defaults))
    words = [parameter(one, default) for one, default in zip(both, [*missing, *given.defaults], strict=True)]
    if both and both[0].arg in {"self", "cls"}:
        del words[0]
    if given.kwonlyargs:
        words.append("*")
    words += [parameter(*one) for one in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg is not None and given.kwarg.arg != "unknown":
        words.append("**" + parameter(given.kwarg, None))
    head = f"class {name}" if name else f"{'async ' * isinstance(node, ast.AsyncFunctionDef)}def {node.name}"
    tail = "" if name or node.returns is None else f" -> {unparsed(node.returns)}"
    line = f"{head}({', '.join(words)}){tail}"
    if len(line) <= WIDTH:
        return line
    return f"{head}(\n" + "".join(f"    {word},\n" for word in words) + f"){tail}"


def parameter(node: ast.arg, default: ast.expr | None) -> str:
    """One argument, as the formatter writes it."""
    typed = f"{node.arg}: {unparsed(node.annotation)}" if node.annotation else node.arg
    return f"{typed} = {unparsed(default)}" if default else typed


def unparsed(node: ast.expr) -> str:
    """An expression, with the quotes of this project."""
    return ast.unparse(node).replace("'", '"')


def fenced(code: str) -> str:
    """Code that is to be read, and that no test runs."""
    return f"```py\n{code}\n```"


def example(body: str) -> str:
    """A doctest as a program and what it prints."""
    body = re.sub(r" *# doctest:.*", "", inspect.cleandoc(body))
    return fenced(body)


def indented_code(lead: str) -> str:
    """Examples that stand in the text."""
    return re.sub(r"(?ms)^>>> .*?(?=\n\n|\Z)", lambda found: example(found[0]), lead)


def main() -> int:
    """Rewrites the pages, or names those that are not current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    stale = False
    for name, text in Reference().pages().items():
        path = PAGES / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale = True
        print(f"{name} is not current: run scripts/reference.py" if check else f"wrote {name}")
        if not check:
            path.write_text(text, "utf-8")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
