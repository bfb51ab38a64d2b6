"""What a machine has that RKLLM needs: the board's report.

>>> from rkllm_rs import doctor
>>> report = doctor.examine()
>>> report.find("python").status
'ok'

An examination reads files, and asks the NPU's driver for its version. It writes nothing, resets nothing,
loads no library of the vendor's, and needs no root. The command ``rkllm-rs doctor`` prints it.

Nothing here needs the native module: both the command and ``from rkllm_rs import doctor`` also work where it
cannot be loaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import chips, clocks, containers, cpu, driver, library, memory, nodes, system, users
from .facts import Facts
from .report import Board, Check, Cpu, Driver, Report, Status
from .root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Board", "Check", "Cpu", "Driver", "Report", "Status", "examine"]

#: What stops most people comes first; of the clocks, memory.
_CHECKS: tuple[Callable[[Facts], Check], ...] = (
    chips.check_board,
    driver.check_kernel,
    driver.check_driver,
    driver.check_device_tree,
    nodes.check_node,
    nodes.check_permissions,
    nodes.check_dma_heap,
    containers.check_container,
    library.check_library,
    library.check_release,
    system.check_libgomp,
    system.check_libc,
    memory.check_memory,
    memory.check_iommu,
    memory.check_cma,
    memory.check_swap,
    clocks.check_ddr,
    clocks.check_cpu,
    clocks.check_npu,
    clocks.check_gpu,
    cpu.check_cpus,
    clocks.check_heat,
    users.check_users,
    driver.check_log,
    system.check_opencl,
    system.check_limits,
    system.check_native,
    system.check_python,
    system.check_cpu_runtime,
    system.check_environment,
    system.check_disk,
)


def examine(root: str | os.PathLike[str] = "/") -> Report:
    """Examines this machine, or the files of another one.

    Args:
        root: The folder from which everything is read. In any other than ``/``, links are resolved as if it
            were ``/``, device nodes are plain files, and what belongs to this process is left out.

    Returns:
        The report.

    Raises:
        InvalidTypeError: ``root`` is no path.
        InvalidArgumentError: ``root`` is not a folder.
    """
    if not isinstance(root, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        message = f"root must be a path, got {type(root).__name__}"
        raise _wrong(TypeError, message, 'Pass a folder, such as "/".')
    path = os.fspath(root)
    if not _is_folder(path):
        message = f"root must be a folder, got {path!r}"
        raise _wrong(ValueError, message, 'Pass "/" for this machine, or a folder with the files of one.')
    facts = Facts(Root(path))
    checks = [check(facts) for check in _CHECKS]
    return Report(checks, chips.board(facts), driver.driver(facts), cpu.cpu(facts))


def _wrong(kind: type[Exception], message: str, hint: str) -> Exception:
    """The error for a wrong argument: one of ours, where the native module that those need can be loaded."""
    try:
        from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError
    except ImportError:
        return kind(f"{message}\nhint: {hint}")
    return (InvalidTypeError if kind is TypeError else InvalidArgumentError)(message, hint=hint)


def _is_folder(path: object) -> bool:
    try:
        return isinstance(path, str) and os.path.isdir(path)
    except ValueError:  # a NUL in it
        return False
