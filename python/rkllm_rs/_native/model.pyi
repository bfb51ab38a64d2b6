"""An open model, and what is waited for until it answers."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Generic, Literal, TypeAlias, TypeVar, final

from typing_extensions import Unpack

from .inputs import CrossAttention
from .library import Runtime
from .sampling import SamplingParams
from .settings import Input, OpenSettings, Path
from .streams import ArrayStream, Steps, TokenStream

_Source: TypeAlias = Literal["log", "cpu runtime", "results"]

_Answer = TypeVar("_Answer")

@final
class ModelInfo:
    """What is known about an open model, and where it comes from; ``RKLLM.info`` returns it.

    The C API has no function that reports this. With the vendor's library, the facts come from the lines that
    it prints while it loads the model, and from results. With the CPU runtime, they come from the model.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def context_limit(self) -> int | None:
        """Longest context that the model supports, in tokens. ``None`` if unknown."""
    @property
    def vocab_size(self) -> int | None:
        """Number of tokens in the vocabulary. ``None`` if unknown."""
    @property
    def hidden_size(self) -> int | None:
        """Number of floats in an embedding or hidden state. ``None`` if unknown."""
    @property
    def platform(self) -> str | None:
        """Chip that the model was converted for, such as ``"RK3588"``. ``None`` if unknown."""
    @property
    def npu_cores(self) -> int | None:
        """Number of NPU cores that the model was converted for. ``None`` if unknown."""
    @property
    def toolkit_version(self) -> str | None:
        """Version of the toolkit that converted the model. ``None`` if unknown."""
    @property
    def dtype(self) -> str | None:
        """Quantisation of the weights, such as ``"W8A8"``. ``None`` if unknown."""
    @property
    def driver_version(self) -> str | None:
        """Version of the NPU kernel driver that the library found. ``None`` if unknown."""
    @property
    def template_problem(self) -> str | None:
        """Why the model's own chat template is not used. ``None`` if there is no problem."""
    @property
    def chosen(self) -> dict[str, int]:
        """Values that this package chose for settings that you did not pass, by name.

        Has ``max_context_len`` if the model's limit is known, and ``base_domain_id`` if the model lies in
        another domain than 0; otherwise the library's defaults apply.
        """
    @property
    def sources(self) -> dict[str, _Source]:
        """The source of each known fact: ``"log"``, ``"cpu runtime"`` or ``"results"``."""

@final
class LoraAdapter:
    """A loaded LoRA adapter (``RKLLMLoraAdapter``); ``RKLLM.loras`` lists them.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def name(self) -> str:
        """The name that selects the adapter in a call (``lora=``)."""
    @property
    def path(self) -> str:
        """Path of the adapter's file."""
    @property
    def scale(self) -> float:
        """Strength of the adapter; 1 is what it was trained with."""
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: it holds a float.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

@final
class Pending(Generic[_Answer]):
    """An answer of the model's thread that can be waited for or awaited."""

    def result(self) -> _Answer:
        """Waits; text or numbers, or an empty list where there are none to give."""
    def _poll(self) -> tuple[_Answer] | None:
        """The answer in a tuple if it is there."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited; for the event loop."""
    @property
    def _asks(self) -> bool:
        """Whether questions may come that the loop must look for."""
    def _arm(self) -> int | None:
        """A descriptor that becomes readable when something comes; ``None`` if it is there already."""

@final
class Opening:
    """A model that is being opened."""

    def result(self) -> Model:
        """Waits in steps, so that a signal gives up and raises at once."""
    def _poll(self) -> tuple[Model] | None:
        """The model in a tuple if it is open; for the event loop."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited; for the event loop."""
    @property
    def _asks(self) -> bool:
        """Whether questions may come that the loop must look for."""
    def _arm(self) -> int | None:
        """A descriptor that becomes readable when something comes; ``None`` if it is there already."""

