//! One handle of the library and the calls on it.

use std::cell::OnceCell;
use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::calls::NEWER_CPU_RUNTIME;
use super::init;
use super::lane::{Asker, Lanes, LastCall};
use super::rendered::LibraryTemplate;
use super::run;
use super::slot::{AsksFigures, Slots};
use super::trampoline::process_logits;
use crate::files::{BackendKind, diagnose, info_from_log};
use crate::host::{self, LogLine};
use crate::protocol::Reuse;
use crate::protocol::config::{Effective, ModelConfig};
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::info::{ModelInfo, Source};
use crate::protocol::input::{CrossAttention, Input, c_path};
use crate::protocol::message::RunSpec;
use crate::runtime::Runtime;
use rkllm_ffi::cpu_table::{LogitsProcessor, reuse};
use rkllm_ffi::shared::LLMHandle;
use rkllm_ffi::shared::functions::OnHandle;
use rkllm_text::constraint::Vocabulary;

/// How long after a run that ended without its last call that call is waited for.
const LAST_CALL: Duration = Duration::from_secs(2);
/// The same after an abort, of which nobody says how it ends.
const LAST_CALL_ABORTED: Duration = Duration::from_millis(250);

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// It is over.
    Over,
    /// It was paused, and the next run goes on from it.
    Paused,
}

/// Lets another thread ask for an abort, only while the run that it means is under way.
pub(crate) struct Aborter {
    target: Mutex<Option<Target>>,
}

struct Target {
    abort: OnHandle,
    handle: LLMHandle,
    run: u64,
}

// SAFETY: the handle is used through `rkllm_abort` only, which the library allows from another
// thread than the run's, and only under the lock that the run's end takes too.
unsafe impl Send for Aborter {}
// SAFETY: as above.
unsafe impl Sync for Aborter {}

impl Aborter {
    pub(crate) fn new() -> Self {
        Self {
            target: Mutex::new(None),
        }
    }

    /// `rkllm_abort`, if the library is in that run.
    pub(crate) fn abort(&self, run: u64) {
        if let Some(target) = self
            .target
            .lock()
            .as_ref()
            .filter(|target| target.run == run)
        {
            // SAFETY: the handle is live and in a run: the engine takes the target away, under this
            // lock, before anything else happens to it.
            unsafe { (target.abort)(target.handle) };
        }
    }
}

/// A model that the library has opened. Lives on the engine's thread, from init to destroy.
pub(crate) struct NativeModel {
    pub(super) runtime: Arc<Runtime>,
    pub(super) handle: LLMHandle,
    pub(super) effective: Effective,
    info: ModelInfo,
    slots: Slots,
    aborter: Arc<Aborter>,
    asker: &'static Asker,
    /// The last run was paused and nothing has ended that.
    pub(super) paused: bool,
    /// What the library may still look at; dropped after `rkllm_destroy`.
    pub(super) cross_attention: Option<CrossAttention>,
    pub(super) template: LibraryTemplate,
    /// What the library warned of when it opened the model, which may explain a failure.
    warnings: Vec<LogLine>,
    /// The model's tokens, once they have been asked for.
    pub(super) vocabulary: OnceCell<Arc<Vocabulary>>,
}

