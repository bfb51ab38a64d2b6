//! The messages between a program and the engine of one model.

use std::borrow::Cow;
use std::ffi::CString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::config::Effective;
use super::constraint::Constraint;
use super::error::Failure;
use super::info::ModelInfo;
use super::input::{CrossAttention, Input};
use super::output::{FinishReason, PerfStats, RowsKind, TokenLogprob};
use super::question::{Asked, Response};
use super::reuse::Reuse;
use super::sampling::{Choosing, Sampling};

/// What a program tells an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Run the model; runs are served in the order of these commands.
    Run {
        run: u64,
        spec: Box<RunSpec>,
        terms: Terms,
    },
    /// Go on with a run that is paused, with this in the place of the token given last.
    Resume {
        run: u64,
        input: Input,
        /// Limit of what is left, 0 for that of init; from 1.3.0.
        max_new_tokens: i32,
    },
    /// End one lane of a run for its reader at once; when none is wanted any more, the library is asked to
    /// stop.
    Stop {
        run: u64,
        lane: usize,
        reason: StopReason,
    },
    /// Do something besides runs, in turn with them.
    Ask { number: u64, request: Request },
    /// What the library asked.
    Answer { number: u64, response: Response },
    /// Steps have ended: see to it now.
    Look,
    /// End all runs, and give the model back.
    Close,
}

/// Why a run is ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum StopReason {
    /// Nobody wants it any more.
    Cancelled,
    /// Its deadline of so many seconds has passed.
    Deadline(f64),
}

impl StopReason {
    /// What the reader is told.
    pub(crate) fn outcome(self) -> Result<FinishReason, Failure> {
        match self {
            Self::Cancelled => Ok(FinishReason::Cancelled),
            Self::Deadline(seconds) => Err(Failure::timeout(seconds)),
        }
    }
}

/// What an engine tells the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event<'a> {
    /// The model is open.
    Opened(Box<Opened>),
    /// The model could not be opened.
    OpenFailed(Box<Failure>),
    /// What a rendered conversation was made into, before its first token.
    Settled(Settled),
    /// A token, with all characters that are whole now; a negative one is no token.
    Piece {
        #[serde(borrow)]
        text: Cow<'a, str>,
        token_id: i32,
    },
    /// How likely the next token is that comes.
    Likely(Box<TokenLogprob>),
    /// Rows are being copied, and come in a moment; the number under which they have been lent already.
    RowsCome(Option<u64>),
    /// Rows that were copied: `block` is the number under which they were lent.
    Rows { block: u64, width: usize },
    /// The library has paused after a token, and waits for [`Command::Resume`].
    Paused,
    /// The end of a lane, with the text that was still held back.
    Ended(Box<Ended>),
    /// The library asks something.
    Asked(Asked),
    /// It has given up asking.
    Unasked { number: u64 },
    /// How wide the rows were.
    Learned { kind: RowsKind, width: usize },
    /// What a request has come to.
    Replied {
        number: u64,
        outcome: Result<Reply, Failure>,
    },
    /// What the engine is in from here on; none when the library has come back.
    Working(Option<Work>),
    /// The library has let go of the model; nothing more will come.
    Gone,
}

/// What an engine works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// The run of that number.
    Run(u64),
    /// The request of that number.
    Ask(u64),
}

/// What a rendered conversation was made into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// Which of the renderings is used.
    pub(crate) rendering: usize,
    /// The markers that are single tokens, by their number, with their ids.
    pub(crate) markers: Vec<(usize, i32)>,
    /// What the caller should know of how it was begun.
    pub(crate) notes: Vec<String>,
}

/// How a lane of a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The reason, or what went wrong.
    pub(crate) outcome: Result<FinishReason, Failure>,
    pub(crate) perf: PerfStats,
    /// Text that came with no token of its own: what was left of an unfinished character, or might have
    /// begun a stop string.
    pub(crate) rest: String,
    /// The token that it is counted to.
    pub(crate) last_token: i32,
}

impl Ended {
    /// The end of a lane that nothing has come of.
    pub(crate) fn at_once(outcome: Result<FinishReason, Failure>) -> Self {
        Self {
            outcome,
            perf: PerfStats::default(),
            rest: String::new(),
            last_token: -1,
        }
    }
}

/// What is known when a model has been opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) effective: Effective,
    pub(crate) info: ModelInfo,
}

