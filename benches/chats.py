"""What chats cost beside streams of text, and how much of a second turn is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from harness import TOKEN, NullModel, Row, Size
from measures import timed

if TYPE_CHECKING:
    from collections.abc import Callable

#: Gives the null runtime its prompt as it is.
AS_IT_IS = "{{ messages[0].content }}"
#: The same for a model that is shown its tools, where the null runtime does not look.
CALLS = "{{ messages[0].content }}\n{{ tools or '' }}"
#: What its prompts end with is not in the next ones: the last answer is computed again.
NOT_STABLE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
<|im_start|>assistant
<think>

</think>

"""
SENTENCE = "The river rose for the third day, and the bridge was closed. "


def parsing(size: Size) -> list[Row]:
    """A loop over an answer whose thinking and tool calls are looked for, beside the same run as text."""
    # After a chat, a model renders text as well; so there are two.
    plain, chat, count = NullModel(), NullModel(), size.tokens // 4
    rows = (
        Row("chat_stream, flat out", "ns/token"),
        Row("chat_stream, flat out, reader's CPU time", "ns/token"),
    )
    messages = [{"role": "user", "content": f"{count} 0 {TOKEN}"}]
    for _ in range(3 * size.rounds):
        least = timed(plain.stream(count), count)
        deltas = timed(chat.llm.chat_stream(messages, chat_template=AS_IT_IS), count)
        for row, ours, floor in zip(rows, deltas, least, strict=True):
            row.ours.append(ours)
            row.floor.append(floor)
    plain.close()
    chat.close()
    return list(rows)


def one_argument(kind: dict[str, Any], size: int) -> str:
    """A call of a tool with an argument of this kind that takes about ``size`` bytes."""
    values: dict[str, Callable[[], Any]] = {
        "object": lambda: {f"key {number}": number for number in range(size // 20)},
        "array": lambda: list(range(size // 8)),
        "string": lambda: '"\n' * (size // 4),
    }
    call = {"name": "f", "arguments": {"a": values[kind["type"]]()}}
    return f"<tool_call>{json.dumps(call)}</tool_call>"


def arguments(size: Size) -> list[Row]:
    """Large arguments of a tool call, read and checked, beside the same answer as content.

    The floor of 2 MB is what 1 MB takes beyond its own floor.
    """
    kinds: dict[str, dict[str, Any]] = {
        "dict[str, int]": {"type": "object", "additionalProperties": {"type": "integer"}},
        "list[int]": {"type": "array", "items": {"type": "integer"}},
        "a str of escapes": {"type": "string"},
    }
    model, rows = NullModel(), []
    for name, kind in kinds.items():
        parameters = {"type": "object", "properties": {"a": kind}, "required": ["a"]}
        tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]

        def milliseconds(choice: str, bytes_: int, tools: Any = tools, kind: Any = kind) -> float:
            messages = [{"role": "user", "content": f"-1024 0 {one_argument(kind, bytes_)}"}]
            start = time.perf_counter_ns()
            answer = model.llm.chat(messages, tools=tools, tool_choice=choice, chat_template=CALLS)
            took = (time.perf_counter_ns() - start) / 1e6
            if len(answer.tool_calls) != (choice == "auto"):
                message = f"another answer than asked for: {answer.notes}"
                raise SystemExit(message)
            return took

        once, twice = Row(f"1 MB of arguments, {name}", "ms"), Row(f"2 MB of arguments, {name}", "ms")
        for _ in range(3 * size.rounds):
            once.floor.append(milliseconds("none", 1_000_000))
            once.ours.append(milliseconds("auto", 1_000_000))
            twice.ours.append(milliseconds("auto", 2_000_000) - milliseconds("none", 2_000_000))
            twice.floor.append(once.ours[-1] - once.floor[-1])
        rows += [once, twice]
    model.close()
    return rows


def second_turn(_: Size) -> list[Row]:
    """Tokens that a turn after 1,000 tokens computes, by the CPU runtime.

    The floor is those of its message, with the last answer where that has to be computed again: for greedy
    runs, and with templates whose prompts are not the beginning of the next ones.
    """
    from rkllm_rs import RKLLM

    here = os.path.dirname(os.path.abspath(__file__))
    fetch = [sys.executable, os.path.join(here, "..", "scripts", "fetch_model.py")]
    path = subprocess.run(fetch, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    drawn = Row("second turn after 1,000 tokens, computed", "tokens")
    greedy = Row("second turn after 1,000 tokens, greedy, computed", "tokens")
    other = Row("second turn after 1,000 tokens, a template that changes, computed", "tokens")
    with RKLLM(path, backend="cpu", max_context_len=2048, max_new_tokens=8) as llm:
        system = {"role": "system", "content": "Answer questions about this report. "}
        question = {"role": "user", "content": "Which day was it?"}
        while llm.count_tokens([system, question]) < 1000:
            system["content"] += SENTENCE
        message = {"role": "user", "content": "And what was closed on that day?"}
        for row, top_k, template in ((drawn, 40, None), (greedy, 1, None), (other, 40, NOT_STABLE)):
            llm.clear_kv_cache()
            first = llm.chat([system, question], top_k=top_k, chat_template=template)
            messages = [system, question, first.message, message]
            second = llm.chat(messages, top_k=top_k, chat_template=template)
            row.ours.append(second.perf.prefill_tokens or 0)
            again = 0 if row is drawn else len(first.token_ids)
            row.floor.append(llm.count_tokens(message["content"]) + again)
    return [drawn, greedy, other]


CHATS: dict[str, Callable[[Size], list[Row]]] = {
    "parsing": parsing,
    "arguments": arguments,
    "second-turn": second_turn,
}
