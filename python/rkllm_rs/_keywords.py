"""The answer to a keyword that a call does not have: the right name, as far as it can be told."""

from __future__ import annotations

from .errors import InvalidTypeError

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


def _hint(function: str, name: str) -> str:
    own, others = _names(function)
    whole = f"help(rkllm_rs.{function})" if function[0].isupper() else f"help(rkllm_rs.RKLLM.{function})"
    for right in (name, SAME.get(name, name)):
        if right in own:
            return f"Use {right}."
        if right in others:
            return f"{right} is an argument of {others[right]}, not of {function}()."
    if name in ADVICE:
        return ADVICE[name]
    import difflib

    near = difflib.get_close_matches(name.lower(), own, 1) or difflib.get_close_matches(name.lower(), SAME, 1)
    if not near:
        return f"See {whole}."
    right = SAME.get(near[0], near[0])
    if right in own:
        return f"Did you mean {right}? See {whole}."
    return f"Did you mean {right}, an argument of {others[right]}?"


def _names(function: str) -> tuple[list[str], dict[str, str]]:
    """The keywords that a call has, and those of others with where they belong."""
    from ._types import RowOptions
    from .llm import RKLLM

    opening = list(RKLLM.__init__.__kwdefaults__ or ())
    generating = list(RKLLM.generate.__kwdefaults__ or ())
    if function in {"RKLLM", "AsyncRKLLM"}:
        return opening, dict.fromkeys(generating, "generate() and stream()")
    others = dict.fromkeys(generating, "generate() and stream()") | dict.fromkeys(opening, "RKLLM()")
    if function in {"generate", "stream", "generate_batch", "stream_batch"}:
        return generating, others
    if function == "steps":
        return [name for name in generating if name != "keep_history"], others
    if function in {"embed", "score"}:
        return list(getattr(RKLLM, function).__kwdefaults__), others
    return list(RowOptions.__annotations__), others
