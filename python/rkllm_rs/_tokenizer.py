"""Text to token ids and back: what the calls check, and the ``tokenizer.json`` beside a model.

The vendor's C API has no tokenizer. The package ``tokenizers`` reads the file; it is an extra, and is
imported only when the file is needed.
"""

from __future__ import annotations

import os

from ._types import Iterable  # noqa: TC001
from .errors import InvalidArgumentError, InvalidTypeError, ModelFormatError, UnsupportedFeatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "tokenizer.json"
INSTALL = "pip install 'rkllm_rs[tokenizers]'"


def path_beside(model_path: str) -> str:
    """Where the file is, if there is one.

    Args:
        model_path: The model's file.
    """
    return os.path.join(os.path.dirname(os.path.abspath(model_path)), FILE)


def usable(model_path: str) -> bool:
    """Whether there is a file, and what reads it.

    Args:
        model_path: The model's file.
    """
    import importlib.util

    return os.path.isfile(path_beside(model_path)) and importlib.util.find_spec("tokenizers") is not None


def check_text(text: object, wanted: str = "a str") -> None:
    """Refuses what is no text.

    Args:
        text: The argument ``text`` of a call.
        wanted: What the call takes.

    Raises:
        InvalidTypeError: It is not a string.
        InvalidArgumentError: It cannot be encoded as UTF-8.
    """
    if not isinstance(text, str):
        message = f"text must be {wanted}, got {type(text).__name__}"
        hint = (
            "Decode the bytes first." if isinstance(text, bytes) else 'Pass text in quotes, such as "Hello".'
        )
        raise InvalidTypeError(message, hint=hint)
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "text must not contain lone surrogates, which cannot be encoded as UTF-8"
        hint = 'Decode the text it came from with errors="replace".'
        raise InvalidArgumentError(message, hint=hint) from None


def refuse_with_text(*given: object) -> None:
    """Refuses what only messages are counted with.

    Args:
        *given: The arguments ``tools``, ``thinking`` and ``template_kwargs`` of ``count_tokens()``.

    Raises:
        InvalidArgumentError: One is given.
    """
    for name, value in zip(("tools", "thinking", "template_kwargs"), given, strict=True):
        if value is not None:
            message = f"{name} can be counted only with messages, got a str"
            raise InvalidArgumentError(message, hint=f"Pass a list of messages, or leave out {name}.")


def checked_ids(token_ids: Iterable[int], size: int | None) -> list[int]:
    """Checks the argument ``token_ids`` of a call.

    Args:
        token_ids: The ids.
        size: Size of the vocabulary, or ``None`` where it is not known.

    Returns:
        The ids as a list.

    Raises:
        InvalidTypeError: They are not an iterable of integers.
        InvalidArgumentError: One is negative, or outside the vocabulary.
    """
    kind = type(token_ids)
    if issubclass(kind, (str, bytes, dict, set, frozenset)) or not hasattr(kind, "__iter__"):
        message = f"token_ids must be an iterable of int, got {kind.__name__}"
        raise InvalidTypeError(message, hint="Pass what tokenize() returns, or a list such as [1, 2, 3].")
    ids: list[int] = []
    for at, given in enumerate(token_ids):
        if isinstance(given, bool) or not hasattr(given, "__index__"):
            message = f"token_ids[{at}] must be an int, got {type(given).__name__}"
            raise InvalidTypeError(message, hint="Pass what tokenize() returns, or a list such as [1, 2, 3].")
        number = given.__index__()
        if not 0 <= number < (size or 2**31):
            wanted = "0 or more" if size is None and number < 0 else f"0 to {(size or 2**31) - 1}"
            message = f"token_ids[{at}] must be {wanted}, got {number}"
            raise InvalidArgumentError(message, hint="Use ids from the model's own tokenizer.")
        ids.append(number)
    return ids


class FileTokenizer:
    """The tokenizer of a ``tokenizer.json``."""

    __slots__ = ("_path", "_tokenizer")

    def __init__(self, model_path: str, called: str) -> None:
        """Reads the file in the model's folder.

        Args:
            model_path: The model's file.
            called: The call that needs it, with the name of its class.

        Raises:
            UnsupportedFeatureError: There is no such file, or the package ``tokenizers`` is missing.
            ModelFormatError: The file cannot be read.
        """
        name = called.rpartition(".")[2]
        self._path = path_beside(model_path)
        if not os.path.isfile(self._path):
            message = f"{name}() needs a tokenizer: the library has none, and {self._path} does not exist"
            hint = f"Put the model's {FILE} there, and run {INSTALL} if the package tokenizers is missing."
            raise UnsupportedFeatureError(message, hint=hint)
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            message = f"{name}() needs the package tokenizers to read {self._path}: {error}"
            hint = f"Run {INSTALL}. It has wheels for x86_64, aarch64 and armv7l."
            raise UnsupportedFeatureError(message, hint=hint) from error
        try:
            self._tokenizer: Any = Tokenizer.from_file(self._path)
        except Exception as error:  # the package raises nothing more special
            message = f"{self._path} is not a usable tokenizer file: {error}"
            hint = "Copy it again from the model that was converted."
            raise ModelFormatError(message, hint=hint) from error
        # Settings for training, that the file may hold.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str, leading: bool) -> list[int]:  # noqa: FBT001
        """Returns the ids of a text.

        Args:
            text: The text.
            leading: Add the special tokens that the tokenizer puts around a text.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=leading).ids
        return ids

    def decode(self, ids: list[int], skip_special: bool) -> str:  # noqa: FBT001
        """Returns the text of ids.

        Args:
            ids: The ids.
            skip_special: Leave special tokens out.

        Raises:
            InvalidArgumentError: The tokenizer has no token of that id, and would leave it out.
        """
        for at, number in enumerate(ids):
            if self._tokenizer.id_to_token(number) is None:
                message = f"token_ids[{at}]: {self._path} has no token {number}"
                raise InvalidArgumentError(message, hint="Use ids from the model's own tokenizer.")
        text: str = self._tokenizer.decode(ids, skip_special_tokens=skip_special)
        return text
