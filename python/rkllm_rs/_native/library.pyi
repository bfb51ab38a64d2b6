"""Libraries: which there are, and which release one is."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict, final

from .settings import Path

_Backend: TypeAlias = Literal["npu", "cpu"]

class _Layout(TypedDict):
    size: int
    align: int
    fields: dict[str, int]

class _KnownLibrary(TypedDict):
    release: str
    generation: str
    os: str
    arch: str
    git_blob_sha1: str | None
    commit: str
    path: str
    size: int | None
    sha256: str | None

@final
class Evidence:
    """One piece of evidence about a library's release."""

    @property
    def kind(self) -> Literal["fingerprint", "banner", "symbols", "defaults", "explicit", "marker"]:
        """Where it comes from.

        ``"fingerprint"``: the SHA-1 of a known file; ``"banner"``: the version text inside;
        ``"symbols"``: the functions it exports; ``"defaults"``: the bytes that
        ``rkllm_createDefaultParam`` writes; ``"explicit"``: the argument ``abi``; ``"marker"``: the
        CPU runtime's own sign.
        """
    @property
    def finding(self) -> str:
        """What was found, in words."""
    @property
    def allows(self) -> str:
        """The ABI versions that it leaves possible, such as ``"v1_2_1 or v1_3_0"``."""

@final
class Identity:
    """Which release a library is, and how that was found out."""

    @property
    def abi(self) -> str:
        """The version of its C layouts, such as ``"v1_3_0"``."""
    @property
    def version(self) -> str | None:
        """The release as banner or fingerprint say, such as ``"1.2.3"``; ``None`` where neither does."""
    @property
    def evidence(self) -> list[Evidence]:
        """What the decision rests on, one piece for each look that was taken."""
    @property
    def cpu_runtime(self) -> bool:
        """Whether it is the CPU runtime."""

@final
class Runtime:
    """A loaded library (``librkllmrt.so``, or the CPU runtime in its place).

    Two are equal if they are the same loaded library; a process loads a file once.
    """

    @staticmethod
    def load(
        path: Path | None = None,
        *,
        backend: Literal["auto", "npu", "cpu"] = "auto",
        abi: str | None = None,
    ) -> Runtime:
        """Finds, checks, opens and identifies a library.

        Args:
            path: The library's file, obeyed; without it, the usual search.
            backend: ``"npu"`` is the vendor's library, ``"cpu"`` the CPU runtime, ``"auto"`` what this
                machine has.
            abi: The ABI version, such as ``"v1_3_0"``, where the library does not tell.

        Returns:
            The library, the same object's equal if it was loaded before.

        Raises:
            LibraryNotFoundError: No library could be loaded; the message lists every place tried.
            UnsupportedRuntimeError: The library found is not certain, or too old.
            InvalidArgumentError: A backend or ABI version that does not exist.
            InvalidTypeError: An argument of the wrong type.
        """

    @staticmethod
    def _load(
        library: Path | None,
        backend: str,
        abi: str | None,
        package_dir: str | None,
        cpu_library: str | None,
    ) -> Runtime:
        """As :meth:`load`, with all that the Python side knows."""
    @property
    def path(self) -> str:
        """The library's file."""
    @property
    def backend(self) -> _Backend:
        """``"npu"`` or ``"cpu"``."""
    @property
    def identity(self) -> Identity:
        """Which release it is, with the evidence."""
    @property
    def capabilities(self) -> frozenset[str]:
        """Names of what it can do, such as ``"thinking"`` or ``"kv_cache_size"``."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class BackendStatus:
    """Whether a backend is to be had on this machine; ``rkllm_rs.backends`` makes it."""

    @property
    def name(self) -> _Backend:
        """``"npu"`` or ``"cpu"``."""
    @property
    def available(self) -> bool:
        """Whether library and device are there; the library is examined, not loaded."""
    @property
    def library(self) -> str | None:
        """Path of the library that would be loaded, or ``None``."""
    @property
    def reason(self) -> str | None:
        """What was found, or what is missing."""
    @property
    def hint(self) -> str | None:
        """What to do about it, or ``None``."""

def resolve(
    model: Path | Sequence[Path],
    backend: str,
    library: Path | None,
    abi: str | None,
    package_dir: str | None,
    cpu_library: str | None,
) -> tuple[str, Runtime, list[str], str | None]:
    """Chooses model file, backend and library.

    Returns:
        The model's path, the loaded runtime, warnings, and why the NPU was not taken.
    """

def backends(package_dir: str | None, cpu_library: str | None) -> list[BackendStatus]:
    """Says of each backend whether this machine has it, without loading anything."""

def find_library(model: Path | None, package_dir: str | None) -> tuple[str, str]:
    """Finds the vendor's library that would be loaded for a model, without loading it.

    Returns:
        Its path, and what its file says.
    """

def known_libraries() -> list[_KnownLibrary]:
    """Returns the official libraries, oldest release first."""

def abi_layouts() -> dict[str, dict[str, _Layout]]:
    """Returns the C layouts as this build has compiled them, by ABI version and struct, in bytes."""

def set_vendor_log(mode: str) -> None:
    """Chooses what is printed of the library's lines, in the whole process."""
