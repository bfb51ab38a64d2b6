"""What must not be in a report that is published: names, addresses, serial numbers, home folders."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .facts import Facts

#: Users of the system itself have lower numbers, but for root; `nobody` has a higher one.
_PEOPLE = range(1000, 60_000)
#: The fields of a line of passwd.
_FIELDS = 7
#: Shorter words would take ordinary ones with them.
_SHORTEST = 3
#: Words that are no secret, even where somebody is called so: folders, words of the report, users of images.
_COMMON = set(re.findall(r"\S+", """
    root user users group home localhost none python video render docker default dev sys proc usr lib etc opt
    var npu gpu cpu ddr rknpu rkllm rkllm_rs board chip driver kernel memory model library node release heat
    mask http https socks socks5 socks5h orangepi radxa rock khadas firefly linaro ubuntu debian armbian
    lubancat cat odroid toybrick admin test
    ip6-localhost ip6-loopback ip6-allnodes ip6-allrouters
"""))  # fmt: skip

_HEX = "[0-9A-Fa-f]"
#: What looks like something private, and what is put in its place.
_PATTERNS = [
    (re.compile(r"//[^/@\s]*@"), "//"),
    (re.compile(r"\b(https?|socks\w*|ftp)://[^\s'\"]+"), r"\1://<address>"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "<address>"),
    (re.compile(r"/(?:home|Users)/[^/\s'\":;,)]+"), "~"),
    (re.compile(r"(?<![\w.])/root(?=[/\s'\":;,)]|$)"), "~"),
    (re.compile(r"/(media|run/media|run/user|mnt|tmp)/[^/\s'\":;,)]+"), r"/\1/<name>"),
    (re.compile(rf"\b{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}\b"), "<serial>"),
    (re.compile(rf"\b(?:{_HEX}{{2}}[:-]){{5}}{_HEX}{{2}}\b"), "<address>"),
    (re.compile(rf"(?<![\w:])(?:{_HEX}{{1,4}}:){{2,7}}{_HEX}{{1,4}}(?![\w:])"), "<address>"),
    (
        re.compile(
            rf"(?<![\w:])(?:{_HEX}{{1,4}}:){{0,6}}(?:{_HEX}{{1,4}})?::(?:{_HEX}{{1,4}}(?::|\b)){{0,7}}"
        ),
        "<address>",
    ),
    (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), "<address>"),
    (re.compile(r"\b(?=[0-9A-Fa-f]*\d)[0-9A-Fa-f]{16,}\b"), "<serial>"),
    (re.compile(r"(?i)(\bserial\w*\s*[=:]\s*)\S+"), r"\1<serial>"),
]


def _hosts(facts: Facts) -> Iterator[str]:
    """The machine's names."""
    root = facts.root
    if root.live:
        yield os.uname().nodename
    for path in ("/etc/hostname", "/proc/sys/kernel/hostname"):
        yield root.line(path) or ""
    for line in (root.text("/etc/hosts") or "").splitlines():
        yield from line.partition("#")[0].split()[1:]


def _people(facts: Facts) -> Iterator[tuple[str, str]]:
    """The users' names and home folders."""
    variables = facts.variables
    yield variables.get("HOME", ""), "~"
    yield from ((variables.get(name, ""), "<user>") for name in ("USER", "LOGNAME", "SUDO_USER", "USERNAME"))
    yield from ((name, "<user>") for name in facts.root.names("/home"))
    for line in (facts.root.text("/etc/passwd", 1 << 18) or "").splitlines():
        fields = line.split(":")
        if len(fields) == _FIELDS and fields[2].isdecimal() and int(fields[2][:9]) in _PEOPLE:
            named = fields[4].split(",")[0]
            yield fields[5], "~"
            yield from ((name, "<user>") for name in (fields[0], named, *named.split()))


def _secrets(facts: Facts) -> Iterator[str]:
    """Serial numbers and addresses of the machine's parts, and what its variables keep secret."""
    root = facts.root
    patterns = [
        "/proc/device-tree/serial-number",
        "/etc/machine-id",
        "/sys/class/dmi/id/product_uuid",
        "/sys/class/net/*/address",
        "/sys/block/*/device/serial",
        "/sys/block/*/device/cid",
    ]
    yield from (root.line(path) or "" for pattern in patterns for path in root.glob(pattern))
    for name, value in facts.variables.items():
        if re.search("TOKEN|KEY|SECRET|PASSW", name.upper()):
            yield value
        elif name.upper().endswith("_PROXY"):
            yield from re.split(r"[:/@,]+", value)
    yield from re.findall(r"(?m)^Serial\s*:\s*(\S+)", facts.cpuinfo)
    for word in (root.text("/proc/cmdline", 4096) or "").split():
        if re.match(r"(?i)[\w.]*(serial|mac|uuid|ip|host)\w*=|root=|nfsroot=", word):
            yield word.partition("=")[2]


class Private:
    """Replaces what is private in texts about a machine."""

    def __init__(self, facts: Facts) -> None:
        found = [(word, "<host>") for word in _hosts(facts)]
        found += _people(facts)
        found += [(word, "<secret>") for word in _secrets(facts)]
        words = {
            word.strip(): place
            for word, place in found
            if len(word.strip(" /\n")) >= _SHORTEST
            and word.strip().lower() not in _COMMON
            and not re.fullmatch(r"\d{1,5}", word.strip())  # a port, which looks like any number
        }
        # The longest first: a home folder before the user's name in it.
        self._words = [
            (re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", re.IGNORECASE), words[word])
            for word in sorted(words, key=len, reverse=True)
        ]
        # A board's name is none of these, though its vendor's images name host and user after it.
        names = [text for text in (facts.model, *facts.compatible) if text]
        self._public = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")

    def hidden(self, text: str) -> str:
        """A text without what is private in it."""
        parts: list[str] = []
        start = 0
        for found in self._public.finditer(text):
            parts += [self._replaced(text[start : found.start()]), found[0]]
            start = found.end()
        return "".join([*parts, self._replaced(text[start:])])

    def _replaced(self, text: str) -> str:
        for pattern, place in self._words:
            text = pattern.sub(place, text)
        for pattern, place in _PATTERNS:
            text = pattern.sub(place, text)
        return text
