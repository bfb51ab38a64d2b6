"""Whether everything works on this board: the acceptance suite.

>>> from rkllm_rs import verify
>>> report = verify.run("qwen3-1.7b.rkllm")  # doctest: +SKIP
>>> report.failed, report.npu  # doctest: +SKIP
(False, True)

It opens a model and tries what the package promises. What nobody has documented of the library is measured.
The library runs in a process of its own, which is killed if it does not come back. The command ``rkllm-rs
verify`` prints the report.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from rkllm_rs import doctor
from rkllm_rs.doctor.system import package
from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError

from .report import IDS, Item, Report, Verdict
from .session import Job
from .supervise import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Item", "Report", "Verdict", "run"]


def run(
    model: str | os.PathLike[str],
    *,
    backend: Literal["auto", "npu", "cpu"] = "auto",
    library: str | os.PathLike[str] | None = None,
    lora: str | os.PathLike[str] | None = None,
    prompt_cache: str | os.PathLike[str] | None = None,
    soak: float = 0,
    timeout: float = 300,
    only: Iterable[str] | None = None,
    on_item: Callable[[Item, Report], object] | None = None,
) -> Report:
    """Verifies a model, its library and this machine.

    What goes wrong is in the report, also if no library can be loaded. Ctrl-C ends it, and the report has
    what was found until then.

    Args:
        model: Path of the model.
        backend: As for ``RKLLM``.
        library: As for ``RKLLM``.
        lora: A LoRA adapter of the model. Default: ``lora`` is skipped.
        prompt_cache: A prompt cache of the model, which is loaded besides one that is made for the purpose.
        soak: How long to run the model again and again, in minutes. 0 skips it.
        timeout: Limit in seconds for the load, and for each item. What takes longer is killed.
        only: Ids of the items to do; the library and the model are loaded all the same. Default: all.
        on_item: Called with each item as it ends, and with the report so far.

    Returns:
        The report, always with all items.

    Raises:
        InvalidTypeError: An argument has the wrong type.
        InvalidArgumentError: ``soak`` or ``timeout`` is out of range, or ``backend`` or an id is unknown.
    """
    job = Job(
        model=_path("model", model),
        backend=backend,
        library=_optional("library", library),
        lora=_optional("lora", lora),
        prompt_cache=_optional("prompt_cache", prompt_cache),
        soak=_number("soak", soak, 0),
        timeout=_number("timeout", timeout, 1),
    )
    if backend not in ("auto", "npu", "cpu"):
        message = f'backend must be "auto", "npu" or "cpu", got {backend!r}'
        raise InvalidArgumentError(message, hint='Pass "auto", or omit it.')
    chosen = frozenset(IDS if only is None else _ids(only))
    machine = doctor.examine()

    def report() -> Report:
        facts = supervisor.facts
        used: str | None = facts.get("backend")
        # A library for the NPU may be anything; the driver is what shows that there is an NPU.
        npu = used == "npu" and not facts["cpu_runtime"] and machine.driver.name == "rknpu"
        items = [supervisor.items[name] for name in IDS if name in supervisor.items]
        return Report(used, npu, items, facts | _machine(machine), supervisor.interrupted)

    def told(item: Item) -> None:
        if on_item is not None:
            on_item(item, report())

    supervisor = Supervisor(job, told, chosen)
    supervisor.run()
    return report()


def _machine(found: doctor.Report) -> dict[str, Any]:
    return {
        "board": found.board.model,
        "chip": found.board.chip,
        "driver": found.driver.version,
        "driver_name": found.driver.name,
        "rkllm_rs": package(),
        "doctor": found.status,
    }


def _ids(only: Iterable[str]) -> list[str]:
    names = [only] if isinstance(only, str) else list(only)
    for name in names:
        if name not in IDS:
            message = f"only must be ids of items, got {name!r}"
            raise InvalidArgumentError(message, hint=f"The ids are {', '.join(IDS)}.")
    return [*names, "identity", "load"]


def _path(name: str, value: object) -> str:
    given: Any = value
    path: Any = given.__fspath__() if hasattr(given, "__fspath__") else given
    if not isinstance(path, str):  # whatever the annotations say
        message = f"{name} must be a path, got {type(value).__name__}"
        raise InvalidTypeError(message, hint='Pass a path, such as "model.rkllm".')
    # The process that opens it has the same folder; `~` is the home folder, as everywhere.
    return os.path.expanduser(path)


def _optional(name: str, value: object) -> str | None:
    return None if value is None else _path(name, value)


def _number(name: str, value: object, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{name} must be a number, got {type(value).__name__}"
        raise InvalidTypeError(message, hint=f"Pass a number, {least} or more.")
    if not least <= value < 1e6:  # noqa: PLR2004 - days
        message = f"{name} must be {least} or more, and less than 1000000, got {value}"
        raise InvalidArgumentError(message, hint=f"Pass a number, {least} or more.")
    return float(value)
