"""Stop strings, however the text is cut into tokens."""

from __future__ import annotations

import itertools

import pytest

from support import newest
from test_stop import reference, steps_of

# It has compiled parts, which not every emulated machine has.
pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

#: Few characters, so that they meet; of one, two, three and four bytes.
LETTERS = "abé€😀"


@st.composite
def runs_of_pieces(draw):
    """Bytes of some tokens, cut anywhere, and stop strings."""
    whole = draw(st.text(LETTERS, max_size=24)).encode()
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=12))
    edges = [0, *sorted(cuts), len(whole)]
    pieces = [whole[begin:end] for begin, end in itertools.pairwise(edges)]
    return pieces, draw(st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=4))


@newest
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases=st.lists(runs_of_pieces(), min_size=1, max_size=15))
@example(cases=[([b"a\xc3", b"\xa9b"], ["é"]), ([b"aab"], ["ab", "aab"]), ([b""], ["a"])])
def test_pieces_and_stops_at_random(open_model, cases):
    runs = [{"steps": steps_of(pieces)} for pieces, _ in cases]
    with open_model({"runs": runs}) as model:
        for pieces, stops in cases:
            stream = model.stream("x", stop=stops)
            chunks = [(chunk.text, chunk.token_id) for chunk in stream]
            expected, ids = reference(pieces, stops)
            assert chunks == expected, (pieces, stops)
            answer = stream.result()
            assert (answer.text, answer.token_ids) == ("".join(text for text, _ in expected), ids)
            assert answer.finish_reason == "stop"
            assert not any(stop in answer.text for stop in stops)
