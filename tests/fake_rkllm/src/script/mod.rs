//! The script of one model, as `rkllm_init` finds it in the "model file".

mod run;
mod step;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::output::{self, LogLine};

pub use run::{Ask, Finish, Matrices, Perf, Question, ReadEmbed, Rows, Run};
pub use step::Step;
pub(crate) use step::terminated;

/// All of it. Unknown keys are errors, so that a misspelt one cannot make a test pass.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "named for the functions that they script")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent switches of a test script"
)]
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
    pub hidden: Option<Matrices>,
    /// Logits of runs that do not have their own.
    pub logits: Option<Matrices>,
    /// See [`Run::normal_first`]; for runs that do not say it themselves.
    pub normal_first: bool,
    /// No run writes a prompt cache, though it was asked to.
    pub no_cache_file: bool,
    /// See [`Run::read_embed`]; for runs that do not say it themselves.
    pub read_embed: Option<ReadEmbed>,
    /// How many bytes behind the structs of init and run are read and recorded.
    pub read_behind: Option<usize>,
    /// At init, look whether what the models destroyed before were opened with is still there.
    pub look_back: bool,
    /// How much of the arrays of cross attention may be read.
    pub cross: Option<CrossSizes>,
    /// Where the calls on this model are appended.
    pub record: Option<PathBuf>,
    /// Append each token as well.
    pub record_tokens: bool,
    /// Leave out the line that `rkllm_init` prints.
    pub quiet: bool,
    /// A file that ends every time of the script early, once it is there.
    pub gate: Option<PathBuf>,
}

/// How often the gate is looked at.
const LOOK: Duration = Duration::from_millis(1);

impl Script {
    /// Whether the gate is there.
    pub(crate) fn is_open(&self) -> bool {
        self.gate.as_deref().is_some_and(Path::exists)
    }

    /// Takes so much time, or until the gate is open.
    pub(crate) fn take(&self, milliseconds: u64) {
        let time = Duration::from_millis(milliseconds);
        if self.gate.is_none() {
            return sleep(time);
        }
        let start = Instant::now();
        while start.elapsed() < time && !self.is_open() {
            sleep(LOOK);
        }
    }
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
    /// What is asked of the tokenizer and embedding callbacks.
    pub ask: Vec<Ask>,
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
    /// See [`Death`]; after that time.
    pub abort: bool,
    /// See [`Death`]; after that time.
    pub crash: bool,
    /// See [`Death`]; after that time.
    pub exit: Option<i32>,
}

impl Call {
    /// What the call does before it does anything else.
    pub(crate) fn begin(&self, script: &Script) {
        output::lines(&self.log);
        script.take(self.delay_ms);
        let death = Death {
            abort: self.abort,
            crash: self.crash,
            exit: self.exit,
        };
        death.happen();
    }
}

/// How many floats the arrays of cross attention have; their struct does not tell.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "named for the caches that they measure")]
pub struct CrossSizes {
    pub k: usize,
    pub v: usize,
}
