"""The answer to a keyword that a call does not have: the right name, as far as it can be told."""

from __future__ import annotations

from .errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: What other packages (OpenAI, transformers, llama-cpp-python, Ollama, vLLM) call a keyword of this one.
SAME = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_output_tokens": "max_new_tokens",
    "max_length": "max_new_tokens",
    "n_predict": "max_new_tokens",
    "num_predict": "max_new_tokens",
    "n_ctx": "max_context_len",
    "num_ctx": "max_context_len",
    "ctx_size": "max_context_len",
    "context_length": "max_context_len",
    "max_seq_len": "max_context_len",
    "max_model_len": "max_context_len",
    "repetition_penalty": "repeat_penalty",
    "stop_sequences": "stop",
    "stop_strings": "stop",
    "stop_token": "stop",
    "stop_words": "stop",
    "temp": "temperature",
    "topk": "top_k",
    "topp": "top_p",
    "mirostat_mode": "mirostat",
    "sampling_params": "sampling",
    "generation_config": "sampling",
    "callback": "on_token",
    "streamer": "on_token",
    "lora_request": "lora",
    "cache_prompt": "reuse",
    "enable_prefix_caching": "reuse",
    "enable_thinking": "thinking",
    "num_keep": "n_keep",
    "batch_size": "n_batch",
    "n_threads": "enabled_cpus_num",
    "num_thread": "enabled_cpus_num",
    "skip_special_tokens": "skip_special_token",
    "ignore_eos": "ignore_eos_token",
    "device": "backend",
    "lib_path": "library",
    "library_path": "library",
    "verbose": "vendor_log",
    "request_timeout": "timeout",
    "lora_name": "name",
    "adapter_name": "name",
    "lora_scale": "scale",
    "add_bos": "add_special_tokens",
}

#: What cannot be said by another name.
ADVICE = {
    "do_sample": "For greedy decoding use top_k=1; otherwise the sampling arguments apply.",
    "eos_token_id": "The model's own is used. stop= takes strings; RKLLM() has ignore_eos_token=.",
    "stop_token_ids": "stop= takes strings.",
    "stream": "Call stream() for an answer in chunks, or generate() for the whole answer.",
    "model_path": 'Pass the model as the first argument: RKLLM("model.rkllm").',
    "prompt": "Pass the prompt as the first argument.",
    "system_prompt": "Use set_chat_template() to set a system prompt.",
    "messages": "Pass the prompt as the first argument; the model's chat template is applied to it.",
    "n": "A call returns one answer per prompt. Call it again for another one.",
    "lora_path": "Load the adapter with load_lora(); lora= selects it by its name.",
}


#: The calls that give rows of floats, which have the same keywords.
ROWS = {
    "logits",
    "logits_batch",
    "stream_logits",
    "hidden_states",
    "hidden_states_batch",
    "stream_hidden_states",
}


def unexpected(function: str, name: str) -> InvalidTypeError:
    """Makes the error for a keyword that a call does not have.

    Args:
        function: The call's name, or that of the class.
        name: The keyword.

    Returns:
        The error, with the right name in its hint.
    """
    message = f"{function}() got an unexpected keyword argument {name!r}"
    return InvalidTypeError(message, hint=_hint(function, name))


def misfit(call: Callable[..., Any], keywords: Iterable[str], error: TypeError) -> InvalidTypeError:
    """Makes the error for a method whose arguments do not fit it.

    Args:
        call: The method.
        keywords: The names of the keywords that it was called with.
        error: What Python says of that.

    Returns:
        The error, with what to write instead in its hint.
    """
    own = _own(call)
    for name in keywords:
        if name not in own:
            return unexpected(call.__name__, name)
    return InvalidTypeError(str(error).partition(".")[2] or str(error), hint=f"See {_help(call.__name__)}.")


def _help(function: str) -> str:
    return f"help(rkllm_rs.{function})" if function[0].isupper() else f"help(rkllm_rs.RKLLM.{function})"


def _own(call: Callable[..., Any]) -> list[str]:
    """The arguments that can be given by name."""
    import inspect

    parameters = inspect.signature(call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in kinds and one.name != "self"]


def _hint(function: str, name: str) -> str:
    import difflib

    own, others = _names(function)
    same = SAME.get(name, name)
    if same in own:
        return f"Use {same}."
    # A letter more or less, which may make it the name of another call.
    right = next(iter(difflib.get_close_matches(name.lower(), own, 1, 0.95)), None)
    if right is None:
        for right in (name, same):
            if right in others:
                return f"{right} is an argument of {others[right]}, not of {function}()."
        if name in ADVICE:
            return ADVICE[name]
        right = _near(name, own, others)
    if right is None:
        return f"See {_help(function)}."
    if right in own:
        return f"Did you mean {right}? See {_help(function)}."
    return f"Did you mean {right}, an argument of {others[right]}?"


def _near(name: str, own: list[str], others: dict[str, str]) -> str | None:
    """What a name that is nearly right may mean: an argument of this call, or another package's word."""
    import difflib

    for right in difflib.get_close_matches(name.lower(), own, 1):
        return right
    for right in difflib.get_close_matches(name.lower(), SAME):
        if SAME[right] in own or SAME[right] in others:
            return SAME[right]
    return None


def _names(function: str) -> tuple[list[str], dict[str, str]]:
    """The keywords that a call has, and those of others with where they belong."""
    from ._types import RowOptions, prompted
    from .llm import RKLLM

    opening = list(RKLLM.__init__.__kwdefaults__ or ())
    generating = list(prompted.__kwdefaults__ or ())
    if function in {"RKLLM", "AsyncRKLLM"}:
        return opening, dict.fromkeys(generating, "generate() and stream()")
    others = dict.fromkeys(opening, "RKLLM()") | dict.fromkeys(generating, "generate() and stream()")
    if function in {"generate", "stream", "generate_batch", "stream_batch"}:
        return generating, others
    if function == "steps":
        return [name for name in generating if name != "keep_history"], others
    if function in ROWS:
        return list(RowOptions.__annotations__), others
    from . import _native

    found: Any = _native if function[0].isupper() else RKLLM
    for part in function.split("."):
        found = getattr(found, part)
    return _own(found), others
