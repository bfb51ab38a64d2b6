"""``AsyncRKLLM``: a model for event loops.

Long because it is one class, and ``AsyncRKLLM()``, ``generate`` and ``stream`` each describe all arguments.
"""

from __future__ import annotations

from . import _native
from ._library import Path
from ._native import (
    ArrayStream,
    ChatAnswer,
    ChatStream,
    CrossAttention,
    FloatArray,
    Generation,
    LoraAdapter,
    ModelInfo,
    Runtime,
    SamplingParams,
    Steps,
    Tokens,
    TokenStream,
)
from ._typed import Answering, Misuse, taken, typed
from ._types import (
    Any,
    Callable,
    ChatDelta,  # noqa: F401  # pyright: ignore[reportUnusedImport]  # in the annotations of ChatOptions
    ChatOptions,
    Floats,
    GenerateOptions,
    Input,
    Iterable,
    Literal,
    Mapping,
    Never,
    PromptOptions,
    RowOptions,
    Sequence,
    ToolOptions,
    Unpack,
    shows,
    takes_keywords,
)
from ._waiting import (
    Opening,
    Unopened,
    UnopenedChat,
    UnopenedSteps,
    all_finished,
    done,
    elsewhere,
    finished,
    ready_to_chat,
)
from .errors import ClosedError
from .llm import (
    RKLLM,
    advise,
    as_json,
    begin_ids,
    begin_text,
    chat_call,
    check_flag,
    check_tokens,
    check_turn,
    closed_error,
    groups,
    lacking,
    listed,
    resolve,
    shown,
    talk,
    to_open,
    warn,
)
from .results import BatchStream, Score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as _Anything
    from typing import TypeVar

    from typing_extensions import Self

    from .chat.async_conversation import AsyncConversation
    from .chat.history import Turn

    _AnyStream = TypeVar("_AnyStream", TokenStream, ChatStream, ArrayStream, Steps)


_ENTERED = "Write `async with AsyncRKLLM(...) as llm:`; `with` is for RKLLM."


