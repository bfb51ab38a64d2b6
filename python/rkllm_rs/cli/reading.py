"""Texts that a command is given: from files, and from standard input."""

from __future__ import annotations

import errno
import os
import sys

from rkllm_rs.errors import FileMissingError, InvalidArgumentError


def read_text(file: str) -> str:
    """The text of a file, or of standard input for ``-``.

    Raises:
        FileMissingError: There is no such file.
        InvalidArgumentError: It is a folder, or not UTF-8.
        OSError: It cannot be read.
    """
    if file == "-":
        name = "the standard input"
        try:
            data = sys.stdin.buffer.read()
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from error
    else:
        name = os.path.expanduser(file)
        try:
            with open(name, "rb") as opened:
                data = opened.read()
        except IsADirectoryError as error:
            message = f"{file} is a folder"
            raise InvalidArgumentError(message, hint="Pass the path of a file.") from error
        except FileNotFoundError as error:
            message = f"{file} does not exist"
            missing = FileMissingError(message, hint="Check the path.")
            missing.errno, missing.filename = errno.ENOENT, file
            raise missing from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{name} must be UTF-8 text; byte {error.start} is not"
        raise InvalidArgumentError(message, hint="Convert it, for example with `iconv -t UTF-8`.") from error
