"""The one question that is asked of a driver: its name and version. It wakes nothing and changes nothing."""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat

_MAJOR = 226
_TEXT = 64


class _Version(ctypes.Structure):
    """``struct drm_version`` of ``drm.h``."""

    _fields_ = [
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
        ("patch", ctypes.c_int),
        ("name_len", ctypes.c_size_t),
        ("name", ctypes.c_void_p),
        ("date_len", ctypes.c_size_t),
        ("date", ctypes.c_void_p),
        ("desc_len", ctypes.c_size_t),
        ("desc", ctypes.c_void_p),
    ]


#: DRM_IOCTL_VERSION: both directions, the struct's size, 'd', number 0.
_QUESTION = 3 << 30 | ctypes.sizeof(_Version) << 16 | ord("d") << 8


def version(node: str) -> dict[str, str]:
    """What the driver behind a DRM node says of itself; empty if it cannot be asked."""
    try:
        opened = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        found = os.fstat(opened)
        if not stat.S_ISCHR(found.st_mode) or os.major(found.st_rdev) != _MAJOR:
            return {}
        texts = {field: ctypes.create_string_buffer(_TEXT) for field in ("name", "date")}
        asked = _Version()
        for field, text in texts.items():
            setattr(asked, field, ctypes.addressof(text))
            setattr(asked, f"{field}_len", _TEXT - 1)
        fcntl.ioctl(opened, _QUESTION, asked)
    except OSError:
        return {}
    finally:
        os.close(opened)
    told = {field: text.value.decode("ascii", "replace") for field, text in texts.items()}
    return {**told, "version": f"{asked.major}.{asked.minor}.{asked.patch}"}
