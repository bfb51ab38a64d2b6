"""The models that clients speak to: scripted, and one that does what its template says.

The model "agent" answers with its prompt. That is what the template makes of the messages and the tools,
so the template decides, and holds no state: it calls the first tool, tells the tool's result, and else says
what it was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving import Serving, on_fake, run

if TYPE_CHECKING:
    from pathlib import Path

AGENT = """\
{%- if enable_thinking is defined and enable_thinking is false -%}<think>

</think>

{% endif -%}
{%- set last = messages[-1] -%}
{%- set said = last.content.strip().split('\\n\\n')[-1].strip() -%}
{%- set seen = last.role == 'tool' or said.startswith('Observation:') -%}
{%- set found = namespace(first=none, final=none) -%}
{%- for tool in tools or [] -%}
{%- if tool.function.name.startswith('final_') -%}{%- set found.final = tool.function.name -%}
{%- elif found.first is none -%}{%- set found.first = tool.function.name -%}{%- endif -%}
{%- endfor -%}
{%- set name = found.first -%}
{%- if found.final is not none and (seen or name is none) -%}{%- set name = found.final -%}
{%- elif seen and not (name == 'count_rounds' and last.content != 'round 3') -%}
{%- set name = none -%}{%- endif -%}
{%- if name is not none -%}
<tool_call>
{"name": "{{ name }}", "arguments": \
{% if name == 'final_answer' %}{"answer": "Paris"}\
{% elif name.startswith('transfer_to') %}{}\
{% else %}{"city": "Paris"}{% endif %}}
</tool_call>
{%- elif seen -%}It is {{ last.content }}.
{%- else -%}{{ said }}
{%- endif -%}
"""

SCRIPTS: dict[str, Any] = {
    "agent": {"runs": [run({"echo": True})]},
    "words": {"runs": [run("Hello", " ", "world", "!", obey_max_new_tokens=True)]},
    "thinks": {"runs": [run("<think>", "\nHm", "m", "\n</think>\n\n", "So", ".")]},
    "slow": {"runs": [{"prefill_ms": 5000, "steps": ["At ", "last."]}]},
    # Each token has a character of two bytes, which a client must not find cut.
    # No faster than any NPU: ollama-rs takes whatever one read gives for whole lines, and more than it can
    # read at once is cut anywhere.
    "long": {"runs": [run(*["wörd "] * 500, delay_ms=4)]},
    "embeds": {"hidden": {"rows": 1, "width": 4, "start": 1}},
    # What aider reads as a change of a file.
    "edits": {
        "runs": [
            run(
                "greeting.py\n```python\n<<<<<<< SEARCH\n",
                'print("Hi")\n=======\nprint("Hello world!")\n',
                ">>>>>>> REPLACE\n```\n",
            )
        ]
    },
    # The question, and two documents, of which the second is like the question.
    "ranks": {"runs": [{"hidden": {"rows": 1, "width": 4, "start": start}} for start in (1, 9, 1)]},
}


def start(folder: Path, **more: Any) -> Serving:
    """Starts the server that all clients speak to; ``more`` are further arguments of ``create_app``.

    The library is of 1.1, where a format is checked and asked for again: scripted answers stay as they are.
    """
    serving = on_fake(
        folder,
        SCRIPTS,
        layout="v1_1_0",
        chat_template=AGENT,
        family="qwen3",
        keep_alive=-1,
        max_context_len=4096,
        limits={"beat_seconds": 0.2},
        **more,
    )
    return serving.ready()
