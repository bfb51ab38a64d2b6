"""``prompt_cache_dir=``: system messages and tools that are computed once, and kept in files."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import Conversation, InvalidArgumentError, InvalidTypeError, UnsupportedFeatureError

if TYPE_CHECKING:
    from conftest import Opener

TEMPLATE = """\
{%- if tools %}<|im_start|>tools
{{ tools | tojson }}<|im_end|>
{% endif -%}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
RULES = "Be brief. " * 40
BEGINNING = f"<|im_start|>system\n{RULES}<|im_end|>\n<|im_start|>user\n"

able = pytest.mark.parametrize("abi_version", ["v1_2_0", "v1_2_1", "v1_3_0", "v1_3_1"])
newest = pytest.mark.parametrize("abi_version", ["v1_3_1"])


def asked(text: str, rules: str = RULES) -> list[dict[str, str]]:
    return [{"role": "system", "content": rules}, {"role": "user", "content": text}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "of mine"


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.promptcache"))


def seen(record: Path) -> list[Any]:
    """The texts of runs, those that were saved and those that were loaded."""
    found: list[Any] = []
    for call in calls(record):
        if call["fn"] == "rkllm_run":
            saved = bool(call["infer"]["prompt_cache_params"])
            found.append(("save" if saved else "run", call["input"]["prompt_input"]))
        elif call["fn"] == "rkllm_load_prompt_cache":
            found.append("load")
        elif call["fn"] == "rkllm_release_prompt_cache":
            found.append("release")
    return found


@able
def test_what_conversations_begin_with_is_computed_once(
    open_model: Opener, record: Path, folder: Path
) -> None:
    with open_model(["Hello"], chat_template=TEMPLATE) as llm:
        for text in ("Hi", "Ho"):
            answer = llm.chat(asked(text), prompt_cache_dir=folder)
            assert (answer.content, answer.notes) == ("Hello", [])
    rest = "<|im_end|>\n<|im_start|>assistant\n"
    first, second = (("run", f"{BEGINNING}{text}{rest}") for text in ("Hi", "Ho"))
    assert seen(record) == [("save", BEGINNING), first, second]
    # To which a file gains nothing.
    assert not any(one["infer"]["keep_history"] for one in calls(record, "rkllm_run"))
    assert len(kept(folder)) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    # Another process, and conversations of either kind.
    before = len(seen(record))
    llm = open_model(["Hello"], chat_template=TEMPLATE)
    llm.conversation(system=RULES, prompt_cache_dir=str(folder)).send("Hi")
    list(llm.chat_stream(asked("Ho"), prompt_cache_dir=folder))
    assert seen(record)[before:] == ["load", first, second]


@newest
def test_each_beginning_has_a_file_of_its_own(open_model: Opener, record: Path, folder: Path) -> None:
    def look_up(key: str) -> str:
        """Looks it up in a long list that has everything that there is to know about the matter at hand.

        Args:
            key: What is looked for, and anything else that might help to find it in the list of all.
        """
        return key

    llm = open_model(["Hello"], chat_template=TEMPLATE)
    llm.chat(asked("Hi"), prompt_cache_dir=folder)
    llm.chat(asked("Hi", RULES + "!"), prompt_cache_dir=folder)
    llm.chat(asked("Hi", "Short."), tools=[look_up], prompt_cache_dir=folder)
    assert len(kept(folder)) == 3
    # Too short to gain anything.
    llm.chat(asked("Hi", "Short."), prompt_cache_dir=folder)
    assert len(kept(folder)) == 3
    # What was computed in between is not what it goes on from.
    llm.chat(asked("Hi"), prompt_cache_dir=folder)
    llm.generate("x")
    llm.chat(asked("Hi"), prompt_cache_dir=folder)
    assert [one for one in seen(record) if one in {"load", "release"}] == ["load", "release", "load"]


@newest
def test_a_saved_conversation_does_not_name_the_folder(
    open_model: Opener, folder: Path, tmp_path: Path
) -> None:
    llm = open_model(["Hello"], chat_template=TEMPLATE)
    talk = llm.conversation(system=RULES, prompt_cache_dir=str(folder), prompt_cache_bytes=1000)
    talk.save(tmp_path / "talk.json")
    assert "prompt_cache" not in (tmp_path / "talk.json").read_text()
    Conversation.load(llm, tmp_path / "talk.json").send("Hi")
    assert not folder.exists()


@newest
@pytest.mark.parametrize("damage", ["cut", "changed", "no note", "of another model"])
def test_a_file_that_does_not_fit_is_made_again(
    open_model: Opener, record: Path, folder: Path, damage: str
) -> None:
    with open_model(["Hello"], chat_template=TEMPLATE) as llm:
        llm.chat(asked("Hi"), prompt_cache_dir=folder)
    (file,) = kept(folder)
    if damage == "cut":
        os.truncate(file, 3)
    elif damage == "changed":
        file.write_bytes(b"x" * file.stat().st_size)
    elif damage == "no note":
        Path(f"{file}.json").unlink()
    else:
        with open_model(["Hello", "!"], chat_template=TEMPLATE) as other:
            other.chat(asked("Hi"), prompt_cache_dir=folder)
        (theirs,) = set(kept(folder)) - {file}
        shutil.copy(theirs, file)
        shutil.copy(f"{theirs}.json", f"{file}.json")
    before = len(seen(record))
    again = open_model(["Hello"], chat_template=TEMPLATE)
    answer = again.chat(asked("Hi"), prompt_cache_dir=folder)
    assert answer.content == "Hello"
    assert any(str(file) in note for note in answer.notes)
    assert "load" not in seen(record)[before:]
    assert seen(record)[before] == ("save", BEGINNING)
    again.close()
    with open_model(["Hello"], chat_template=TEMPLATE) as third:
        assert not third.chat(asked("Hi"), prompt_cache_dir=folder).notes
    assert seen(record)[-2] == "load"


@newest
@pytest.mark.parametrize("fault", ["load", "save", "nothing written", "no folder", "too large"])
def test_an_answer_comes_whatever_is_wrong_with_the_files(
    open_model: Opener, folder: Path, fault: str
) -> None:
    script: dict[str, Any] = {"runs": [{"steps": ["Hello"]}]}
    keywords: dict[str, Any] = {"prompt_cache_dir": folder}
    if fault == "load":
        script["load_prompt_cache"] = {"return": -1}
        with open_model(script, chat_template=TEMPLATE) as llm:
            assert not llm.chat(asked("Hi"), **keywords).notes
    elif fault == "save":
        script["runs"].insert(0, {"steps": [], "return": -1})
    elif fault == "nothing written":
        script["runs"].insert(0, {"steps": ["x"], "no_cache_file": True})
    elif fault == "no folder":
        folder.parent.write_text("a file")
    else:
        keywords["prompt_cache_bytes"] = 1
    answer = open_model(script, chat_template=TEMPLATE).chat(asked("Hi"), **keywords)
    assert answer.content == "Hello"
    assert len(answer.notes) == 1
    assert len(kept(folder)) == (fault == "load")


@newest
def test_nobody_waits_for_another_process(open_model: Opener, record: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    llm = open_model(["Hello"], chat_template=TEMPLATE)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = llm.chat(asked("Hi"), prompt_cache_dir=folder)
    assert (answer.content, answer.notes, kept(folder)) == ("Hello", [], [])
    llm.chat(asked("Hi"), prompt_cache_dir=folder)
    assert [one[0] for one in seen(record)] == ["run", "save", "run"]


@newest
def test_the_one_used_least_recently_goes(open_model: Opener, folder: Path) -> None:
    llm = open_model(["Hello"], chat_template=TEMPLATE)
    for number in range(3):
        llm.chat(asked("Hi", RULES + str(number)), prompt_cache_dir=folder)
        for file in kept(folder):
            past = file.stat().st_mtime - 100
            os.utime(file, (past, past))
    oldest = min(kept(folder), key=lambda file: file.stat().st_mtime)
    size = sum(file.stat().st_size for file in kept(folder))
    llm.chat(asked("Hi", RULES + "3"), prompt_cache_dir=folder, prompt_cache_bytes=size + 1)
    assert len(kept(folder)) == 3
    assert oldest not in kept(folder)


@newest
@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"prompt_cache_bytes": 10}, InvalidArgumentError),
        ({"prompt_cache_dir": "x", "prompt_cache_bytes": 0}, InvalidArgumentError),
        ({"prompt_cache_dir": 3}, InvalidTypeError),
        ({"prompt_cache_dir": "x", "prompt_cache_bytes": "1"}, InvalidTypeError),
    ],
)
def test_what_they_cannot_be(open_model: Opener, keywords: dict[str, Any], error: type[Exception]) -> None:
    llm = open_model(["Hello"], chat_template=TEMPLATE)
    with pytest.raises(error, match="prompt_cache"):
        llm.chat(asked("Hi"), **keywords)


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_releases_before_1_2_have_none(open_model: Opener, folder: Path, abi_version: str) -> None:
    llm = open_model(["Hello"], chat_template=TEMPLATE)
    with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.0"):
        llm.chat(asked("Hi"), prompt_cache_dir=folder)
