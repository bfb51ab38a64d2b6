"""The command ``rkllm-rs show``: what is known of a model, and from where."""

from __future__ import annotations

from .output import add_json, plain_warnings, problems, report, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = "Show what is known of a model, and from where, without loading it."
EXAMPLES = """\
examples:
  rkllm-rs show model.gguf
  rkllm-rs show qwen3-0.6b --json
"""
#: Where a chat template comes from, by the key of ``describe()``.
_FROM = {
    "file": "from the file {path}",
    "model": "from the model's file",
    "family": "built in, of the family",
    None: "not known; the library's own is used",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("model", metavar="MODEL", help="a name that `rkllm-rs list` prints, a path, or hub:…")
    add_json(parser)


def _line(label: str, text: object) -> str:
    return f"  {label + ':':<15} {text}"


def _values(label: str, values: dict[str, Any] | None) -> list[str]:
    known = [f"{key} {value}" for key, value in (values or {}).items() if value is not None]
    return [_line(label, ", ".join(known))] if known else []


def _settings(found: dict[str, Any]) -> list[str]:
    told = found["modelfile"]
    if told is None:
        return []
    lines = [_line("Modelfile", told["path"])]
    if told["system"] is not None:
        lines.append(_line("  SYSTEM", told["system"].replace("\n", "\n" + " " * 18)))
    return lines + [_line(f"  {key}", value) for key, value in told["settings"].items()]


def _plan(found: dict[str, Any]) -> list[str]:
    plan = found["plan"]
    lines = [_line("fits", "yes" if plan["fits"] else "no")]
    needed = sum(model["resident_bytes"] for model in plan["models"])
    return [*lines, _line("memory", f"{size(needed)} with its context (estimated)")]


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs.models import Problem, describe

    plain_warnings()
    found = describe(arguments.model)
    template = found["chat_template"]
    # What is wrong with a file stands in the plan again.
    planned = found["plan"]["problems"] if found["loadable"] else ()
    told = [Problem(**one) for one in (*found["problems"], *planned)]
    if template["problem"] is not None:
        told.append(Problem(template["problem"], None))
    lines = [
        found["name"],
        _line("path", found["path"]),
        _line("found in", found["source"]),
        _line("kind", found["kind"]),
        _line("size", f"{size(found['size_bytes'])}, {found['size_bytes']:,} bytes"),
        *([_line("files", len(found["files"]))] if len(found["files"]) > 1 else []),
        *_values("from the file", found["facts"]),
        *_values("from the name", found["hints"]),
        *_values("from last load", found["last_load"]),
        _line("chat template", _FROM[template["from"]].format_map(template)),
        *([_line("family", template["family"])] if template["family"] else []),
        *([_line("tokenizer", found["tokenizer"])] if found["tokenizer"] else []),
        *_settings(found),
        *(_plan(found) if found["loadable"] else ()),
        *dict.fromkeys(problems(told)),
    ]
    report(arguments, found, *lines)
    return 0
