"""An open model, and what is waited for until it answers."""

from collections.abc import Iterable
from typing import ClassVar, Literal, TypeAlias, final

from typing_extensions import Unpack

from .inputs import CrossAttention
from .library import Runtime
from .sampling import SamplingParams
from .settings import BatchSettings, Input, OpenSettings, Path, RowSettings, StepsSettings, StreamSettings
from .streams import ArrayStream, Steps, TokenStream

_Source: TypeAlias = Literal["log", "cpu runtime", "results"]

@final
class ModelInfo:
    """What is known of an open model, and where from; ``RKLLM.info`` makes it.

    The C API tells nothing of a model. With the vendor's library it is known from the lines that it
    prints while it loads the model, and from results; with the CPU runtime from the model itself.
    """

    @property
    def context_limit(self) -> int | None:
        """Longest context that the model was converted or trained for, in tokens, or ``None``."""
    @property
    def vocab_size(self) -> int | None:
        """Size of the vocabulary, or ``None``."""
    @property
    def hidden_size(self) -> int | None:
        """Width of embeddings and hidden states, or ``None``."""
    @property
    def platform(self) -> str | None:
        """The chip that it was converted for, such as ``"RK3588"``, or ``None``."""
    @property
    def npu_cores(self) -> int | None:
        """NPU cores that it was converted for, or ``None``."""
    @property
    def toolkit_version(self) -> str | None:
        """Version of the toolkit that converted it, or ``None``."""
    @property
    def dtype(self) -> str | None:
        """How its weights are quantised, such as ``"W8A8"``, or ``None``."""
    @property
    def driver_version(self) -> str | None:
        """Version of the NPU's kernel driver that the library found, or ``None``."""
    @property
    def template_problem(self) -> str | None:
        """Why the model's own chat template is not used, or ``None``."""
    @property
    def chosen(self) -> dict[str, int]:
        """Settings that were left open and that this package chose, by their names.

        ``max_context_len`` where the model's limit is known. Empty if there are none.
        """
    @property
    def sources(self) -> dict[str, _Source]:
        """For each fact that is known, where from: ``"log"``, ``"cpu runtime"`` or ``"results"``."""

@final
class LoraAdapter:
    """A loaded adapter (``RKLLMLoraAdapter``); ``RKLLM.loras`` lists them."""

    @property
    def name(self) -> str:
        """The name that selects it in calls."""
    @property
    def path(self) -> str:
        """Its file."""
    @property
    def scale(self) -> float:
        """Its strength."""
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: it holds a float.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

@final
class Pending:
    """What a model's thread will answer, to be waited for or awaited."""

    def result(self) -> list[int]:
        """Waits; returns numbers, or an empty list where there are none to give."""
    def _poll(self) -> tuple[list[int]] | None:
        """Returns the answer in a tuple if it is there."""
    def _leave(self) -> None:
        """Says that nobody waits any more; what was asked for is done all the same."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable with the answer; ``None`` if it is there.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class Opening:
    """A model that is being opened."""

    def result(self) -> Model:
        """Waits in steps, so that a signal gives up and raises at once."""
    def _poll(self) -> tuple[Model] | None:
        """Returns the model in a tuple if it is open."""
    def _leave(self) -> None:
        """Gives up: what the library then has is destroyed."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable with the model; ``None`` if it is there.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class Model:
    """An open model (``LLMHandle``); programs use ``rkllm_rs.RKLLM``, which documents the arguments."""

    @staticmethod
    def open(runtime: Runtime, path: Path, **settings: Unpack[OpenSettings]) -> Opening:
        """Begins to open a model (``rkllm_init``)."""
    @property
    def runtime(self) -> Runtime:
        """The library that runs it."""
    @property
    def path(self) -> str:
        """The model's file."""
    @property
    def closed(self) -> bool:
        """Whether it is closed."""
    @property
    def max_context_len(self) -> int:
        """Context window in tokens, as opened."""
    @property
    def max_new_tokens(self) -> int:
        """Most tokens of an answer, as opened."""
    @property
    def n_batch(self) -> int:
        """Prompts in one run, as opened."""
    @property
    def sampling(self) -> SamplingParams:
        """Sampling as opened, every value known."""
    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
    @property
    def loras(self) -> list[LoraAdapter]:
        """The loaded adapters."""
    @property
    def in_steps(self) -> bool:
        """Whether somebody is in the middle of steps."""
    def stream(
        self,
        input: Input,  # noqa: A002 - the field's word
        **settings: Unpack[StreamSettings],
    ) -> TokenStream:
        """Starts a run (``rkllm_run``) and returns its stream; never blocks."""
    def stream_batch(self, inputs: Iterable[Input], **settings: Unpack[BatchSettings]) -> list[TokenStream]:
        """Starts a run of several inputs and returns a stream for each."""
    def stream_rows(
        self,
        inputs: Iterable[Input],
        *,
        logits: bool,
        caller: int | None = None,
        **settings: Unpack[RowSettings],
    ) -> list[ArrayStream]:
        """Starts a run that gives logits, or hidden states; returns a stream for each input."""
    def steps(
        self,
        input: Input,  # noqa: A002 - the field's word
        **settings: Unpack[StepsSettings],
    ) -> Steps:
        """Starts a run that pauses after each token."""
    def clear_kv_cache(
        self, *, keep_system_prompt: bool, ranges: Iterable[tuple[int, int]] | None
    ) -> Pending:
        """Empties the KV cache, or removes a range of each row (``rkllm_clear_kv_cache``)."""
    def kv_cache_size(self) -> Pending:
        """Tokens in the KV cache, one number for each row of a batch (``rkllm_get_kv_cache_size``)."""
    def load_lora(self, path: Path, name: str | None, scale: float) -> Pending:
        """Loads an adapter (``rkllm_load_lora``)."""
    def load_prompt_cache(self, path: Path, verify: bool) -> Pending:
        """Loads a prompt cache (``rkllm_load_prompt_cache``)."""
    def release_prompt_cache(self) -> Pending:
        """Lets go of the loaded prompt cache (``rkllm_release_prompt_cache``)."""
    def set_chat_template(self, system_prompt: str, prompt_prefix: str, prompt_postfix: str) -> Pending:
        """Replaces the chat template (``rkllm_set_chat_template``)."""
    def set_function_tools(self, tools: str, system_prompt: str, tool_response_str: str) -> Pending:
        """Tells which functions the model may call (``rkllm_set_function_tools``)."""
    def set_cross_attention(self, encoder: CrossAttention) -> Pending:
        """Hands over an encoder's output (``rkllm_set_cross_attn_params``)."""
    def own_tokens(self, text: str) -> list[int] | None:
        """Returns token ids of a text by the program's tokenizer, if it gave one."""
    def detokenize(self, ids: Iterable[int], skip_special: bool) -> Pending:
        """Asks for the text of token ids by the library; the CPU runtime only."""
    def tokenize(self, text: str, leading: bool) -> Pending:
        """Asks for token ids of a text by the library; the CPU runtime only."""
    def close(self) -> None:
        """Ends all runs and gives the model back (``rkllm_destroy``)."""

def at_exit() -> None:
    """Closes all models for the end of the interpreter; other threads stay where they wait."""

def shut_down() -> bool:
    """Closes all models; true when the library has let go of them."""
