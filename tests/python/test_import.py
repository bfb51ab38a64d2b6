"""Importing is cheap, and the names of the design are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rkllm_rs
from rkllm_rs import errors

# What would cost milliseconds on a board, or bring a dependency.
HEAVY = [
    "argparse",
    "asyncio",
    "concurrent.futures",
    "ctypes",
    "dataclasses",
    "enum",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "multiprocessing",
    "numpy",
    "pathlib",
    "re",
    "socket",
    "subprocess",
    "tempfile",
    "typing",
    "typing_extensions",
    "urllib",
    "warnings",
]

NAMES = [
    "RKLLM",
    "AsyncRKLLM",
    "SamplingParams",
    "Tokens",
    "Embeddings",
    "Multimodal",
    "CrossAttention",
    "Runtime",
    "Generation",
    "Chunk",
    "TokenStream",
    "TextStream",
    "BatchStream",
    "ArrayStream",
    "FloatArray",
    "Steps",
    "Score",
    "ModelInfo",
    "LoraAdapter",
    "PerfStats",
    "backends",
    "__version__",
    "RkllmError",
    "LibraryNotFoundError",
    "UnsupportedRuntimeError",
    "UnsupportedFeatureError",
    "ModelError",
    "ModelFormatError",
    "ModelPlatformError",
    "ModelVersionError",
    "NpuMemoryError",
    "DriverError",
    "FileMissingError",
    "PromptCacheError",
    "TemplateError",
    "ContextLengthError",
    "GenerationError",
    "GenerationTimeout",
    "BusyError",
    "ClosedError",
    "ForkedProcessError",
    "RkllmWarning",
    "BackendFallbackWarning",
]

MIXES = {
    "LibraryNotFoundError": OSError,
    "ModelNotFoundError": FileNotFoundError,
    "FileMissingError": FileNotFoundError,
    "PromptCacheError": ValueError,
    "GenerationTimeout": TimeoutError,
    "ContextLengthError": ValueError,
    "InvalidArgumentError": ValueError,
    "InvalidTypeError": TypeError,
    "NpuMemoryError": MemoryError,
}

PARENTS = {
    "ModelNotFoundError": "ModelError",
    "ModelFormatError": "ModelError",
    "ModelPlatformError": "ModelError",
    "ModelVersionError": "ModelError",
    "NpuMemoryError": "ModelError",
    "ContextLengthError": "GenerationError",
    "GenerationTimeout": "GenerationError",
    "BackendFallbackWarning": "RkllmWarning",
}


def test_import_is_light():
    code = (
        "import sys; before = set(sys.modules); import rkllm_rs; "
        f"print(*sorted((set(sys.modules) - before) & set({HEAVY!r})))"
    )
    # Without site: environments put modules of their own there.
    folder = rkllm_rs.__path__[0].rpartition("/")[0]
    program = f"import sys; sys.path.insert(0, {folder!r}); {code}"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stdout + done.stderr


def test_modules_are_there_without_an_import_of_their_own():
    code = "import rkllm_rs as r; r.bench.run, r.doctor.examine, r.models.find, r.runtimes.use, r.verify.run"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_starts_nothing():
    code = (
        "import os\nbefore = os.listdir('/proc/self/task'), len(os.listdir('/proc/self/fd'))\n"
        "import rkllm_rs\n"
        "assert before == (os.listdir('/proc/self/task'), len(os.listdir('/proc/self/fd')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    assert name in rkllm_rs.__all__
    assert getattr(rkllm_rs, name) is not None


def test_all_is_sound():
    assert len(set(rkllm_rs.__all__)) == len(rkllm_rs.__all__)
    for name in rkllm_rs.__all__:
        assert hasattr(rkllm_rs, name)
    public = {name for name in vars(rkllm_rs) if not name.startswith("_")}
    assert public - set(rkllm_rs.__all__) <= {
        "aio",
        "annotations",
        "bench",
        "chat",
        "cli",
        "doctor",
        "errors",
        "llm",
        "logprobs",
        "models",
        "results",
        "runtimes",
        "server",
        "verify",
    }


def test_completion_offers_what_is_imported_later():
    code = (
        "import rkllm_rs; print('AsyncRKLLM' in dir(rkllm_rs), 'rkllm_rs.aio' in __import__('sys').modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr
    assert set(dir(rkllm_rs)) >= set(rkllm_rs.__all__)


def test_one_tree_of_errors():
    for name in errors.__all__:
        kind = getattr(errors, name)
        root = errors.RkllmWarning if name.endswith("Warning") else errors.RkllmError
        assert issubclass(kind, root), name
        assert kind.__doc__
        assert kind.__module__.startswith("rkllm_rs")
    assert issubclass(errors.RkllmError, Exception)
    assert issubclass(errors.RkllmWarning, UserWarning)


@pytest.mark.parametrize("name", MIXES)
def test_they_are_what_python_calls_them(name):
    assert issubclass(getattr(errors, name), MIXES[name])


@pytest.mark.parametrize("name", PARENTS)
def test_they_have_their_places(name):
    assert issubclass(getattr(errors, name), getattr(errors, PARENTS[name]))


def test_hints_are_shown_once():
    plain = errors.ModelError("it failed")
    assert (str(plain), plain.hint, plain.log) == ("it failed", None, [])
    hinted = errors.ModelError("it failed", hint="try again", log=["E x: y"])
    assert str(hinted) == "it failed\nhint: try again"
    assert (hinted.hint, hinted.log) == ("try again", ["E x: y"])
    assert str(errors.ModelError("it failed: try again", hint="try again")) == "it failed: try again"
    assert str(errors.RkllmError()) == ""


def test_a_timeout_without_an_answer():
    assert errors.GenerationTimeout("late").partial is None


def test_reprs():
    assert repr(rkllm_rs.Tokens([1, 2, 3])) == "Tokens([1, 2, 3])"
    assert "20 ids" in repr(rkllm_rs.Tokens(range(20)))
    assert (
        repr(rkllm_rs.SamplingParams(top_k=1, temperature=0.5)) == "SamplingParams(top_k=1, temperature=0.5)"
    )
    assert repr(rkllm_rs.SamplingParams()) == "SamplingParams()"
    for status in rkllm_rs.backends():
        assert status.name in repr(status)


def test_tokens_are_a_sequence():
    tokens = rkllm_rs.Tokens(iter([3, 1, 2]))
    assert (len(tokens), list(tokens), tokens[0], tokens[-1]) == (3, [3, 1, 2], 3, 2)
    assert tokens == rkllm_rs.Tokens([3, 1, 2]) != rkllm_rs.Tokens([3, 1])
    assert len({tokens, rkllm_rs.Tokens([3, 1, 2])}) == 1
    assert 1 in tokens
    with pytest.raises(IndexError):
        tokens[3]


def test_settings_are_values():
    first, second = rkllm_rs.SamplingParams(top_k=1), rkllm_rs.SamplingParams(top_k=1)
    assert first == second != rkllm_rs.SamplingParams(top_k=2)
    assert (first.top_k, first.top_p) == (1, None)
    with pytest.raises(AttributeError):
        first.top_k = 2


def test_errors_are_imported_when_they_are_asked_for() -> None:
    program = """
import sys, rkllm_rs
assert not {"rkllm_rs.errors", "rkllm_rs.results", "rkllm_rs.aio"} & set(sys.modules)
assert issubclass(rkllm_rs.ClosedError, rkllm_rs.errors.RkllmError)
try:
    rkllm_rs.RKLLM(5)
except rkllm_rs.InvalidTypeError as error:
    assert error.hint
assert rkllm_rs.Score and rkllm_rs.BatchStream
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_errors_are_there_before_a_model_is_opened() -> None:
    """What goes wrong later, such as too many open files, may leave no way to import them."""
    program = """
import sys, rkllm_rs
rkllm_rs.AsyncRKLLM("none.rkllm")
assert "rkllm_rs.errors" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
