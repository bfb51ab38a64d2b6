//! What the CPU runtime tells beyond the vendor's C API: a versioned private table.
//!
//! A library that exports [`SYMBOL`] is the CPU runtime. The vendor's library has no such symbol, so
//! what this table answers is unknown there.

use std::ffi::{c_char, c_int, c_void};

use super::shared::LLMHandle;

/// The exported function that returns the table.
pub const SYMBOL: &str = "rkllm_rs_cpu_table";

/// Text in the file of every CPU runtime, so that it is known before it is loaded.
pub const MARKER: &str = "rkllm_rs CPU runtime";

/// The version of [`CpuTable`] that this crate speaks.
pub const VERSION: u32 = 1;

/// Returns the table, or NULL when it cannot serve `version`.
pub type GetTable = unsafe extern "C" fn(version: u32) -> *const CpuTable;

/// The table. New members are added at the end; `size` tells how many bytes are there.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CpuTable {
    /// `VERSION` of the library.
    pub version: u32,
    /// `sizeof` the table in the library.
    pub size: u32,
    /// Tokens that a text prompt of `len` bytes takes, the chat template with `role` around it
    /// included when the model would apply it; negative on error. `role` may be NULL.
    pub count_tokens: unsafe extern "C" fn(
        h: LLMHandle,
        text: *const c_char,
        len: usize,
        role: *const c_char,
    ) -> c_int,
    /// Size of the vocabulary.
    pub vocab_size: unsafe extern "C" fn(h: LLMHandle) -> c_int,
    /// Width of embeddings and hidden states.
    pub embd_size: unsafe extern "C" fn(h: LLMHandle) -> c_int,
    /// Longest context that the model was trained for, in tokens.
    pub context_limit: unsafe extern "C" fn(h: LLMHandle) -> c_int,
    /// Seed for sampling of the runs that follow; 0 with `has_seed` 0 means a random one.
    pub set_seed: unsafe extern "C" fn(h: LLMHandle, has_seed: c_int, seed: u64) -> c_int,
    /// Token ids of a text of `len` bytes as it is, no template around it; with `leading` the model's
    /// leading token (BOS) first, if it has one and the text does not begin with it. Returns the
    /// count, and writes the ids only if `capacity` is enough; negative on error. `out` may be NULL
    /// when `capacity` is 0. None in a library that came before this member.
    pub tokenize: Option<Tokenize>,
    /// Why the model's own chat template is not used, in UTF-8, or nothing. Returns the length in
    /// bytes, and writes the text only if `capacity` is enough; negative on error. `out` may be NULL
    /// when `capacity` is 0. None in a library that came before this member.
    pub template_problem: Option<TemplateProblem>,
    /// Text of `count` token ids, in bytes, which need not be whole characters; with `skip_special`
    /// without special tokens. Returns the length in bytes, and writes the text only if `capacity` is
    /// enough; negative on error, as for an id that is not in the vocabulary. `out` may be NULL when
    /// `capacity` is 0. None in a library that came before this member.
    pub detokenize: Option<Detokenize>,
    /// Ends a pause, as clearing the cache does, and keeps what a later prompt may reuse; nothing
    /// happens where none is. None in a library that came before this member.
    pub end_pause: Option<EndPause>,
    /// What the runs that follow may take from the KV cache: one of [`reuse`]. None in a library that came
    /// before this member.
    pub set_reuse: Option<SetReuse>,
    /// Figures of the last run's prompts, one for each lane, from the moment when they are computed, so that
    /// the callback may ask; none before, and for a run that ended before. Returns the count, and writes
    /// the figures only if `capacity` is enough; negative on error. `out` may be NULL when `capacity` is 0.
    /// None in a library that came before this member.
    pub prompt_figures: Option<GetPromptFigures>,
    /// The model's tokens, one after the other: a byte that is one of [`token_kind`], the length of its text
    /// as four bytes with the lowest first, and that text, which need not be whole characters. Returns the
    /// length of all in bytes, and writes them only if `capacity` is enough; negative on error. `out` may be
    /// NULL when `capacity` is 0. None in a library that came before this member.
    pub vocabulary: Option<GetVocabulary>,
    /// Who may change the logits of each token before it is chosen, in the runs that follow; NULL for nobody.
    /// None in a library that came before this member.
    pub set_logits_processor: Option<SetLogitsProcessor>,
}

/// What a token is.
pub mod token_kind {
    /// Text.
    pub const TEXT: u8 = 0;
    /// A mark and no text, or of no use.
    pub const MARK: u8 = 1;
    /// A mark that ends an answer.
    pub const END: u8 = 2;
}

/// Called with the userdata of `rkllm_run` and the logits of the next token of a lane, which it may change. It is
/// called after the callback has had the lane's last token, on the same thread.
pub type LogitsProcessor =
    unsafe extern "C" fn(userdata: *mut c_void, lane: c_int, logits: *mut f32, count: c_int);

/// [`CpuTable::set_logits_processor`].
pub type SetLogitsProcessor =
    unsafe extern "C" fn(h: LLMHandle, processor: Option<LogitsProcessor>) -> c_int;

/// [`CpuTable::vocabulary`].
pub type GetVocabulary =
    unsafe extern "C" fn(h: LLMHandle, out: *mut c_char, capacity: c_int) -> c_int;

/// What a run that stands alone may take from the KV cache in place of computing it. Runs that go on from
/// a pause, and those with `keep_history`, go on from all of it; [`reuse::NONE`] makes
/// one with `keep_history` begin a new conversation.
pub mod reuse {
    use std::ffi::c_int;

    /// What cannot change the answer if the run is greedy or has a seed, else all that is held. The default.
    pub const AUTO: c_int = 0;
    /// All that is held.
    pub const HELD: c_int = 1;
    /// Nothing.
    pub const NONE: c_int = 2;
}

/// Figures of a lane's prompt.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptFigures {
    /// Positions in the context when the prompt was computed: what was there before, if the run has gone
    /// on from it, and the prompt.
    pub prompt_tokens: i32,
    /// Those of them that were there already.
    pub cached_tokens: i32,
}

/// [`CpuTable::set_reuse`].
pub type SetReuse = unsafe extern "C" fn(h: LLMHandle, reuse: c_int) -> c_int;

/// [`CpuTable::prompt_figures`].
pub type GetPromptFigures =
    unsafe extern "C" fn(h: LLMHandle, out: *mut PromptFigures, capacity: c_int) -> c_int;

/// [`CpuTable::detokenize`].
pub type Detokenize = unsafe extern "C" fn(
    h: LLMHandle,
    ids: *const i32,
    count: usize,
    skip_special: c_int,
    out: *mut c_char,
    capacity: c_int,
) -> c_int;

/// [`CpuTable::end_pause`].
pub type EndPause = unsafe extern "C" fn(h: LLMHandle) -> c_int;

/// [`CpuTable::template_problem`].
pub type TemplateProblem =
    unsafe extern "C" fn(h: LLMHandle, out: *mut c_char, capacity: c_int) -> c_int;

/// [`CpuTable::tokenize`].
pub type Tokenize = unsafe extern "C" fn(
    h: LLMHandle,
    text: *const c_char,
    len: usize,
    leading: c_int,
    out: *mut i32,
    capacity: c_int,
) -> c_int;

/// The size of the shortest table of [`VERSION`]: the members that every library has.
pub const LEAST_SIZE: usize = std::mem::offset_of!(CpuTable, tokenize);
