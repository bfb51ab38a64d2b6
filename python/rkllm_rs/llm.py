"""``RKLLM``: an open model, synchronous.

Long because it is one class, and its docstrings are what people read first: ``RKLLM()``, ``generate`` and
``stream`` each describe all of their arguments.
"""

from __future__ import annotations

import os

from . import _native
from ._library import PACKAGE, Path, options
from ._native import (
    ArrayStream,
    ChatAnswer,
    ChatStream,
    CrossAttention,
    Embeddings,
    FloatArray,
    Generation,
    LoraAdapter,
    ModelInfo,
    Multimodal,
    Runtime,
    SamplingParams,
    Steps,
    Tokens,
    TokenStream,
)
from ._typed import Answering, Misuse, refuse, taken, typed
from ._types import (
    CHAT_KEYWORDS,
    TURN_KEYWORDS,
    Any,
    Callable,
    ChatDelta,  # noqa: F401  # pyright: ignore[reportUnusedImport]  # in the annotations of ChatOptions
    ChatOptions,
    Floats,
    GenerateOptions,
    Input,
    Iterable,
    Iterator,
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as _Anything

    from typing_extensions import Self

    from ._tokenizer import FileTokenizer
    from .chat.conversation import Conversation
    from .chat.history import Turn
    from .errors import ClosedError, UnsupportedFeatureError
    from .results import BatchStream, Score

    # With what a library is searched, and how a worker is to be treated if there is to be one.
    _Where = tuple[tuple[str, Path | None, str | None, str, str | None], dict[str, _Anything] | None]


_ENTERED = "Write `with RKLLM(...) as llm:`; AsyncRKLLM is for coroutines, with `async with`."


class RKLLM(metaclass=Answering):
    """An open model (``LLMHandle``). ``AsyncRKLLM`` is the same for event loops.

    Use it in a ``with`` block, or call ``close()``.

    Thread safety: all methods may be called from any thread. Runs of one model are served one after the
    other, in the order of the calls. ``close()`` may be called while other threads use the model; their
    unfinished runs then raise ``ClosedError``.

    Example:
        >>> with RKLLM("model.gguf", temperature=0.7) as llm:  # doctest: +SKIP
        ...     print(llm.generate("Why is the sky blue?", max_new_tokens=64).text)
        ...     for chunk in llm.stream("Tell a story."):
        ...         print(chunk.text, end="", flush=True)
    """

    __slots__ = ("__weakref__", "_chat", "_countless", "_model", "_strict", "_talk", "_tokenizer", "_warned")

    _chat: _native.Chat | None
    _model: _native.Model
    _talk: dict[str, _Anything]
    _strict: bool
    _tokenizer: FileTokenizer | None
    _countless: bool
    _warned: set[str]

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
        """Loads the library and the model (``rkllm_init``).

        Ctrl-C during the load raises immediately; the load then ends in the background.

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
        models, where, settings = to_open("RKLLM", locals())
        path, runtime, notes, fallback = resolve(models, where, strict=strict)
        if strict and fallback:
            raise lacking([fallback])
        if notes or fallback:
            warn(notes, fallback)
        self._talk = talk(chat_template, family)
        # What is wrong with a template is told before the model is loaded.
        self._chat = _native.Chat(path, **self._talk) if self._talk else None
        self._strict = strict
        self._tokenizer = None
        self._countless = False
        self._warned = set()
        settings = shown(path, runtime, self._talk, settings)
        self._model = _native.Model.open(runtime, path, **settings).result()
        advise(self._model, strict, "max_context_len" in settings)

    @classmethod
    def _of(
        cls,
        model: _native.Model,
        *,
        strict: bool = False,
        talk: dict[str, _Anything] | None = None,
        chat: _native.Chat | None = None,
    ) -> Self:
        """Wraps a model that is open."""
        llm = cls.__new__(cls)
        llm._chat = chat
        llm._model = model
        llm._talk = talk or {}
        llm._strict = strict
        llm._tokenizer = None
        llm._countless = False
        llm._warned = set()
        return llm

    def _able(self, options: Mapping[str, _Anything]) -> Mapping[str, _Anything]:
        """Leaves out, with a warning, what the library lacks and the result is useful without."""
        if self._strict or (options.get("seed") is None and options.get("reuse") is None):
            return options
        lacks = lacked(options, self._model.runtime.capabilities)
        new = [lacks[name] for name in lacks if name not in self._warned]
        if new:
            warn(new, None)
            self._warned.update(lacks)
        return {name: value for name, value in options.items() if name not in lacks}

    def _stream(self, called: str, input: Input, options: Mapping[str, _Anything]) -> TokenStream:  # noqa: A002
        """Starts a run, for the call of the name ``called``."""
        if "seed" in options or "reuse" in options:
            options = self._able(options)
        return self._model.stream(input, called, options)

    def _batch(self, called: str, inputs: Sequence[Input], options: GenerateOptions) -> list[TokenStream]:
        """Starts a run of several inputs, for the call of the name ``called``."""
        return self._model.stream_batch(inputs, called, self._able(options))

    def _steps(self, called: str, input: Input, options: GenerateOptions) -> Steps:  # noqa: A002
        """Starts a run that pauses after each token, for the call of the name ``called``."""
        return self._model.steps(input, called, self._able(options))

    def _rows(
        self,
        called: str,
        inputs: Sequence[Input],
        logits: bool,  # noqa: FBT001
        options: RowOptions,
    ) -> list[ArrayStream]:
        """Starts a run that gives rows of floats, for the call of the name ``called``."""
        return self._model.stream_rows(inputs, called, logits, options)

    def _template(self, chat_template: Path | None = None) -> _native.Chat:
        """How the model is talked to: by its own chat template, or by the one of a call."""
        file = self._model.file
        if chat_template is not None:
            return _native.Chat(file, chat_template=chat_template, family=self._talk.get("family"))
        if self._chat is None:
            self._chat = _native.Chat(file, **self._talk)
        return self._chat

    def _chat_stream(self, called: str, call: dict[str, _Anything]) -> ChatStream:
        """Starts the answer of a conversation, for the call of the name ``called``."""
        template = self._template(call.pop("chat_template", None))
        messages = call.pop("messages")
        return template.stream(self._model, messages, called, self._able(call), self._counter())

    def _rendered(
        self,
        messages: Iterable[Mapping[str, _Anything]],
        add_generation_prompt: bool,  # noqa: FBT001 - as the call has it
        **keywords: _Anything,
    ) -> str:
        """What ``render_chat()`` returns."""
        check_flag("add_generation_prompt", add_generation_prompt)
        keywords["tools"] = schemas(keywords["tools"])
        return self._template().render(
            listed_messages(messages), "render_chat", add_generation_prompt, keywords
        )

    def _prompt(
        self,
        messages: _Anything,
        tools: Iterable[_Anything] | None,
        thinking: bool | None,  # noqa: FBT001 - as the call has it
        template_kwargs: Mapping[str, _Anything] | None,
        continue_final_message: bool = False,  # noqa: FBT001, FBT002 - likewise
    ) -> str:
        """What ``chat()`` gives to the model for these messages."""
        rendered = {
            "tools": schemas(tools),
            "thinking": thinking,
            "template_kwargs": template_kwargs,
            "continue_final_message": continue_final_message,
        }
        return self._template().prompt(listed_messages(messages), "count_tokens", rendered)

    def _from_file(self, called: str) -> FileTokenizer:
        """The ``tokenizer.json`` beside the model, for the call of the name ``called``; reads it once."""
        if self._tokenizer is None:
            from ._tokenizer import FileTokenizer

            self._tokenizer = FileTokenizer(self._model.file, called)
        return self._tokenizer

    def _reads_tokenizer(self) -> bool:
        """Whether the next chat reads ``tokenizer.json``, which takes a moment."""
        if self._countless or self._tokenizer is not None or self._model.has_tokenizer:
            return False
        if "tokenize" in self._model.runtime.capabilities:
            return False
        from ._tokenizer import usable

        self._countless = not usable(self._model.file)
        return not self._countless

    def _counter(self) -> Callable[[str], list[int]] | None:
        """What counts the tokens of a chat where the library cannot; ``None`` where nothing can."""
        if self._reads_tokenizer():
            from .errors import ModelFormatError

            try:
                self._from_file("chat")
            except ModelFormatError as error:
                self._countless = True
                warn([f"tokens of chats are not counted: {error}"], None)
        if self._model.has_tokenizer:
            return lambda text: self._ids("chat", text, False)
        tokenizer = self._tokenizer
        if tokenizer is None or "tokenize" in self._model.runtime.capabilities:
            return None
        return lambda text: tokenizer.encode(text, False)

    def _encode(self, called: str, text: str, leading: bool) -> list[int]:  # noqa: FBT001
        """The ids of a text by ``tokenizer.json``."""
        return self._from_file(called).encode(text, leading)

    def _decode(self, called: str, ids: list[int], skip_special: bool) -> str:  # noqa: FBT001
        """The text of ids by ``tokenizer.json``."""
        return self._from_file(called).decode(ids, skip_special)

    def _ids(self, called: str, text: str | Tokens, leading: bool) -> list[int]:  # noqa: FBT001
        """The ids of a text, by whatever this model has."""
        ids = begin_ids(self._model, text, leading)
        if ids is None:
            return self._encode(called, str(text), leading)
        return ids if isinstance(ids, list) else ids.result()

    @takes_keywords
    def generate(
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
            >>> answer = llm.generate(
            ...     "Why is the sky blue?", max_new_tokens=64, temperature=0.7
            ... )  # doctest: +SKIP
            >>> answer.text, answer.finish_reason  # doctest: +SKIP
            ('Because air scatters blue light more than red light.', 'stop')
        """
        if _surplus or "input" in options:
            input = taken("generate", input, _surplus, options)  # noqa: A001 - the field's word
        return self._stream("generate", input, options).result()

    @takes_keywords
    def stream(
        self,
        input: Input,  # noqa: A002 - the field's word
        *_surplus: Never,
        **options: Unpack[PromptOptions],
    ) -> TokenStream:
        """Starts to generate an answer and returns a stream of its chunks (``rkllm_run``).

        Returns at once. The stream works in ``for`` and ``async for`` loops. A run ends early when its stream
        is closed, cancelled or no longer used.

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
            >>> for chunk in llm.stream("Tell a story.", max_new_tokens=200):  # doctest: +SKIP
            ...     print(chunk.text, end="", flush=True)
        """
        if _surplus or "input" in options:
            input = taken("stream", input, _surplus, options)  # noqa: A001 - the field's word
        # Not by `_stream`: what a call does until the model begins takes the longest where caches are cold.
        able = self._able(options) if "seed" in options or "reuse" in options else options
        return self._model.stream(input, "stream", able)

    @shows(ChatOptions)
    @typed
    def chat(
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
            >>> answer = llm.chat(messages, max_new_tokens=64)  # doctest: +SKIP
            >>> messages.append(answer.message)  # doctest: +SKIP
        """
        return self._chat_stream("chat", chat_call("chat", locals())).result()

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

        Returns at once. The stream works in ``for`` and ``async for`` loops. A run ends early when its stream
        is closed, cancelled or no longer used.

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
            >>> for delta in llm.chat_stream(messages):  # doctest: +SKIP
            ...     print(delta.content, end="", flush=True)
        """
        return self._chat_stream("chat_stream", chat_call("chat_stream", locals()))

    @shows(ToolOptions)
    @typed
    def run_tools(
        self,
        messages: Iterable[Mapping[str, Any]],
        *,
        tools: Iterable[Any],
        max_rounds: int = 8,
        **options: Unpack[ToolOptions],
    ) -> ChatAnswer:
        """Answers a conversation, and calls the tools that the model asks for until it asks for none.

        The model gets what a tool returns, or the exception that it raises. A call with wrong arguments is
        not made: the model gets what is wrong with it. Asynchronous functions are awaited.

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
            >>> answer = llm.run_tools(messages, tools=[get_weather])  # doctest: +SKIP
        """
        from .chat.rounds import Rounds, runnable
        from .chat.tools import ToolLoop

        self._check_turn("run_tools", options)
        rounds = Rounds(messages, runnable(tools), max_rounds, options.get("timeout"))
        with ToolLoop() as loop:
            while True:
                answer = self.chat(rounds.messages, tools=rounds.tools, **rounds.options(options))
                if rounds.is_over(answer):
                    return answer
                rounds.run_calls(answer, loop)

    @shows(ToolOptions)
    @typed
    def conversation(
        self,
        *,
        system: str | None = None,
        tools: Iterable[Any] | None = None,
        now: float | None = None,
        **options: Unpack[ToolOptions],
    ) -> Conversation:
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
            ``save()``. ``Conversation.load()`` reads one that was saved.

        Raises:
            ToolError: One of the tools cannot be a tool.
            InvalidArgumentError: ``now`` is out of range (also a ``ValueError``).
            InvalidTypeError: An argument has the wrong type, or an unknown name (also a ``TypeError``).

        Example:
            >>> talk = llm.conversation(system="Be brief.")  # doctest: +SKIP
            >>> print(talk.send("Why is the sky blue?").content)  # doctest: +SKIP
        """
        from .chat.conversation import Conversation
        from .chat.history import History, begun

        self._check_turn("conversation", options)
        return Conversation._of(self, History(begun(system), tools, now, options))

    def _check_turn(self, called: str, options: Mapping[str, _Anything]) -> None:
        """Refuses keywords that a turn of a conversation does not have."""
        check_turn(called, options)

    def _turn_stream(self, turn: Turn) -> ChatStream:
        """Starts the next answer of a turn of a conversation."""
        call = {**turn.options(), "messages": turn.messages, "now": turn.now}
        return self._chat_stream("chat", {**call, "tools": turn.tools.schemas or None})

    @typed
    def render_chat(
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
            >>> print(llm.render_chat([{"role": "user", "content": "Hello"}]))  # doctest: +SKIP
        """
        return self._rendered(
            messages,
            add_generation_prompt,
            tools=tools,
            thinking=thinking,
            template_kwargs=template_kwargs,
            continue_final_message=continue_final_message,
        )

    @typed
    def generate_batch(self, inputs: Sequence[Input], **options: Unpack[GenerateOptions]) -> list[Generation]:
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
        from .results import all_results

        return all_results(self._batch("generate_batch", inputs, options))

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
        from .results import BatchStream

        return BatchStream(self._batch("stream_batch", inputs, options))

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
        return self._steps("steps", input, options)

    @typed
    def logits(
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
        (stream,) = self._rows("logits", [input], True, options)
        return stream.result()

    @typed
    def logits_batch(self, inputs: Sequence[Input], **options: Unpack[RowOptions]) -> list[FloatArray]:
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
        from .results import all_results

        return all_results(self._rows("logits_batch", inputs, True, options))

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
        (stream,) = self._rows("stream_logits", [input], True, options)
        return stream

    @typed
    def hidden_states(
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
        (stream,) = self._rows("hidden_states", [input], False, options)
        return stream.result()

    @typed
    def hidden_states_batch(self, inputs: Sequence[Input], **options: Unpack[RowOptions]) -> list[FloatArray]:
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
        from .results import all_results

        return all_results(self._rows("hidden_states_batch", inputs, False, options))

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
        (stream,) = self._rows("stream_hidden_states", [input], False, options)
        return stream

    @typed
    def embed(
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
        from .results import all_results

        _native.check_pooling(pooling, normalize)
        single, inputs = listed(texts)
        states: list[FloatArray] = []
        for padded, wanted in groups(inputs, self.n_batch):
            streams = self._rows("embed", padded, False, {"timeout": timeout, "lora": lora})
            states += all_results(streams)[:wanted]
        return _native.pool(states, pooling, normalize, single)

    @typed
    def score(
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
        from .results import Score

        check_tokens("prompt", prompt)
        check_tokens("continuation", continuation)
        before = self._ids("score", prompt, True)
        after = self._ids("score", continuation, False)
        scorer = _native.Scorer(before + after, len(after))
        (stream,) = self._rows("score", [Tokens(before + after)], True, {"timeout": timeout, "lora": lora})
        for logits in stream:
            scorer.add(logits)
        return Score(after, scorer.logprobs())

    @typed
    def tokenize(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
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
            >>> llm.tokenize("hello world")  # doctest: +SKIP
            [28120, 905]
        """
        from ._tokenizer import check_text

        check_text(text)
        check_flag("add_special_tokens", add_special_tokens)
        return self._ids("tokenize", text, add_special_tokens)

    @typed
    def detokenize(self, token_ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
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
            >>> llm.detokenize([28120, 905])  # doctest: +SKIP
            'hello world'
        """
        from ._tokenizer import checked_ids

        check_flag("skip_special_tokens", skip_special_tokens)
        ids = checked_ids(token_ids, self.info.vocab_size)
        begun = begin_text(self._model, ids, skip_special_tokens)
        if begun is None:
            return self._decode("detokenize", ids, skip_special_tokens)
        return begun.result()

    @typed
    def count_tokens(
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
            >>> llm.count_tokens("hello world")  # doctest: +SKIP
            2
        """
        from ._tokenizer import check_text, refuse_with_text

        if not isinstance(text, (str, bytes)) and hasattr(text, "__iter__"):
            prompt = self._prompt(text, tools, thinking, template_kwargs)
            return len(self._ids("count_tokens", prompt, False))
        check_text(text, "a str or a list of messages")
        refuse_with_text(tools, thinking, template_kwargs)
        return len(self._ids("count_tokens", str(text), True))

    @property
    def backend(self) -> Literal["npu", "cpu"]:
        """The backend that runs the model: ``"npu"`` or ``"cpu"``."""
        return self._model.runtime.backend

    @property
    def runtime(self) -> Runtime:
        """The loaded library."""
        return self._model.runtime

    @property
    def worker_pid(self) -> int | None:
        """Process ID of the worker of ``isolate=True``; ``None`` without one, or while none is alive."""
        return self._model.worker_pid

    @property
    def model_path(self) -> str:
        """Path of the model's file."""
        return self._model.path

    @property
    def max_context_len(self) -> int:
        """Size of the context window in tokens."""
        return self._model.max_context_len

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens per answer, unless a call sets its own."""
        return self._model.max_new_tokens

    @property
    def sampling(self) -> SamplingParams:
        """The model's sampling settings; every value is set."""
        return self._model.sampling

    @property
    def n_batch(self) -> int:
        """Number of prompts per run."""
        return self._model.n_batch

    @property
    def info(self) -> ModelInfo:
        """What is known about the model, and the source of each fact."""
        return self._model.info

    @property
    def loras(self) -> tuple[LoraAdapter, ...]:
        """The loaded LoRA adapters, in the order in which they were loaded."""
        return tuple(self._model.loras)

    @typed
    def load_lora(self, path: Path, *, name: str | None = None, scale: float = 1.0) -> None:
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
        self._model.load_lora(path, name, scale).result()

    @typed
    def load_prompt_cache(self, path: Path, *, verify: bool = True) -> None:
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
        self._model.load_prompt_cache(path, verify).result()

    @typed
    def release_prompt_cache(self) -> None:
        """Releases the loaded prompt cache (``rkllm_release_prompt_cache``).

        Raises:
            GenerationError: The library reported an error.
        """
        self._model.release_prompt_cache().result()

    @typed
    def clear_kv_cache(
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
        self._model.clear_kv_cache(keep_system_prompt=keep_system_prompt, ranges=ranges).result()

    @typed
    def kv_cache_size(self) -> int | Any:
        """Returns the number of tokens in the KV cache (``rkllm_get_kv_cache_size``). Since RKLLM 1.2.1.

        Returns:
            The number of tokens. With ``n_batch`` above 1, a list with one number per prompt.

        Raises:
            UnsupportedFeatureError: Before RKLLM 1.2.1.
            GenerationError: The library reported an error.
        """
        sizes = self._model.kv_cache_size().result()
        return sizes if self.n_batch > 1 else sizes[0]

    @typed
    def set_chat_template(
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
        self._model.set_chat_template(system_prompt, prompt_prefix, prompt_postfix).result()

    @typed
    def set_function_tools(
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
        self._model.set_function_tools(as_json(tools), system_prompt, tool_response_str).result()

    @typed
    def set_cross_attention(self, encoder: CrossAttention) -> None:
        """Sets the encoder output for cross attention (``rkllm_set_cross_attn_params``). Since RKLLM 1.2.1.

        All following runs use it. The model must be opened with ``use_cross_attn=True``.

        Args:
            encoder: Keys and values of the encoder, mask and positions.

        Raises:
            UnsupportedFeatureError: Before RKLLM 1.2.1.
            InvalidArgumentError: The model was opened without ``use_cross_attn``.
            GenerationError: The library reported an error.
        """
        self._model.set_cross_attention(encoder).result()

    @property
    def closed(self) -> bool:
        """Whether the model is closed."""
        return self._model.closed

    @typed
    def close(self) -> None:
        """Closes the model (``rkllm_destroy``) and ends its runs. Calling it again does nothing.

        Returns at once. If the library is busy, it is asked to stop, and frees the model in the background.
        """
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: object,
    ) -> None:
        self.close()

    if not TYPE_CHECKING:  # a type checker would take every name for one
        __call__ = Misuse(
            "{} objects cannot be called", "Write llm.generate(...), or llm.chat(...) for messages."
        )
        __aenter__ = Misuse("{} cannot be used with `async with`", _ENTERED)
        __aexit__ = Misuse("{} cannot be used with `async with`", _ENTERED)

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

        message = "an open model cannot be copied or pickled"
        hint = "Share the one object between threads and tasks, or open the model again by its model_path."
        raise InvalidTypeError(message, hint=hint)

    def __repr__(self) -> str:
        model: _native.Model | None = getattr(self, "_model", None)
        if model is None:
            return "<rkllm_rs.RKLLM (not opened)>"
        state = "closed" if model.closed else f"{self.backend}, context {model.max_context_len}"
        return f"<rkllm_rs.RKLLM {os.path.basename(model.path)!r} ({state}, {self.runtime.identity.abi})>"


if not TYPE_CHECKING:
    Self = RKLLM  # for typing.get_type_hints()
    BatchStream = Conversation = Score = object  # likewise; imported on their first use


#: Local variables of a call that are not its keywords.
_NOT_KEYWORDS = frozenset({"self", "input", "unknown"})


def given(scope: Mapping[str, _Anything]) -> dict[str, _Anything]:
    """Picks what a call was given out of its local variables; ``None`` is the same as nothing.

    Args:
        scope: The ``locals()`` at its begin.

    Returns:
        Its keywords, unknown ones too, which the native side refuses.
    """
    keywords = {
        name: value for name, value in scope.items() if value is not None and name not in _NOT_KEYWORDS
    }
    keywords.update(scope["unknown"])
    return keywords


def to_open(called: str, scope: Mapping[str, _Anything]) -> tuple[_Anything, _Where, dict[str, _Anything]]:
    """Sorts what a class was given to open a model, and checks it as far as no library is needed for that.

    Args:
        called: The name of the class.
        scope: The ``locals()`` at the begin of its ``__init__``.

    Returns:
        The model's file or files, with what the library is searched, and the settings of the model.

    Raises:
        InvalidArgumentError: A setting that can never be right.
        InvalidTypeError: One of the wrong type, or a keyword that there is not.
    """
    # What can go wrong from here on may leave no way to import it then.
    from . import _isolation, errors  # noqa: F401  # pyright: ignore[reportUnusedImport]

    refuse(called, scope["unknown"])
    keywords = given(scope) | {"open_timeout": scope["open_timeout"]}
    for name in ("model", "strict", "chat_template", "family"):
        keywords.pop(name, None)
    mask: _Anything = keywords.get("enabled_cpus_mask")
    if hasattr(mask, "__next__"):
        keywords["enabled_cpus_mask"] = list(mask)
    isolation = {name: scope[name] for name in ("isolate", "restart", "kill_after")}
    for name in isolation:
        keywords.pop(name, None)
    isolated = _isolation.wanted(**isolation)
    if talked := talk(scope["chat_template"], scope["family"]):
        _native.check_chat(called, talked)
    searched = (keywords.pop(name, None) for name in ("library", "backend", "abi", "vendor_log"))
    where = options(*searched)
    models: _Anything = scope["model"]
    if hasattr(models, "__next__"):
        models = list(models)
    check_flag("strict", scope["strict"])
    _native.check_opening(models, where, **keywords)
    return models, (where, isolation if isolated else None), keywords


def shown(
    path: str, runtime: Runtime, talk: dict[str, _Anything], settings: dict[str, _Anything]
) -> dict[str, _Anything]:
    """The settings of a model, and special tokens shown if its family writes tool calls with them.

    Args:
        path: The model's file.
        runtime: The library.
        talk: What was said of its chat template.
        settings: What was given.
    """
    if runtime.backend != "npu" or settings.get("skip_special_token") is not None:
        return settings
    return {**settings, "end_marks": _native.Chat.end_marks(path, **talk)}


def resolve(
    model: Path | Sequence[Path],
    where: _Where,
    still: Callable[[], bool] | None = None,
    *,
    strict: bool = False,
) -> tuple[str, Runtime, list[str], str | None]:
    """Chooses the model's file and loads the library: here, or in a worker if that is wanted.

    Args:
        model: As for ``RKLLM``.
        where: What ``to_open`` gave first.
        still: Tells whether that is still wanted. If not, a worker is ended; a library that is loaded here
            cannot be kept from it.
        strict: Raise an error if the NPU lock cannot be used.

    Returns:
        The file, the library, notes, and why the NPU is not taken.
    """
    searched, isolation = where
    if isolation is None:
        return _native.resolve(model, searched, strict=strict)
    from . import _isolation

    return _native.resolve_isolated(
        model,
        searched,
        program=_isolation.command(),
        restart=isolation["restart"],
        kill_after=isolation["kill_after"],
        still=still,
        strict=strict,
    )


def talk(chat_template: Path | None, family: str | None) -> dict[str, _Anything]:
    """Keeps what a class was given about conversations."""
    both = {"chat_template": chat_template, "family": family}
    return {name: value for name, value in both.items() if value is not None}


def chat_call(called: str, scope: Mapping[str, _Anything]) -> dict[str, _Anything]:
    """Collects what a chat was given.

    Args:
        called: The name of the method, with that of its class.
        scope: The ``locals()`` at its begin.

    Returns:
        Its arguments by name, with tools as a chat template shows them.

    Raises:
        InvalidTypeError: A keyword that a chat does not have.
    """
    refuse(called, {name: None for name in scope["options"] if name not in CHAT_KEYWORDS})
    own = {name: value for name, value in scope.items() if name not in ("self", "options")}
    call = {name: value for name, value in (own | scope["options"]).items() if value is not None}
    call["messages"] = listed_messages(scope["messages"])
    call["tools"] = schemas(scope["tools"])
    return call


def check_turn(called: str, options: Mapping[str, _Anything]) -> None:
    """Refuses what a turn of a conversation can never have.

    Args:
        called: The name of the method, with that of its class.
        options: The keywords.

    Raises:
        InvalidArgumentError: A value that can never be right.
        InvalidTypeError: One of the wrong type, or a keyword that there is not.
    """
    refuse(called, {name: None for name in options if name not in TURN_KEYWORDS})
    if options:
        _native.check_chat(called, dict(options))


def listed_messages(messages: object) -> object:
    """Messages in a list of their own, where they are not refused anyway."""
    listed: _Anything = messages
    if isinstance(messages, (str, bytes, dict)) or not hasattr(messages, "__iter__"):
        return listed
    return list(listed)


def schemas(tools: Iterable[_Anything] | None) -> list[dict[str, _Anything]] | None:
    """Tools as a chat template shows them."""
    if tools is None:
        return None
    from .chat.tools import Tools

    return Tools(tools).schemas


def listed(texts: Input | Sequence[Input]) -> tuple[bool, list[Input]]:
    """Tells whether it was one input, and makes a list of it or them."""
    if isinstance(texts, (str, Tokens, Embeddings, Multimodal)):
        _native.check_inputs("texts", [texts], True)
        return True, [texts]
    given: _Anything = texts
    if isinstance(given, (bytes, dict, set, frozenset)) or not hasattr(given, "__iter__"):
        from .errors import InvalidTypeError

        message = f"texts must be an input or a list of inputs, got {type(texts).__name__}"
        raise InvalidTypeError(message, hint='Pass a list, such as ["Hello", "Good morning"].')
    inputs = list(texts)
    # All of them before the first is computed.
    _native.check_inputs("texts", inputs, False)
    return False, inputs


def groups(inputs: list[Input], size: int) -> Iterator[tuple[list[Input], int]]:
    """Gives as many inputs at once as a run takes; the last group is filled up, and how many count."""
    for at in range(0, len(inputs), size):
        group = inputs[at : at + size]
        # A batch is always full; what fills it up is computed and thrown away.
        yield group + group[-1:] * (size - len(group)), len(group)


def check_tokens(name: str, text: object) -> None:
    """Refuses what is neither a text nor its tokens."""
    if not isinstance(text, (str, Tokens)):
        from .errors import InvalidTypeError

        message = f"{name} must be a str or Tokens, got {type(text).__name__}"
        raise InvalidTypeError(message, hint="Pass text in quotes, or token ids as Tokens([1, 2, 3]).")


def closed_error() -> ClosedError:
    """Makes the error for a model that is closed, where the native side is not asked."""
    from .errors import ClosedError

    return ClosedError("the model is closed", hint="Open the model again.")


def refuse_closed(model: _native.Model) -> None:
    """Refuses what needs an open model, where the library is not asked."""
    if model.closed:
        raise closed_error()


def begin_ids(
    model: _native.Model,
    text: str | Tokens,
    leading: bool,  # noqa: FBT001
) -> list[int] | _native.Pending[list[int]] | None:
    """Asks the CPU runtime for the ids of a text, else the program's tokenizer; ``None`` without both."""
    if isinstance(text, Tokens):
        return text.to_list()
    if "tokenize" in model.runtime.capabilities:
        return model.tokenize(text, leading)
    refuse_closed(model)
    return model.own_tokens(text)


def begin_text(
    model: _native.Model,
    ids: list[int],
    skip_special: bool,  # noqa: FBT001
) -> _native.Pending[str] | None:
    """Asks the CPU runtime for the text of ids; ``None`` without it."""
    if "tokenize" in model.runtime.capabilities:
        return model.detokenize(ids, skip_special)
    refuse_closed(model)
    return None


def as_json(tools: str | Sequence[Mapping[str, object]]) -> str:
    """Gives tools as the text that C takes."""
    if isinstance(tools, str):
        return tools
    if not isinstance(tools, (list, tuple)):
        from .errors import InvalidTypeError

        message = f"tools must be JSON text or a list of dictionaries, got {type(tools).__name__}"
        raise InvalidTypeError(message, hint='Pass [{"type": "function", "function": {...}}].')
    import json

    try:
        return json.dumps(tools, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        from .errors import InvalidTypeError

        message = f"tools must contain only what JSON can represent: {error}"
        raise InvalidTypeError(message, hint='Pass [{"type": "function", "function": {...}}].') from error


def _above(size: int, limit: int, given: bool) -> str:  # noqa: FBT001
    """What is said of a context window that is larger than the model's."""
    if given:
        return (
            f"max_context_len={size} is above the model's limit of {limit}: beyond it the text may be garbage"
        )
    return (
        f"the default context window of {size} tokens is above the model's limit of {limit}: beyond it the "
        f"text may be garbage; pass max_context_len={limit}"
    )


def _advice(model: _native.Model, given: bool) -> list[str]:  # noqa: FBT001
    """What is known to give wrong text, and was not refused by the library; ``given`` the context window."""
    info = model.info
    advice: list[str] = []
    if info.context_limit is not None and model.max_context_len > info.context_limit:
        advice.append(_above(model.max_context_len, info.context_limit, given))
    driver = info.driver_version
    numbers = [int(part) for part in driver.split(".") if part.isdigit()] if driver else []
    if numbers and numbers < [0, 9, 8]:
        advice.append(
            f"the NPU driver is {driver}: below 0.9.8 runs may succeed with garbage; "
            "update the board's kernel"
        )
    if info.template_problem is not None:
        advice.append(
            f"{info.template_problem}. Prompts go to the model as they are: pass the strings to put around "
            'them as template=, or template="raw" if that is meant'
        )
    return advice


def check_flag(name: str, value: object) -> None:
    """Refuses what is neither ``True`` nor ``False``."""
    if not isinstance(value, bool):
        from .errors import InvalidTypeError

        message = f"{name} must be a bool, got {type(value).__name__}"
        raise InvalidTypeError(message, hint="Pass True or False.")


def lacked(options: Mapping[str, _Anything], able: frozenset[str]) -> dict[str, str]:
    """What a library lacks of a call's keywords, and the result is useful without: a note for each."""
    lacks: dict[str, str] = {}
    seed: _Anything = options.get("seed")
    # What is no seed is refused with what is wrong with it.
    sound = hasattr(seed, "__index__") and not isinstance(seed, bool) and 0 <= seed.__index__() < 2**64
    if sound and "seed" not in able and options.get("sampler") != "own":
        lacks["seed"] = (
            "seed is left out: the vendor's library has no seed, so answers differ from run to run. "
            'top_k=1 makes them repeatable; backend="cpu" has seeds; strict=True makes this an error'
        )
    reuse = options.get("reuse")
    if reuse == "fast" and "prefix_reuse" not in able:
        lacks["reuse"] = (
            'reuse="fast" is left out: RKLLM before 1.2.0 computes every prompt as a whole; '
            "strict=True makes this an error"
        )
    if reuse is False and "prefix_reuse" in able and not {"seed", "clear_kv_cache"} & set(able):
        lacks["reuse"] = (
            "reuse=False is left out: the library does not export rkllm_clear_kv_cache, and may take tokens "
            "from its KV cache; strict=True makes this an error"
        )
    return lacks


def lacking(warnings: Sequence[str]) -> UnsupportedFeatureError:
    """Makes the error out of what would be warnings without ``strict=True``."""
    from .errors import UnsupportedFeatureError

    return UnsupportedFeatureError("; ".join(warnings), hint="Omit strict=True to get a warning instead.")


def level_of_caller() -> int:
    """Returns the ``stacklevel`` with which the caller's warning points to the program's own line."""
    import sys

    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == PACKAGE:
        frame = frame.f_back
        level += 1
    return level


def advise(model: _native.Model, strict: bool, given: bool) -> None:  # noqa: FBT001
    """Warns of what is known to give wrong text; where that is an error, the model is not left open."""
    advice = _advice(model, given)
    if not advice:
        return
    if strict:
        model.close()
        raise lacking(advice)
    try:
        warn(advice, None)
    except BaseException:
        # Whoever keeps the exception keeps the model.
        model.close()
        raise


def warn(notes: Sequence[str], fallback: str | None) -> None:
    """Warns of what was noticed when model and library were chosen, at the program's own line."""
    import warnings

    from .errors import BackendFallbackWarning, RkllmWarning

    level = level_of_caller()
    for note in notes:
        warnings.warn(note, RkllmWarning, stacklevel=level)
    if fallback:
        warnings.warn(fallback, BackendFallbackWarning, stacklevel=level)
