"""Fixtures: every test has its own copies of the fakes, and leaves nothing open."""

from __future__ import annotations

import inspect
import os
import pwd
import shutil
import signal
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from fakes import ABI_VERSIONS, BUILD_COMMAND, calls, fake_library, fake_model
from support import SLOW, Child, children
from surface import all_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rkllm_rs import RKLLM

REPOSITORY = Path(__file__).parents[2]

#: Settings of the tests themselves.
KEPT = ("RKLLM_RS_FAKES", "RKLLM_RS_TEST_SLOW", "RKLLM_RS_TEST_ISOLATE")


class Opener(Protocol):
    """Opens a model of a script."""

    def __call__(self, script: Any = ..., **keywords: Any) -> RKLLM: ...


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As under nohup. This process goes on without minding it; programs that tests start get the default
        # back, since a signal that is caught, unlike one that is ignored, is not passed on.
        signal.signal(signal.SIGINT, lambda *_: None)
    os.environ.setdefault("RKLLM_RS_FAKES", str(REPOSITORY / "target/release"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(os.environ["RKLLM_RS_FAKES"])
    if items and not list(folder.glob("libfake_rkllm_v*.so")):
        message = f"there are no fakes in {folder}; build them with\n  {BUILD_COMMAND}\nor set RKLLM_RS_FAKES"
        raise pytest.UsageError(message)


@pytest.fixture(autouse=True)
def mode(request: pytest.FixtureRequest) -> str:
    """Where models run: ``here``, or in a ``worker``. Tests with the mark ``both_modes`` run once in each.

    ``RKLLM_RS_TEST_ISOLATE=1`` runs all others in workers, too, but for those with the mark ``only_here``.
    """
    other = "worker" if os.environ.get("RKLLM_RS_TEST_ISOLATE") else "here"
    where = str(getattr(request, "param", other))
    mark = request.node.get_closest_marker("only_here")
    if mark and where == "worker":
        pytest.skip(f"not in a worker: {mark.args[0]}")
    return where


@pytest.fixture
def process_variables() -> Iterator[pytest.MonkeyPatch]:
    """Changes of the environment for the whole test. pytest's own fixture is of one thread, which would keep
    pytest-run-parallel from every test."""
    with pytest.MonkeyPatch.context() as changes:
        yield changes


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, process_variables: pytest.MonkeyPatch, mode: str) -> None:
    """No setting of the machine or its user reaches a test."""
    for name in list(os.environ):
        if name.startswith(("RKLLM_", "RKLLAMA_", "HF_", "HUGGING", "XDG_")) and name not in KEPT:
            process_variables.delenv(name)
    process_variables.delenv("LD_LIBRARY_PATH", raising=False)
    # Neither a program of this machine nor another test is waited for.
    process_variables.setenv("RKLLM_RS_NPU_LOCK", str(tmp_path / "npu.lock"))
    if mode == "worker":
        process_variables.setenv("RKLLM_RS_ISOLATE", "1")
    home = tmp_path / "home"
    home.mkdir()
    for name, folder in (
        ("HOME", home),
        ("XDG_DATA_HOME", home / "data"),
        ("XDG_CACHE_HOME", home / "cache"),
    ):
        process_variables.setenv(name, str(folder))


@pytest.fixture(autouse=True)
def nothing_open(
    isolated: None, tmp_path: Path, gate: Path, process_variables: pytest.MonkeyPatch
) -> Iterator[None]:
    """Models that a test leaves open are closed, and gone before the next one begins.

    No promise to the library may have been broken, by a program that the test started either.
    """
    path = tmp_path / "broken.jsonl"
    process_variables.setenv("RKLLM_RS_FAKE_BROKEN", str(path))
    yield
    # What is still under way need not take its time.
    gate.touch()
    settle()
    assert not calls(path)


def settle() -> None:
    """Closes all models and waits until the library has let go of them."""
    until = time.monotonic() + 30 * SLOW
    while not all_closed():
        assert time.monotonic() < until, "a model does not go away"
        time.sleep(0.05)


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder that nobody else can write to, nor to any above it; the usual temporary one is not."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for base in (home, Path(__file__).resolve().parents[2]):
        above = [base, *base.parents]
        if os.access(base, os.W_OK) and all(
            at.stat().st_uid in (0, os.getuid()) and not at.stat().st_mode & 0o022 for at in above
        ):
            break
    else:
        pytest.skip("there is no folder that is safe by the rules")
    folder = Path(tempfile.mkdtemp(prefix="rkllm-rs-test-", dir=base))
    yield folder
    shutil.rmtree(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that names ``abi_version`` runs for each version of the ABI, any other for the newest.

    Only what fills or reads a struct of the header differs between them: opening, running, the callbacks.
    """
    if metafunc.definition.get_closest_marker("both_modes"):
        metafunc.parametrize("mode", ["here", "worker"], indirect=True)
    given = {name for mark in metafunc.definition.iter_markers("parametrize") for name in mark.args[0]}
    given |= {
        word.strip()
        for mark in metafunc.definition.iter_markers("parametrize")
        if isinstance(mark.args[0], str)
        for word in mark.args[0].split(",")
    }
    if "abi_version" in metafunc.fixturenames and "abi_version" not in given:
        names = "abi_version" in inspect.signature(metafunc.function).parameters
        metafunc.parametrize("abi_version", ABI_VERSIONS if names else ABI_VERSIONS[-1:], indirect=True)


@pytest.fixture
def abi_version(request: pytest.FixtureRequest) -> str:
    """The version of the ABI that the test is about."""
    return str(request.param)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """What the library was called with."""
    return tmp_path / "record.jsonl"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that ends what the scripts of ``make_model`` take of time, once the test creates it."""
    return tmp_path / "gate"


@pytest.fixture
def library(tmp_path: Path, abi_version: str, record: Path) -> Path:
    """A library of the layout, whose runs end where their scripts say, however long a test may take."""
    far = {"max_new_tokens": 20_000}
    return fake_library(tmp_path / "lib", abi_version, defaults=far, record=record, quiet=True)


@pytest.fixture
def vendor_library(tmp_path: Path, abi_version: str, record: Path) -> Path:
    """A library of the layout, with the defaults that the vendor's manuals name."""
    return fake_library(tmp_path / "lib", abi_version, record=record, quiet=True)


@pytest.fixture
def make_model(tmp_path: Path, gate: Path) -> Callable[..., Path]:
    """Writes scripts, each under a name of its own."""
    count = 0

    def make(script: Any = (), **more: Any) -> Path:
        nonlocal count
        count += 1
        if not isinstance(script, dict):
            script = {"runs": [{"steps": list(script)}]}
        return fake_model(tmp_path / "models", f"model{count}.rkllm", **{"gate": gate, **script}, **more)

    return make


@pytest.fixture
def open_model(make_model: Callable[..., Path], library: Path, nothing_open: None) -> Iterator[Opener]:
    """Opens models; a script may be given as the list of its only run's steps."""
    import rkllm_rs

    opened: list[RKLLM] = []

    def opener(script: Any = (), **keywords: Any) -> RKLLM:
        path = script if isinstance(script, Path) else make_model(script)
        keywords.setdefault("library", library)
        with warnings.catch_warnings():
            # No machine that runs these tests has the NPU.
            warnings.simplefilter("ignore", rkllm_rs.RkllmWarning)
            opened.append(rkllm_rs.RKLLM(path, **keywords))
        return opened[-1]

    yield opener
    for model in opened:
        model.close()


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Starts programs that are spoken to; none outlives the test."""
    yield from children([])
