//! The script of one model, as `rkllm_init` finds it in the "model file".

use std::path::PathBuf;

use serde::Deserialize;

use crate::output::{self, LogLine};

/// All of it. Unknown keys are errors, so that a misspelt one cannot make a test pass.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "named for the functions that they script")]
pub struct Script {
    pub init: Init,
    /// Run i plays entry i; the last one repeats.
    pub runs: Vec<Run>,
    pub destroy: Call,
    pub abort: Call,
    pub clear_kv_cache: Call,
    pub get_kv_cache_size: Call,
    pub load_lora: Call,
    pub load_prompt_cache: Call,
    pub release_prompt_cache: Call,
    pub set_chat_template: Call,
    pub set_function_tools: Call,
    pub set_cross_attn_params: Call,
    /// What `rkllm_get_kv_cache_size` writes.
    pub kv_cache_size: Vec<i32>,
    /// Hidden states of runs that do not have their own.
    pub hidden: Option<Rows>,
    /// Logits of runs that do not have their own.
    pub logits: Option<Rows>,
    /// Where the calls on this model are appended.
    pub record: Option<PathBuf>,
    /// Append each token as well.
    pub record_tokens: bool,
    /// Leave out the line that `rkllm_init` prints.
    pub quiet: bool,
}

/// How the process ends, if it does.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Death {
    /// `abort()`.
    pub abort: bool,
    /// SIGSEGV.
    pub crash: bool,
    /// `_exit` with this status.
    pub exit: Option<i32>,
}

impl Death {
    /// Ends the process if the script says so.
    pub(crate) fn happen(self) {
        if self.abort {
            output::abort();
        }
        if self.crash {
            output::crash();
        }
        if let Some(status) = self.exit {
            output::exit(status);
        }
    }
}

/// `rkllm_init`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Init {
    /// Time the load takes.
    pub delay_ms: u64,
    /// What init returns.
    #[serde(rename = "return")]
    pub returns: i32,
    /// Return without a handle.
    pub null_handle: bool,
    /// Lines printed, before anything else happens.
    pub log: Vec<LogLine>,
    /// See [`Death`].
    pub abort: bool,
    /// See [`Death`].
    pub crash: bool,
    /// See [`Death`].
    pub exit: Option<i32>,
}

impl Init {
    pub(crate) fn death(&self) -> Death {
        Death {
            abort: self.abort,
            crash: self.crash,
            exit: self.exit,
        }
    }
}

/// A call that does nothing but return.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Call {
    /// Time it takes.
    pub delay_ms: u64,
    /// What it returns, 0 if not said.
    #[serde(rename = "return")]
    pub returns: Option<i32>,
    /// Lines printed.
    pub log: Vec<LogLine>,
}

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
    pub hidden: Option<Rows>,
    /// Logits of mode 2.
    pub logits: Option<Rows>,
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
            finish: None,
            error: false,
            return_before_callbacks: false,
            late: Vec::new(),
            late_ms: 20,
            log: Vec::new(),
            log_end: Vec::new(),
            abort: false,
            crash: false,
            exit: None,
            hidden: None,
            logits: None,
        }
    }
}

impl Run {
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

/// One callback, as prepared for playing: its text has its NUL already.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "RawStep")]
pub struct Step {
    /// NUL-terminated; None for a NULL text.
    pub text: Option<Vec<u8>>,
    /// Pass NULL as the result.
    pub null_result: bool,
    /// Give back the prompt as text.
    pub echo: bool,
    /// The token id, counted if not said.
    pub id: Option<i32>,
    /// The call state.
    pub state: i32,
    /// Time before it, in place of the run's.
    pub delay_ms: Option<u64>,
    /// Lines printed before it.
    pub log: Vec<LogLine>,
    /// How often.
    pub repeat: u64,
    /// Call from another thread than the run's.
    pub thread: bool,
}

/// A step as scripts write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawStep {
    Text(String),
    Fields(RawFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent switches of a test script"
)]
struct RawFields {
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    null_text: bool,
    #[serde(default)]
    null_result: bool,
    #[serde(default)]
    echo: bool,
    id: Option<i32>,
    #[serde(default)]
    state: i32,
    delay_ms: Option<u64>,
    #[serde(default)]
    log: Vec<LogLine>,
    #[serde(default = "once")]
    repeat: u64,
    #[serde(default)]
    thread: bool,
}

fn once() -> u64 {
    1
}

/// Bytes as a C string.
pub(crate) fn terminated(bytes: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut bytes = bytes.into();
    bytes.push(0);
    bytes
}

impl TryFrom<RawStep> for Step {
    type Error = String;

    fn try_from(raw: RawStep) -> Result<Self, String> {
        let fields = match raw {
            RawStep::Text(text) => {
                return Ok(Self {
                    text: Some(terminated(text)),
                    repeat: 1,
                    ..Self::default()
                });
            }
            RawStep::Fields(fields) => fields,
        };
        let text = match (fields.text, fields.bytes) {
            (Some(_), Some(_)) => return Err("a step has both `text` and `bytes`".to_owned()),
            (Some(text), None) => Some(terminated(text)),
            (None, Some(bytes)) => Some(terminated(bytes)),
            (None, None) if fields.null_text => None,
            (None, None) => Some(terminated("")),
        };
        Ok(Self {
            text,
            null_result: fields.null_result,
            echo: fields.echo,
            id: fields.id,
            state: fields.state,
            delay_ms: fields.delay_ms,
            log: fields.log,
            repeat: fields.repeat,
            thread: fields.thread,
        })
    }
}
