"""Whether models fit into a board's memory, and where."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs import _native
from rkllm_rs._typed import typed
from rkllm_rs.doctor.facts import Facts
from rkllm_rs.doctor.memory import meminfo, uses_iommu
from rkllm_rs.doctor.root import Root

from .inspection import Inspection, Problem, inspect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rkllm_rs._library import Path

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
#: What was measured to be safe in a domain of 4 GiB.
_SAFE: Final = 3_435_973_836
#: What a loaded model takes beside its weights and its context: the vendor's tables show 100 to 300 MB.
_OVERHEAD: Final = 200 * _MIB
#: What a token of the context takes where the file does not tell: Qwen3's, 0.6B to 1.7B and 4B to 8B.
_PER_TOKEN: Final = ((3 * _GIB, 112 << 10), (1 << 62, 144 << 10))
_CONTEXT: Final = 4096
_ENCODERS: Final = frozenset({"rknn"})
_WEIGHTS_32_BIT: Final = 2_000_000_000


@dataclass(frozen=True)
class PlannedModel:
    """Where a model or an encoder lies.

    Attributes:
        path: The file.
        base_domain_id: The IOMMU domain in which it begins, as ``RKLLM(…, base_domain_id=…)`` takes it.
            ``None`` if it runs on the CPU, or if there is no room.
        domains: How many domains it takes, from that one on.
        resident_bytes: RAM that it takes: weights, context, and what the library needs besides.
        context_bytes: The part of it that the context takes.
    """

    path: str
    base_domain_id: int | None
    domains: int
    resident_bytes: int
    context_bytes: int


@dataclass(frozen=True)
class Plan:
    """Whether models fit, and how; :func:`plan` returns it.

    Immutable; any number of threads and tasks may use it at the same time.

    Attributes:
        fits: Whether nothing speaks against it.
        assumptions: What was taken for granted.
        problems: What speaks against it.
        models: One entry for each file, in their order.
    """

    fits: bool
    assumptions: tuple[str, ...]
    problems: tuple[Problem, ...]
    models: tuple[PlannedModel, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary, as ``rkllm-rs plan --json`` prints it."""
        return {
            "fits": self.fits,
            "assumptions": list(self.assumptions),
            "problems": [asdict(problem) for problem in self.problems],
            "models": [asdict(model) for model in self.models],
        }


