"""The NPU as the kernel knows it: its driver by six sources, its node, its place in the device tree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .kernel_log import Log
    from .root import Root

_VERSION = re.compile(r"(?<![\d.])v?(\d{1,3}\.\d{1,3}\.\d{1,3})(?![\d.])")
_INITIALIZED = r"Initialized rknpu (?:driver: v)?(\d+\.\d+\.\d+)(?:(?: for)? (\d{8}))?"
#: Longer than what is remembered ever is.
_LONGEST = 1 << 20
_DEVICE = r"[0-9a-f]{8}\.(?:npu|rknpu)"


class Answer(NamedTuple):
    """What one source says of the driver."""

    source: str
    version: str
    date: str | None = None


@dataclass
class Npu:
    """What was found."""

    #: ``rknpu``, ``rocket`` or nothing.
    name: str | None = None
    #: What each source says, the most reliable first.
    answers: list[Answer] = field(default_factory=list[Answer])
    #: Files with the version that exist and that the user may not read.
    denied: list[str] = field(default_factory=list[str])
    node: str | None = None
    #: Render nodes of which nothing tells the driver.
    untold: list[str] = field(default_factory=list[str])
    #: The node of its card, which belongs to it.
    card: str | None = None
    #: How the node was told from those of other drivers.
    told_by: str | None = None
    #: Names of the NPU's platform devices, such as ``fdab0000.npu``.
    devices: list[str] = field(default_factory=list[str])
    compatible: list[str] = field(default_factory=list[str])
    #: Nodes of the device tree that are switched off.
    disabled: list[str] = field(default_factory=list[str])
    #: Whether the driver has a device; ``None`` if unknown.
    bound: bool | None = None
    cores: int | None = None
    #: The devfreq folder.
    clock: str | None = None

    @property
    def version(self) -> str | None:
        """The driver's version, by the first source that answered."""
        return self.answers[0].version if self.answers else None


def find(root: Root, log: Log, cache: str | None = None) -> Npu:
    """Looks for the NPU.

    Args:
        root: Where everything is read.
        log: The kernel's log.
        cache: The folder in which this package remembers what the vendor's library has printed.
    """
    npu = Npu()
    npu.disabled = [
        path.removesuffix("/status").removeprefix("/proc/device-tree")
        for pattern in ("/proc/device-tree/npu@*/status", "/proc/device-tree/soc/npu@*/status")
        for path in root.glob(pattern)
        if root.strings(path) == ["disabled"]
    ]
    _devices(root, npu)
    _node(root, npu)
    npu.answers = list(_answers(root, log, npu, cache))
    drivers = root.names("/sys/bus/platform/drivers")
    present = "RKNPU" in drivers or root.exists("/sys/module/rknpu") or npu.node or npu.bound
    rocket = "rocket" in drivers or root.exists("/sys/module/rocket") or root.glob("/dev/accel/accel*")
    if not present and (drivers or rocket):
        # Logs may be of an earlier boot, with another kernel.
        npu.answers = [answer for answer in npu.answers if answer.source.startswith("/")]
    if present or npu.answers:
        npu.name = "rknpu"
    elif rocket:
        npu.name = "rocket"
    npu.cores = _cores(root)
    return npu


def _devices(root: Root, npu: Npu) -> None:
    """The platform devices, by the driver that has them, and the clock."""
    driven = root.listing("/sys/bus/platform/drivers/RKNPU")
    names = [name for name in driven or [] if re.fullmatch(_DEVICE, name)]
    if driven:
        npu.bound = bool(names)
    for folder in root.glob("/sys/bus/platform/devices/*.npu"):
        told = _uevent(root, folder)
        npu.compatible += [told[key] for key in told if re.fullmatch(r"OF_COMPATIBLE_\d+", key)]
        if told.get("DRIVER") == "RKNPU":
            names.append(folder.rpartition("/")[2])
            npu.bound = True
    for folder in root.glob("/sys/class/devfreq/*"):
        told_compatible = root.strings(f"{folder}/device/of_node/compatible")
        name = folder.rpartition("/")[2]
        if re.fullmatch(_DEVICE, name) or any("rknpu" in one for one in told_compatible):
            npu.clock = npu.clock or folder
            npu.compatible += told_compatible
            if re.fullmatch(_DEVICE, name):
                names.append(name)
    for pattern in ("/proc/device-tree/npu@*/compatible", "/proc/device-tree/soc/npu@*/compatible"):
        for path in root.glob(pattern):
            npu.compatible += root.strings(path)
    npu.devices = list(dict.fromkeys(names))


def _uevent(root: Root, device: str) -> dict[str, str]:
    lines = (root.text(f"{device}/uevent", 4096) or "").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _driver(root: Root, device: str) -> str | None:
    """The name of a device's driver."""
    link = root.link(f"{device}/driver")
    return link.rpartition("/")[2] if link else _uevent(root, device).get("DRIVER")


def _node(root: Root, npu: Npu) -> None:
    """Finds the NPU's node among those of display and GPU, whose numbers say nothing."""
    nodes = [path for path in root.glob("/dev/dri/renderD*") if re.fullmatch(r"renderD\d+", path[9:])]
    own = (card for card in _cards(root) if _driver(root, f"{card}/device") == "RKNPU")
    npu.card = next((f"/dev/dri/{card.rpartition('/')[2]}" for card in own), None)
    npu.untold = [node for node in nodes if _own_driver(root, node) is None]
    for told_by, way in _WAYS:
        found = way(root, npu, nodes)
        if found and root.exists(found):
            npu.node, npu.told_by = found, told_by
            return
    if root.exists("/dev/rknpu"):
        npu.node, npu.told_by = "/dev/rknpu", "its name"


