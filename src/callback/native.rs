//! One handle of the library and the calls on it.

use std::ffi::{CString, c_int};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::dialect::{self, InitStorage};
use super::slot::Slots;
use crate::config::{Effective, ModelConfig};
use crate::delivery::{Delivery, LastCall};
use crate::diagnose;
use crate::error::{Error, ErrorKind};
use crate::ffi::shared::LLMHandle;
use crate::ffi::shared::functions::OnHandle;
use crate::input::Input;
use crate::loader::host;
use crate::runtime::Runtime;
use crate::sampling::Sampling;

/// How long after a run that ended without its last call that call is waited for.
const LAST_CALL: Duration = Duration::from_secs(2);
/// The same after an abort, of which nobody says how it ends.
const LAST_CALL_ABORTED: Duration = Duration::from_millis(250);

/// One run, as plain data.
#[derive(Debug, Clone)]
pub(crate) struct RunSpec {
    pub(crate) input: Input,
    /// `user` or `tool`.
    pub(crate) role: CString,
    pub(crate) thinking: bool,
    pub(crate) keep_history: bool,
    /// Sampling of this run alone; from 1.3.0.
    pub(crate) sampling: Option<Sampling>,
    /// Limit of this run alone, 0 for that of init; from 1.3.0.
    pub(crate) max_new_tokens: i32,
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
            // SAFETY: the handle is live and in a run: the actor takes the target away, under this
            // lock, before anything else happens to it.
            unsafe { (target.abort)(target.handle) };
        }
    }
}

/// A model that the library has opened. Lives on the actor's thread, from init to destroy.
pub(crate) struct NativeModel {
    runtime: Arc<Runtime>,
    handle: LLMHandle,
    effective: Effective,
    slots: Slots,
    aborter: Arc<Aborter>,
    /// Dropped after `rkllm_destroy`.
    _storage: Box<InitStorage>,
}

impl NativeModel {
    /// `rkllm_init`.
    pub(crate) fn open(
        runtime: &Arc<Runtime>,
        path: &Path,
        config: &ModelConfig,
        aborter: Arc<Aborter>,
    ) -> Result<Self, Error> {
        let c_path = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
            .map_err(|_| Error::invalid("model", "the path holds a NUL byte"))?;
        let mark = host::log_mark();
        // SAFETY: the runtime has established its library's generation from agreeing evidence, and
        // its defaults come from that library.
        let opened = unsafe {
            dialect::init(
                runtime.identity().generation,
                runtime.symbols(),
                runtime.defaults(),
                c_path,
                config,
            )
        };
        if opened.code != 0 || opened.handle.is_null() {
            let log = diagnose::reportable(&host::log_since(mark));
            let kind = diagnose::classify(&log, ErrorKind::Model);
            return Err(Error::Init {
                path: path.to_owned(),
                code: opened.code,
                log,
                kind,
            });
        }
        host::log_sync();
        Ok(Self {
            runtime: Arc::clone(runtime),
            handle: opened.handle,
            effective: opened.effective,
            slots: Slots::new(),
            aborter,
            _storage: opened.storage,
        })
    }

    pub(crate) fn effective(&self) -> Effective {
        self.effective
    }

