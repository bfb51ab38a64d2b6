"""Libraries: which there are, and which release one is."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, TypedDict, final

from .settings import Path

_Backend: TypeAlias = Literal["npu", "cpu"]
# What rkllm_rs._library.options gives.
_Searched: TypeAlias = tuple[str, Path | None, str | None, str | None, str | None]

class _Layout(TypedDict):
    size: int
    align: int
    fields: dict[str, int]

class _KnownLibrary(TypedDict):
    release: str
    abi: str
    os: str
    arch: str
    git_blob_sha1: str | None
    commit: str
    path: str
    size: int | None
    sha256: str | None

@final
class Evidence:
    """One piece of evidence about a library's release.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def kind(self) -> Literal["fingerprint", "banner", "symbols", "defaults", "explicit", "marker"]:
        """Kind of evidence.

        ``"fingerprint"``: the checksum of a known file. ``"banner"``: the version text in the file.
        ``"symbols"``: the functions it exports. ``"defaults"``: the bytes that ``rkllm_createDefaultParam``
        writes. ``"explicit"``: the argument ``abi``. ``"marker"``: the mark of the CPU runtime.
        """
    @property
    def finding(self) -> str:
        """What was found, in words."""
    @property
    def allows(self) -> str:
        """The ABIs that this evidence allows, such as ``"v1_2_1 or v1_3_0"``."""

@final
class Identity:
    """The release of a library, and the evidence for it.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def abi(self) -> str:
        """The ABI of the library, such as ``"v1_3_0"``."""
    @property
    def version(self) -> str | None:
        """The release, such as ``"1.2.3"``. ``None`` if neither banner nor fingerprint shows it."""
    @property
    def evidence(self) -> list[Evidence]:
        """The evidence for this decision, one item per check."""
    @property
    def cpu_runtime(self) -> bool:
        """Whether it is the CPU runtime."""

@final
class Runtime:
    """A loaded library: ``librkllmrt.so``, or the CPU runtime in its place.

    Each file is loaded once per process; loading it again returns the same object. What a worker has loaded
    compares equal to it.

    Immutable; any number of threads and tasks may use it at the same time.
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
            path: Path of the library; without it, the usual places are searched.
            backend: ``"npu"`` is the vendor's library, ``"cpu"`` the CPU runtime, ``"auto"`` what the machine
                has.
            abi: The ABI, such as ``"v1_3_0"``, if it cannot be detected.

        Returns:
            The library. It is the same object if the library was loaded before.

        Raises:
            LibraryNotFoundError: No library could be loaded; the message lists every place tried.
            UnsupportedRuntimeError: The release of the library is uncertain or not supported.
            InvalidArgumentError: ``backend`` or ``abi`` is unknown.
            InvalidTypeError: An argument has the wrong type.
        """

    @property
    def path(self) -> str:
        """Path of the library."""
    @property
    def backend(self) -> _Backend:
        """``"npu"`` or ``"cpu"``."""
    @property
    def identity(self) -> Identity:
        """Which release the library is, with the evidence."""
    @property
    def capabilities(self) -> frozenset[str]:
        """Names of what the library supports, such as ``"thinking"`` or ``"kv_cache_size"``."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class BackendStatus:
    """Whether a backend is available on this machine; ``rkllm_rs.backends()`` returns it.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def name(self) -> _Backend:
        """``"npu"`` or ``"cpu"``."""
    @property
    def available(self) -> bool:
        """Whether the library and the device were found. The library is examined, not loaded."""
    @property
    def library(self) -> str | None:
        """Path of the library that would be loaded, or ``None``."""
    @property
    def reason(self) -> str | None:
        """What was found, or what is missing."""
    @property
    def hint(self) -> str | None:
        """What to do if it is not available, or ``None``."""

def resolve(
    model: Path | Sequence[Path], searched: _Searched, *, strict: bool = False
) -> tuple[str, Runtime, list[str], str | None]:
    """Chooses model file, backend and library.

    Returns:
        The model's path, the loaded runtime, warnings, and why the NPU is not used.
    """

def check_opening(
    model: Path | Sequence[Path],
    searched: _Searched,
    **settings: object,
) -> None:
    """Checks what opening a model is given, as far as neither library nor model is needed for that."""

def resolve_isolated(
    model: Path | Sequence[Path],
    searched: _Searched,
    *,
    program: list[str],
    restart: bool,
    kill_after: float | None,
    still: Callable[[], bool] | None,
    strict: bool,
) -> tuple[str, Runtime, list[str], str | None]:
    """Chooses model file, backend and library in a worker process, which loads the library.

    A model that is opened with the runtime that comes of it is opened there. ``program`` is the command that
    becomes the worker, which is ended when ``still`` does not give True any more.

    Returns:
        As ``resolve``.
    """

def check_isolation(isolate: bool | None, restart: bool, kill_after: float | None) -> None:
    """Checks what is said about a worker process."""

def serve(parent: int) -> None:
    """Makes this process the worker of another one; does not return unless that is refused."""

def backends(package_dir: str | None, cpu_library: str | None) -> list[BackendStatus]:
    """Checks which backends this machine has, without loading anything."""

def find_library(model: Path | None, package_dir: str | None) -> tuple[str, str]:
    """Finds the vendor's library that would be loaded for a model, without loading it.

    Returns:
        Its path, and what its file says.
    """

def known_libraries() -> list[_KnownLibrary]:
    """Returns the official libraries, oldest release first."""

def abi_layouts() -> dict[str, dict[str, _Layout]]:
    """Returns the C layouts as compiled into this build, in bytes, by ABI and struct."""

def set_vendor_log(mode: str) -> None:
    """Chooses what is printed of the library's lines, in the whole process."""

def inspect_file(path: Path) -> str:
    """What can be told of a file, as JSON."""

def several_models(release: str) -> tuple[bool, str | None]:
    """Tells whether models can begin in other domains than 0, and what release several in one process need.

    No release is named where this one can.
    """

def plan_domains(sizes: Sequence[int], encoders: bool, chip: str | None) -> list[tuple[int, int] | None]:
    """Where models of these sizes are best put, one after the other: the first domain and their number.

    ``encoders`` take domain 0. On ``chip`` the first model may have to lie there, too.
    """
