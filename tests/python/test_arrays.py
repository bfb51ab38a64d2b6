"""``FloatArray``: rows of floats, lent to NumPy and others without another copy."""

from __future__ import annotations

import gc
import struct
import sys

import numpy as np
import pytest

from rkllm_rs import FloatArray
from support import SLOW, newest, succeed

pytestmark = newest


@pytest.fixture
def rows(open_model):
    """Three rows of four: 0 to 11."""
    return open_model({"hidden": {"rows": 3, "width": 4}}).hidden_states("x")


def address(array) -> int:
    start: int = array.__array_interface__["data"][0]
    return start


def test_what_it_tells_of_itself(rows):
    assert isinstance(rows, FloatArray)
    assert (rows.shape, rows.ndim, rows.size, rows.nbytes, len(rows)) == ((3, 4), 2, 12, 48, 3)
    row = rows[1]
    assert isinstance(row, FloatArray)
    assert (row.shape, row.ndim, row.size, row.nbytes, len(row)) == ((4,), 1, 4, 16, 4)
    assert "3 x 4" in repr(rows)
    assert "FloatArray 4 " in repr(row)


def test_values(rows):
    assert rows.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert rows[2].tolist() == [8, 9, 10, 11]
    assert rows.tobytes() == struct.pack("=12f", *range(12))
    assert rows[1].tobytes() == struct.pack("=4f", *range(4, 8))
    assert type(rows[0].tolist()[0]) is type(rows[0][0]) is float


def test_indices(rows):
    assert [rows[at].tolist() for at in (-1, -3)] == [rows[2].tolist(), rows[0].tolist()]
    assert [rows[1][at] for at in (0, 3, -1, -4)] == [4, 7, 7, 4]
    for wrong in (3, -4, sys.maxsize, -sys.maxsize):
        with pytest.raises(IndexError):
            rows[wrong]
    for wrong in (4, -5):
        with pytest.raises(IndexError):
            rows[0][wrong]
    for wrong in (2**70, 0.5, "1", None):
        with pytest.raises((TypeError, IndexError, OverflowError)):
            rows[wrong]


def test_iteration(rows):
    assert [row.tolist() for row in rows] == rows.tolist()
    assert list(rows[1]) == [4, 5, 6, 7]
    assert 6 in rows[1]
    first, *_rest = rows
    assert first.tolist() == [0, 1, 2, 3]


def test_rows_share_the_memory(rows):
    assert address(rows[1]) == address(rows) + 16
    rows.to_numpy()[1, 2] = 99
    assert rows[1][2] == 99
    assert rows.tolist()[1] == [4, 5, 99, 7]


@pytest.mark.parametrize("look", [np.asarray, FloatArray.to_numpy, np.from_dlpack], ids=lambda f: f.__name__)
def test_numpy_looks_into_it_without_a_copy(rows, look):
    view = look(rows)
    assert isinstance(view, np.ndarray)
    assert (view.shape, view.dtype, view.flags.c_contiguous) == ((3, 4), np.float32, True)
    assert view.ctypes.data == address(rows)
    assert view.tolist() == rows.tolist()
    row = look(rows[-1])
    assert (row.shape, row.ctypes.data) == ((4,), address(rows) + 32)
    assert row.tolist() == [8, 9, 10, 11]


def test_views_can_be_written(rows):
    view = np.asarray(rows)
    assert view.flags.writeable
    view *= 2
    assert rows.tolist()[2] == [16, 18, 20, 22]


def test_a_copy_is_a_copy(rows):
    copy = np.array(rows)
    copy[:] = 0
    assert rows[2][3] == 11
    assert address(rows) != copy.ctypes.data