class AsyncRKLLM(metaclass=Answering):
    """A model for event loops: the methods of ``RKLLM``, as coroutines if they wait.

    Creating it does not block and opens nothing. The model is opened by ``async with``, by ``await
    llm.open()`` or by the first call. ``await`` and ``async for`` do not block the event loop. ``result()``
    of a stream and a plain ``for`` over it wait for the model, and block the loop: use them on threads. A
    task that is cancelled cancels its run.

    Thread safety: tasks of any event loop and thread may share it. Runs of one model are served one after the
    other, in the order of the calls. The model is opened once, however many tasks make the first call.

    Example:
        >>> async def main():
        ...     async with AsyncRKLLM("model.gguf", temperature=0.7) as llm:
        ...         answer = await llm.generate("Why is the sky blue?", max_new_tokens=64)
        ...         print(answer.text)
        ...         async for chunk in llm.stream("Tell a story."):
        ...             print(chunk.text, end="", flush=True)
    """

    __slots__ = ("__weakref__", "_chat", "_closed", "_given", "_llm", "_opening", "_strict", "_talk")

    _llm: RKLLM | None

    @typed
    def __init__(
        self,
        model: Path | Sequence[Path],
        *,
        backend: Literal["auto", "npu", "cpu"] = "auto",
        library: Path | None = None,
        abi: str | None = None,
        max_context_len: int | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repeat_penalty: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        mirostat: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
        sampling: SamplingParams | None = None,
        n_keep: int | None = None,
        skip_special_token: bool | None = None,
        ignore_eos_token: bool | None = None,
        img_start: str | None = None,
        img_end: str | None = None,
        img_content: str | None = None,
        base_domain_id: int | None = None,
        embed_flash: bool | None = None,
        enabled_cpus_num: int | None = None,
        enabled_cpus_mask: int | Iterable[int] | None = None,
        n_batch: int | None = None,
        use_cross_attn: bool | None = None,
        template: Literal["model", "raw"] | tuple[str, str, str] = "model",
        chat_template: Path | None = None,
        family: str | None = None,
        tokenizer: Callable[[str], Iterable[int]] | None = None,
        embedder: Callable[[list[int]], Floats] | None = None,
        isolate: bool | None = None,
        restart: bool = True,
        kill_after: float | None = None,
        strict: bool = False,
        open_timeout: float | None = 60.0,
        vendor_log: Literal["warnings", "quiet", "all", "direct"] | None = None,
        **unknown: Never,
    ) -> None:
        """Checks the arguments and keeps them. Errors of the library and the model come when it is opened.

        Args:
            model: Path of a ``.rkllm`` file (NPU) or a ``.gguf`` file (CPU), of a folder that contains one,
                or a path without the suffix. A list is tried in order. ``~`` is the home folder, here and in
                every other path.
            backend: ``"npu"`` runs the vendor's library, ``"cpu"`` the CPU runtime. ``"auto"`` chooses by the
                model and the machine; ``RKLLM_RS_BACKEND`` then overrides the choice.
            library: Path of the library to load. By default it is searched for.
            abi: ABI version of the library, such as ``"v1_3_0"``. Needed only if it cannot be detected.
            max_context_len: Size of the context window in tokens: prompt and answer together. Default: the
                model's limit if it is known, rounded down to a multiple of 32 and at most 4096; otherwise the
                library's default. ``info.chosen`` has the value that was chosen.
            max_new_tokens: Maximum number of tokens to generate per answer. Default: the size of the context
                window.
            temperature: Randomness of the answers, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default for all calls, like the following sampling
                arguments; an argument that is not set keeps the library's default.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            n_keep: Number of tokens at the start of the context that are kept when the window shifts. Since
                RKLLM 1.2.0.
            skip_special_token: Leave special tokens out of the text. Default: the library's, which is yes;
                with the vendor's library no, if the model's family writes tool calls or thinking with them.
                The tokens that end an answer are then left out all the same.
            ignore_eos_token: Keep generating after an end-of-sequence token. Since RKLLM 1.3.0.
            img_start: Marker before image tokens. RKLLM 1.1.0 to 1.2.3.
            img_end: Marker after image tokens. RKLLM 1.1.0 to 1.2.3.
            img_content: Placeholder for image tokens. RKLLM 1.1.0 to 1.2.3.
            base_domain_id: IOMMU domain of the NPU in which the model begins, 0 to 15. By default one that no
                other model of this program uses, as ``rkllm-rs plan`` proposes it; with RKLLM 1.1.x always
                0. Pass 1 if the program opens an ``.rknn`` encoder, which lies in domain 0.
            embed_flash: Read word embeddings from storage, which saves memory. Since RKLLM 1.2.0.
            enabled_cpus_num: Number of CPU cores to use. Since RKLLM 1.2.0.
            enabled_cpus_mask: CPU cores to use: their numbers, such as ``{4, 5, 6, 7}``, or a bit mask. Since
                RKLLM 1.2.0.
            n_batch: Number of prompts per run, 1 to 100. Since RKLLM 1.2.1.
            use_cross_attn: Enable cross attention. Since RKLLM 1.2.1.
            template: Chat template for text prompts: ``"model"`` (the model's own), ``"raw"`` (none), or a
                tuple of system prompt, prefix and postfix, see ``set_chat_template()``.
            chat_template: Jinja chat template for ``chat()``: its text, the path of a file, or the name of
                one of the model's templates. Default: the template in the model's folder
                (``chat_template.jinja`` or ``tokenizer_config.json``), else the one in the ``.gguf`` file.
            family: Name of the model's family, such as ``"qwen3"``; it decides how thinking and tool calls
                are read, and gives a model without a chat template a simple one. Default: found from the
                chat template, else from the file's name.
            tokenizer: Returns the token ids of a text, for models exported without a tokenizer. Called on the
                thread that waits for the model. Since RKLLM 1.3.0.
            embedder: Returns float32 embeddings of shape (n, width) for token ids, for models exported
                without an embedding layer. Called on the thread that waits for the model. Since RKLLM 1.3.0.
            isolate: Run the model in a worker process. If the library crashes, a call raises
                ``WorkerCrashed``, and this process goes on. Default: ``RKLLM_RS_ISOLATE``, else ``False``;
                passing ``False`` overrides the variable.
            restart: With ``isolate``: the next call after a crash starts a new worker and opens the model
                again. ``False``: the next call raises ``WorkerCrashed``.
            kill_after: With ``isolate``: seconds to wait for a library that has been asked to abort a run.
                Then the worker is killed, and the next call opens the model again. Default: no limit.
            strict: Raise ``UnsupportedFeatureError`` instead of an ``RkllmWarning``: if the library does not
                support ``seed``, if the CPU runtime is used in place of the NPU, and if the driver, the
                context window or the chat template is known to give wrong text.
            open_timeout: Maximum time in seconds to wait for a closed model that is still busy in the
                library, and in each run for the NPU lock while other programs use the NPU. Then ``BusyError``
                is raised. ``None`` waits without limit.
            vendor_log: Which lines of the library's own log to print: ``"warnings"`` (errors and warnings, to
                stderr), ``"quiet"`` (none), ``"all"`` (all, to stderr) or ``"direct"`` (leave the library's
                output alone; choose it before the first library is loaded). Applies to the whole process;
                the last value wins. Default: ``RKLLM_RS_VENDOR_LOG``, else ``"warnings"``. Nothing is printed
                if the logger ``rkllm_rs.vendor`` has a handler of its own.
            **unknown: Other keywords raise ``InvalidTypeError``.

        Raises:
            LibraryNotFoundError: No library could be loaded.
            UnsupportedRuntimeError: The library's release could not be determined, or is not supported.
            UnsupportedFeatureError: The loaded release does not support one of the settings. With
                ``strict=True`` also in place of a warning.
            ModelError: The model could not be opened. Subclasses are more specific: ``ModelNotFoundError``,
                ``ModelFormatError``, ``ModelPlatformError``, ``ModelVersionError``, ``NpuMemoryError``.
            DriverError: The NPU or its driver cannot be used; the hint says what to change.
            WorkerCrashed: With ``isolate``: the library crashed while it was loaded, or while it opened the
                model.
            BusyError: A second model was opened with a release before 1.2.2, or a closed model was still busy
                after ``open_timeout``.
            InvalidArgumentError: An argument is out of range (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).
        """
        models, where, settings = to_open("AsyncRKLLM", locals())
        self._strict = strict
        self._talk = talk(chat_template, family)
        self._chat: _native.Chat | None = None
        self._given: tuple[_Anything, ...] = (models, where, settings)
        self._llm = None
        self._opening: Opening | None = None
        self._closed = False

    @classmethod
    def _of(cls, llm: RKLLM) -> Self:
        """Wraps a model that is open."""
        wrapped = cls.__new__(cls)
        wrapped._given = (llm.model_path, (), {})
        wrapped._strict = llm._strict
        wrapped._talk = llm._talk
        wrapped._chat = llm._chat
        wrapped._llm = llm
        wrapped._opening = None
        wrapped._closed = False
        return wrapped

    @typed
    async def open(self) -> Self:
        """Opens the model (``rkllm_init``), if it is not open yet.

        A task that is cancelled gives up, unless other tasks wait for the model too. After an error it can be
        called again.

        Returns:
            The object itself.

        Raises:
            ModelError: The model could not be opened.
            ClosedError: The model has been closed.
            RkllmError: Any other error listed for ``AsyncRKLLM``.
        """
        await self._opened()
        return self

    async def _opened(self) -> RKLLM:
        """The open model; opens it first."""
        if self._llm is not None:
            return self._llm
        opening = self._begin()
        try:
            await opening.begun(warn)
            model = await opening.model()
        except BaseException as error:
            self._failed(opening, error)
            raise
        return self._have(opening, model)

    def _opened_now(self) -> RKLLM:
        """The open model; waits for it on the calling thread."""
        if self._llm is not None:
            return self._llm
        opening = self._begin()
        try:
            opening.begun_now(warn)
            model = opening.model_now()
        except BaseException as error:
            self._failed(opening, error)
            raise
        return self._have(opening, model)

    def _begin(self) -> Opening:
        """The opening that is under way, or a new one; counts one more that waits for it."""
        if self._closed:
            raise closed_error()
        opening = self._opening
        if opening is None or not opening.join():
            model, where, settings = self._given
            strict, talk = self._strict, self._talk

            def choose(still: Callable[[], bool]) -> tuple[str, Runtime, list[str], str | None]:
                path, runtime, notes, fallback = resolve(model, where, still, strict=strict)
                if strict and fallback:
                    raise lacking([fallback])
                if talk:
                    # What is wrong with a template is told before the model is loaded.
                    self._chat = _native.Chat(path, **talk)
                settings.update(shown(path, runtime, talk, settings))
                return path, runtime, notes, fallback

            def begin(path: str, runtime: Runtime) -> _native.Opening:
                return _native.Model.open(runtime, path, **settings)

            opening = self._opening = Opening(choose, begin)
        return opening

    def _failed(self, opening: Opening, error: BaseException) -> None:
        """One that waited got an error, or was cancelled."""
        if opening.leave(error) and self._opening is opening:
            self._opening = None

    def _have(self, opening: Opening, model: _native.Model) -> RKLLM:
        """Keeps the model that has been opened."""
        if opening.first():
            try:
                advise(model, self._strict, "max_context_len" in self._given[2])
            except BaseException as error:
                opening.fail(error)
                self._opening = None
                raise
            if self._closed:
                model.close()
            self._llm = self._of_model(model)
            self._opening = None
        return self._of_model(model) if self._llm is None else self._llm

    def _of_model(self, model: _native.Model) -> RKLLM:
        """Wraps a model that has been opened for this one."""
        return RKLLM._of(model, strict=self._strict, talk=self._talk, chat=self._chat)

    def _ready(self) -> RKLLM:
        """The open model, for what cannot wait for it."""
        if self._llm is None:
            message = "the model is closed" if self._closed else "the model is not open yet"
            raise ClosedError(message, hint="Use `async with`, or call `await llm.open()` first.")
        return self._llm

    def _checked(
        self,
        called: str,
        kind: Literal["generate", "steps", "rows"],
        inputs: Sequence[Input],
        options: Mapping[str, _Anything],
    ) -> Sequence[Input]:
        """Refuses what is wrong whatever the model is, before the model is opened for it.

        Args:
            called: The call's name.
            kind: What it does.
            inputs: Those of a batch, or the only one; they may be an iterator.
            options: Its keywords.

        Returns:
            The inputs, for more than one use.
        """
        if self._llm is not None:
            return inputs
        several = called.endswith("_batch")
        if several and hasattr(inputs, "__next__"):
            inputs = list(inputs)
        _native.check_call(called, kind, inputs if several else inputs[0], options)
        return inputs

    def _begun(
        self,
        begin: Callable[[RKLLM], _AnyStream],
        kind: type[Unopened] = Unopened,
        rows: str = "",
    ) -> _AnyStream:
        """The stream itself if the model is ready, else one that makes it so on its first use."""
        llm = self._llm
        if llm is not None and not (kind is UnopenedChat and llm._reads_tokenizer()):
            return begin(llm)
        if self._closed:
            self._ready()
        unopened: _Anything = kind(self, begin, rows)
        stream: _AnyStream = unopened
        return stream

    @takes_keywords
    async def generate(
        self,
        input: Input,  # noqa: A002 - the field's word
        *_surplus: Never,
        **options: Unpack[PromptOptions],
    ) -> Generation:
        """Generates an answer and returns it when it is complete (``rkllm_run``).

        Args:
            input: The prompt: text, ``Tokens``, ``Embeddings`` or ``Multimodal``. The model's chat template
                is applied to text, since RKLLM 1.2.0; ``template="raw"`` of the model turns it off.
            max_new_tokens: Maximum number of tokens to generate. Default: the model's setting.
            temperature: Randomness of the answer, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default: the model's setting, like all following sampling
                arguments. Before RKLLM 1.3.0 sampling can be set only when the model is opened.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            stop: String or list of strings at which the answer ends. They are not part of the text.
            json_schema: What the answer must fit: a JSON schema as a dict or JSON text, or a type such as a
                dataclass, TypedDict or pydantic model. The answer's ``parsed`` is the value. Only one
                of this and the next three can be given.
            regex: Regular expression that the whole answer must match.
            choices: List of texts; the answer is one of them.
            grammar: Grammar that the answer must follow, in the form of Lark that llguidance reads.
            logprobs: Tell how likely each generated token was, and this many of the most likely tokens in its
                place, 0 to 100: the answer's ``logprobs``. On the NPU only with ``sampler="own"``.
            logits_processor: Function that may change the logits before each token is chosen. It is called
                with the ids of the tokens generated so far and a writable array of ``float32``, and returns
                an array or ``None``. An exception in it ends the run and is raised to the caller. On the NPU
                only with ``sampler="own"``.
            sampler: Who chooses the tokens: ``"library"`` (default), or ``"own"``, this package. On the CPU
                runtime both choose alike. On the NPU ``"own"`` takes one call of the library for each token,
                which is slow (since RKLLM 1.3.0).
            constraint: How the answer is kept to its form. ``"mask"`` (CPU runtime): tokens that do not fit
                cannot be chosen. ``"guided"`` (since RKLLM 1.2.1): the library is paused at such tokens, and
                given others. ``"retry"``: the answer is checked, and asked for again. ``"auto"`` (default):
                the first of these that the library supports.
            seed: Seed for sampling, 0 to 2**64 - 1. Default: random. The vendor's library does not support
                seeds: there this is ignored with one ``RkllmWarning`` per model, or raises if the model was
                opened with ``strict=True``.
            timeout: Total time limit in seconds, including the time in the queue and prefill. Default: none.
            lora: Name of the LoRA adapter to use, see ``load_lora()``. Default: none.
            save_prompt_cache: File in which to save the prompt's KV cache, see ``load_prompt_cache()``.
            keep_history: Continue the conversation of the previous run. Default: ``False``. Since RKLLM
                1.2.0.
            reuse: How much of the prompt may be taken from the KV cache instead of being computed again.
                ``"auto"`` (default): all matching tokens; on the CPU runtime, greedy runs and runs with a
                seed reuse only what cannot change their answer. ``"fast"``: all matching tokens. ``False``:
                none; with ``keep_history`` a new conversation begins. Since RKLLM 1.2.0.
            role: Role of the prompt, ``"user"`` or ``"tool"``. Since RKLLM 1.2.1.
            thinking: Turn the model's thinking mode on or off. Since RKLLM 1.2.1.
            on_token: Function that is called with each ``Chunk``, on the thread that reads the answer. An
                exception in it ends the run and is raised to the caller.
            **unknown: Other keywords raise ``InvalidTypeError``.

        Returns:
            The answer: ``text``, ``token_ids``, ``finish_reason`` (``"stop"`` or ``"length"``) and ``perf``
            (timing, such as ``perf.generate_tokens_per_second``).

        Raises:
            GenerationError: The run failed. ``log`` has the library's own messages.
            GenerationTimeout: The time limit has passed. ``partial`` has the answer so far.
            ContextLengthError: The prompt does not fit into the context window.
            UnsupportedFeatureError: The loaded release does not support one of the arguments.
            InvalidArgumentError: An argument is out of range (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).
            BusyError: Other programs held the NPU lock for all of ``open_timeout``; or the call was made
                inside a callback of this model, or in the middle of its ``steps()``.
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.

        Example:
            >>> answer = await llm.generate(
            ...     "Why is the sky blue?", max_new_tokens=64, temperature=0.7
            ... )  # doctest: +SKIP
            >>> answer.text, answer.finish_reason  # doctest: +SKIP
            ('Because air scatters blue light more than red light.', 'stop')
        """
        if _surplus or "input" in options:
            input = taken("AsyncRKLLM.generate", input, _surplus, options)  # noqa: A001 - the field's word
        if self._llm is None:
            self._checked("AsyncRKLLM.generate", "generate", [input], options)
        return await finished((await self._opened())._stream("AsyncRKLLM.generate", input, options))

    @takes_keywords
    def stream(
        self,
        input: Input,  # noqa: A002 - the field's word
        *_surplus: Never,
        **options: Unpack[PromptOptions],
    ) -> TokenStream:
        """Starts to generate an answer and returns a stream of its chunks (``rkllm_run``).

        Returns at once; do not await it. The stream works in ``async for`` loops. After the loop,
        ``result()`` returns the whole answer at once; before, it blocks. If you need only the answer, use
        ``await llm.generate()``. A run ends early when its stream is closed, cancelled or no longer used.
        If the model is not open yet, the first use of the stream opens it.

        Args:
            input: The prompt: text, ``Tokens``, ``Embeddings`` or ``Multimodal``. The model's chat template
                is applied to text, since RKLLM 1.2.0; ``template="raw"`` of the model turns it off.
            max_new_tokens: Maximum number of tokens to generate. Default: the model's setting.
            temperature: Randomness of the answer, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default: the model's setting, like all following sampling
                arguments. Before RKLLM 1.3.0 sampling can be set only when the model is opened.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            stop: String or list of strings at which the answer ends. They are not part of the text.
            json_schema: What the answer must fit: a JSON schema as a dict or JSON text, or a type such as a
                dataclass, TypedDict or pydantic model. The answer's ``parsed`` is the value. Only one
                of this and the next three can be given.
            regex: Regular expression that the whole answer must match.
            choices: List of texts; the answer is one of them.
            grammar: Grammar that the answer must follow, in the form of Lark that llguidance reads.
            logprobs: Tell how likely each generated token was, and this many of the most likely tokens in its
                place, 0 to 100: the answer's ``logprobs``. On the NPU only with ``sampler="own"``.
            logits_processor: Function that may change the logits before each token is chosen. It is called
                with the ids of the tokens generated so far and a writable array of ``float32``, and returns
                an array or ``None``. An exception in it ends the run and is raised to the caller. On the NPU
                only with ``sampler="own"``.
            sampler: Who chooses the tokens: ``"library"`` (default), or ``"own"``, this package. On the CPU
                runtime both choose alike. On the NPU ``"own"`` takes one call of the library for each token,
                which is slow (since RKLLM 1.3.0).
            constraint: How the answer is kept to its form. ``"mask"`` (CPU runtime): tokens that do not fit
                cannot be chosen. ``"guided"`` (since RKLLM 1.2.1): the library is paused at such tokens, and
                given others. ``"retry"``: the answer is checked, and asked for again. ``"auto"`` (default):
                the first of these that the library supports.
            seed: Seed for sampling, 0 to 2**64 - 1. Default: random. The vendor's library does not support
                seeds: there this is ignored with one ``RkllmWarning`` per model, or raises if the model was
                opened with ``strict=True``.
            timeout: Total time limit in seconds, including the time in the queue and prefill. Default: none.
            lora: Name of the LoRA adapter to use, see ``load_lora()``. Default: none.
            save_prompt_cache: File in which to save the prompt's KV cache, see ``load_prompt_cache()``.
            keep_history: Continue the conversation of the previous run. Default: ``False``. Since RKLLM
                1.2.0.
            reuse: How much of the prompt may be taken from the KV cache instead of being computed again.
                ``"auto"`` (default): all matching tokens; on the CPU runtime, greedy runs and runs with a
                seed reuse only what cannot change their answer. ``"fast"``: all matching tokens. ``False``:
                none; with ``keep_history`` a new conversation begins. Since RKLLM 1.2.0.
            role: Role of the prompt, ``"user"`` or ``"tool"``. Since RKLLM 1.2.1.
            thinking: Turn the model's thinking mode on or off. Since RKLLM 1.2.1.
            on_token: Function that is called with each ``Chunk``, on the thread that reads the answer. An
                exception in it ends the run and is raised to the caller.
            **unknown: Other keywords raise ``InvalidTypeError``.

        Returns:
            A stream of ``Chunk`` (``text`` and ``token_id``), with ``texts()`` for plain ``str``,
            ``cancel()`` from any thread, ``close()``, and ``result()``, which returns the whole answer.

        Raises:
            GenerationError: The run failed. ``log`` has the library's own messages.
            GenerationTimeout: The time limit has passed. ``partial`` has the answer so far.
            ContextLengthError: The prompt does not fit into the context window.
            UnsupportedFeatureError: The loaded release does not support one of the arguments.
            InvalidArgumentError: An argument is out of range (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).
            BusyError: Other programs held the NPU lock for all of ``open_timeout``; or the call was made
                inside a callback of this model, or in the middle of its ``steps()``.
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.

        Example:
            >>> async for chunk in llm.stream("Tell a story.", max_new_tokens=200):  # doctest: +SKIP
            ...     print(chunk.text, end="", flush=True)
        """
        if _surplus or "input" in options:
            input = taken("AsyncRKLLM.stream", input, _surplus, options)  # noqa: A001 - the field's word
        self._checked("AsyncRKLLM.stream", "generate", [input], options)
        return self._begun(lambda llm: llm._stream("AsyncRKLLM.stream", input, options))

    @shows(ChatOptions)
    @typed
    async def chat(
        self,
        messages: Iterable[Mapping[str, Any]],
        *,
        tools: Iterable[Any] | None = None,
        tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        thinking: bool | None = None,
        max_reasoning_tokens: int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        chat_template: Path | None = None,
        continue_final_message: bool | None = None,
        overflow: Literal["error", "drop_oldest"] | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatAnswer:
        """Answers a conversation and returns the answer when it is complete.

        This package applies the model's chat template, so tools, thinking and earlier turns work the same
        with every release of the library.

        Args:
            messages: The conversation, oldest message first: dicts in the OpenAI format, with ``role``
                (``"system"``, ``"developer"``, ``"user"``, ``"assistant"`` or ``"tool"``) and ``content``
                (text, or a list of text parts). The list is not changed.
            tools: Tools that the model may call: Python functions with type hints, pydantic models, or dicts
                in the OpenAI format.
            tool_choice: ``"auto"`` lets the model decide. ``"none"`` hides the tools from it. ``"required"``
                keeps the answer to calls whose arguments fit the tools' schemas, and
                ``{"type": "function", "function": {"name": "f"}}`` to one call of that tool. Default:
                ``"auto"``.
            parallel_tool_calls: ``False`` ends the answer after the first tool call. Default: ``True``.
            thinking: Turn the model's thinking on or off. Default: what the chat template does.
            max_reasoning_tokens: Maximum number of tokens for thinking. After them, the thinking is ended and
                the model answers. Default: no limit.
            template_kwargs: Additional variables for the chat template, as a dict.
            chat_template: Chat template for this call: its text, the path of a file, or the name of one of
                the model's templates.
            continue_final_message: Let the answer go on with the last message, whose ``role`` must be
                ``"assistant"``. The answer is what the model adds to it. Default: ``False``.
            overflow: What to do if the conversation does not fit into the context window. ``"error"``
                (default) raises ``ContextLengthError``. ``"drop_oldest"`` omits the oldest messages, a
                quarter at a time, but no system message; ``notes`` of the answer says how many. With the
                vendor's library this needs a tokenizer, as ``tokenize()`` does: without one the library
                decides, and ``notes`` says so.
            max_new_tokens: Maximum number of tokens to generate. Default: the model's setting.
            temperature: Randomness of the answer, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default: the model's setting, like all following sampling
                arguments. Before RKLLM 1.3.0 sampling can be set only when the model is opened.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            stop: String or list of strings at which the answer ends. They are not part of the text.
            json_schema: What the answer must fit: a JSON schema as a dict or JSON text, or a type such as a
                dataclass, TypedDict or pydantic model. The answer's ``parsed`` is the value. Only one
                of this and the next three can be given.
            regex: Regular expression that the whole answer must match.
            choices: List of texts; the answer is one of them.
            grammar: Grammar that the answer must follow, in the form of Lark that llguidance reads.
            constraint: How the answer is kept to its form. ``"mask"`` (CPU runtime): tokens that do not fit
                cannot be chosen. ``"guided"`` (since RKLLM 1.2.1): the library is paused at such tokens, and
                given others. ``"retry"``: the answer is checked, and asked for again. ``"auto"`` (default):
                the first of these that the library supports.
            response_format: The same as ``json_schema`` in the OpenAI format: ``{"type": "json_object"}``, or
                ``{"type": "json_schema", "json_schema": {"schema": {...}}}``; or a type.
            schema_in_prompt: Add ``json_schema`` to the system message. Default: ``True``.
            logprobs: Tell how likely each generated token was, and this many of the most likely tokens in its
                place, 0 to 100: the answer's ``logprobs``. On the NPU only with ``sampler="own"``.
            logits_processor: Function that may change the logits before each token is chosen. It is called
                with the ids of the tokens generated so far and a writable array of ``float32``, and returns
                an array or ``None``. An exception in it ends the run and is raised to the caller. On the NPU
                only with ``sampler="own"``.
            sampler: Who chooses the tokens: ``"library"`` (default), or ``"own"``, this package. On the CPU
                runtime both choose alike. On the NPU ``"own"`` takes one call of the library for each token,
                which is slow (since RKLLM 1.3.0).
            seed: Seed for sampling, 0 to 2**64 - 1. Default: random. The vendor's library does not support
                seeds: there this is ignored with one ``RkllmWarning`` per model, or raises if the model was
                opened with ``strict=True``.
            timeout: Total time limit in seconds, including the time in the queue and prefill. Default: none.
            lora: Name of the LoRA adapter to use, see ``load_lora()``. Default: none.
            save_prompt_cache: File in which to save the prompt's KV cache, see ``load_prompt_cache()``.
            prompt_cache_dir: Folder that keeps the computed system messages and tools for other conversations
                and programs. Default: none. Since RKLLM 1.2.0.
            prompt_cache_bytes: Maximum size of that folder. Default: 1 GiB.
            reuse: How much of the prompt may be taken from the KV cache instead of being computed again.
                ``"auto"`` (default): all matching tokens; on the CPU runtime, greedy runs and runs with a
                seed reuse only what cannot change their answer. ``"fast"``: all matching tokens. ``False``:
                none. Since RKLLM 1.2.0.
            on_token: Function that is called with each ``ChatDelta``, on the thread that reads the answer. An
                exception in it ends the run and is raised to the caller.

        Returns:
            The answer: ``content``, ``reasoning``, ``tool_calls``, ``finish_reason`` (``"stop"``,
            ``"length"`` or ``"tool_calls"``), ``message`` to append to the messages, ``perf`` and ``notes``.

        Raises:
            TemplateError: There is no chat template, or it rejects the messages.
            ToolError: One of the tools cannot be used; the hint says what to write instead.
            ContextLengthError: The conversation does not fit into the context window.
            GenerationError: The run failed. ``log`` has the library's own messages.
            GenerationTimeout: The time limit has passed. ``partial`` has the answer so far.
            UnsupportedFeatureError: ``thinking=True``, but the model has no thinking mode; or a message
                contains an image.
            InvalidArgumentError: An argument or a message is not valid (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).
            BusyError: Other programs held the NPU lock for all of ``open_timeout``; or the call was made
                inside a callback of this model, or in the middle of its ``steps()``.
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.

        Example:
            >>> messages = [{"role": "user", "content": "Why is the sky blue?"}]
            >>> answer = await llm.chat(messages, max_new_tokens=64)  # doctest: +SKIP
            >>> messages.append(answer.message)  # doctest: +SKIP
        """
        call = chat_call("AsyncRKLLM.chat", locals())
        return await finished((await ready_to_chat(self))._chat_stream("AsyncRKLLM.chat", call))

    @shows(ChatOptions)
    @typed
    def chat_stream(
        self,
        messages: Iterable[Mapping[str, Any]],
        *,
        tools: Iterable[Any] | None = None,
        tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        thinking: bool | None = None,
        max_reasoning_tokens: int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        chat_template: Path | None = None,
        continue_final_message: bool | None = None,
        overflow: Literal["error", "drop_oldest"] | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatStream:
        """Starts to answer a conversation and returns a stream of the answer.

        Returns at once; do not await it. The stream works in ``async for`` loops. A run ends early when its
        stream is closed, cancelled or no longer used. If the model is not open yet, the first use of the
        stream opens it.

        Args:
            messages: The conversation, oldest message first: dicts in the OpenAI format, with ``role``
                (``"system"``, ``"developer"``, ``"user"``, ``"assistant"`` or ``"tool"``) and ``content``
                (text, or a list of text parts). The list is not changed.
            tools: Tools that the model may call: Python functions with type hints, pydantic models, or dicts
                in the OpenAI format.
            tool_choice: ``"auto"`` lets the model decide. ``"none"`` hides the tools from it. ``"required"``
                keeps the answer to calls whose arguments fit the tools' schemas, and
                ``{"type": "function", "function": {"name": "f"}}`` to one call of that tool. Default:
                ``"auto"``.
            parallel_tool_calls: ``False`` ends the answer after the first tool call. Default: ``True``.
            thinking: Turn the model's thinking on or off. Default: what the chat template does.
            max_reasoning_tokens: Maximum number of tokens for thinking. After them, the thinking is ended and
                the model answers. Default: no limit.
            template_kwargs: Additional variables for the chat template, as a dict.
            chat_template: Chat template for this call: its text, the path of a file, or the name of one of
                the model's templates.
            continue_final_message: Let the answer go on with the last message, whose ``role`` must be
                ``"assistant"``. The answer is what the model adds to it. Default: ``False``.
            overflow: What to do if the conversation does not fit into the context window. ``"error"``
                (default) raises ``ContextLengthError``. ``"drop_oldest"`` omits the oldest messages, a
                quarter at a time, but no system message; ``notes`` of the answer says how many. With the
                vendor's library this needs a tokenizer, as ``tokenize()`` does: without one the library
                decides, and ``notes`` says so.
            max_new_tokens: Maximum number of tokens to generate. Default: the model's setting.
            temperature: Randomness of the answer, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default: the model's setting, like all following sampling
                arguments. Before RKLLM 1.3.0 sampling can be set only when the model is opened.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            stop: String or list of strings at which the answer ends. They are not part of the text.
            json_schema: What the answer must fit: a JSON schema as a dict or JSON text, or a type such as a
                dataclass, TypedDict or pydantic model. The answer's ``parsed`` is the value. Only one
                of this and the next three can be given.
            regex: Regular expression that the whole answer must match.
            choices: List of texts; the answer is one of them.
            grammar: Grammar that the answer must follow, in the form of Lark that llguidance reads.
            constraint: How the answer is kept to its form. ``"mask"`` (CPU runtime): tokens that do not fit
                cannot be chosen. ``"guided"`` (since RKLLM 1.2.1): the library is paused at such tokens, and
                given others. ``"retry"``: the answer is checked, and asked for again. ``"auto"`` (default):
                the first of these that the library supports.
            response_format: The same as ``json_schema`` in the OpenAI format: ``{"type": "json_object"}``, or
                ``{"type": "json_schema", "json_schema": {"schema": {...}}}``; or a type.
            schema_in_prompt: Add ``json_schema`` to the system message. Default: ``True``.
            logprobs: Tell how likely each generated token was, and this many of the most likely tokens in its
                place, 0 to 100: the answer's ``logprobs``. On the NPU only with ``sampler="own"``.
            logits_processor: Function that may change the logits before each token is chosen. It is called
                with the ids of the tokens generated so far and a writable array of ``float32``, and returns
                an array or ``None``. An exception in it ends the run and is raised to the caller. On the NPU
                only with ``sampler="own"``.
            sampler: Who chooses the tokens: ``"library"`` (default), or ``"own"``, this package. On the CPU
                runtime both choose alike. On the NPU ``"own"`` takes one call of the library for each token,
                which is slow (since RKLLM 1.3.0).
            seed: Seed for sampling, 0 to 2**64 - 1. Default: random. The vendor's library does not support
                seeds: there this is ignored with one ``RkllmWarning`` per model, or raises if the model was
                opened with ``strict=True``.
            timeout: Total time limit in seconds, including the time in the queue and prefill. Default: none.
            lora: Name of the LoRA adapter to use, see ``load_lora()``. Default: none.
            save_prompt_cache: File in which to save the prompt's KV cache, see ``load_prompt_cache()``.
            prompt_cache_dir: Folder that keeps the computed system messages and tools for other conversations
                and programs. Default: none. Since RKLLM 1.2.0.
            prompt_cache_bytes: Maximum size of that folder. Default: 1 GiB.
            reuse: How much of the prompt may be taken from the KV cache instead of being computed again.
                ``"auto"`` (default): all matching tokens; on the CPU runtime, greedy runs and runs with a
                seed reuse only what cannot change their answer. ``"fast"``: all matching tokens. ``False``:
                none. Since RKLLM 1.2.0.
            on_token: Function that is called with each ``ChatDelta``, on the thread that reads the answer. An
                exception in it ends the run and is raised to the caller.

        Returns:
            A stream of ``ChatDelta`` (``content``, ``reasoning`` and ``tool_calls``), with ``texts()`` for
            the content alone, ``cancel()`` from any thread, ``close()``, and ``result()``, which returns the
            whole answer.

        Raises:
            TemplateError: There is no chat template, or it rejects the messages.
            ToolError: One of the tools cannot be used; the hint says what to write instead.
            ContextLengthError: The conversation does not fit into the context window.
            GenerationError: The run failed. ``log`` has the library's own messages.
            GenerationTimeout: The time limit has passed. ``partial`` has the answer so far.
            UnsupportedFeatureError: ``thinking=True``, but the model has no thinking mode; or a message
                contains an image.
            InvalidArgumentError: An argument or a message is not valid (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).
            BusyError: Other programs held the NPU lock for all of ``open_timeout``; or the call was made
                inside a callback of this model, or in the middle of its ``steps()``.
            ClosedError: The model is closed.
            ForkedProcessError: The model was opened before ``fork()``.

        Example:
            >>> async for delta in llm.chat_stream(messages):  # doctest: +SKIP
            ...     print(delta.content, end="", flush=True)
        """
        call = chat_call("AsyncRKLLM.chat_stream", locals())
        return self._begun(lambda llm: llm._chat_stream("AsyncRKLLM.chat_stream", call), UnopenedChat)

    @shows(ToolOptions)
    @typed
    async def run_tools(
        self,
        messages: Iterable[Mapping[str, Any]],
        *,
        tools: Iterable[Any],
        max_rounds: int = 8,
        **options: Unpack[ToolOptions],
    ) -> ChatAnswer:
        """Answers a conversation, and calls the tools that the model asks for until it asks for none.

        The model gets what a tool returns, or the exception that it raises. A call with wrong arguments is
        not made: the model gets what is wrong with it. Functions without ``async`` run on a thread.
        Cancelling the task ends the answer that is being generated, or the asynchronous tool that runs.

        Args:
            messages: The conversation, oldest message first: dicts in the OpenAI format, with ``role``
                (``"system"``, ``"developer"``, ``"user"``, ``"assistant"`` or ``"tool"``) and ``content``
                (text, or a list of text parts). The list is not changed.
            tools: The tools: Python functions with type hints, and pydantic models. A schema alone cannot
                be called.
            max_rounds: Maximum number of answers. The last one is returned even if it calls tools.
            tool_choice: ``"auto"`` lets the model decide. ``"none"`` hides the tools from it. ``"required"``
                keeps the answer to calls whose arguments fit the tools' schemas, and
                ``{"type": "function", "function": {"name": "f"}}`` to one call of that tool. Default:
                ``"auto"``.
            parallel_tool_calls: ``False`` ends the answer after the first tool call. Default: ``True``.
            thinking: Turn the model's thinking on or off. Default: what the chat template does.
            max_reasoning_tokens: Maximum number of tokens for thinking. After them, the thinking is ended and
                the model answers. Default: no limit.
            template_kwargs: Additional variables for the chat template, as a dict.
            chat_template: Chat template for this call: its text, the path of a file, or the name of one of
                the model's templates.
            overflow: What to do if the conversation does not fit into the context window. ``"error"``
                (default) raises ``ContextLengthError``. ``"drop_oldest"`` omits the oldest messages, a
                quarter at a time, but no system message; ``notes`` of the answer says how many. With the
                vendor's library this needs a tokenizer, as ``tokenize()`` does: without one the library
                decides, and ``notes`` says so.
            max_new_tokens: Maximum number of tokens to generate. Default: the model's setting.
            temperature: Randomness of the answer, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default: the model's setting, like all following sampling
                arguments. Before RKLLM 1.3.0 sampling can be set only when the model is opened.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            stop: String or list of strings at which the answer ends. They are not part of the text.
            json_schema: What the answer must fit: a JSON schema as a dict or JSON text, or a type such as a
                dataclass, TypedDict or pydantic model. The answer's ``parsed`` is the value. Only one
                of this and the next three can be given.
            regex: Regular expression that the whole answer must match.
            choices: List of texts; the answer is one of them.
            grammar: Grammar that the answer must follow, in the form of Lark that llguidance reads.
            constraint: How the answer is kept to its form. ``"mask"`` (CPU runtime): tokens that do not fit
                cannot be chosen. ``"guided"`` (since RKLLM 1.2.1): the library is paused at such tokens, and
                given others. ``"retry"``: the answer is checked, and asked for again. ``"auto"`` (default):
                the first of these that the library supports.
            response_format: The same as ``json_schema`` in the OpenAI format: ``{"type": "json_object"}``, or
                ``{"type": "json_schema", "json_schema": {"schema": {...}}}``; or a type.
            schema_in_prompt: Add ``json_schema`` to the system message. Default: ``True``.
            logprobs: Tell how likely each generated token was, and this many of the most likely tokens in its
                place, 0 to 100: the answer's ``logprobs``. On the NPU only with ``sampler="own"``.
            logits_processor: Function that may change the logits before each token is chosen. It is called
                with the ids of the tokens generated so far and a writable array of ``float32``, and returns
                an array or ``None``. An exception in it ends the run and is raised to the caller. On the NPU
                only with ``sampler="own"``.
            sampler: Who chooses the tokens: ``"library"`` (default), or ``"own"``, this package. On the CPU
                runtime both choose alike. On the NPU ``"own"`` takes one call of the library for each token,
                which is slow (since RKLLM 1.3.0).
            seed: Seed for sampling, 0 to 2**64 - 1. Default: random. The vendor's library does not support
                seeds: there this is ignored with one ``RkllmWarning`` per model, or raises if the model was
                opened with ``strict=True``.
            timeout: Total time limit in seconds for all answers together, including the time in the queue and
                prefill, but not the time in the tools. Default: none.
            lora: Name of the LoRA adapter to use, see ``load_lora()``. Default: none.
            save_prompt_cache: File in which to save the prompt's KV cache, see ``load_prompt_cache()``.
            prompt_cache_dir: Folder that keeps the computed system messages and tools for other conversations
                and programs. Default: none. Since RKLLM 1.2.0.
            prompt_cache_bytes: Maximum size of that folder. Default: 1 GiB.
            reuse: How much of the prompt may be taken from the KV cache instead of being computed again.
                ``"auto"`` (default): all matching tokens; on the CPU runtime, greedy runs and runs with a
                seed reuse only what cannot change their answer. ``"fast"``: all matching tokens. ``False``:
                none. Since RKLLM 1.2.0.
            on_token: Function that is called with each ``ChatDelta``, on the thread that reads the answer. An
                exception in it ends the run and is raised to the caller.

        Returns:
            The last answer.

        Raises:
            ToolError: One of the tools cannot be used; the hint says what to write instead.
            RkllmError: Any other error that ``chat()`` raises.

        Example:
            >>> def get_weather(city: str) -> str:
            ...     return f"It is sunny in {city}."
            >>> answer = await llm.run_tools(messages, tools=[get_weather])  # doctest: +SKIP
        """
        from .chat.rounds import Rounds, runnable

        self._check_turn("AsyncRKLLM.run_tools", options)
        rounds = Rounds(messages, runnable(tools), max_rounds, options.get("timeout"))
        while True:
            answer = await self.chat(rounds.messages, tools=rounds.tools, **rounds.options(options))
            if rounds.is_over(answer):
                return answer
            await rounds.arun_calls(answer)

    @shows(ToolOptions)
    @typed
    def conversation(
        self,
        *,
        system: str | None = None,
        tools: Iterable[Any] | None = None,
        now: float | None = None,
        **options: Unpack[ToolOptions],
    ) -> AsyncConversation:
        """Begins a conversation, which keeps its messages.

        Each turn sends all messages to the model; several conversations can share one model. The keywords
        after ``now`` are for every turn. Those of a turn win over them.

        Args:
            system: The system message. Default: none.
            tools: Tools that the model may call: Python functions with type hints, pydantic models, or dicts
                in the OpenAI format. They are called, unless a dict is among them.
            now: The time that the chat template uses in every turn, in seconds since 1970 as
                ``time.time()`` returns them. Default: now, and the same for all turns.
            tool_choice: ``"auto"`` lets the model decide. ``"none"`` hides the tools from it. ``"required"``
                keeps the answer to calls whose arguments fit the tools' schemas, and
                ``{"type": "function", "function": {"name": "f"}}`` to one call of that tool. Default:
                ``"auto"``.
            parallel_tool_calls: ``False`` ends the answer after the first tool call. Default: ``True``.
            thinking: Turn the model's thinking on or off. Default: what the chat template does.
            max_reasoning_tokens: Maximum number of tokens for thinking. After them, the thinking is ended and
                the model answers. Default: no limit.
            template_kwargs: Additional variables for the chat template, as a dict.
            chat_template: Chat template for this call: its text, the path of a file, or the name of one of
                the model's templates.
            overflow: What to do if the conversation does not fit into the context window. ``"error"``
                (default) raises ``ContextLengthError``. ``"drop_oldest"`` omits the oldest messages, a
                quarter at a time, but no system message; ``notes`` of the answer says how many. With the
                vendor's library this needs a tokenizer, as ``tokenize()`` does: without one the library
                decides, and ``notes`` says so.
            max_new_tokens: Maximum number of tokens to generate. Default: the model's setting.
            temperature: Randomness of the answer, 0 or more. 0 always picks the most likely token; values
                above 1 flatten the distribution. Default: the model's setting, like all following sampling
                arguments. Before RKLLM 1.3.0 sampling can be set only when the model is opened.
            top_k: Sample from the k most likely tokens only, 0 or more. 1 is greedy decoding.
            top_p: Sample from the most likely tokens whose probabilities add up to this value, 0 to 1.
            repeat_penalty: Penalty for tokens that have already appeared, above 0. 1 turns it off.
            frequency_penalty: Penalty that grows with each appearance of a token, -2 to 2. 0 turns it off.
            presence_penalty: Penalty for a token that has appeared at all, -2 to 2. 0 turns it off.
            mirostat: 0 (off), 1 (Mirostat) or 2 (Mirostat 2.0).
            mirostat_tau: Mirostat's target entropy in bits per token, 0 or more.
            mirostat_eta: Mirostat's learning rate, 0 or more.
            min_p: Sample only from tokens that have at least this share of the most likely token's
                probability, 0 to 1. 0 turns it off. On the NPU only with ``sampler="own"``, like the next
                two.
            typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to
                this value, 0 to 1. 1 turns it off.
            logit_bias: Dict of token ids with numbers that are added to their logits; ``-inf`` bans a token.
            sampling: The sampling arguments as one object. An argument given by its own name wins.
            stop: String or list of strings at which the answer ends. They are not part of the text.
            json_schema: What the answer must fit: a JSON schema as a dict or JSON text, or a type such as a
                dataclass, TypedDict or pydantic model. The answer's ``parsed`` is the value. Only one
                of this and the next three can be given.
            regex: Regular expression that the whole answer must match.
            choices: List of texts; the answer is one of them.
            grammar: Grammar that the answer must follow, in the form of Lark that llguidance reads.
            constraint: How the answer is kept to its form. ``"mask"`` (CPU runtime): tokens that do not fit
                cannot be chosen. ``"guided"`` (since RKLLM 1.2.1): the library is paused at such tokens, and
                given others. ``"retry"``: the answer is checked, and asked for again. ``"auto"`` (default):
                the first of these that the library supports.
            response_format: The same as ``json_schema`` in the OpenAI format: ``{"type": "json_object"}``, or
                ``{"type": "json_schema", "json_schema": {"schema": {...}}}``; or a type.
            schema_in_prompt: Add ``json_schema`` to the system message. Default: ``True``.
            logprobs: Tell how likely each generated token was, and this many of the most likely tokens in its
                place, 0 to 100: the answer's ``logprobs``. On the NPU only with ``sampler="own"``.
            logits_processor: Function that may change the logits before each token is chosen. It is called
                with the ids of the tokens generated so far and a writable array of ``float32``, and returns
                an array or ``None``. An exception in it ends the run and is raised to the caller. On the NPU
                only with ``sampler="own"``.
            sampler: Who chooses the tokens: ``"library"`` (default), or ``"own"``, this package. On the CPU
                runtime both choose alike. On the NPU ``"own"`` takes one call of the library for each token,
                which is slow (since RKLLM 1.3.0).
            seed: Seed for sampling, 0 to 2**64 - 1. Default: random. The vendor's library does not support
                seeds: there this is ignored with one ``RkllmWarning`` per model, or raises if the model was
                opened with ``strict=True``.
            timeout: Total time limit in seconds for each turn, including the time in the queue and prefill,
                but not the time in the tools. Default: none.
            lora: Name of the LoRA adapter to use, see ``load_lora()``. Default: none.
            save_prompt_cache: File in which to save the prompt's KV cache, see ``load_prompt_cache()``.
            prompt_cache_dir: Folder that keeps the computed system messages and tools for other conversations
                and programs. Default: none. Since RKLLM 1.2.0.
            prompt_cache_bytes: Maximum size of that folder. Default: 1 GiB.
            reuse: How much of the prompt may be taken from the KV cache instead of being computed again.
                ``"auto"`` (default): all matching tokens; on the CPU runtime, greedy runs and runs with a
                seed reuse only what cannot change their answer. ``"fast"``: all matching tokens. ``False``:
                none. Since RKLLM 1.2.0.
            on_token: Function that is called with each ``ChatDelta``, on the thread that reads the answer. An
                exception in it ends the run and is raised to the caller.

        Returns:
            The conversation: ``send()``, ``send_stream()``, ``messages``, ``undo()``, ``fork()`` and
            ``save()``. ``AsyncConversation.load()`` reads one that was saved.

        Raises:
            ToolError: One of the tools cannot be a tool.
            InvalidArgumentError: ``now`` is out of range (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).

        Example:
            >>> talk = llm.conversation(system="Be brief.")  # doctest: +SKIP
            >>> answer = await talk.send("Why is the sky blue?")  # doctest: +SKIP
        """
        from .chat.async_conversation import AsyncConversation
        from .chat.history import History, begun

        self._check_turn("AsyncRKLLM.conversation", options)
        return AsyncConversation._of(self, History(begun(system), tools, now, options))

    def _check_turn(self, called: str, options: Mapping[str, _Anything]) -> None:
        """Refuses keywords that a turn of a conversation does not have."""
        check_turn(called, options)

    def _turn_stream(self, turn: Turn) -> ChatStream:
        """Starts the next answer of a turn of a conversation."""
        return self._begun(lambda llm: llm._turn_stream(turn), UnopenedChat)

    @typed
    async def render_chat(
        self,
        messages: Iterable[Mapping[str, Any]],
        *,
        tools: Iterable[Any] | None = None,
        thinking: bool | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> str:
        """Renders a conversation with the chat template and returns the text. The model does not run.

        The messages are rendered as they are. ``chat()`` changes them first for a template that has no
        place for tools or system messages.

        Args:
            messages: The conversation, as in ``chat()``.
            tools: The tools, as in ``chat()``.
            thinking: As in ``chat()``.
            template_kwargs: As in ``chat()``.
            add_generation_prompt: Add the text that starts the model's answer.
            continue_final_message: End with the last message, so that the model goes on with it. Nothing is
                added then.

        Returns:
            The text, with special tokens written out.

        Raises:
            TemplateError: There is no chat template, or it rejects the messages.
            InvalidArgumentError: A message is not valid (also a ``ValueError``).

        Example:
            >>> print(await llm.render_chat([{"role": "user", "content": "Hello"}]))  # doctest: +SKIP
        """
        return (await self._opened())._rendered(
            messages,
            add_generation_prompt,
            tools=tools,
            thinking=thinking,
            template_kwargs=template_kwargs,
            continue_final_message=continue_final_message,
        )

    @typed
    async def generate_batch(
        self, inputs: Sequence[Input], **options: Unpack[GenerateOptions]
    ) -> list[Generation]:
        """Answers several prompts in one run, with a model opened with ``n_batch``. Since RKLLM 1.2.1.

        Args:
            inputs: Exactly ``n_batch`` prompts.
            **options: Keywords of ``generate()``, described there. ``role`` and ``thinking`` also take a
                list with one value per prompt.

        Returns:
            One answer per prompt.

        Raises:
            RkllmError: Any error that ``generate()`` raises.
        """
        inputs = self._checked("AsyncRKLLM.generate_batch", "generate", inputs, options)
        streams = (await self._opened())._batch("AsyncRKLLM.generate_batch", inputs, options)
        return await all_finished(streams)

    @typed
    def stream_batch(self, inputs: Sequence[Input], **options: Unpack[GenerateOptions]) -> BatchStream:
        """Streams the answers to several prompts of one run. Returns at once. Since RKLLM 1.2.1.

        The model must be opened with ``n_batch``. Each answer ends on its own.

        Args:
            inputs: Exactly ``n_batch`` prompts.
            **options: Keywords of ``generate()``, described there. ``role`` and ``thinking`` also take a
                list with one value per prompt.

        Returns:
            One ``TokenStream`` per prompt.

        Raises:
            RkllmError: Any error that ``generate()`` raises.
        """
        llm = self._llm
        if llm is not None:
            return BatchStream(llm._batch("AsyncRKLLM.stream_batch", inputs, options))
        prompts = list(self._checked("AsyncRKLLM.stream_batch", "generate", inputs, options))
        rows: list[list[TokenStream]] = []

        def row(number: int) -> TokenStream:
            return self._begun(lambda llm: _batch_once(rows, llm, prompts, options)[number])

        return BatchStream([row(number) for number in range(len(prompts))])

    @typed
    def steps(
        self,
        input: Input,  # noqa: A002 - the field's word
        **options: Unpack[GenerateOptions],
    ) -> Steps:
        """Generates an answer and pauses after each token. Returns at once. Since RKLLM 1.2.1.

        While it is paused, the KV cache can be inspected and changed. ``send()`` replaces the token just
        generated. Other runs of the model wait until the steps end.

        Args:
            input: The prompt: text, ``Tokens``, ``Embeddings`` or ``Multimodal``.
            **options: Keywords of ``generate()``, described there; ``keep_history`` is not supported.

        Returns:
            A generator of ``Chunk`` for ``for`` and ``async for`` loops, with ``send()`` and ``close()``.

        Raises:
            RkllmError: Any error that ``generate()`` raises.
        """
        self._checked("AsyncRKLLM.steps", "steps", [input], options)
        steps: Steps = self._begun(lambda llm: llm._steps("AsyncRKLLM.steps", input, options), UnopenedSteps)
        return steps

    @typed
    async def logits(
        self,
        input: Input,  # noqa: A002 - the field's word
        **options: Unpack[RowOptions],
    ) -> FloatArray:
        """Computes the logits of every position (``RKLLM_INFER_GET_LOGITS``). Since RKLLM 1.2.0.

        The model's chat template is applied to text; use ``Tokens`` for exact positions.

        Args:
            input: Text, ``Tokens``, ``Embeddings`` or ``Multimodal``.
            **options: ``timeout``, ``lora``, ``keep_history``, ``role`` and ``thinking`` as in
                ``generate()``.

        Returns:
            float32 of shape (n, vocabulary), one row per position.

        Raises:
            UnsupportedFeatureError: The loaded release does not support it.
            GenerationError: The run failed, or the library returned no values.
            RkllmError: Any other error that ``generate()`` raises.
        """
        self._checked("AsyncRKLLM.logits", "rows", [input], options)
        (stream,) = (await self._opened())._rows("AsyncRKLLM.logits", [input], True, options)
        return await finished(stream)

    @typed
    async def logits_batch(self, inputs: Sequence[Input], **options: Unpack[RowOptions]) -> list[FloatArray]:
        """Computes the logits of several inputs in one run. Since RKLLM 1.2.1.

        Args:
            inputs: Exactly ``n_batch`` inputs.
            **options: ``timeout``, ``lora``, ``keep_history``, ``role`` and ``thinking`` as in
                ``generate()``. ``role`` and ``thinking`` also take a list with one value per input.

        Returns:
            One array of shape (n, vocabulary) per input.

        Raises:
            UnsupportedFeatureError: The loaded release does not support it.
            GenerationError: The run failed, or the library returned no values.
            RkllmError: Any other error that ``generate()`` raises.
        """
        inputs = self._checked("AsyncRKLLM.logits_batch", "rows", inputs, options)
        streams = (await self._opened())._rows("AsyncRKLLM.logits_batch", inputs, True, options)
        return await all_finished(streams)

    @typed
    def stream_logits(
        self,
        input: Input,  # noqa: A002 - the field's word
        **options: Unpack[RowOptions],
    ) -> ArrayStream:
        """Streams the logits block by block (``RKLLM_INFER_GET_LOGITS``). Returns at once. Since RKLLM 1.2.0.

        The model's chat template is applied to text; use ``Tokens`` for exact positions.

        Args:
            input: Text, ``Tokens``, ``Embeddings`` or ``Multimodal``.
            **options: ``timeout``, ``lora``, ``keep_history``, ``role`` and ``thinking`` as in
                ``generate()``.

        Returns:
            A stream of float32 arrays, one per callback of the library, for ``for`` and ``async for`` loops.

        Raises:
            UnsupportedFeatureError: The loaded release does not support it.
            GenerationError: The run failed, or the library returned no values.
            RkllmError: Any other error that ``generate()`` raises.
        """
        self._checked("AsyncRKLLM.stream_logits", "rows", [input], options)
        return self._begun(
            lambda llm: llm._rows("AsyncRKLLM.stream_logits", [input], True, options)[0], rows="logits"
        )

    @typed
    async def hidden_states(
        self,
        input: Input,  # noqa: A002 - the field's word
        **options: Unpack[RowOptions],
    ) -> FloatArray:
        """Computes the last layer's hidden states (``RKLLM_INFER_GET_LAST_HIDDEN_LAYER``).

        The model's chat template is applied to text; use ``Tokens`` for exact positions.

        Args:
            input: Text, ``Tokens``, ``Embeddings`` or ``Multimodal``.
            **options: ``timeout``, ``lora``, ``keep_history``, ``role`` and ``thinking`` as in
                ``generate()``.

        Returns:
            float32 of shape (n, width), one row per position.

        Raises:
            UnsupportedFeatureError: The loaded release does not support it.
            GenerationError: The run failed, or the library returned no values.
            RkllmError: Any other error that ``generate()`` raises.
        """
        self._checked("AsyncRKLLM.hidden_states", "rows", [input], options)
        (stream,) = (await self._opened())._rows("AsyncRKLLM.hidden_states", [input], False, options)
        return await finished(stream)

    @typed
    async def hidden_states_batch(
        self, inputs: Sequence[Input], **options: Unpack[RowOptions]
    ) -> list[FloatArray]:
        """Computes the hidden states of the last layer of several inputs in one run. Since RKLLM 1.2.1.

        Args:
            inputs: Exactly ``n_batch`` inputs.
            **options: ``timeout``, ``lora``, ``keep_history``, ``role`` and ``thinking`` as in
                ``generate()``. ``role`` and ``thinking`` also take a list with one value per input.

        Returns:
            One array of shape (n, width) per input.

        Raises:
            UnsupportedFeatureError: The loaded release does not support it.
            GenerationError: The run failed, or the library returned no values.
            RkllmError: Any other error that ``generate()`` raises.
        """
        inputs = self._checked("AsyncRKLLM.hidden_states_batch", "rows", inputs, options)
        streams = (await self._opened())._rows("AsyncRKLLM.hidden_states_batch", inputs, False, options)
        return await all_finished(streams)

    @typed
    def stream_hidden_states(
        self,
        input: Input,  # noqa: A002 - the field's word
        **options: Unpack[RowOptions],
    ) -> ArrayStream:
        """Streams the last layer's hidden states (``RKLLM_INFER_GET_LAST_HIDDEN_LAYER``). Returns at once.

        The model's chat template is applied to text; use ``Tokens`` for exact positions.

        Args:
            input: Text, ``Tokens``, ``Embeddings`` or ``Multimodal``.
            **options: ``timeout``, ``lora``, ``keep_history``, ``role`` and ``thinking`` as in
                ``generate()``.

        Returns:
            A stream of float32 arrays, one per callback of the library, for ``for`` and ``async for`` loops.

        Raises:
            UnsupportedFeatureError: The loaded release does not support it.
            GenerationError: The run failed, or the library returned no values.
            RkllmError: Any other error that ``generate()`` raises.
        """
        self._checked("AsyncRKLLM.stream_hidden_states", "rows", [input], options)
        return self._begun(
            lambda llm: llm._rows("AsyncRKLLM.stream_hidden_states", [input], False, options)[0],
            rows="hidden states",
        )

    @typed
    async def embed(
        self,
        texts: Input | Sequence[Input],
        *,
        pooling: Literal["last", "mean"] = "last",
        normalize: bool = True,
        timeout: float | None = None,
        lora: str | None = None,
    ) -> FloatArray:
        """Computes embeddings of texts from their hidden states.

        The model's chat template is applied to text; use ``Tokens`` for exact positions.

        Args:
            texts: One input, or a list of inputs.
            pooling: ``"last"`` takes the hidden state of the last position, ``"mean"`` the mean of all.
            normalize: Scale each vector to length 1.
            timeout: Time limit in seconds for each text. Default: none.
            lora: Name of the LoRA adapter to use. Default: none.

        Returns:
            float32: one vector for one input, shape (n, width) for a list.

        Raises:
            InvalidArgumentError: The list is empty, or ``pooling`` is unknown.
            RkllmError: Any error that ``hidden_states()`` raises.
        """
        _native.check_pooling(pooling, normalize)
        single, inputs = listed(texts)
        self._checked("AsyncRKLLM.embed", "rows", ["x"], {"timeout": timeout, "lora": lora})
        llm = await self._opened()
        states: list[FloatArray] = []
        for padded, wanted in groups(inputs, llm.n_batch):
            streams = llm._rows("AsyncRKLLM.embed", padded, False, {"timeout": timeout, "lora": lora})
            states += (await all_finished(streams))[:wanted]
        return await elsewhere(_native.pool, states, pooling, normalize, single)

    @typed
    async def score(
        self,
        prompt: str | Tokens,
        continuation: str | Tokens,
        *,
        timeout: float | None = None,
        lora: str | None = None,
    ) -> Score:
        """Computes how likely the model considers a continuation of a prompt. Since RKLLM 1.2.0.

        No chat template is applied. Prompt and continuation are tokenized separately, as by
        ``tokenize()``. If there is no tokenizer, pass ``Tokens``.

        Args:
            prompt: The text before the continuation. At least one token.
            continuation: The text to score. At least one token.
            timeout: Time limit in seconds. Default: none.
            lora: Name of the LoRA adapter to use. Default: none.

        Returns:
            Log-probabilities of the continuation's tokens, their sum, and the perplexity.

        Raises:
            UnsupportedFeatureError: Text cannot be tokenized.
            InvalidArgumentError: Prompt or continuation has no tokens.
            RkllmError: Any error that ``logits()`` raises.
        """
        check_tokens("prompt", prompt)
        check_tokens("continuation", continuation)
        self._checked("AsyncRKLLM.score", "rows", ["x"], {"timeout": timeout, "lora": lora})
        llm = await self._opened()
        before = await _ids(llm, "AsyncRKLLM.score", prompt, True)
        after = await _ids(llm, "AsyncRKLLM.score", continuation, False)
        scorer = _native.Scorer(before + after, len(after))
        (stream,) = llm._rows(
            "AsyncRKLLM.score", [Tokens(before + after)], True, {"timeout": timeout, "lora": lora}
        )
        async with stream:
            async for logits in stream:
                # The thread that reads the rows also frees them, which takes long.
                rows = [logits]
                del logits
                await elsewhere(_add_last, scorer, rows)
        return Score(after, scorer.logprobs())

    @typed
    async def tokenize(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Converts a text to token ids. No chat template is applied.

        Special tokens that are written out in the text, such as ``<|im_start|>``, become one token each. The
        CPU runtime has the model's tokenizer. The vendor's library has none: there ``tokenizer=`` of the
        model is used, else the file ``tokenizer.json`` in the folder of the model, which the package
        ``tokenizers`` reads (``pip install 'rkllm_rs[tokenizers]'``).

        Args:
            text: The text.
            add_special_tokens: Add the tokens that the model expects around a text, such as one for its
                beginning (BOS). A ``tokenizer=`` decides about them itself.

        Returns:
            The token ids; empty for an empty text, unless special tokens are added.

        Raises:
            UnsupportedFeatureError: There is no tokenizer; the message names the file that was looked for.
            ModelFormatError: ``tokenizer.json`` cannot be read.
            InvalidTypeError: An argument has the wrong type (also a ``TypeError``).
            ClosedError: The model is closed.

        Example:
            >>> await llm.tokenize("hello world")  # doctest: +SKIP
            [28120, 905]
        """
        from ._tokenizer import check_text

        check_text(text)
        check_flag("add_special_tokens", add_special_tokens)
        return await _ids(await self._opened(), "AsyncRKLLM.tokenize", text, add_special_tokens)

    @typed
    async def detokenize(self, token_ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Converts token ids to text.

        The CPU runtime has the model's tokenizer. With the vendor's library, which has none, the file
        ``tokenizer.json`` in the folder of the model is used; the package ``tokenizers`` reads it
        (``pip install 'rkllm_rs[tokenizers]'``).

        Args:
            token_ids: The token ids.
            skip_special_tokens: Leave special tokens, such as ``<|im_end|>``, out of the text.

        Returns:
            The text. Bytes that do not form a character become U+FFFD.

        Raises:
            UnsupportedFeatureError: There is no tokenizer; the message names the file that was looked for.
            ModelFormatError: ``tokenizer.json`` cannot be read.
            InvalidArgumentError: An id is negative or outside the vocabulary (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type (also a ``TypeError``).
            ClosedError: The model is closed.

        Example:
            >>> await llm.detokenize([28120, 905])  # doctest: +SKIP
            'hello world'
        """
        from ._tokenizer import checked_ids

        check_flag("skip_special_tokens", skip_special_tokens)
        ids = checked_ids(token_ids, None)
        llm = await self._opened()
        ids = checked_ids(ids, llm.info.vocab_size)
        begun = begin_text(llm._model, ids, skip_special_tokens)
        if begun is None:
            return await elsewhere(llm._decode, "AsyncRKLLM.detokenize", ids, skip_special_tokens)
        return await done(begun)

    @typed
    async def count_tokens(
        self,
        text: str | Iterable[Mapping[str, Any]],
        *,
        tools: Iterable[Any] | None = None,
        thinking: bool | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        """Counts the tokens of a text, or of a conversation as ``chat()`` sends it to the model.

        For messages it is ``perf.prompt_tokens`` of the same ``chat()``. No chat template is applied to a
        text: the count is the length of ``tokenize(text)``.

        Args:
            text: The text, or the messages of a conversation.
            tools: The tools of the conversation, as in ``chat()``.
            thinking: As in ``chat()``.
            template_kwargs: As in ``chat()``.

        Returns:
            The number of tokens.

        Raises:
            TemplateError: There is no chat template for the messages, or it rejects them.
            RkllmError: Any error that ``tokenize()`` raises.

        Example:
            >>> await llm.count_tokens("hello world")  # doctest: +SKIP
            2
        """
        from ._tokenizer import check_text, refuse_with_text

        if not isinstance(text, (str, bytes)) and hasattr(text, "__iter__"):
            llm = await self._opened()
            prompt = llm._prompt(text, tools, thinking, template_kwargs)
            return len(await _ids(llm, "AsyncRKLLM.count_tokens", prompt, False))
        check_text(text, "a str or a list of messages")
        refuse_with_text(tools, thinking, template_kwargs)
        return len(await _ids(await self._opened(), "AsyncRKLLM.count_tokens", str(text), True))

    @property
    def backend(self) -> Literal["npu", "cpu"]:
        """The backend that runs the model: ``"npu"`` or ``"cpu"``."""
        return self._ready().runtime.backend

    @property
    def runtime(self) -> Runtime:
        """The loaded library."""
        return self._ready().runtime

    @property
    def worker_pid(self) -> int | None:
        """Process ID of the worker of ``isolate=True``; ``None`` without one, or while none is alive."""
        return self._ready().worker_pid

    @property
    def model_path(self) -> str:
        """Path of the model's file."""
        return self._ready().model_path

    @property
    def max_context_len(self) -> int:
        """Size of the context window in tokens."""
        return self._ready().max_context_len

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens per answer, unless a call sets its own."""
        return self._ready().max_new_tokens

    @property
    def sampling(self) -> SamplingParams:
        """The model's sampling settings; every value is set."""
        return self._ready().sampling

    @property
    def n_batch(self) -> int:
        """Number of prompts per run."""
        return self._ready().n_batch

    @property
    def info(self) -> ModelInfo:
        """What is known about the model, and the source of each fact."""
        return self._ready().info

    @property
    def loras(self) -> tuple[LoraAdapter, ...]:
        """The loaded LoRA adapters, in the order in which they were loaded."""
        return self._ready().loras

    @typed
    async def load_lora(self, path: Path, *, name: str | None = None, scale: float = 1.0) -> None:
        """Loads a LoRA adapter (``rkllm_load_lora``). Calls select it with ``lora=``.

        An adapter cannot be unloaded.

        Args:
            path: The adapter, converted for the backend: ``.rkllm`` for the NPU, ``.gguf`` for the CPU.
            name: Name that selects it in calls. Default: the file's name without the suffix.
            scale: Strength of the adapter.

        Raises:
            FileMissingError: The file does not exist (also a ``FileNotFoundError``).
            ModelFormatError: The file is not an adapter for this model.
            InvalidArgumentError: The name is already taken.
            GenerationError: The library refused the adapter.
        """
        await done((await self._opened())._model.load_lora(path, name, scale))

    @typed
    async def load_prompt_cache(self, path: Path, *, verify: bool = True) -> None:
        """Loads a prompt cache written by ``save_prompt_cache=`` (``rkllm_load_prompt_cache``).

        Prompts that begin with the cached text do not compute that part again.

        Args:
            path: The prompt cache.
            verify: Check, with its metadata file, that the cache is intact and was made with this model and
                library.

        Raises:
            FileMissingError: The file does not exist (also a ``FileNotFoundError``).
            PromptCacheError: Made by another model or library, damaged, or without a metadata file.
            GenerationError: The library refused the cache.
        """
        await done((await self._opened())._model.load_prompt_cache(path, verify))

    @typed
    async def release_prompt_cache(self) -> None:
        """Releases the loaded prompt cache (``rkllm_release_prompt_cache``).

        Raises:
            GenerationError: The library reported an error.
        """
        await done((await self._opened())._model.release_prompt_cache())

    @typed
    async def clear_kv_cache(
        self, *, keep_system_prompt: bool = False, ranges: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Clears the KV cache, or removes ranges of it (``rkllm_clear_kv_cache``).

        Clearing the whole cache in the middle of ``steps()`` ends them.

        Args:
            keep_system_prompt: Keep the system prompt in the cache.
            ranges: One ``(start, end)`` per prompt, the end exclusive. Only between the tokens of
                ``steps()``. Since RKLLM 1.2.1.

        Raises:
            UnsupportedFeatureError: Before RKLLM 1.2.0; ``ranges`` before 1.2.1.
            InvalidArgumentError: A range lies outside the cache, or no steps are paused.
            GenerationError: The library reported an error.
        """
        await done(
            (await self._opened())._model.clear_kv_cache(keep_system_prompt=keep_system_prompt, ranges=ranges)
        )

    @typed
    async def kv_cache_size(self) -> int | Any:
        """Returns the number of tokens in the KV cache (``rkllm_get_kv_cache_size``). Since RKLLM 1.2.1.

        Returns:
            The number of tokens. With ``n_batch`` above 1, a list with one number per prompt.

        Raises:
            UnsupportedFeatureError: Before RKLLM 1.2.1.
            GenerationError: The library reported an error.
        """
        llm = await self._opened()
        sizes = await done(llm._model.kv_cache_size())
        return sizes if llm.n_batch > 1 else sizes[0]

    @typed
    async def set_chat_template(
        self, system_prompt: str = "", prompt_prefix: str = "", prompt_postfix: str = ""
    ) -> None:
        """Replaces the model's chat template (``rkllm_set_chat_template``).

        Three empty strings turn the template off. To get the model's own back, open the model again. Before
        RKLLM 1.2.0, which has no templates, the strings are added to each text by this package.

        Args:
            system_prompt: The system prompt, including the markers that the model expects around it.
            prompt_prefix: Text before each prompt.
            prompt_postfix: Text after each prompt.

        Raises:
            InvalidArgumentError: A string contains a NUL character.
            GenerationError: The library reported an error.
        """
        await done(
            (await self._opened())._model.set_chat_template(system_prompt, prompt_prefix, prompt_postfix)
        )

    @typed
    async def set_function_tools(
        self,
        tools: str | Sequence[Mapping[str, object]],
        *,
        system_prompt: str = "",
        tool_response_str: str = "tool_response",
    ) -> None:
        """Tells the model which functions it can call (``rkllm_set_function_tools``). Since RKLLM 1.2.1.

        The model writes its calls into the answer. Pass their results as a prompt with ``role="tool"``.

        Args:
            tools: The functions: a list of dictionaries in the OpenAI format, or the same as JSON.
            system_prompt: The system prompt.
            tool_response_str: Tag that encloses the results.

        Raises:
            UnsupportedFeatureError: Before RKLLM 1.2.1.
            InvalidArgumentError: Not a JSON array of objects, or the chat template has been replaced.
            GenerationError: The library refused, for example because the model has no chat template.
        """
        text = as_json(tools)
        await done((await self._opened())._model.set_function_tools(text, system_prompt, tool_response_str))

    @typed
    async def set_cross_attention(self, encoder: CrossAttention) -> None:
        """Sets the encoder output for cross attention (``rkllm_set_cross_attn_params``). Since RKLLM 1.2.1.

        All following runs use it. The model must be opened with ``use_cross_attn=True``.

        Args:
            encoder: Keys and values of the encoder, mask and positions.

        Raises:
            UnsupportedFeatureError: Before RKLLM 1.2.1.
            InvalidArgumentError: The model was opened without ``use_cross_attn``.
            GenerationError: The library reported an error.
        """
        await done((await self._opened())._model.set_cross_attention(encoder))

    @property
    def closed(self) -> bool:
        """Whether the model is closed; ``False`` before it is open."""
        return self._closed if self._llm is None else self._llm.closed

    @typed
    async def close(self) -> None:
        """Closes the model (``rkllm_destroy``) and ends its runs. Calling it again does nothing.

        Returns when the library has freed an idle model. If the library is busy, it is asked to stop, and
        frees the model in the background.
        """
        self._closed = True
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.fail(closed_error())
        if self._llm is not None:
            await elsewhere(self._llm.close)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: object,
    ) -> None:
        await self.close()

    if not TYPE_CHECKING:  # a type checker would take every name for one
        __call__ = Misuse(
            "{} objects cannot be called", "Write `await llm.generate(...)`, or `await llm.chat(...)`."
        )
        __enter__ = Misuse("{} cannot be used with `with`", _ENTERED)
        __exit__ = Misuse("{} cannot be used with `with`", _ENTERED)

        def __getattr__(self, name: str) -> object:
            """Answers the name of a method of another package with the right one."""
            if name.startswith("_"):
                message = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(message)
            from ._keywords import no_attribute

            raise no_attribute(self, name)

    def __reduce_ex__(self, protocol: object, /) -> str | tuple[object, ...]:
        """Refuses ``copy`` and ``pickle``: an open model belongs to its process.

        Raises:
            InvalidTypeError: Always (also a ``TypeError``).
        """
        from .errors import InvalidTypeError

        message = "a model cannot be copied or pickled"
        raise InvalidTypeError(message, hint="Share the one object between tasks, or open the model again.")

    def __repr__(self) -> str:
        if self._llm is not None:
            return repr(self._llm).replace("RKLLM", "AsyncRKLLM", 1)
        return f"<rkllm_rs.AsyncRKLLM {self._given[0]!r} ({'closed' if self._closed else 'not open yet'})>"


if not TYPE_CHECKING:
    Self = AsyncRKLLM  # for typing.get_type_hints()
    AsyncConversation = object  # likewise; imported on its first use


def _batch_once(
    rows: list[list[TokenStream]], llm: RKLLM, inputs: list[Input], options: GenerateOptions
) -> list[TokenStream]:
    """Starts a batch when the first of its rows is used."""
    if not rows:
        rows.append(llm._batch("AsyncRKLLM.stream_batch", inputs, options))
    return rows[0]


async def _ids(llm: RKLLM, called: str, text: str | Tokens, leading: bool) -> list[int]:  # noqa: FBT001
    """The ids of a text, by whatever this model has."""
    ids = begin_ids(llm._model, text, leading)
    if ids is None:
        return await elsewhere(llm._encode, called, str(text), leading)
    return ids if isinstance(ids, list) else await done(ids)


def _add_last(scorer: _native.Scorer, rows: list[FloatArray]) -> None:
    scorer.add(rows.pop())
