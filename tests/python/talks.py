"""Random conversations with a real model, each answer compared with the one that is computed anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from conversations import ENDING
from rkllm_rs import Tokens

if TYPE_CHECKING:
    import random

    from rkllm_rs import RKLLM

WORDS = ["river", "stone", "cloud", "garden", "yellow", "seven", "paper", "window", "music", "winter"]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}},
    },
}
#: With a switch of thinking, without the thinking of earlier turns, with calls of tools and their results.
THINKING = (
    """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif -%}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' and '</think>' in message.content -%}
{{ message.content.split('</think>')[-1].lstrip('\\n') }}
{%- else %}{{ message.content or '' }}{% endif %}
"""
    + ENDING
)


def called(draw: random.Random, turn: int) -> list[dict[str, Any]]:
    """A call of the tool and its result, as a model that makes calls would have left them."""
    name, id_ = "look_up", f"call_{turn:09}"
    arguments = json.dumps({"key": draw.choice(WORDS)})
    call = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
    result = " ".join(draw.sample(WORDS, 3))
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id_, "name": name, "content": result},
    ]


class Figures(NamedTuple):
    """Tokens of all prompts, those of them that were not computed, and turns without the oldest messages."""

    prompts: int
    cached: int
    shortened: int


def talk(draw: random.Random, llm: RKLLM, turns: int, *, thinks: bool = False) -> Figures:
    """A conversation with edits, other answers, forks, tools and, if it ``thinks``, thinking on and off.

    Raises:
        AssertionError: An answer is not the one that is computed without what is held.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    other: list[dict[str, Any]] = []
    prompts = cached = shortened = 0
    for turn in range(turns):
        what = draw.choice(["go on", "go on", "edit", "again", "fork"])
        if what == "edit" and len(messages) > 2:
            at = draw.randrange(1, len(messages))
            messages[at] = {**messages[at], "content": draw.choice(WORDS)}
        elif what == "again" and len(messages) > 2:
            last = max(at for at, message in enumerate(messages) if message["role"] == "user")
            del messages[last:]
        elif what == "fork":
            messages, other = list(other or messages), messages
        messages.append({"role": "user", "content": " ".join(draw.sample(WORDS, 4))})
        keywords: dict[str, Any] = {"max_new_tokens": 4, "overflow": "drop_oldest"}
        keywords["thinking"] = draw.choice([None, False])
        if thinks:
            keywords |= {"chat_template": THINKING, "thinking": draw.choice([True, False])}
        if draw.random() < 0.4:
            keywords["tools"] = [TOOL]
            if draw.random() < 0.5:
                messages += called(draw, turn)
        expected = llm.chat(messages, reuse=False, **keywords)
        # What another user of the same model leaves behind.
        if draw.random() < 0.3 and expected.token_ids:
            llm.generate(Tokens(expected.token_ids), max_new_tokens=1)
        answer = llm.chat(messages, **keywords)
        assert answer.token_ids == expected.token_ids, f"turn {turn} ({what}): {messages}"
        prompts += answer.perf.prompt_tokens or 0
        cached += answer.perf.cached_tokens or 0
        shortened += any("left out" in note for note in answer.notes)
        messages.append(dict(answer.message))
        if thinks and draw.random() < 0.5:
            # What the small model does not do by itself.
            messages[-1]["content"] = f"<think>\n{draw.choice(WORDS)}\n</think>\n\n{answer.content}"
    return Figures(prompts, cached, shortened)
