"""docs/developing/coverage.md has every name of the vendor's header, and the Python names in it exist."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import rkllm_rs
from surface import BLOCKING, aio_signature, aopen_signature

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "developing" / "coverage.md"
ABI = ROOT / "tests" / "abi"
#: All layouts that are spoken, oldest first; 1.2.1b1 is served together with 1.2.0.
ABI_VERSIONS = ("v1_1_0", "v1_2_0", "v1_2_1b1", "v1_2_1", "v1_3_0", "v1_3_1")
#: What the layouts do not have: macros, and what the callback's return values mean, with their beginning.
FURTHER = {
    **{f"CPU{number}": "v1_2_0" for number in range(8)},
    "LLMResultCallback returns 0": "v1_2_1",
    "LLMResultCallback returns 1": "v1_2_1",
    "LLMResultCallback returns 2": "v1_3_0",
}
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| (.+) \|$", re.MULTILINE)
#: What may stand in backticks without being a name of the package's.
PLAIN = {"str", "with", '"user"'}


def read(abi_version: str, part: str) -> Any:
    return json.loads((ABI / f"{abi_version}.{part}.json").read_text())


def names_of(abi_version: str) -> set[str]:
    """Every function, callback, enumeration value and struct field of a layout."""
    api = read(abi_version, "api")
    names = {*api["functions"], *api["callbacks"]}
    for enumeration in api["enums"].values():
        names |= set(enumeration["values"])
    for struct, layout in read(abi_version, "aarch64").items():
        names |= {f"{struct}.{field}" for field in layout["fields"]}
    begun = ABI_VERSIONS.index(abi_version)
    return names | {name for name, since in FURTHER.items() if ABI_VERSIONS.index(since) <= begun}


def releases(abi_versions: list[str]) -> str:
    """How the page writes in which releases a name is."""
    if len(abi_versions) == len(ABI_VERSIONS):
        return "all"
    first = read(abi_versions[0], "api")["releases"][0]
    if abi_versions[-1] == ABI_VERSIONS[-1]:
        return f"since {first}"
    last = read(abi_versions[-1], "api")["releases"][-1]
    return first if first == last else f"{first} to {last}"


def header() -> dict[str, str]:
    """Every name of the header, with its releases."""
    found: dict[str, list[str]] = {}
    for abi_version in ABI_VERSIONS:
        for name in names_of(abi_version):
            found.setdefault(name, []).append(abi_version)
    return {name: releases(abi_versions) for name, abi_versions in found.items()}


def rows() -> list[tuple[str, str, str]]:
    return ROW.findall(PAGE.read_text())


def resolve(name: str) -> None:
    """Looks up ``Name``, ``Name.word``, ``Name()`` or ``Name(word=)``; raises what is wrong with it."""
    dotted, argument = re.fullmatch(r"([\w.]+)(?:\((?:(\w+)=)?\))?", name).groups()
    found: Any = rkllm_rs
    for part in dotted.split("."):
        found = inspect.getattr_static(found, part) if isinstance(found, type) else getattr(found, part)
    if name.endswith(")"):
        found = getattr(found, "__func__", found)
        assert callable(found), f"{name} is not called"
    if argument:
        assert argument in inspect.signature(found).parameters, f"{dotted} has no argument {argument}"


def test_every_name_of_the_header_has_one_row() -> None:
    expected = header()
    assert len(expected) > 150, "the layouts were not read"
    count = Counter(name for name, _, _ in rows())
    assert sorted(expected.keys() - count.keys()) == [], "these have no row"
    assert sorted(count.keys() - expected.keys()) == [], "the header has no such names"
    assert [name for name, number in count.items() if number > 1] == []


def test_rows_name_the_right_releases() -> None:
    expected = header()
    wrong = {name: given for name, given, _ in rows() if given != expected[name]}
    assert wrong == {}


def test_python_names_exist_or_a_reason_is_given() -> None:
    wrong = []
    for name, _, text in rows():
        quoted = re.findall(r"`([^`]+)`", text)
        own = [word for word in quoted if word not in PLAIN]
        try:
            for word in own:
                resolve(word)
        except (AttributeError, AssertionError) as error:
            wrong.append(f"{name}: {error}")
        if not (own or "str" in quoted or text.startswith("ours: ")):
            wrong.append(f"{name} is reached by nothing")
    assert wrong == []


@pytest.mark.parametrize(
    "wrong",
    ["RKLLM.fly()", "RKLLM(wings=)", "Multimodal(wings=)", "Chunk.text()", "Nothing", "RKLLM.generate(x=)"],
)
def test_names_that_do_not_exist_are_found(wrong: str) -> None:
    with pytest.raises((AttributeError, AssertionError)):
        resolve(wrong)


def test_all_calls_of_a_model_have_their_counterpart_for_event_loops() -> None:
    # The page says that what holds for a call holds for the others of its kind.
    for name in BLOCKING:
        assert inspect.signature(getattr(rkllm_rs.RKLLM, name)) == aio_signature(name), name
    assert inspect.signature(rkllm_rs.RKLLM).parameters == aopen_signature().parameters
