"""Garbage collection: nothing that refers to itself through a model stays, and no finaliser does harm."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from support import newest, succeed
from surface import stepwise, stream_batch, stream_logits

pytestmark = newest

ENDLESS = {"runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}]}


class Owner:
    """Refers to a model that refers to it."""

    def tokens(self, _text):
        return [1, 2]

    def vectors(self, tokens):
        return [[0.0] * 4 for _ in tokens]

    def told(self, chunk):
        self.last = chunk


def model(owner, open_model):
    owner.llm = open_model(ENDLESS, tokenizer=owner.tokens, embedder=owner.vectors)
    return owner.llm


def model_itself(owner, open_model):
    return model(owner, open_model)


def stream(owner, open_model):
    owner.stream = open_model(ENDLESS).stream("x", on_token=owner.told)
    next(owner.stream)
    return owner.stream


def texts(owner, open_model):
    owner.texts = open_model(ENDLESS).stream("x", on_token=owner.told).texts()
    next(owner.texts)


def steps(owner, open_model):
    owner.steps = stepwise(open_model({"runs": [{"steps": ["x"]}]}), "x", on_token=owner.told)
    next(owner.steps)
    return owner.steps


def rows(owner, open_model):
    script = {"runs": [{"logits": [{"rows": 1, "width": 4}] * 1000, "delay_ms": 2}]}
    owner.rows = stream_logits(open_model(script, tokenizer=owner.tokens), "x")
    next(owner.rows)
    return owner.rows


def batch(owner, open_model):
    script = {"runs": [{"rows": [["x"] * 10_000] * 2, "delay_ms": 2}]}
    owner.batch = stream_batch(open_model(script, n_batch=2), ["a", "b"], on_token=owner.told)
    next(owner.batch[0])


def what_a_callable_raised(owner, open_model):
    """Kept for the reader of another run, with a traceback that refers to the owner."""

    def fail(text):
        kept = owner
        raise ValueError(kept)

    script = {"runs": [{"ask": [{"tokenize": "a", "capacity": 4}]}, {}]}
    owner.llm = open_model(script, tokenizer=fail)
    owner.unread = owner.llm.stream("x")
    owner.llm.generate("y")


@pytest.mark.parametrize("make", [model_itself, stream, texts, steps, rows, batch, what_a_callable_raised])
def test_cycles_are_collected(make, library, make_model):
    import warnings

    from rkllm_rs import RKLLM, RkllmWarning

    def opened(script, **keywords):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RkllmWarning)
            return RKLLM(make_model(script), library=library, **keywords)

    owner = Owner()
    gone = weakref.ref(owner)
    make(owner, opened)
    del owner
    gc.collect()
    assert gone() is None


def test_a_reader_in_an_event_loop_is_collected(library, make_model, open_model):
    async def read():
        owner = Owner()
        owner.stream = open_model(ENDLESS).stream("x", on_token=owner.told)
        await anext(owner.stream)
        return weakref.ref(owner)

    gone = asyncio.run(read())
    gc.collect()
    assert gone() is None


HARM = """
    import gc, itertools
    from surface import stepwise, stream_logits
    gc.set_threshold({threshold}, 1, 1)
    class Bomb:
        def __init__(self): self.me = self
        def __del__(self):
            repr(source)
            for _ in range(2000): pass   # long enough to lose the interpreter to another thread
    llm = RKLLM(model, library=library, {keywords})
    source = {source}
    sys.setswitchinterval(1e-6)
    other = threading.Thread(target=lambda: [repr(source) for _ in range(2000)], daemon=True)
    other.start()
    count = 0
    for item in itertools.islice({items}, 300):
        count += 1
        Bomb()
    say(count)
    {end}
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("source", "items", "script", "keywords"),
    [
        ('llm.stream("x")', "source", {"steps": ["x"], "repeat": 1000}, ""),
        ('llm.stream("x")', "source.texts()", {"steps": ["x"], "repeat": 1000}, ""),
        ('llm.stream("x", on_token=lambda chunk: Bomb())', "source", {"steps": ["x"], "repeat": 1000}, ""),
        ('stepwise(llm, "x")', "source", {"steps": ["x"]}, ""),
        ('stream_logits(llm, "x")', "source", {"logits": [{"rows": 1, "width": 4}] * 400}, ""),
    ],
    ids=["stream", "texts", "on_token", "steps", "rows"],
)
def test_a_finaliser_that_looks_at_the_stream_does_no_harm(
    library, make_model, source, items, script, keywords
):
    """Python 3.10 and 3.11 collect at any allocation: a lock held there would be waited for in vain."""
    path = make_model({"runs": [script]})
    code = HARM.format(threshold=20, source=source, items=items, keywords=keywords, end="")
    assert succeed(code, library, path) == ["300"]


def test_nor_one_that_runs_while_an_error_is_made(library, make_model):
    code = HARM.format(
        threshold=1,
        source='llm.stream("x", timeout=0.2)',
        items="[0] * 300",
        keywords="",
        end="""
    try:
        for _ in source: Bomb()
    except GenerationTimeout as error:
        say(error.partial.text[:1])""",
    )
    assert succeed(code, library, make_model(ENDLESS)) == ["300", "x"]
