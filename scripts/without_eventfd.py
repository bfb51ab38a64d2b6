"""Runs a program for which the kernel has no eventfd.

    python scripts/without_eventfd.py <program> [<argument>...]

qemu keeps one list of eventfds for a whole process, by number. A thread with a descriptor table of its own,
such as loads the vendor's library, has other files under the same numbers, and writing to those fails with
EINVAL. Without eventfd the package uses a pipe. A real kernel has no such trouble.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, ANSWER = 0x20, 0x15, 0x06
#: On x86_64, where qemu runs.
EVENTFD, EVENTFD2 = 284, 290


def forbid() -> None:
    """From here on eventfd says ENOSYS, in all children as well."""
    program = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (LOAD_WORD, 0, 0, 0),
            (JUMP_IF_EQUAL, 2, 0, EVENTFD),
            (JUMP_IF_EQUAL, 1, 0, EVENTFD2),
            (ANSWER, 0, 0, SECCOMP_RET_ALLOW),
            (ANSWER, 0, 0, SECCOMP_RET_ERRNO | errno.ENOSYS),
        )
    )
    filters = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"no filter for system calls: {os.strerror(number)}")


if __name__ == "__main__":
    # What a shell starts in the background ignores Ctrl-C, which some tests send to their programs.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    forbid()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is the point