@final
class Model:
    """An open model (``LLMHandle``); programs use ``rkllm_rs.RKLLM``."""

    @staticmethod
    def open(runtime: Runtime, path: Path, **settings: Unpack[OpenSettings]) -> Opening:
        """Begins to open a model (``rkllm_init``), in the worker that loaded the library, if one did."""
    @property
    def runtime(self) -> Runtime:
        """The library that runs it."""
    @property
    def path(self) -> str:
        """The model's file, as it was named."""
    @property
    def file(self) -> str:
        """The same file, wherever the program goes meanwhile."""
    @property
    def worker_pid(self) -> int | None:
        """The process that runs it, if that is a worker."""
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
        called: str,
        options: Mapping[str, object],
    ) -> TokenStream:
        """Starts a run (``rkllm_run``) for the call of that name and returns its stream; never blocks."""
    def stream_batch(
        self, inputs: Iterable[Input], called: str, options: Mapping[str, object]
    ) -> list[TokenStream]:
        """Starts a run of several inputs and returns a stream for each."""
    def stream_rows(
        self,
        inputs: Iterable[Input],
        called: str,
        logits: bool,
        options: Mapping[str, object],
    ) -> list[ArrayStream]:
        """Starts a run that gives logits, or hidden states; one stream for each input."""
    def steps(
        self,
        input: Input,  # noqa: A002 - the field's word
        called: str,
        options: Mapping[str, object],
    ) -> Steps:
        """Starts a run that pauses after each token."""
    def clear_kv_cache(
        self, *, keep_system_prompt: bool, ranges: Iterable[tuple[int, int]] | None
    ) -> Pending[list[int]]:
        """Empties the KV cache, or removes a range of each prompt (``rkllm_clear_kv_cache``)."""
    def kv_cache_size(self) -> Pending[list[int]]:
        """Tokens in the KV cache, one number per prompt of a batch (``rkllm_get_kv_cache_size``)."""
    def load_lora(self, path: Path, name: str | None, scale: float) -> Pending[list[int]]:
        """Loads an adapter (``rkllm_load_lora``)."""
    def load_prompt_cache(self, path: Path, verify: bool) -> Pending[list[int]]:
        """Loads a prompt cache (``rkllm_load_prompt_cache``)."""
    def release_prompt_cache(self) -> Pending[list[int]]:
        """Lets go of the loaded prompt cache (``rkllm_release_prompt_cache``)."""
    def set_chat_template(
        self, system_prompt: str, prompt_prefix: str, prompt_postfix: str
    ) -> Pending[list[int]]:
        """Replaces the chat template (``rkllm_set_chat_template``)."""
    def set_function_tools(
        self, tools: str, system_prompt: str, tool_response_str: str
    ) -> Pending[list[int]]:
        """Tells which functions the model may call (``rkllm_set_function_tools``)."""
    def set_cross_attention(self, encoder: CrossAttention) -> Pending[list[int]]:
        """Hands over an encoder's output (``rkllm_set_cross_attn_params``)."""
    @property
    def has_tokenizer(self) -> bool:
        """Whether the program gave a tokenizer."""
    def own_tokens(self, text: str) -> list[int] | None:
        """Token ids of a text by the program's tokenizer, if it gave one."""
    def detokenize(self, ids: Iterable[int], skip_special: bool) -> Pending[str]:
        """Text of token ids by the library; the CPU runtime only."""
    def tokenize(self, text: str, leading: bool) -> Pending[list[int]]:
        """Token ids of a text by the library; the CPU runtime only."""
    def close(self) -> None:
        """Ends all runs and gives the model back (``rkllm_destroy``)."""

def check_call(called: str, kind: str, input: object, options: Mapping[str, object]) -> None:  # noqa: A002
    """Checks what a call is given, as far as no model is needed for that."""

def at_exit() -> None:
    """``shut_down`` for the end of the interpreter, from which no other thread comes back."""

def shut_down() -> bool:
    """Closes all models; true when the library has let go of them."""
