"""The process that verifies: does one item after the other, and writes what it finds as lines of JSON.

It is a process of its own so that it can be killed if the library hangs in a call that has no limit. The
model runs in a worker of this process, which dies with it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from rkllm_rs.errors import RkllmError, UnsupportedFeatureError

from . import answers, identity, measures, soak, state
from .session import Failed, Job, Session, Skipped, told

if TYPE_CHECKING:
    from collections.abc import Callable

#: What is done, in this order: what ends the worker, or needs another model, comes last.
ITEMS: dict[str, Callable[[Session], tuple[str, Any]]] = {
    "identity": identity.identity,
    "layout": identity.layout,
    "load": identity.load,
    "text": answers.text,
    "tokens": answers.tokens,
    "streaming": answers.streaming,
    "abort-prefill": state.abort_prefill,
    "abort-tokens": state.abort_tokens,
    "utf8": answers.utf8,
    "sampling": answers.sampling,
    "history": state.history,
    "cache": state.cache,
    "logits": state.logits,
    "hidden-states": state.hidden_states,
    "prompt-cache": state.prompt_cache,
    "chat": answers.chat,
    "structured": answers.structured,
    "prefix-reuse": measures.prefix_reuse,
    "pause-cost": measures.pause_cost,
    "logits-cost": measures.logits_cost,
    "lora": state.lora,
    "isolation": state.isolation,
    "soak": lambda session: soak.soak(session, lambda: say(alive=True)),
    "raw-text": measures.raw_text,
    "bos": measures.bos,
    "markers": measures.shown_markers,
}
MEASURED = frozenset({"raw-text", "bos", "prefix-reuse", "pause-cost", "logits-cost", "markers"})
_RAW = frozenset({"raw-text", "bos", "markers"})
_WITHOUT_MODEL = frozenset({"identity", "layout", "load"})


def say(**event: Any) -> None:
    """Writes an event."""
    # What a text cannot be encoded in is written as an escape.
    os.write(_OUT, (json.dumps(event) + "\n").encode())


def _rounded(value: Any) -> Any:
    """A value whose numbers have no more digits than mean something."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def judged(name: str, session: Session) -> dict[str, Any]:
    """Does an item, and gives its verdict."""
    value: Any = None
    begin = time.monotonic()
    try:
        if name not in _WITHOUT_MODEL:
            session.open("raw" if name in _RAW else "main")
            # A load that was needed again is not the item's own time.
            begin = time.monotonic()
        reason, value = ITEMS[name](session)
        verdict = "measured" if name in MEASURED else "pass"
    except Skipped as error:
        verdict, reason = "skipped", str(error)
    except UnsupportedFeatureError as error:
        verdict, reason = "skipped", str(error).partition("\n")[0]
    except Failed as error:
        verdict, reason, value = "fail", str(error), error.value
    except RkllmError as error:
        verdict, reason = "fail", told(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be done
        verdict, reason = "fail", f"unexpected {type(error).__name__}: {error}"
    seconds = round(time.monotonic() - begin, 3)
    return {"id": name, "verdict": verdict, "seconds": seconds, "reason": reason, "value": _rounded(value)}


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, whatever the library does."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main(job: dict[str, Any], names: list[str]) -> None:
    """Does the items.

    Args:
        job: The fields of ``Job``.
        names: Ids of the items, in any order.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")
    session = Session(Job(**job), lambda: say(opening=True))
    unknown = False
    for name in [one for one in ITEMS if one in names]:
        # Of a library that was refused, the layout may be why; there is nothing to load.
        if unknown and name != "layout":
            break
        say(begin=name)
        item = judged(name, session)
        say(end=item, facts=identity.facts(session))
        failed = item["verdict"] == "fail"
        unknown = unknown or (name == "identity" and failed)
        if name == "load" and failed:
            break
    session.close()
    say(done=True)
    sys.stdout.flush()
    # Without the destructors of a library, which may hang.
    os._exit(0)


# Nothing that is printed by others may come between the events.
_OUT = os.dup(1)
os.dup2(2, 1)
