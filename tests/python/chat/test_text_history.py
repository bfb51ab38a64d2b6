"""Second turns of chats that go to the library as text: what it is given, and when it is given all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fakes import LAYOUTS, calls
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

#: As the models of a family write it whose tokenizer puts nothing before a text.
TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
FIRST = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
REST = "<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"
SECOND = f"{FIRST}Hello{REST}"
END = 9

parted = pytest.mark.parametrize("abi_version", ["v1_3_0", "v1_3_1"])
newest = pytest.mark.parametrize("abi_version", ["v1_3_1"])


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def run(pieces: list[Any], prefill: int, size: int, **more: Any) -> dict[str, Any]:
    """An answer, after which so many positions are in the cache, of which so many are of what was sent."""
    finish = {"perf": {"prefill_tokens": prefill}}
    return {"steps": pieces, "finish": finish, "kv_cache_size": [size], **more}


HELLO = run(["Hel", "lo"], 10, 12)
FINE = run(["Fine"], 8, 21)


def script(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"runs": list(runs or (HELLO, FINE, run(["So"], 9, 31)))}


def sent(record: Path) -> list[Any]:
    """Whether each run keeps its history, with its text, and where the cache was cleared."""
    found: list[Any] = []
    for call in calls(record):
        if call["fn"] == "rkllm_clear_kv_cache":
            found.append("clear")
        elif call["fn"] == "rkllm_run":
            assert (call["input"].get("role") or "user") == "user"
            found.append((call["infer"].get("keep_history"), call["input"].get("prompt_input")))
    return found


@pytest.fixture
def model(open_model: Opener, tmp_path: Path) -> Callable[..., Any]:
    """A model whose files say that nothing is put before a text."""

    def opened(*runs: dict[str, Any], config: dict[str, Any] | None = None, **keywords: Any) -> Any:
        config = {"add_bos_token": False, "chat_template": TEMPLATE} if config is None else config
        folder = tmp_path / "models"
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return open_model(script(*runs), **keywords)

    return opened


def two(llm: Any, **keywords: Any) -> tuple[Any, Any]:
    """Two turns."""
    first = llm.chat([user("Hi")], **keywords)
    return first, llm.chat([user("Hi"), first.message, user("How?")], **keywords)


@pytest.mark.hazard("M1")
@pytest.mark.parametrize("abi_version", LAYOUTS)
def test_what_each_release_gets_of_a_second_turn(
    model: Callable[..., Any], record: Path, abi_version: str
) -> None:
    first, second = two(model())
    assert (first.content, second.content) == ("Hello", "Fine")
    if abi_version < "v1_3_0":
        history = None if abi_version == "v1_1_0" else 0
        assert sent(record) == [(history, FIRST), (history, SECOND)]
        assert (second.perf.prompt_tokens, second.perf.cached_tokens) == (None, None)
    else:
        assert sent(record) == ["clear", (1, FIRST), (1, REST)]
        assert (first.perf.prompt_tokens, first.perf.cached_tokens) == (10, 0)
        perf = second.perf
        assert (perf.prompt_tokens, perf.cached_tokens, perf.prefill_tokens) == (20, 12, 8)
    off = [call["prompt_prefix"] for call in calls(record, "rkllm_set_chat_template")]
    assert off == ([] if abi_version == "v1_1_0" else [""])


@parted
def test_conversations_go_on_of_either_class(model: Callable[..., Any], record: Path) -> None:
    import asyncio

    llm = model()
    llm.conversation().send("Hi")
    talk = aio(llm).conversation()
    asyncio.run(talk.send("Hi"))
    assert sent(record) == ["clear", (1, FIRST)] * 2


@newest
@pytest.mark.parametrize("size", [13, 12])
def test_an_end_without_text_is_known_by_its_id(model: Callable[..., Any], record: Path, size: int) -> None:
    """Computed or not."""
    added = {str(END): {"content": "<|im_end|>", "special": True}}
    config = {
        "add_bos_token": False,
        "chat_template": TEMPLATE,
        "eos_token": "<|im_end|>",
        "added_tokens_decoder": added,
    }
    hello = run(["Hel", "lo", {"text": "", "id": END}], 10, size)
    two(model(hello, run(["Fine"], 8, size + 9), config=config))
    rest = REST.removeprefix("<|im_end|>") if size == 13 else REST
    assert sent(record)[2:] == [(1, rest)]


@newest
def test_an_end_that_nobody_knows_makes_it_whole(model: Callable[..., Any], record: Path) -> None:
    two(model(run(["Hel", "lo", {"text": "", "id": END}], 10, 13), FINE))
    assert sent(record)[2:] == ["clear", (1, SECOND)]


@newest
@pytest.mark.parametrize(
    "first",
    [
        run(["Hel", {"text": "", "id": 7}, "lo"], 10, 13),
        run(["Hel", "lo"], 10, 12, error=True),
        run(["Hel", "lo", "<|im_end|>", "!"], 10, 14),
    ],
    ids=["hidden", "error", "stop"],
)
def test_what_is_not_certain_is_sent_whole(
    model: Callable[..., Any], record: Path, first: dict[str, Any]
) -> None:
    llm = model(first, FINE)
    talk = llm.conversation()
    if "error" in first:
        with pytest.raises(Exception, match="error"):
            talk.send("Hi")
        talk.send("Hi")
        assert sent(record)[2:] == ["clear", (1, FIRST)]
    else:
        assert talk.send("Hi").content == "Hello"
        talk.send("How?")
        assert sent(record)[2:] == ["clear", (1, SECOND)]


@newest
def test_an_answer_at_its_limit_is_not_gone_on_from(model: Callable[..., Any], record: Path) -> None:
    hello = {**run(["Hel", "lo", "!"], 10, 12), "obey_max_new_tokens": True}
    two(model(hello, FINE), max_new_tokens=2)
    assert sent(record)[2:] == ["clear", (1, SECOND)]


@newest
def test_a_cache_of_another_size_than_it_was_left_is_not_believed(
    model: Callable[..., Any], record: Path
) -> None:
    two(model({**HELLO, "kv_cache_size_later": [11]}, FINE))
    assert sent(record)[2:] == ["clear", (1, SECOND)]


@newest
def test_a_library_that_keeps_another_history_is_not_trusted(model: Callable[..., Any], record: Path) -> None:
    llm = model(HELLO, {**FINE, "kv_cache_size": [22]}, FINE)
    first, second = two(llm)
    assert (second.perf.prompt_tokens, second.perf.cached_tokens) == (None, None)
    third = [user("Hi"), first.message, user("How?"), second.message, user("So?")]
    llm.chat(third)
    assert [one if one == "clear" else one[0] for one in sent(record)] == ["clear", 1, 1, 0]


@pytest.mark.parametrize("abi_version", LAYOUTS)
def test_edits_forks_and_other_runs_make_it_whole(
    model: Callable[..., Any], record: Path, abi_version: str
) -> None:
    again = {**HELLO, "kv_cache_size": [24]}
    llm = model(HELLO, HELLO, again, HELLO, HELLO)
    talk = llm.conversation()
    talk.send("Hi")
    talk.undo()
    talk.send("Ho")
    # What is held is the model's, whichever conversation goes on from it.
    other = talk.fork()
    other.send("How?")
    talk.send("How?")
    if abi_version > "v1_1_0":
        llm.clear_kv_cache()
    other.send("When?")
    edited = FIRST.replace("Hi", "Ho")
    whole = f"{edited}Hello{REST}"
    last = f"{whole}Hello" + REST.replace("How", "When")
    if abi_version >= "v1_3_0":
        first = ["clear", (1, FIRST), "clear", (1, edited), (1, REST), "clear", (1, whole)]
        assert sent(record) == [*first, "clear", "clear", (1, last)]
    else:
        history = None if abi_version == "v1_1_0" else 0
        texts = [one for one in sent(record) if one != "clear"]
        assert texts == [(history, text) for text in (FIRST, edited, whole, whole, last)]


@newest
def test_a_template_that_drops_thinking_makes_it_whole(model: Callable[..., Any], record: Path) -> None:
    thought = run(["<think>\nHm\n</think>\n\n", "Hello"], 10, 12)
    first, _ = two(model(thought, FINE, family="qwen3"))
    assert first.reasoning == "Hm"
    assert sent(record)[2:] == ["clear", (1, SECOND)]


@newest
def test_nothing_is_reused_if_so_asked(model: Callable[..., Any], record: Path) -> None:
    _, second = two(model(HELLO, {**FINE, "kv_cache_size": [9]}), reuse=False)
    assert sent(record) == ["clear", (1, FIRST), "clear", (1, SECOND)]
    assert second.perf.cached_tokens == 0


@newest
@pytest.mark.parametrize(
    "config",
    [
        {"chat_template": TEMPLATE, "add_bos_token": True},
        {"chat_template": "{{ bos_token }}" + TEMPLATE, "bos_token": ""},
        # Of no family that is known.
        {"chat_template": TEMPLATE.replace("im_", "")},
    ],
    ids=["told", "written", "unknown"],
)
def test_a_text_that_may_get_a_beginning_is_sent_whole(
    model: Callable[..., Any], record: Path, config: dict[str, Any]
) -> None:
    """A second beginning would stand in the middle."""
    two(model(config=config))
    assert [one if one == "clear" else one[0] for one in sent(record)] == [0, 0]


@newest
def test_a_family_without_a_beginning_is_enough(model: Callable[..., Any], record: Path) -> None:
    two(model(config={"chat_template": TEMPLATE}))
    assert sent(record)[2:] == [(1, REST)]


@newest
def test_a_worker_that_died_is_sent_the_whole(model: Callable[..., Any], record: Path) -> None:
    """What the one before it held is not believed."""
    from rkllm_rs import WorkerCrashed

    # Each process plays the script from its beginning, and dies in the third run.
    llm = model(HELLO, FINE, {"steps": ["So"], "abort": True}, isolate=True)
    talk = llm.conversation()
    talk.send("Hi")
    talk.send("How?")
    with pytest.raises(WorkerCrashed):
        talk.send("So?")
    assert len(talk.messages) == 4
    before = len(sent(record))
    assert talk.send("So?").content == "Hello"
    clear, (history, text) = sent(record)[before:]
    assert (clear, history) == ("clear", 1)
    assert text.startswith(SECOND)
    assert [call["prompt_prefix"] for call in calls(record, "rkllm_set_chat_template")] == [""] * 2
