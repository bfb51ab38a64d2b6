#!/usr/bin/env python3
"""Checks the order of floors: imports point downwards only, in Rust and in Python.

    scripts/floors.py         prints every edge that breaks the order, and everything else below
    scripts/floors.py --draw  writes the drawing of docs/concepts/architecture.md anew

Besides edges: unsafe code only where it is allowed, no pyo3 below ``py``, no dependency between crates that
is not meant, no long file without a reason in its first comment ("Long because ..."), and a drawing that is
current. What is allowed stands in floors.toml. Code is read, not run: what a macro makes is not seen, and
what Rust looks up by a Python name in a string is not either.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = "scripts/floors.toml"
PAGE = "docs/concepts/architecture.md"
CRATES = {
    "rkllm_clock": "crates/clock",
    "rkllm_text": "crates/text",
    "rkllm_digest": "crates/digest",
    "rkllm_ffi": "crates/ffi",
}
BEGIN, END = "<!-- made by scripts/floors.py --draw -->\n", "<!-- end of what is made -->\n"

#: Comments, strings and characters of Rust, but no lifetimes.
NO_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|\bb?c?r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\[^\n]+?|[^\\\'\n])\'', re.DOTALL
)
#: Where a path begins that can lead to another room: `crate::`, `super::super::`, `rkllm_ffi::`, `crate as`.
PATH = re.compile(
    r"(?<![\w:])(?:self\s*::\s*)?(?:(crate)|((?:super\s*::\s*)*super))\s*(?:::\s*|(?=as\b))"
    rf"|(?<![\w:])({'|'.join(CRATES)})\b|\b(extern\s+crate\s+self)\s*"
)
OTHER_FILE = re.compile(r'#\[path = "(\w+\.rs)"\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;')
INNER_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")


class Edge(NamedTuple):
    """A room uses another one."""

    place: str
    source: str
    target: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.source} -> {self.target}: {self.text}"


class Floors:
    """The order of the rooms of one language."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.root: str = data["root"]
        self.floors: list[list[str]] = [line.split() for line in data["floors"]]

    def rank(self, room: str) -> int | None:
        """The number of a room's floor, counted from the top."""
        ranks = (i for i, words in enumerate(self.floors) if any(fnmatchcase(room, w) for w in words))
        return next(ranks, None)

    def rises(self, edge: Edge) -> bool:
        """Whether an edge points upwards."""
        source, target = self.rank(edge.source), self.rank(edge.target)
        return source is not None and target is not None and source > target


def code(text: str) -> str:
    """Rust without comments, strings and characters, each place where it was."""
    return NO_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def line_of(text: str, at: int) -> tuple[int, str]:
    """The number of a line, and what stands there."""
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    return text.count("\n", 0, at) + 1, text[start : end if end >= 0 else None].strip()


def closing(text: str, at: int) -> int:
    """Where the brace that opens at a place is closed."""
    depth = 0
    for found in re.compile("[{}]").finditer(text, at):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.start()
    return len(text)


def heads(text: str, at: int) -> Iterator[tuple[str, int]]:
    """The first names that a path goes on with: one, or those of a group in braces."""
    if not text.startswith("{", at):
        if found := re.compile(r"\w+|\*").match(text, at):
            yield found[0], at
        return
    depth, fresh = 0, True
    for found in re.compile(r"[{},*]|\w+").finditer(text, at, closing(text, at)):
        if found[0] == "{":
            depth, fresh = depth + 1, depth == 0
        elif found[0] == "}":
            depth -= 1
        elif found[0] == ",":
            fresh = fresh or depth == 1
        elif fresh:
            fresh = False
            yield found[0], found.start()


def modules(root: Path) -> dict[Path, list[str]]:
    """The module path of every file of a crate, such as ``["host", "wake"]``."""
    found: dict[Path, list[str]] = {}
    for path in sorted(root.rglob("*.rs")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        found[path] = parts[:-1] if parts[-1] in {"mod", "lib"} else parts
    for path, names in list(found.items()):
        for file, name in OTHER_FILE.findall(path.read_text(encoding="utf-8")):
            found[path.parent / file] = [*names, name]
    return found


def rust_edges(base: Path, floors: Floors) -> Iterator[Edge]:
    """Every path from one room of the Rust crate to another."""
    root = base / floors.root
    rooms = {path.stem for path in root.iterdir()} - {"lib"}
    for path, names in modules(root).items():
        raw = path.read_text(encoding="utf-8")
        text = code(raw)
        source = names[0] if names else "lib"
        inner = [(m[1], m.end() - 1, closing(text, m.end() - 1)) for m in INNER_MODULE.finditer(text)]
        for found in PATH.finditer(text):
            if text[: found.start()].endswith("(in "):  # pub(in crate::room)
                continue
            place = found.start()
            at = (
                []
                if found[1] or found[4]
                else names + [name for name, start, end in inner if start < place < end]
            )
            if found[2]:
                at = at[: len(at) - found[2].count("super")]
            for name, start in [(found[3], place)] if found[3] else heads(text, found.end()):
                if found[3]:
                    target = name
                elif at:
                    target = at[0]
                else:  # a name that is no room is one that lib.rs exports
                    target = name if name in rooms else "lib"
                if target != source:
                    number, line = line_of(raw, start)
                    yield Edge(f"{path.relative_to(base)}:{number}", source, target, line)


def python_edges(base: Path, floors: Floors) -> Iterator[Edge]:
    """Every import of one room of the Python package by another, inside functions too."""
    root = base / floors.root
    package = root.name

    def room(name: list[str]) -> str:
        """The room of a module's full name, or of what the package itself exports."""
        found = any(root.glob(f"{name[1]}.py*")) or (root / name[1]).is_dir() if name[1:] else False
        return name[1] if found else "__init__"

    for path in sorted([*root.rglob("*.py"), *root.rglob("*.pyi")]):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        source = parts[1]
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            names: list[list[str]] = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = parts[: -node.level] if node.level else []
                start += node.module.split(".") if node.module else []
                names = [[*start, alias.name] for alias in node.names]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "__import__")
            ):
                said = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
                bare = str(said).lstrip(".")
                start = parts[: len(bare) - len(str(said))] if bare != said else []
                names = [[*start, *bare.split(".")]]
            else:
                continue
            for target in (room(name) for name in names if name[0] == package):
                if target != source:
                    text = lines[node.lineno - 1].strip()
                    yield Edge(f"{path.relative_to(base)}:{node.lineno}", source, target, text)


