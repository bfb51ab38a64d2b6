"""Calls that change what a model keeps: adapters, caches, templates, tools."""

from __future__ import annotations

from . import _native  # noqa: TC001
from ._library import Path  # noqa: TC001
from ._native import CrossAttention, LoraAdapter  # noqa: TC001
from ._types import Mapping, Sequence  # noqa: TC001


class Keeping:
    """The part of ``RKLLM`` that keeps."""

    __slots__ = ()

    _model: _native.Model

    @property
    def loras(self) -> tuple[LoraAdapter, ...]:
        """The loaded adapters, in the order of their loading."""
        return tuple(self._model.loras)

    def load_lora(self, path: Path, *, name: str | None = None, scale: float = 1.0) -> None:
        """Loads an adapter (``rkllm_load_lora``), which calls then select with ``lora=``.

        There is no call that unloads one.

        Args:
            path: The adapter, converted for the backend: ``.rkllm`` for the NPU, ``.gguf`` for the CPU.
            name: The name that selects it; without it, the file's name less its suffix.
            scale: Its strength.

        Raises:
            FileMissingError: No such file (also a ``FileNotFoundError``).
            InvalidArgumentError: The name is taken, or the file is of another kind.
            GenerationError: The library refused.
        """
        self._model.load_lora(path, name, scale).result()

    def load_prompt_cache(self, path: Path, *, verify: bool = True) -> None:
        """Loads a prompt cache (``rkllm_load_prompt_cache``) that ``save_prompt_cache=`` wrote.

        Prompts that begin as the cached one need not compute that part.

        Args:
            path: The cache.
            verify: Whether its side file must say that it is whole, and of this model and library.

        Raises:
            FileMissingError: No such file (also a ``FileNotFoundError``).
            PromptCacheError: Of another model or library, damaged, or without a side file.
            GenerationError: The library refused.
        """
        self._model.load_prompt_cache(path, verify).result()

    def release_prompt_cache(self) -> None:
        """Lets go of the loaded prompt cache (``rkllm_release_prompt_cache``).

        Raises:
            GenerationError: The library refused.
        """
        self._model.release_prompt_cache().result()

    def clear_kv_cache(
        self, *, keep_system_prompt: bool = False, ranges: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Empties the KV cache, or removes a range of it (``rkllm_clear_kv_cache``).

        Clearing the whole cache in the middle of ``steps()`` ends them.

        Args:
            keep_system_prompt: Whether the system prompt's part stays.
            ranges: One ``(start, end)`` for each row, the end exclusive; only between the tokens of
                ``steps()``, from 1.2.1.

        Raises:
            UnsupportedFeatureError: Before 1.2.0; ranges before 1.2.1.
            InvalidArgumentError: Ranges beyond the cache, or while nothing is paused.
            GenerationError: The library refused.
        """
        self._model.clear_kv_cache(keep_system_prompt=keep_system_prompt, ranges=ranges).result()

    def kv_cache_size(self) -> list[int]:
        """Tokens in the KV cache, one number for each row of a batch (``rkllm_get_kv_cache_size``).

        Returns:
            ``n_batch`` numbers.

        Raises:
            UnsupportedFeatureError: Before 1.2.1.
            GenerationError: The library refused.
        """
        return self._model.kv_cache_size().result()

    def set_chat_template(
        self, system_prompt: str = "", prompt_prefix: str = "", prompt_postfix: str = ""
    ) -> None:
        """Replaces the model's chat template (``rkllm_set_chat_template``).

        Three empty strings give raw text. No call brings the model's own back: open it again for that. Before
        1.2.0, which has no templates, the strings are put around each text by this package.

        Args:
            system_prompt: The system prompt, with the marks that the model expects around it.
            prompt_prefix: What comes before each text.
            prompt_postfix: What comes after it.

        Raises:
            InvalidArgumentError: A NUL character.
            GenerationError: The library refused.
        """
        self._model.set_chat_template(system_prompt, prompt_prefix, prompt_postfix).result()

    def set_function_tools(
        self,
        tools: str | Sequence[Mapping[str, object]],
        *,
        system_prompt: str = "",
        tool_response_str: str = "tool_response",
    ) -> None:
        """Tells the model which functions it may call (``rkllm_set_function_tools``); from 1.2.1.

        The model writes its calls into its answer; their results go back as input with ``role="tool"``.

        Args:
            tools: The functions, as a JSON list or as the list itself.
            system_prompt: The system prompt.
            tool_response_str: The tag that encloses results.

        Raises:
            UnsupportedFeatureError: Before 1.2.1.
            InvalidArgumentError: No JSON list of objects, or the chat template has been replaced.
            GenerationError: The library refused, as it does for models without a chat template.
        """
        self._model.set_function_tools(_json(tools), system_prompt, tool_response_str).result()

    def set_cross_attention(self, encoder: CrossAttention) -> None:
        """Hands over an encoder's output (``rkllm_set_cross_attn_params``); from 1.2.1.

        It serves all runs until the next one is given. The model must have been opened with
        ``use_cross_attn=True``.

        Args:
            encoder: K and V of the encoder, mask and positions.

        Raises:
            UnsupportedFeatureError: Before 1.2.1.
            InvalidArgumentError: The model was opened without ``use_cross_attn``.
            GenerationError: The library refused.
        """
        self._model.set_cross_attention(encoder).result()


def _json(tools: str | Sequence[Mapping[str, object]]) -> str:
    """Tools as the text that C takes."""
    if isinstance(tools, str):
        return tools
    if not isinstance(tools, (list, tuple)):
        from .errors import InvalidTypeError

        message = f"tools: expected JSON text or a list of dictionaries, got {type(tools).__name__}"
        raise InvalidTypeError(message, hint='Give [{"type": "function", "function": {...}}].')
    import json

    try:
        return json.dumps(tools, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        from .errors import InvalidTypeError

        message = f"tools: expected JSON text or a list of dictionaries that JSON can hold: {error}"
        raise InvalidTypeError(message, hint='Give [{"type": "function", "function": {...}}].') from error