    /// `rkllm_run`: returns when the library has done with it.
    pub(crate) fn run(&mut self, spec: &RunSpec, delivery: &Arc<Delivery>) -> Result<(), Error> {
        self.check_length(spec)?;
        let mark = host::log_mark();
        let symbols = self.runtime.symbols();
        let slot = self.slots.bind(Arc::clone(delivery));
        if let Some(abort) = symbols.abort {
            let target = Target {
                abort,
                handle: self.handle,
                run: delivery.run(),
            };
            *self.aborter.target.lock() = Some(target);
        }
        delivery.start();
        // SAFETY: `self` owns the live handle and is borrowed exclusively; the generation and the
        // symbols are the runtime's.
        let code = unsafe {
            dialect::run(
                self.runtime.identity().generation,
                symbols,
                self.handle,
                spec,
                slot,
            )
        };
        let last = if code == 0 {
            let quiet = if delivery.abort_wanted() {
                LAST_CALL_ABORTED
            } else {
                LAST_CALL
            };
            delivery.wait_for_last_call(quiet)
        } else {
            None
        };
        *self.aborter.target.lock() = None;
        Slots::release(slot);
        host::log_sync();
        let reason = match (code, last) {
            (0, Some(LastCall::Finish(_))) => return Ok(()),
            (0, None) if delivery.abort_wanted() => return Ok(()),
            (0, Some(LastCall::Error)) => "the library reported an error".to_owned(),
            (0, None) => "it returned without its last callback".to_owned(),
            (code, _) => format!("it returned {code}"),
        };
        Err(failed("rkllm_run", reason, mark))
    }

    /// Refuses text that cannot fit, where that can be known (hazard G1); tokens were counted before.
    fn check_length(&self, spec: &RunSpec) -> Result<(), Error> {
        let (Input::Prompt(text), Some(table)) = (&spec.input, self.runtime.symbols().cpu_table)
        else {
            return Ok(());
        };
        // SAFETY: the table belongs to the library of this live handle; the text lives for the call
        // and has the length given.
        let count = unsafe {
            (table.count_tokens)(
                self.handle,
                text.as_ptr(),
                text.as_bytes().len(),
                spec.role.as_ptr(),
            )
        };
        let limit = usize::try_from(self.effective.max_context_len).unwrap_or(0);
        let tokens = usize::try_from(count).unwrap_or(0);
        if tokens > limit {
            Err(Error::ContextLength { tokens, limit })
        } else {
            Ok(())
        }
    }

    /// `rkllm_clear_kv_cache` of the whole cache.
    pub(crate) fn clear_kv_cache(&mut self, keep_system_prompt: bool) -> Result<(), Error> {
        self.runtime.capabilities().require("clear_kv_cache")?;
        let Some(clear) = self.runtime.symbols().clear_kv_cache else {
            return Ok(());
        };
        let mark = host::log_mark();
        // SAFETY: live handle, exclusively borrowed; NULL ranges mean the whole cache.
        let code = unsafe {
            clear(
                self.handle,
                c_int::from(keep_system_prompt),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        check("rkllm_clear_kv_cache", code, mark)
    }

    /// `rkllm_get_kv_cache_size`: tokens in the cache, for each row.
    pub(crate) fn kv_cache_size(&mut self) -> Result<Vec<i32>, Error> {
        self.runtime.capabilities().require("kv_cache_size")?;
        let Some(get) = self.runtime.symbols().get_kv_cache_size else {
            return Ok(Vec::new());
        };
        let mark = host::log_mark();
        let mut sizes = vec![0; usize::from(self.effective.n_batch)];
        // SAFETY: live handle, exclusively borrowed; the library writes n_batch numbers, for which
        // there is room.
        let code = unsafe { get(self.handle, sizes.as_mut_ptr()) };
        check("rkllm_get_kv_cache_size", code, mark)?;
        Ok(sizes)
    }
}

fn check(function: &'static str, code: c_int, mark: u64) -> Result<(), Error> {
    host::log_sync();
    if code == 0 {
        Ok(())
    } else {
        Err(failed(function, format!("it returned {code}"), mark))
    }
}

fn failed(function: &'static str, reason: String, mark: u64) -> Error {
    let log = diagnose::reportable(&host::log_since(mark));
    let kind = diagnose::classify(&log, ErrorKind::Generation);
    Error::Run {
        function,
        reason,
        log,
        kind,
    }
}

impl Drop for NativeModel {
    /// `rkllm_destroy`; the actor drops the model after its last run has returned.
    fn drop(&mut self) {
        // SAFETY: the handle is live, nothing runs on it (exclusive), and it is not used again.
        unsafe { (self.runtime.symbols().destroy)(self.handle) };
        host::log_sync();
    }
}