def crate_edges(base: Path) -> Iterator[Edge]:
    """Every dependency between packages of the workspace, those for tests and builds too."""
    members = tomllib.loads((base / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["members"]
    files = [base / member / "Cargo.toml" for member in members]
    packages = {file: tomllib.loads(file.read_text(encoding="utf-8")) for file in files}
    ours = {data["package"]["name"] for data in packages.values()}
    for file, data in packages.items():
        tables = [data, *data.get("target", {}).values()]
        kinds = ("dependencies", "dev-dependencies", "build-dependencies")
        used = [item for table in tables for kind in kinds for item in table.get(kind, {}).items()]
        for target in sorted(
            {to.get("package", name) if isinstance(to, dict) else name for name, to in used}
        ):
            if target in ours:
                text = file.read_text(encoding="utf-8")
                at = re.search(rf"^.*\b{target}\b.*=|\bpackage\b.*\b{target}\b", text, re.MULTILINE)
                number, line = line_of(text, at.start() if at else 0)
                yield Edge(f"{file.relative_to(base)}:{number}", data["package"]["name"], target, line)


def misplaced(base: Path, rust: dict[str, Any]) -> Iterator[str]:
    """Unsafe code and uses of pyo3 where they do not belong."""
    rules = [
        (re.compile(r"\bunsafe\b|\b(?:allow|expect)\s*\(\s*unsafe_code\b"), rust["unsafe"], "unsafe code"),
        (re.compile(r"\bpyo3\b"), rust["pyo3"], "pyo3"),
    ]
    for path in sorted([*(base / rust["root"]).rglob("*.rs"), *(base / "crates").rglob("*.rs")]):
        name = path.relative_to(base).as_posix()
        raw = path.read_text(encoding="utf-8")
        text = code(raw)
        for pattern, places, what in rules:
            if not name.startswith(tuple(places)):
                for found in pattern.finditer(text):
                    number, line = line_of(raw, found.start())
                    yield f"{name}:{number}: {what} does not belong here: {line}"
    for crate in rust["forbids_unsafe"]:
        name = f"{crate}/src/lib.rs"
        if not re.search(r"#!\[forbid\(unsafe_code\)\]", code((base / name).read_text(encoding="utf-8"))):
            yield f"{name}:1: #![forbid(unsafe_code)] is missing"


def long_files(base: Path, rule: dict[str, Any]) -> dict[str, int]:
    """The files above the limit whose first comment gives no reason, with their lines."""
    found = {}
    for root in rule["roots"]:
        for path in sorted(p for p in (base / root).rglob("*") if p.suffix in {".rs", ".py", ".pyi"}):
            lines = path.read_text(encoding="utf-8").splitlines()
            if len(lines) > rule["limit"] and not re.search(r"\bLong because\b", "\n".join(lines[:15])):
                found[path.relative_to(base).as_posix()] = len(lines)
    return found


def purpose(path: Path) -> str:
    """The first sentence of what a file says about itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rs":
        said = " ".join(re.findall(r"^//! ?(.*)", text.split("\n//!\n")[0], re.MULTILINE))
    else:
        said = " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].splitlines())
    return re.split(r"(?<=\.)\s", said)[0].replace("``", "`").replace("|", "\\|")


def reduced(uses: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """The edges of a graph without those that a longer way stands for."""

    def reach(start: str) -> set[str]:
        return uses[start].union(*(reach(to) for to in uses[start]))

    for source, targets in uses.items():
        for target in sorted(targets):
            if not any(target in reach(other) for other in targets):
                yield source, target


class House(NamedTuple):
    """What is read of a tree."""

    base: Path
    data: dict[str, Any]
    languages: list[tuple[Floors, list[Edge]]]
    crates: list[Edge]

    @classmethod
    def read(cls, base: Path) -> House:
        """Reads it."""
        data = tomllib.loads((base / DATA).read_text(encoding="utf-8"))
        rust, python = Floors(data["rust"]), Floors(data["python"])
        languages = [
            (python, list(python_edges(base, python))),
            (rust, list(rust_edges(base, rust))),
        ]
        return cls(base, data, languages, list(crate_edges(base)))

    def check(self) -> Iterator[str]:
        """Everything that breaks a rule, a line for each."""
        known = self.data.get("known", {})
        broken = {edge: f"{edge.source} -> {edge.target}" for edge in self.broken()}
        long = long_files(self.base, self.data["length"])
        yield from self.homeless()
        yield from (str(edge) for edge, name in broken.items() if name not in known.get("edges", []))
        yield from misplaced(self.base, self.data["rust"])
        for name, lines in long.items():
            if name not in known.get("long", []):
                yield f"{name}:1: {lines} lines; say why in the first comment (Long because ...), or cut it"
        now = {"edges": set(broken.values()), "long": set(long)}
        for kind, entries in known.items():
            for gone in sorted(set(entries) - now[kind]):
                yield f"{DATA}:1: {gone} does not occur any more: remove it from [known]"
        if (self.base / PAGE).read_text(encoding="utf-8") != self.drawn():
            yield f"{PAGE}:1: the drawing is not current: run scripts/floors.py --draw"

    def homeless(self) -> Iterator[str]:
        """The files and folders that stand on no floor."""
        for order, _ in self.languages:
            for path in sorted((self.base / order.root).iterdir()):
                files = path.rglob("*") if path.is_dir() else [path]
                if order.rank(path.stem) is None and any(file.suffix in {".rs", ".py"} for file in files):
                    yield f"{path.relative_to(self.base)}:1: stands on no floor of {DATA}"

    def broken(self) -> Iterator[Edge]:
        """The edges that break the order."""
        for order, edges in self.languages:
            yield from filter(order.rises, edges)
        for edge in self.crates:
            rules = self.data["crates"].items()
            if edge.target not in next((to for name, to in rules if fnmatchcase(edge.source, name)), []):
                yield edge

    def drawn(self) -> str:
        """The page with its drawing made anew."""
        before, rest = (self.base / PAGE).read_text(encoding="utf-8").split(BEGIN)
        return before + BEGIN + "\n" + self.drawing() + "\n" + END + rest.split(END)[1]

    def drawing(self) -> str:
        """The floors that exist, what each is for and what it uses."""
        graph, tables = ["```mermaid", "flowchart TD"], []
        for order, edges in self.languages:
            root = self.base / order.root
            files = {
                words[0]: [f for word in words for f in self.files(root, word)] for words in order.floors
            }
            uses: dict[str, set[str]] = {name: set() for name in files if files[name]}
            for edge in edges:
                source, target = order.rank(edge.source), order.rank(edge.target)
                if source is not None and target is not None and source < target:
                    uses[order.floors[source][0]].add(order.floors[target][0])
            mark = order.root.split("/")[0]
            nodes = {name: f'  {mark}_{name}["{CRATES.get(name, name)}"]' for name in uses}
            graph.append(f'  subgraph {mark}["{order.root}/"]')
            graph += [node for name, node in nodes.items() if name not in CRATES]
            graph += ["  end", *(node for name, node in nodes.items() if name in CRATES)]
            graph += [f"  {mark}_{one} --> {mark}_{other}" for one, other in reduced(uses)]
            tables += ["", f"| `{order.root}/` | what it is for | uses |", "|---|---|---|"]
            for name, targets in uses.items():
                below = ", ".join(f"`{CRATES.get(other, other)}`" for other in uses if other in targets)
                tables.append(f"| `{CRATES.get(name, name)}` | {purpose(files[name][0])} | {below} |")
        graph.append("  python__native --> src_py")
        for edge in self.crates:
            crate = edge.target.replace("-", "_")
            if crate in CRATES and edge.source != "rkllm_rs":
                graph.append(f"  {edge.source} --> src_{crate}")
        return "\n".join([*graph, "```", *tables, ""])

    def files(self, root: Path, room: str) -> list[Path]:
        """The files that say what a room is for."""
        if room in CRATES:
            return [self.base / CRATES[room] / "src" / "lib.rs"]
        names = (
            f"{room}/mod.rs",
            f"{room}.rs",
            f"{room}/__init__.py",
            f"{room}/__init__.pyi",
            f"{room}.py",
            f"{room}.pyi",
        )
        return [file for name in names for file in sorted(root.glob(name))]


def main(argv: list[str] | None = None) -> int:
    """Checks, or draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--draw", action="store_true", help=f"write the drawing in {PAGE} anew")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the tree to look at")
    arguments = parser.parse_args(argv)
    house = House.read(arguments.root)
    if arguments.draw:
        page = arguments.root / PAGE
        page.write_text(house.drawn(), encoding="utf-8")
        return 0
    problems = list(house.check())
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