/// What the library is given for one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunSpec {
    /// One for each lane of the model's batch.
    pub(crate) lanes: Vec<LaneSpec>,
    /// Rows instead of an answer.
    pub(crate) wants: Option<RowsKind>,
    /// The adapter's name.
    pub(crate) lora: Option<CString>,
    /// Where the prompt's cache is saved.
    pub(crate) save_prompt_cache: Option<CString>,
    pub(crate) keep_history: bool,
    /// Sampling of this run alone; from 1.3.0.
    pub(crate) sampling: Option<Sampling>,
    /// Limit of this run alone, 0 for that of init; from 1.3.0.
    pub(crate) max_new_tokens: i32,
    /// Seed of this run; the CPU runtime only.
    pub(crate) seed: Option<u64>,
    pub(crate) reuse: Reuse,
    /// The tokens are a conversation as a whole, whose next turn is expected to begin with them.
    pub(crate) turn: bool,
}

#[cfg(test)]
impl RunSpec {
    /// A plain run of one prompt.
    pub(crate) fn of_tokens(ids: &[i32]) -> Self {
        Self {
            lanes: vec![LaneSpec {
                input: Input::Tokens(ids.to_vec()),
                role: c"user".to_owned(),
                thinking: false,
            }],
            wants: None,
            lora: None,
            save_prompt_cache: None,
            keep_history: false,
            sampling: None,
            max_new_tokens: 0,
            seed: None,
            reuse: Reuse::Auto,
            turn: false,
        }
    }
}

/// The input of one lane: a prompt of the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LaneSpec {
    pub(crate) input: Input,
    /// `user` or `tool`.
    pub(crate) role: CString,
    pub(crate) thinking: bool,
}

/// What is decided beside the library while a run goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) limit: Limit,
    pub(crate) stop: Vec<String>,
    /// What the answers are kept to.
    pub(crate) constraint: Option<Constraint>,
    /// How its tokens are chosen, where that is not left to the library.
    pub(crate) choosing: Option<Box<Choosing>>,
    /// Whether the library is to pause after each token.
    pub(crate) stepping: bool,
    /// Whether text that was held back for a stop string comes with its own tokens, and these with it. Else
    /// it comes with the token that shows it to be harmless.
    pub(crate) by_token: bool,
}

/// After how many token calls a run ends with "length".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) tokens: usize,
    /// Whether the library has been given the same limit; if not, we stop it.
    pub(crate) by_library: bool,
}

/// What a model can be asked to do besides runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    ClearKvCache {
        keep_system_prompt: bool,
    },
    ClearKvRanges(Vec<(i32, i32)>),
    KvCacheSize,
    /// Which tokens the library is known to hold.
    HeldTokens,
    LoadLora(LoraAdapter),
    LoadPromptCache {
        #[serde(with = "super::paths")]
        path: PathBuf,
        verify: bool,
    },
    ReleasePromptCache,
    SetChatTemplate([CString; 3]),
    SetFunctionTools([CString; 3]),
    SetCrossAttention(CrossAttention),
    Tokenize {
        text: String,
        leading: bool,
    },
    Detokenize {
        ids: Vec<i32>,
        skip_special: bool,
    },
}

impl Request {
    /// Whether the KV cache, or what a prompt means to it, is another one afterwards.
    pub(crate) fn changes_the_cache(&self) -> bool {
        !matches!(
            self,
            Self::KvCacheSize | Self::HeldTokens | Self::Tokenize { .. } | Self::Detokenize { .. }
        )
    }

    /// Whether it is about the model's words, which are told beside a run where the library tells them.
    pub(crate) fn is_of_words(&self) -> bool {
        matches!(self, Self::Tokenize { .. } | Self::Detokenize { .. })
    }

    /// Whether the library may be asked this while a run is paused; what may not waits for the end of
    /// the steps, as runs do.
    pub(crate) fn fits_a_pause(&self) -> bool {
        matches!(
            self,
            Self::ClearKvCache { .. }
                | Self::ClearKvRanges(_)
                | Self::KvCacheSize
                | Self::HeldTokens
                | Self::Tokenize { .. }
                | Self::Detokenize { .. }
        )
    }
}

/// What a request gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done, and there is nothing to give.
    Done,
    /// Sizes, or token ids.
    Numbers(Vec<i32>),
    /// Text of tokens.
    Text(String),
}

impl Reply {
    /// The numbers; none where there are none to give.
    #[must_use]
    pub fn numbers(self) -> Vec<i32> {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Done | Self::Text(_) => Vec::new(),
        }
    }
}

/// An adapter (`RKLLMLoraAdapter`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraAdapter {
    /// The name that selects it.
    pub name: String,
    /// Its file.
    #[serde(with = "super::paths")]
    pub path: PathBuf,
    /// Its strength.
    pub scale: f32,
}
