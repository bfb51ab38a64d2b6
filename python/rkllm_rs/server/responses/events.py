"""The events of a response, and the output that they build: both come from one place, so they agree."""

from __future__ import annotations

from rkllm_rs.server.jobs import Done, Reasoning, Text, ToolCallDelta, new_id
from rkllm_rs.server.openai.chunks import token_data
from rkllm_rs.server.stream import event as encoded

from .resource import error_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rkllm_rs.server.errors import ApiError
    from rkllm_rs.server.jobs import Event

    from .resource import Resource, Status

__all__ = ["Events"]


class Events:
    """Makes events of what a run says. Items follow each other: one ends before the next begins.

    Attributes:
        response: The whole response, once it has ended.
    """

    def __init__(self, resource: Resource) -> None:
        self.response: dict[str, Any] = {}
        self._resource = resource
        self._number = 0
        self._made: list[bytes] = []
        self._begun = False
        self._output: list[dict[str, Any]] = []
        #: Whether the last item is still being written, and its text so far.
        self._open = False
        self._texts: list[str] = []
        self._tokens: list[dict[str, Any]] = []
        self._call = -1
        #: White space that begins a message only if more follows.
        self._blank = ""

    def of(self, event: Event) -> bytes:
        """The events, encoded; none for one that says nothing to clients."""
        self.add(event)
        made, self._made = self._made, []
        return b"".join(made)

    def beat(self, _count: int) -> bytes:
        """What is sent in silence: clients that count events do not count comments."""
        if self._begin():
            made, self._made = self._made, []
            return b"".join(made)
        return self._encode("response.in_progress", response=self._resource.data("in_progress"))

    def failed(self, error: ApiError) -> bytes:
        """The last event of a response that failed."""
        if not self._begun:
            return self._encode("error", **error_data(error), param=error.param)
        if self._open:
            self._output[-1].update(_written(self._output[-1], "".join(self._texts), self._tokens))
            self._output[-1]["status"] = "incomplete"
        self.response = self._resource.data("failed", self._output, error=error)
        return self._encode("response.failed", response=self.response)

    def add(self, event: Event) -> None:
        """Takes an event of the run."""
        if isinstance(event, Text):
            self._text(event)
        elif isinstance(event, Reasoning):
            self._reasoning(event.text)
        elif isinstance(event, ToolCallDelta):
            self._part(event)
        elif isinstance(event, Done):
            self._done(event)

    def _text(self, event: Text) -> None:
        tokens = [token_data(token) for token in event.logprobs]
        if not self._is("message"):
            self._blank += event.text
            self._tokens += tokens
            if not self._blank.strip():
                return
            text, tokens = self._blank, self._tokens
            self._message()
        else:
            text = event.text
        self._texts.append(text)
        self._tokens += tokens
        self._content("response.output_text.delta", delta=text, logprobs=tokens)

    def _message(self) -> None:
        self._close()
        self._blank, self._tokens = "", []
        self._item({"type": "message", "id": new_id("msg_"), "role": "assistant", "content": []})
        self._content("response.content_part.added", part=_text_part("", []))

    def _reasoning(self, text: str) -> None:
        if not self._is("reasoning"):
            self._close()
            self._item({"type": "reasoning", "id": new_id("rs_"), "summary": []})
            self._summary("response.reasoning_summary_part.added", part=_summary_part(""))
        self._texts.append(text)
        self._summary("response.reasoning_summary_text.delta", delta=text)

    def _part(self, event: ToolCallDelta) -> None:
        if event.call != self._call:
            self._close()
            self._call = event.call
            self._blank, self._tokens = "", []
            item = {"type": "function_call", "id": new_id("fc_"), "call_id": event.id or new_id("call_")}
            self._item({**item, "name": event.name or "", "arguments": ""})
        if event.arguments:
            self._texts.append(event.arguments)
            self._of_item("response.function_call_arguments.delta", delta=event.arguments)

    def _done(self, event: Done) -> None:
        status: Status = "incomplete" if event.reason == "length" else "completed"
        ends_in_thought = self._is("reasoning") and status == "incomplete"
        if not ends_in_thought and all(one["type"] == "reasoning" for one in self._output):
            blank, tokens = self._blank, self._tokens
            self._message()
            if blank:
                self._texts.append(blank)
                self._tokens = tokens
                self._content("response.output_text.delta", delta=blank, logprobs=tokens)
        self._close(status)
        self._begin()
        self.response = self._resource.data(status, self._output, event.usage)
        self._put(f"response.{status}", response=self.response)

    # Items.

    def _is(self, kind: str) -> bool:
        return self._open and self._output[-1]["type"] == kind

    def _item(self, item: dict[str, Any]) -> None:
        """Begins an item."""
        self._begin()
        item["status"] = "in_progress"
        self._output.append(item)
        self._open = True
        self._texts = []
        self._put("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _close(self, status: str = "completed") -> None:
        """Ends the last item."""
        if not self._open:
            return
        self._open = False
        item, text = self._output[-1], "".join(self._texts)
        item.update(_written(item, text, self._tokens), status=status)
        if item["type"] == "message":
            self._content("response.output_text.done", text=text, logprobs=self._tokens)
            self._content("response.content_part.done", part=item["content"][0])
            self._tokens = []
        elif item["type"] == "reasoning":
            self._summary("response.reasoning_summary_text.done", text=text)
            self._summary("response.reasoning_summary_part.done", part=item["summary"][0])
        else:
            self._of_item("response.function_call_arguments.done", name=item["name"], arguments=text)
        self._put("response.output_item.done", output_index=len(self._output) - 1, item=item)

    # Events.

    def _begin(self) -> bool:
        if self._begun:
            return False
        self._begun = True
        for kind in ("response.created", "response.in_progress"):
            self._put(kind, response=self._resource.data("in_progress"))
        return True

    def _content(self, kind: str, **more: Any) -> None:
        self._of_item(kind, content_index=0, **more)

    def _summary(self, kind: str, **more: Any) -> None:
        self._of_item(kind, summary_index=0, **more)

    def _of_item(self, kind: str, **more: Any) -> None:
        self._put(kind, item_id=self._output[-1]["id"], output_index=len(self._output) - 1, **more)

    def _put(self, kind: str, **data: Any) -> None:
        self._made.append(self._encode(kind, **data))

    def _encode(self, kind: str, **data: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return encoded({"type": kind, "sequence_number": number, **data}, kind)


def _text_part(text: str, tokens: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": tokens}


def _summary_part(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _written(item: dict[str, Any], text: str, tokens: list[dict[str, Any]]) -> dict[str, Any]:
    """What an item has once its text is known."""
    if item["type"] == "message":
        return {"content": [_text_part(text, tokens)]}
    return {"summary": [_summary_part(text)]} if item["type"] == "reasoning" else {"arguments": text}
