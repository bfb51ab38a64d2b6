"""Talks with a model, takes a turn back, tries two ways on, and continues from a file.

Usage: python examples/conversation.py model.gguf
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rkllm_rs import RKLLM, Conversation


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()

    # Answers are short, and the same each time.
    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        talk = llm.conversation(system="Answer in one short sentence.", max_new_tokens=24)
        print("first:", talk.send("What is the capital of France?").content)

        print("second: ", end="")
        stream = talk.send_stream("And of Italy?")
        for delta in stream:
            print(delta.content, end="", flush=True)
        # None if the library does not tell.
        print(f"\nreused: {stream.result().perf.cached_tokens} tokens")

        print("taken back:", talk.undo())
        other = talk.fork()
        print("one way:", talk.send("And of Spain?").content)
        print("another way:", other.send("And of Japan?").content)

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "talk.json")
            talk.save(path)
            loaded = Conversation.load(llm, path)
        loaded.send("Thank you.")
        print("messages:", len(other.messages), len(talk.messages), len(loaded.messages))


if __name__ == "__main__":
    main()
