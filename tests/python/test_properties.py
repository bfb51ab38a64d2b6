"""Ranges and shapes at random: what is refused is what cannot be, and what is taken arrives as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rkllm_rs import CrossAttention, Embeddings, InvalidArgumentError, Multimodal
from support import newest

# It has compiled parts, which not every emulated machine has.
pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surface import stepwise

if TYPE_CHECKING:
    from conftest import Opener

SIZE = 12
#: One model serves all examples of a test.
often = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
small = st.integers(1, 4)


@newest
def test_ranges(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": ["a"]}], "kv_cache_size": [SIZE]})
    steps = stepwise(model, "x")
    next(steps)

    @often
    @given(st.integers(-3, SIZE + 3), st.integers(-3, SIZE + 3))
    def check(start: int, end: int) -> None:
        if 0 <= start <= end <= SIZE:
            model.clear_kv_cache(ranges=[(start, end)])
        else:
            with pytest.raises(InvalidArgumentError, match=r"\Aranges .*12"):
                model.clear_kv_cache(ranges=[(start, end)])

    check()
    steps.close()


@often
@given(st.lists(st.integers(0, 3), min_size=0, max_size=4), st.none() | st.integers(0, 4))
def test_embeddings(shape: list[int], width: int | None) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    flat = len(shape) == 1 and width is not None and width > 0 and array.size % width == 0
    rows = len(shape) == 2 and width in {None, shape[1]}
    if (flat or rows) and array.size:
        expected = (array.size // width, width) if flat and width else tuple(shape)
        assert Embeddings(array, width=width).shape == expected
    else:
        with pytest.raises(InvalidArgumentError):
            Embeddings(array, width=width)


@often
@given(small, small, small, small, st.permutations(range(4)), st.integers(0, 5), st.integers(0, 5))
def test_cross_attention(
    layers: int, tokens: int, heads: int, width: int, order: list[int], mask: int, positions: int
) -> None:
    k = np.zeros((layers, tokens, heads, width), np.float32)
    v = np.zeros([k.shape[at] for at in order], np.float32)
    fits = v.shape == (layers, heads, width, tokens) and mask == positions == tokens
    given_mask, given_positions = np.zeros(mask, np.float32), list(range(positions))
    if fits:
        assert CrossAttention(k, v, given_mask, given_positions).num_tokens == tokens
    else:
        with pytest.raises(InvalidArgumentError):
            CrossAttention(k, v, given_mask, given_positions)


@often
@given(small, small, small, st.integers(0, 5), st.none() | small, st.none() | small)
def test_images(images: int, tokens: int, width: int, tags: int, count: int | None, each: int | None) -> None:
    array = np.zeros((images, tokens, width), np.float32)
    fits = tags == images and count in {None, images} and each in {None, tokens}
    if fits:
        made = Multimodal("<image>" * tags, array, n_image=count, n_image_tokens=each)
        assert (made.n_image, made.n_image_tokens) == (images, tokens)
    else:
        with pytest.raises(InvalidArgumentError):
            Multimodal("<image>" * tags, array, n_image=count, n_image_tokens=each)