impl NativeModel {
    /// `rkllm_init`.
    pub(crate) fn open(
        runtime: &Arc<Runtime>,
        path: &Path,
        config: &ModelConfig,
        aborter: Arc<Aborter>,
        asker: &'static Asker,
    ) -> Result<Self, Failure> {
        let c_path = c_path("model", path)?;
        let opening = host::LogOfOpening::begin();
        // SAFETY: the runtime has established its library's layout from agreeing evidence, and
        // its defaults come from that library.
        let opened = unsafe {
            init::init(
                runtime.identity().abi,
                runtime.symbols(),
                runtime.defaults(),
                c_path,
                config,
                asker,
            )
        };
        let lines = opening.lines();
        let failed = opened.code != 0 || opened.handle.is_null();
        if failed || diagnose::has_failed(&lines, "open") {
            if !failed {
                // SAFETY: the library gave this handle just now, and nothing runs on it.
                unsafe { (runtime.symbols().destroy)(opened.handle) };
            }
            opening.leave_to_error();
            return Err(not_opened(path, opened.code, &lines));
        }
        drop(opening);
        // What was held back comes before whatever the program prints next.
        host::log_sync();
        let mut model = Self {
            runtime: Arc::clone(runtime),
            handle: opened.handle,
            effective: opened.effective,
            info: info_from_log(&lines),
            slots: Slots::new(),
            aborter,
            asker,
            paused: false,
            cross_attention: None,
            template: LibraryTemplate::default(),
            warnings: diagnose::kept_warnings(lines),
            vocabulary: OnceCell::new(),
        };
        if let Some(table) = runtime.symbols().cpu_table {
            // SAFETY: the table belongs to the library of this live handle.
            let [vocab, width, limit] = [table.vocab_size, table.embd_size, table.context_limit]
                .map(|ask| unsafe { ask(model.handle) });
            model.info.tell(vocab, width, limit);
            if config.template.is_none() {
                model.info.template_problem = model
                    .template_problem()
                    .map(|text| (text, Source::CpuRuntime));
            }
        }
        if config.template.is_some() {
            model.info.template_problem = None;
        }
        match &config.template {
            // Who asks puts the strings around the text itself.
            Some(_) if !runtime.capabilities().has_templates() => {}
            Some(template) => model.replace_chat_template(template)?,
            None => {}
        }
        Ok(model)
    }

    pub(crate) fn effective(&self) -> Effective {
        self.effective
    }

    /// What was learned about the model while it was opened.
    pub(crate) fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    /// `rkllm_run`: returns when the library has done with it.
    pub(crate) fn run(
        &mut self,
        run: u64,
        spec: &RunSpec,
        lanes: &Lanes,
    ) -> Result<RunEnd, Failure> {
        self.check_length(spec)?;
        self.set_seed(spec.seed);
        self.set_logits_processor(lanes.iter().any(|lane| lane.chooses()))?;
        let mark = host::log_mark();
        let symbols = self.runtime.symbols();
        // All lanes of a run are wanted or not wanted alike by its last call.
        let first = &lanes[0];
        let figures = symbols.cpu_table.and_then(|table| table.prompt_figures);
        let figures = figures.map(|ask| AsksFigures {
            ask,
            handle: self.handle,
        });
        let slot = self.slots.bind(Arc::clone(lanes), figures);
        if let Some(abort) = symbols.abort {
            let target = Target {
                abort,
                handle: self.handle,
                run,
            };
            *self.aborter.target.lock() = Some(target);
        }
        lanes.iter().for_each(|lane| lane.start());
        // SAFETY: `self` owns the live handle and is borrowed exclusively; the layout and the
        // symbols are the runtime's; the model's floors give one input for each lane of its batch.
        let code = unsafe {
            run::run(
                self.runtime.identity().abi,
                symbols,
                self.handle,
                spec,
                slot,
            )
        };
        let aborting = lanes.iter().any(|lane| lane.abort_wanted());
        let (paused, said_over) = first.has_paused();
        self.paused = code == 0 && paused;
        let goes_on = self.paused && !said_over;
        let last = if code == 0 && !goes_on {
            first.wait_for_last_call(if aborting {
                LAST_CALL_ABORTED
            } else {
                LAST_CALL
            })
        } else {
            None
        };
        *self.aborter.target.lock() = None;
        Slots::release(slot);
        let ended = match (code, last) {
            (0, _) if goes_on => Ok(RunEnd::Paused),
            (0, Some(LastCall::Finish(_))) => Ok(RunEnd::Over),
            (0, None) if aborting => Ok(RunEnd::Over),
            (0, Some(LastCall::Error)) => Err("the runtime reported an error".to_owned()),
            (0, None) => Err("it returned without a final callback".to_owned()),
            (code, _) => Err(format!("it returned {code}")),
        };
        // The CPU runtime returns what has happened.
        let trusted = ended.is_ok() && self.runtime.backend() == BackendKind::Cpu;
        let log = if trusted {
            host::log_sync();
            Vec::new()
        } else {
            host::log_since(mark)
        };
        let reason = match ended {
            Ok(end) if !diagnose::has_failed(&log, "run") => return Ok(end),
            Ok(_) => "it returned 0, but its log says that the computation failed".to_owned(),
            Err(reason) => reason,
        };
        let reason = match self.asker.0.problem() {
            Some(problem) => format!("{reason}; {problem}"),
            None => reason,
        };
        let told = diagnose::diagnose(&self.warnings, &log, ErrorKind::Generation);
        Err(told.into_failure(format!("rkllm_run failed: {reason}"), "rkllm_run"))
    }

