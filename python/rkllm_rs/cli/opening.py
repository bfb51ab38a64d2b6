"""The arguments with which commands open and ask a model, by the names of ``RKLLM`` and of its calls."""

from __future__ import annotations

import argparse
import os

from rkllm_rs.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    LibraryNotFoundError,
    ModelFormatError,
    ModelNotFoundError,
)

from .output import plain_warnings
from .parsing import UsageError, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rkllm_rs import RKLLM

#: The arguments of ``SamplingParams``, with their type and what they do.
_SAMPLING: dict[str, tuple[Callable[[str], Any], str]] = {
    "top_k": (int, "sample from the N most likely tokens only; 1 is greedy"),
    "top_p": (float, "sample from the most likely tokens whose probabilities add up to this, 0 to 1"),
    "temperature": (float, "randomness, 0 or more; 0 is greedy"),
    "repeat_penalty": (float, "penalty for tokens that have appeared, above 0; 1 turns it off"),
    "frequency_penalty": (float, "penalty that grows with each appearance of a token, -2 to 2"),
    "presence_penalty": (float, "penalty for a token that has appeared at all, -2 to 2"),
    "mirostat": (int, "0 (off), 1 (Mirostat) or 2 (Mirostat 2.0)"),
    "mirostat_tau": (float, "Mirostat's target entropy in bits per token, 0 or more"),
    "mirostat_eta": (float, "Mirostat's learning rate, 0 or more"),
    "min_p": (float, "least share of the most likely token's probability, 0 to 1; see --sampler"),
    "typical_p": (float, "sample from the most typical tokens up to this probability; see --sampler"),
}
_ENDINGS = (".rkllm", ".gguf")
#: Further arguments of ``RKLLM()`` that commands have.
OPENING = (
    "backend",
    "library",
    "abi",
    "max_context_len",
    "isolate",
    "chat_template",
    "family",
    "vendor_log",
    "strict",
    "base_domain_id",
    "embed_flash",
    "enabled_cpus_num",
)
#: Arguments of calls that commands have, besides those of sampling.
_CALL = ("max_new_tokens", "stop", "seed", "timeout", "thinking", "sampler")
#: Arguments that texts name as those of Python, and that are options here.
OPTIONS = (*OPENING, *_SAMPLING, *_CALL, "logit_bias", "json_schema", "overflow")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, and how it is opened."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="the model: a .rkllm file (NPU), a .gguf file (CPU), a folder with one, or a model's name",
    )
    add_opening_arguments(parser)


def add_opening_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds how a model is opened, without MODEL itself."""
    group = parser.add_argument_group("how the model is opened")
    group.add_argument(
        "--backend", choices=("auto", "npu", "cpu"), help="what runs the model (default: auto, by its file)"
    )
    group.add_argument(
        "--library", metavar="FILE", help="path of the library (default: search the usual places)"
    )
    group.add_argument(
        "--abi", metavar="ABI", help="ABI of the library, such as v1_3_0, if it cannot be detected"
    )
    group.add_argument(
        "--max-context-len", type=count, metavar="N", help="size of the context window in tokens"
    )
    group.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        help="run the model in a worker process, which may crash (default: RKLLM_RS_ISOLATE, else no)",
    )
    group.add_argument("--chat-template", metavar="FILE", help="Jinja chat template in place of the model's")
    group.add_argument("--family", metavar="NAME", help="family of the model, such as qwen3")
    group.add_argument(
        "--vendor-log",
        choices=("warnings", "quiet", "all", "direct"),
        help="which lines of the library's log to print to stderr (default: warnings)",
    )
    group.add_argument("--base-domain-id", type=int, metavar="N", help="IOMMU domain of the NPU, 0 to 15")
    group.add_argument(
        "--embed-flash",
        action=argparse.BooleanOptionalAction,
        help="read word embeddings from storage, which saves memory",
    )
    group.add_argument("--enabled-cpus-num", type=count, metavar="N", help="number of CPU cores to use")
    group.add_argument(
        "--strict", action="store_true", default=None, help="an error in place of most warnings"
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds how an answer is generated."""
    group = parser.add_argument_group("how the answer is generated")
    group.add_argument("--max-new-tokens", type=count, metavar="N", help="limit of the answer in tokens")
    group.add_argument("--stop", action="append", metavar="TEXT", help="end the answer there; repeatable")
    group.add_argument("--seed", type=int, metavar="N", help="seed for sampling; see --sampler")
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="limit for the whole answer (default: none)"
    )
    group.add_argument(
        "--thinking",
        action=argparse.BooleanOptionalAction,
        help="have the model think before it answers, or not (default: what its chat template does)",
    )
    group.add_argument(
        "--json-schema", metavar="FILE", help="JSON schema that the answer must fit, or its text; - is stdin"
    )
    for name, (kind, text) in _SAMPLING.items():
        flag = "--" + name.replace("_", "-")
        group.add_argument(flag, type=kind, metavar="N" if kind is int else "X", help=text)
    group.add_argument(
        "--sampler",
        choices=("library", "own"),
        help="own: --min-p, --typical-p, --logit-bias and --seed work on the NPU too (RKLLM 1.3.0 or later), "
        "at a call of the library for each token (default: library)",
    )
    group.add_argument(
        "--logit-bias",
        type=_bias,
        action="append",
        metavar="ID=X",
        help="add X to the logit of a token id, -inf bans it; repeatable; see --sampler",
    )