@pytest.mark.parametrize("look", [np.asarray, FloatArray.to_numpy, np.from_dlpack], ids=lambda f: f.__name__)
def test_views_outlive_array_and_model(open_model, look):
    model = open_model({"hidden": {"rows": 64, "width": 64}})
    expected = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    view = look(model.hidden_states("x"))
    row = look(model.hidden_states("x")[7])
    part = look(model.hidden_states("x"))[3:5].T
    model.close()
    del model
    gc.collect()
    # Whatever was given back is used again by these.
    filled = [np.full((64, 64), np.nan, np.float32) for _ in range(50)]
    assert np.array_equal(view, expected)
    assert np.array_equal(row, expected[7])
    assert np.array_equal(part, expected[3:5].T)
    assert len(filled) == 50


def test_dlpack(rows):
    assert rows.__dlpack_device__() == (1, 0)
    assert "dltensor" in repr(rows.__dlpack__())
    assert "dltensor" in repr(rows.__dlpack__(max_version=(1, 0), dl_device=(1, 0), copy=False))
    for keywords in ({"stream": 1}, {"dl_device": (2, 0)}, {"copy": True}):
        with pytest.raises(BufferError):
            rows.__dlpack__(**keywords)


def test_capsules_that_nobody_takes(rows):
    for _ in range(1000):
        rows.__dlpack__()
    views = [np.from_dlpack(rows) for _ in range(10)]
    start = address(rows)
    del rows
    gc.collect()
    assert {view.ctypes.data for view in views} == {start}
    assert all(view[2, 3] == 11 for view in views)


def test_a_vector(open_model):
    model = open_model({"hidden": {"rows": 2, "width": 2, "start": 3}})
    vector = model.embed("x", normalize=False)
    assert (vector.shape, vector.tolist()) == ((2,), [5, 6])
    assert np.asarray(vector).ctypes.data == address(vector)


def test_single_numbers(open_model):
    array = open_model({"logits": {"rows": 1, "width": 1, "start": 2.5}}).logits("x")
    assert (array.shape, array.tolist(), array[0][0]) == ((1, 1), [[2.5]], 2.5)
    assert np.asarray(array)[0, 0] == 2.5


def test_without_numpy(library, make_model):
    code = """
    import warnings
    warnings.simplefilter("ignore")
    class Never:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "numpy":
                raise ImportError("no numpy here")
    sys.meta_path.insert(0, Never())
    with RKLLM(model, library=library) as llm:
        rows = llm.hidden_states("x")
        try:
            rows.to_numpy()
        except ImportError as error:
            say("told" if "tolist" in str(error) and "rkllm_rs[numpy]" in str(error) else error)
        say(rows.tolist(), len(rows.tobytes()), rows[-1][-1])
        say(Embeddings(rows).shape, llm.embed(["a", "b"], normalize=False).tolist())
        say(llm.generate(Embeddings(rows)).text, "numpy" in sys.modules)
    """
    model = make_model({"runs": [{"steps": ["fine"]}], "hidden": {"rows": 2, "width": 2}})
    assert succeed(code, library, model) == [
        "told",
        "[[0.0, 1.0], [2.0, 3.0]] 16 3.0",
        "(2, 2) [[2.0, 3.0], [2.0, 3.0]]",
        "fine False",
    ]


def test_nothing_grows_with_calls(library, make_model):
    code = """
    import gc, warnings
    import numpy
    from surface import stream_logits
    warnings.simplefilter("ignore")
    def resident():
        gc.collect()
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    llm = RKLLM(model, library=library)
    def calls(count):
        for number in range(count):
            rows = llm.logits("x")
            views = numpy.asarray(rows), numpy.from_dlpack(rows[1]), rows.__dlpack__()
            if number % 8 == 0:
                for part in stream_logits(llm, "x"):
                    break
    calls(500)
    before = resident()
    calls(10_000)
    say((resident() - before) // 1024)
    """
    # 10,000 of these are 80 MB.
    model = make_model({"logits": {"rows": 2, "width": 1000}})
    (grown,) = succeed(code, library, model, timeout=240)
    # An emulator's memory is part of it.
    assert int(grown) < 1024 * SLOW
