"""Checks of the library itself and of the load."""

from __future__ import annotations

import time
from typing import Any

from rkllm_rs import runtimes
from rkllm_rs._library import options
from rkllm_rs._native import Runtime
from rkllm_rs.errors import ModelError, RkllmError, UnsupportedRuntimeError
from rkllm_rs.llm import resolve

from .session import Session, fail, name_of, skip, told

Found = tuple[str, Any]


def find(session: Session) -> None:
    """Loads the library in a worker, without a model."""
    job = session.job
    isolation = {"isolate": True, "restart": True, "kill_after": job.kill_after}
    where = options(job.library, job.backend, None, "quiet")
    try:
        _, runtime, notes, fallback = resolve(job.model, (where, isolation))
    except ModelError:
        # That is for the load to say; which library there is does not depend on it.
        session.runtime = Runtime.load(job.library, backend=job.backend)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return
    session.runtime = runtime
    session.found = [*notes, *([fallback] if fallback else [])]


def identity(session: Session) -> Found:
    """Which release the library is."""
    find(session)
    assert session.runtime is not None  # noqa: S101 - just set
    runtime = session.runtime
    found = runtime.identity
    value: dict[str, Any] = {
        "backend": runtime.backend,
        "release": found.version,
        "abi": found.abi,
        "evidence": [
            {"kind": one.kind, "finding": one.finding, "allows": one.allows} for one in found.evidence
        ],
    }
    what = "the CPU runtime" if found.cpu_runtime else name_of(runtime.path)
    try:
        file = runtimes.verify(runtime.path)
        value.update(sha256=file.sha256, official=file.official)
    except (RkllmError, OSError):
        value.update(sha256=None, official=None)
    official = "the official file" if value["official"] else "not a known official file"
    by = ", ".join(one.kind for one in found.evidence)
    kind = "" if found.cpu_runtime else f"; {official}"
    notes = "".join(f"; {note}" for note in session.found)
    return f"{what}, release {found.version or 'unknown'} ({found.abi}), by {by}{kind}{notes}", value


def layout(session: Session) -> Found:
    """What the probe of the default parameters says."""
    if session.runtime is None:
        try:
            find(session)
        except UnsupportedRuntimeError as error:
            # The message lists the evidence, by kinds.
            if "defaults: " not in str(error):
                skip("the library was refused before its default parameters were read")
            raise
        except RkllmError as error:
            skip(f"the library could not be loaded: {told(error)}")
    assert session.runtime is not None  # noqa: S101 - just set
    found = session.runtime.identity
    probes = [one for one in found.evidence if one.kind == "defaults"]
    if not probes:
        skip("the library's default parameters were not read")
    for probe in probes:
        if found.abi not in probe.allows.replace(",", " ").split():
            fail(f"{probe.finding}, which allows {probe.allows}, but the ABI is {found.abi}")
    return f"{probes[0].finding}: {probes[0].allows}", {"allows": probes[0].allows}


def load(session: Session) -> Found:
    """The load of the model."""
    begin = time.monotonic()
    llm = session.open()
    took = time.monotonic() - begin
    info = llm.info
    names = (
        "context_limit",
        "vocab_size",
        "hidden_size",
        "platform",
        "npu_cores",
        "toolkit_version",
        "dtype",
        "driver_version",
        "template_problem",
    )
    value = {name: getattr(info, name) for name in names}
    value.update(max_context_len=llm.max_context_len, notes=session.notes)
    notes = "".join(f"; {note}" for note in session.notes)
    return f"loaded in {took:.1f} s, with a context window of {llm.max_context_len} tokens{notes}", value


def facts(session: Session) -> dict[str, Any]:
    """What is known so far of library and model."""
    runtime = session.runtime
    if runtime is None:
        return {}
    found = runtime.identity
    return {
        "backend": runtime.backend,
        "cpu_runtime": found.cpu_runtime,
        "library": name_of(runtime.path),
        "release": found.version,
        "abi": found.abi,
        "model": name_of(session.job.model),
    }
