//! How scripts describe a run.

use serde::Deserialize;

use super::{Death, Step};
use crate::output::LogLine;

/// A matrix of floats `start`, `start + 1`, …
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Rows; as many as input tokens if not said.
    pub rows: Option<usize>,
    /// Floats in a row.
    pub width: usize,
    /// The first float.
    #[serde(default)]
    pub start: f32,
}

/// The matrices of a run, one callback for each; scripts write one as it is, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "OneOrMany<Rows>")]
pub struct Matrices(pub Vec<Rows>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    // First, since a list would also be read as the fields of one struct, in their order.
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl From<OneOrMany<Rows>> for Matrices {
    fn from(written: OneOrMany<Rows>) -> Self {
        Self(written.list())
    }
}

/// How many floats of each embedding may be read, one entry for each batch row; the last repeats.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "OneOrMany<EmbedSizes>")]
pub struct ReadEmbed(Vec<EmbedSizes>);

/// A count for all buffers, or one for each.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum EmbedSizes {
    All(usize),
    Each(EachSize),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EachSize {
    embed: usize,
    image: usize,
    video: usize,
    audio: usize,
}

impl From<OneOrMany<EmbedSizes>> for ReadEmbed {
    fn from(written: OneOrMany<EmbedSizes>) -> Self {
        Self(written.list())
    }
}

impl ReadEmbed {
    /// The counts for `embed`, `image`, `video` and `audio` of a batch row.
    pub(crate) fn of_row(&self, row: usize) -> [(&'static str, usize); 4] {
        let sizes = match self.0.get(row).or(self.0.last()) {
            Some(EmbedSizes::All(all)) => [*all; 4],
            Some(EmbedSizes::Each(each)) => [each.embed, each.image, each.video, each.audio],
            None => [0; 4],
        };
        let [embed, image, video, audio] = sizes;
        [
            ("embed", embed),
            ("image", image),
            ("video", video),
            ("audio", audio),
        ]
    }
}

/// A question to a callback of 1.3.0.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawAsk")]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Ask from another thread, while the caller waits.
    pub thread: bool,
}

/// Which callback is asked, and what.
#[derive(Debug, Clone)]
pub enum Question {
    /// The tokenizer.
    Tokenize {
        /// The text.
        text: String,
        /// Room for so many tokens.
        capacity: i32,
    },
    /// The embedding.
    Embed {
        /// The tokens.
        ids: Vec<i32>,
        /// Room for so many floats for each.
        width: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAsk {
    tokenize: Option<String>,
    capacity: Option<i32>,
    embed: Option<Vec<i32>>,
    width: Option<usize>,
    #[serde(default)]
    thread: bool,
}

impl TryFrom<RawAsk> for Ask {
    type Error = String;

    fn try_from(raw: RawAsk) -> Result<Self, String> {
        let question = match (raw.tokenize, raw.capacity, raw.embed, raw.width) {
            (Some(text), Some(capacity), None, None) if capacity >= 0 => {
                Question::Tokenize { text, capacity }
            }
            (None, None, Some(ids), Some(width)) => Question::Embed { ids, width },
            _ => return Err("ask is {tokenize, capacity} or {embed, width}".to_owned()),
        };
        Ok(Self {
            question,
            thread: raw.thread,
        })
    }
}

/// One `rkllm_run`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent switches of a test script"
)]
pub struct Run {
    /// Time before the first token.
    pub prefill_ms: u64,
    /// Obey abort during that time; the vendor's library does not.
    pub abort_in_prefill: bool,
    /// Obey an abort only this long after it came.
    pub ignore_abort_ms: u64,
    /// Never obey one.
    pub ignore_abort: bool,
    /// Time before each token.
    pub delay_ms: u64,
    /// The tokens.
    pub steps: Vec<Step>,
    /// How often the list of steps is played.
    pub repeat: u64,
    /// Stop after as many tokens as the parameters allow.
    pub obey_max_new_tokens: bool,
    /// What run returns.
    #[serde(rename = "return")]
    pub returns: i32,
    /// Leave out the finishing call.
    pub no_finish: bool,
    /// Make the finishing call also when the run is paused.
    pub finish_paused: bool,
    /// Time between the last callback and the run's return.
    pub end_ms: u64,
    /// What the finishing call brings.
    pub finish: Option<Finish>,
    /// An error call in place of the finishing one.
    pub error: bool,
    /// Return first, then call back from a thread.
    pub return_before_callbacks: bool,
    /// Calls from another thread after the run has returned.
    pub late: Vec<Step>,
    /// How long after.
    pub late_ms: u64,
    /// What `rkllm_get_kv_cache_size` writes from this run on, in place of the script's.
    pub kv_cache_size: Vec<i32>,
    /// What it writes when it is asked again.
    pub kv_cache_size_later: Vec<i32>,
    /// Lines printed at the start.
    pub log: Vec<LogLine>,
    /// Lines printed before returning.
    pub log_end: Vec<LogLine>,
    /// See [`Death`]; after the steps.
    pub abort: bool,
    /// See [`Death`]; after the steps.
    pub crash: bool,
    /// See [`Death`]; after the steps.
    pub exit: Option<i32>,
    /// Hidden states of mode 1.
    pub hidden: Option<Matrices>,
    /// Logits of mode 2.
    pub logits: Option<Matrices>,
    /// In modes 1 and 2, a call without a matrix comes first, as a log of 1.2.1b1 shows.
    pub normal_first: Option<bool>,
    /// With a batch: the tokens of each row; one that is missing plays `steps`.
    pub rows: Vec<Vec<Step>>,
    /// What is asked of the tokenizer and embedding callbacks, before prefill.
    pub ask: Vec<Ask>,
    /// Write no prompt cache, though it was asked for.
    pub no_cache_file: bool,
    /// How many floats of the embeddings may be read.
    pub read_embed: Option<ReadEmbed>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            prefill_ms: 0,
            abort_in_prefill: false,
            ignore_abort_ms: 0,
            ignore_abort: false,
            delay_ms: 0,
            steps: Vec::new(),
            repeat: 1,
            obey_max_new_tokens: false,
            returns: 0,
            no_finish: false,
            finish_paused: false,
            end_ms: 0,
            finish: None,
            error: false,
            return_before_callbacks: false,
            late: Vec::new(),
            late_ms: 20,
            kv_cache_size: Vec::new(),
            kv_cache_size_later: Vec::new(),
            log: Vec::new(),
            log_end: Vec::new(),
            abort: false,
            crash: false,
            exit: None,
            hidden: None,
            logits: None,
            normal_first: None,
            rows: Vec::new(),
            ask: Vec::new(),
            no_cache_file: false,
            read_embed: None,
        }
    }
}

impl Run {
    /// The steps of a batch row, repeated as the script says.
    pub(crate) fn row(&self, row: usize) -> Box<dyn Iterator<Item = &Step> + '_> {
        let steps = self.rows.get(row).unwrap_or(&self.steps);
        let list = move || {
            steps
                .iter()
                .flat_map(|step| (0..step.repeat).map(move |_| step))
        };
        Box::new((0..self.repeat).flat_map(move |_| list()))
    }

    pub(crate) fn death(&self) -> Death {
        Death {
            abort: self.abort,
            crash: self.crash,
            exit: self.exit,
        }
    }
}

/// The finishing call.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finish {
    /// Pass NULL as the result.
    pub null_result: bool,
    /// Text of the result, NULL if not said.
    pub text: Option<String>,
    /// Figures of the result; those not said are counted.
    pub perf: Perf,
}

/// `RKLLMPerfStat`.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields bear their C names")]
pub struct Perf {
    pub prefill_time_ms: Option<f32>,
    pub prefill_tokens: Option<i32>,
    pub generate_time_ms: Option<f32>,
    pub generate_tokens: Option<i32>,
    pub memory_usage_mb: Option<f32>,
}