class _Planner:
    """What is known of the board, and what has been found out."""

    def __init__(self, root: str, release: str | None, max_context_len: int | None) -> None:
        self.facts = Facts(Root(root))
        self.release = release
        self.max_context_len = max_context_len
        self.assumptions: list[str] = []
        self.problems: list[Problem] = []

    def object(self, summary: str, fix: str | None) -> None:
        self.problems.append(Problem(summary, fix))

    def assume(self, text: str) -> None:
        if text not in self.assumptions:
            self.assumptions.append(text)

    def context(self, file: Inspection) -> int:
        """How many bytes a model's context takes."""
        if file.kind in _ENCODERS:
            return 0
        length = self.max_context_len
        if length is None:
            limits = [file.facts["context_length"], file.hints["max_context"]]
            if file.last_load:
                limits.insert(0, file.last_load.get("context_limit"))
            known = next((limit for limit in limits if limit), None)
            length = min(known or _CONTEXT, _CONTEXT)
            self.assume(f"{_name(file)}: a context of {length} tokens; --max-context-len sets another")
        each = file.facts["context_bytes_per_token"]
        if each is None:
            size = file.size or 0
            each = next(bytes_ for largest, bytes_ in _PER_TOKEN if size < largest)
            self.assume(
                f"{_name(file)}: {each >> 10} KiB for each token of the context, as in similar models"
            )
        return int(length * each)

    def domains(self, files: Sequence[Inspection]) -> list[tuple[int | None, int]]:
        """The first domain of each file, and their number."""
        encoders = [file for file in files if file.kind in _ENCODERS]
        models = [file for file in files if file.kind not in {"gguf", *_ENCODERS}]
        chip = self.facts.chip_name
        if encoders:
            self.assume("encoders lie in domain 0, since RKNN's library has no choice")
            self.together(encoders)
        if models:
            self.assume(f"{_gib(_SAFE)} of each domain of 4 GiB can be used")
            if self.release is None:
                self.assume("RKLLM 1.2.2 or newer; --release sets another")
            if chip is None:
                self.assume("an RK3588 or RK3576, since the chip cannot be read")
        if self.release is not None:
            has_domains, needed = _native.several_models(self.release)
            if needed and len(models) > 1:
                newest = _native.known_libraries()[-1]["release"]
                fix = f"Install RKLLM {needed} or newer: `rkllm-rs runtime install {newest}`."
                self.object(f"RKLLM {self.release} opens one model per process", fix)
            if not has_domains:
                return self.old(files, models, encoders)
        if encoders and models and chip in ("rk3562", "rv1126b"):
            self.assume(f"on {chip.upper()} model and encoder share domain 0, as in the vendor's programs")
            self.together([*encoders, models[0]])
        found = _native.plan_domains([file.size or 0 for file in models], bool(encoders), chip)
        places = dict(zip(map(id, models), found, strict=True))
        return [(0, 1) if file.kind in _ENCODERS else self.place(file, places) for file in files]

    def place(self, file: Inspection, places: dict[int, tuple[int, int] | None]) -> tuple[int | None, int]:
        """Where a model lies; objects if there is no room."""
        if file.kind == "gguf":
            return None, 0
        found = places[id(file)]
        if found is None:
            fix = "Open fewer or smaller models."
            self.object(f"{_name(file)}: no room in the NPU's 16 domains of 4 GiB", fix)
            return None, 0
        return found

    def old(
        self, files: Sequence[Inspection], models: Sequence[Inspection], encoders: Sequence[Inspection]
    ) -> list[tuple[int | None, int]]:
        """The domains with a release that knows domain 0 only."""
        self.assume(f"RKLLM {self.release} uses domain 0 only")
        if len(models) <= 1:
            self.together([*encoders, *models])
        return [(None, 0) if file.kind == "gguf" else (0, 1) for file in files]

    def together(self, files: Sequence[Inspection]) -> None:
        """Objects if files that lie in domain 0 do not fit into it."""
        size = sum(file.size or 0 for file in files)
        if size > _SAFE:
            names = " and ".join(_name(file) for file in files)
            fix = "Choose smaller files, or a release and a chip that can use other domains."
            self.object(f"{names}: {_gib(size)} do not fit into domain 0", fix)

    def memory(self, files: Sequence[Inspection], resident: Sequence[int]) -> None:
        """Objects if there is too little RAM."""
        told = meminfo(self.facts)
        free = told.get("MemAvailable")
        needed = sum(resident)
        self.assume(f"{_OVERHEAD // _MIB} MiB for each model, beside weights and context")
        if free is None:
            self.assume("enough RAM, since /proc/meminfo cannot be read")
        elif needed * 11 // 10 > free * 1024:
            self.object(
                f"{_gib(needed)} are needed, and 10 % besides; {_gib(free * 1024)} of RAM are available",
                "Close other programs, pass a smaller max_context_len, or choose a smaller model. Swap does "
                "not help: weights stay in RAM.",
            )
        if self.facts.npu.name == "rknpu" and uses_iommu(self.facts) is False:
            free = told.get("CmaFree", 0) * 1024
            size = sum(file.size or 0 for file in files if file.kind != "gguf")
            if size > free:
                self.object(
                    f"the driver works without the IOMMU: {_gib(size)} must fit into contiguous memory, of "
                    f"which {_gib(free)} are free",
                    self.facts.vendor_kernel,
                )
        if self.facts.userland == "armhf":
            for file in files:
                if (file.size or 0) > _WEIGHTS_32_BIT:
                    fix = "Choose a model below 2 GB, or a 64-bit system."
                    self.object(f"{_name(file)}: 32-bit systems take weights below 2 GB", fix)

    def chips(self, file: Inspection) -> None:
        """Objects to a model for another chip."""
        named = (file.last_load or {}).get("platform") or file.hints["chip"]
        here = self.facts.chip_name
        same = {"rk3582": "rk3588", "rk3583": "rk3588"}
        if named and here and named.lower() != same.get(here, here):
            self.object(
                f"{_name(file)} is for {named.upper()}, and this board has {here.upper()}",
                "Download the file for this board's chip, or convert the model for it.",
            )


@typed
def plan(
    files: Path | Iterable[Path],
    *,
    root: Path = "/",
    release: str | None = None,
    max_context_len: int | None = None,
) -> Plan:
    """Says whether models fit into a board's memory together, and in which IOMMU domains of the NPU.

    ``RKLLM()`` uses the same proposal for ``base_domain_id``, as far as it can know: of an encoder that the
    program opens later it knows nothing. Pass ``base_domain_id=1`` then.

    Args:
        files: The models, and ``.rknn`` encoders that run beside them.
        root: The folder from which the board's files are read.
        release: The release of RKLLM, such as ``"1.1.4"``; by default, one that opens several models in one
            process and uses all domains (1.2.2 or newer) is assumed.
        max_context_len: The context that each model is opened with.

    Returns:
        Whether they fit, and what was assumed.

    Example:
        >>> found = plan(["model.gguf"])
        >>> found.models[0].base_domain_id is None  # it runs on the CPU
        True
    """
    paths = [files] if isinstance(files, (str, bytes, os.PathLike)) else list(files)
    planner = _Planner(os.fsdecode(root), release, max_context_len)
    found = [inspect(path) for path in paths]
    for file in found:
        if not file.loadable and file.kind not in _ENCODERS:
            planner.problems += [
                Problem(f"{_name(file)}: {problem.summary}", problem.fix) for problem in file.problems
            ]
        planner.chips(file)
    contexts = [planner.context(file) for file in found]
    resident = [(file.size or 0) + context + _OVERHEAD for file, context in zip(found, contexts, strict=True)]
    places = planner.domains(found)
    planner.memory(found, resident)
    models = [
        PlannedModel(file.path, base, count, taken, context)
        for file, (base, count), taken, context in zip(found, places, resident, contexts, strict=True)
    ]
    return Plan(not planner.problems, tuple(planner.assumptions), tuple(planner.problems), tuple(models))


def _name(file: Inspection) -> str:
    return os.path.basename(file.path)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