def _own_driver(root: Root, node: str) -> str | None:
    return _driver(root, f"/sys/class/drm/{node[9:]}/device")


def _by_driver(root: Root, npu: Npu, nodes: list[str]) -> str | None:
    for node in nodes:
        told = _uevent(root, f"/sys/class/drm/{node[9:]}/device").get("OF_COMPATIBLE_0", "")
        if _own_driver(root, node) == "RKNPU" or "-rknpu" in told:
            npu.compatible += [told] if told else []
            npu.bound = True
            return node
    return None


def _by_device(root: Root, npu: Npu, _nodes: list[str]) -> str | None:
    for name in npu.devices:
        for folder in ("/sys/bus/platform/drivers/RKNPU", "/sys/bus/platform/devices"):
            for path in root.glob(f"{folder}/{name}/drm/renderD*"):
                return "/dev/dri/" + path.rpartition("/")[2]
    return None


def _by_path(root: Root, _npu: Npu, _nodes: list[str]) -> str | None:
    for path in root.glob("/dev/dri/by-path/platform-*npu-render"):
        if link := root.link(path):
            return "/dev/dri/" + link.rpartition("/")[2]
    return None


def _by_card(root: Root, npu: Npu, nodes: list[str]) -> str | None:
    cards = _cards(root)
    for card in cards:
        device = f"{card}/device"
        if _driver(root, device) == "RKNPU":
            npu.compatible += [one for key, one in _uevent(root, device).items() if key == "OF_COMPATIBLE_0"]
            npu.bound = True
            own = root.glob(f"{device}/drm/renderD*")
            return "/dev/dri/" + own[0].rpartition("/")[2] if own else _beside(card, cards, nodes)
    return None


def _by_answer(root: Root, npu: Npu, _nodes: list[str]) -> str | None:
    """Asks those nodes of which the kernel's files say nothing."""
    return next((node for node in npu.untold if _asked(root, node)), None)


def _by_exclusion(root: Root, npu: Npu, nodes: list[str]) -> str | None:
    """The only node or card without a driver of its own, where the driver is known to have a device."""
    if not npu.bound or not npu.untold:
        return None
    cards = _cards(root)
    left = [card for card in cards if _driver(root, f"{card}/device") is None]
    if len(npu.untold) > 1 and len(left) == 1:
        return _beside(left[0], cards, nodes)
    return npu.untold[0] if len(npu.untold) == 1 else None


def _cards(root: Root) -> list[str]:
    return [path for path in root.glob("/sys/class/drm/card*") if re.fullmatch(r"card\d+", path[15:])]


def _beside(card: str, cards: list[str], nodes: list[str]) -> str | None:
    """The render node of a card: both have one order, and the first cards may have none."""
    place = cards.index(card) - len(cards)
    return nodes[place] if -place <= len(nodes) else None


_WAYS = (
    ("the driver of its device", _by_driver),
    ("the devices of the driver", _by_device),
    ("/dev/dri/by-path", _by_path),
    ("the driver of its card", _by_card),
    ("the driver's own answer", _by_answer),
    ("the other nodes, which have other drivers", _by_exclusion),
)


def _asked(root: Root, node: str) -> Answer | None:
    told = root.drm(node)
    found = _VERSION.fullmatch(str(told.get("version", "")))
    if str(told.get("name", "")).lower() != "rknpu" or not found:
        return None
    return Answer("ioctl", found[1], told.get("date") or None)


def _answers(root: Root, log: Log, npu: Npu, cache: str | None) -> Iterator[Answer]:
    """The six sources, in the order in which they are believed."""
    if npu.node and npu.node.startswith("/dev/dri/") and (answer := _asked(root, npu.node)):
        yield answer
    for path in ("/sys/module/rknpu/version", "/proc/rknpu/version", "/sys/kernel/debug/rknpu/version"):
        reading = root.look(path, 256)
        if found := _VERSION.search((reading.data or b"").decode("ascii", "replace")):
            yield Answer(path, found[1])
        elif reading.problem == "denied":
            npu.denied.append(path)
    if found := log.last(_INITIALIZED):
        yield Answer("kernel log", found[1], found[2])
    if cache and (told := _remembered(root, f"{cache}/models.json")):
        yield Answer("vendor log", told)


def _remembered(root: Root, path: str) -> str | None:
    """What the vendor's library said of the driver at the last load, as ``src/files/context.rs`` keeps it."""
    try:
        found: Any = json.loads(root.bytes(path, _LONGEST) or b"")
    except (ValueError, RecursionError):  # the first is also what a damaged text gives
        return None
    if not isinstance(found, dict):
        return None
    told: list[tuple[int, str]] = []
    for entry in found.values():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(entry, dict):
            continue
        version, when = entry.get("driver_version"), entry.get("loaded")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(version, str) and (told_by := _VERSION.fullmatch(version.strip())):
            told.append((when if isinstance(when, int) else 0, told_by[1]))
    return max(told)[1] if told else None


def _cores(root: Root) -> int | None:
    """How many cores the driver shows; the one load of a chip with one core has no name."""
    for path in ("/proc/rknpu/load", "/sys/kernel/debug/rknpu/load"):
        text = root.text(path, 1024) or ""
        if found := re.findall(r"Core\d+:\s*\d+%", text):
            return len(found)
        if re.search(r"NPU load:\s*\d+%", text):
            return 1
    return None
