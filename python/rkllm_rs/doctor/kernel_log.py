"""The kernel's log: its lines without time stamps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .root import clean

if TYPE_CHECKING:
    from .root import Root

#: A record of /dev/kmsg begins with numbers and a semicolon, a line of dmesg with a time in brackets.
_STAMP = re.compile(r"\d+,\d+,\d+[^;]{0,80};|(?:<\d+>)?\[\s*\d+\.\d+\](?:\[\s*\w+\])? ?")


class Log(NamedTuple):
    """The lines of the kernel's log, oldest first."""

    lines: list[str]
    source: str | None = None
    denied: bool = False

    def search(self, pattern: str) -> list[re.Match[str]]:
        """Where a pattern fits, line by line, without regard to case."""
        wanted = re.compile(pattern, re.IGNORECASE)
        return [found for line in self.lines if (found := wanted.search(line))]

    def last(self, pattern: str) -> re.Match[str] | None:
        """Where a pattern fits last."""
        found = self.search(pattern)
        return found[-1] if found else None


def read(root: Root) -> Log:
    """Reads the log from ``/dev/kmsg``, and else what the system saved of it at boot."""
    records, saved = root.kernel_records(), root.look("/var/log/dmesg", 1 << 20)
    for source, reading in (("/dev/kmsg", records), ("/var/log/dmesg", saved)):
        if reading.data:
            # A record may have more lines, with fields that begin with a blank.
            lines = [line for line in clean(reading.data).splitlines() if not line.startswith(" ")]
            return Log([_STAMP.sub("", line[:512], count=1) for line in lines], source)
    return Log([], None, "denied" in (records.problem, saved.problem))