    /// Refuses text that cannot fit, where that can be known (hazard G1); tokens were counted before.
    fn check_length(&self, spec: &RunSpec) -> Result<(), Failure> {
        let Some(table) = self.runtime.symbols().cpu_table else {
            return Ok(());
        };
        let limit = usize::try_from(self.effective.max_context_len).unwrap_or(0);
        for lane in &spec.lanes {
            let Input::Prompt(text) = &lane.input else {
                continue;
            };
            // SAFETY: the table belongs to the library of this live handle; the text lives for the
            // call and has the length given.
            let count = unsafe {
                (table.count_tokens)(
                    self.handle,
                    text.as_ptr(),
                    text.as_bytes().len(),
                    lane.role.as_ptr(),
                )
            };
            let tokens = usize::try_from(count).unwrap_or(0);
            if tokens > limit {
                return Err(Failure::context_length(tokens, limit));
            }
        }
        Ok(())
    }

    /// What the next run may take from the cache; false where the library has no such call, and the cache
    /// must be cleared instead if it may take nothing.
    pub(crate) fn set_reuse(&self, how: Reuse) -> bool {
        let table = self.runtime.symbols().cpu_table;
        let how = match how {
            Reuse::Auto => reuse::AUTO,
            Reuse::Fast => reuse::HELD,
            Reuse::Off => reuse::NONE,
        };
        table.and_then(|table| table.set_reuse).is_some_and(|set| {
            // SAFETY: the table belongs to the library of this live handle.
            unsafe { set(self.handle, how) == 0 }
        })
    }

    /// Whether the lanes of the next run see logits before a token is chosen.
    fn set_logits_processor(&self, wanted: bool) -> Result<(), Failure> {
        let table = self.runtime.symbols().cpu_table;
        let Some(set) = table.and_then(|table| table.set_logits_processor) else {
            let able = self.runtime.capabilities();
            let missing = || able.lacks("structured_output", NEWER_CPU_RUNTIME);
            return if wanted { Err(missing()) } else { Ok(()) };
        };
        let processor: Option<LogitsProcessor> = wanted.then_some(process_logits);
        // SAFETY: the table belongs to the library of this live handle; the function takes what `rkllm_run` is
        // given as userdata.
        unsafe { set(self.handle, processor) };
        Ok(())
    }

    /// The seed of the next run; none is a random one.
    fn set_seed(&self, seed: Option<u64>) {
        if let Some(table) = self.runtime.symbols().cpu_table {
            // SAFETY: the table belongs to the library of this live handle.
            unsafe {
                (table.set_seed)(
                    self.handle,
                    c_int::from(seed.is_some()),
                    seed.unwrap_or_default(),
                );
            }
        }
    }
}

pub(super) fn check(function: &'static str, code: c_int, mark: u64) -> Result<(), Failure> {
    host::log_sync();
    if code == 0 {
        Ok(())
    } else {
        Err(failed(function, &format!("it returned {code}"), mark))
    }
}

fn not_opened(path: &Path, code: c_int, lines: &[LogLine]) -> Failure {
    let text = format!(
        "the runtime could not open the model {} (rkllm_init returned {code})",
        path.display()
    );
    diagnose::diagnose(&[], lines, ErrorKind::Model)
        .into_failure(text, "rkllm_init")
        .with_path(path)
}

pub(super) fn failed(function: &'static str, reason: &str, mark: u64) -> Failure {
    diagnose::diagnose(&[], &host::log_since(mark), ErrorKind::Generation)
        .into_failure(format!("{function} failed: {reason}"), function)
}

impl Drop for NativeModel {
    /// `rkllm_destroy`; the engine drops the model after its last run has returned.
    fn drop(&mut self) {
        // SAFETY: the handle is live, nothing runs on it (exclusive), and it is not used again.
        unsafe { (self.runtime.symbols().destroy)(self.handle) };
        host::log_sync();
    }
}