def _bias(text: str) -> tuple[int, float]:
    token, separator, number = text.partition("=")
    if not separator:
        raise ValueError
    return int(token), float(number)


_bias.__name__ = "ID=X"


def sampling_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The sampling parameters that were given.

    Raises:
        UsageError: One of them is out of range.
    """
    from rkllm_rs import SamplingParams

    given = _given(arguments, (*_SAMPLING, "logit_bias"))
    if "logit_bias" in given:
        given["logit_bias"] = dict(given["logit_bias"])
    try:
        SamplingParams(**given)
    except (InvalidArgumentError, InvalidTypeError) as error:
        raise UsageError(str(error.args[0]), hint=error.hint) from error
    return given


def model_path(name: str) -> str:
    """The file or folder that MODEL means: a path, or a name of ``models.find()``."""
    path = os.path.expanduser(name)
    plain = os.sep not in name and not name.endswith(_ENDINGS)
    if not plain and any(os.path.exists(path + ending) for ending in ("", *_ENDINGS)):
        return name
    from rkllm_rs import models

    return models.find(name)


def file_path(name: str) -> str:
    """The file that FILE means: a path, or a model's name; what is neither is returned as it is."""
    from rkllm_rs import models

    if os.path.lexists(name):
        return name
    try:
        return models.find(name)
    except (ModelNotFoundError, InvalidArgumentError):
        return name


def open_model(arguments: argparse.Namespace, **more: Any) -> RKLLM:
    """Opens the model of a command line, with the sampling parameters that it has.

    Args:
        arguments: What ``add_model_arguments`` and perhaps ``add_sampling_arguments`` read.
        **more: Further arguments of ``RKLLM()``.

    Raises:
        RkllmError: What ``RKLLM()`` raises, and ``UsageError`` for sampling parameters out of range.
    """
    from rkllm_rs import RKLLM

    plain_warnings()
    settings = {**_given(arguments, OPENING), **sampling_of(arguments), **more}
    path = model_path(arguments.model)
    try:
        return RKLLM(path, **settings)
    except LibraryNotFoundError as error:
        _check_file(path, error)
        raise


def _check_file(path: str, error: LibraryNotFoundError) -> None:
    """Says what is wrong with a file that no library could load, before it says that there is none.

    Raises:
        ModelFormatError: It is not a model.
    """
    from rkllm_rs.models import inspect

    found = inspect(path)
    if not found.loadable and found.problems:
        problem = found.problems[0]
        message = f"{path}: {problem.summary}"
        raise ModelFormatError(message, hint=problem.fix) from error


def generation_keywords(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keywords of ``chat()`` and ``generate()`` that were given; sampling belongs to ``open_model``.

    Releases before 1.3.0 take sampling parameters only when a model is opened.

    Raises:
        UsageError: One of them is out of range, or the schema is not JSON.
        FileMissingError: There is no such schema.
    """
    from rkllm_rs import _native

    keywords = _given(arguments, _CALL)
    if arguments.json_schema is not None:
        keywords["json_schema"] = read_schema(arguments.json_schema)
    try:
        _native.check_call("generate", "generate", "text", keywords)
    except (InvalidArgumentError, InvalidTypeError) as error:
        raise UsageError(str(error.args[0]), hint=error.hint) from error
    return keywords


def read_schema(file: str) -> Any:
    """Reads a file with a JSON schema; ``-`` is stdin.

    Raises:
        UsageError: It is not JSON.
        FileMissingError: There is no such file.
    """
    import json

    from .reading import read_text

    text = file if file.lstrip().startswith("{") else read_text(file)
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"the schema must be JSON: {error}"
        raise UsageError(message, hint="Pass a file with a JSON schema, or its text.") from error


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}
