//! A loaded "model", and the registry of handles.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ask::Asked;
use crate::decode::{View, hex};
use crate::ffi::shared::{LLMHandle, RKLLMResult};
use crate::ffi::{v1_1_0, v1_2_0, v1_2_1};
use crate::record::Recorder;
use crate::script::Script;
use crate::state::State;
use crate::{AbiVersion, config, output};

/// The result callback of a layout; 1.2.1 and 1.3.0 have the same.
#[derive(Debug, Clone, Copy)]
pub enum Callback {
    /// 1.1.x: no return value, no logits.
    V110(v1_1_0::ResultCallback),
    /// 1.2.0 and 1.2.1b1: no return value, no figures.
    V120(v1_2_0::ResultCallback),
    /// From 1.2.1 on.
    V121(v1_2_1::ResultCallback),
}

impl Callback {
    /// Calls back with the layout's own result struct; 0 where it returns nothing.
    ///
    /// # Safety
    ///
    /// The function is the one that was given to init, still valid, and `rows`, unless empty, holds
    /// as many results as the model has batch rows.
    pub(crate) unsafe fn call(
        self,
        rows: &mut [RKLLMResult],
        user: *mut c_void,
        state: c_int,
    ) -> c_int {
        let Some(first) = rows.first() else {
            // SAFETY: by the caller's promise; NULL results are part of the contract.
            return unsafe { self.call_raw(std::ptr::null_mut(), user, state) };
        };
        // SAFETY: by the caller's promise, and the result has the layout that this callback takes.
        unsafe {
            match self {
                Self::V110(_) => {
                    let mut result = v1_1_0::RKLLMResult {
                        text: first.text,
                        token_id: first.token_id,
                        last_hidden_layer: first.last_hidden_layer,
                    };
                    self.call_raw((&raw mut result).cast(), user, state)
                }
                Self::V120(_) => {
                    let mut result = v1_2_0::RKLLMResult {
                        text: first.text,
                        token_id: first.token_id,
                        last_hidden_layer: first.last_hidden_layer,
                        logits: first.logits,
                    };
                    self.call_raw((&raw mut result).cast(), user, state)
                }
                Self::V121(_) => self.call_raw(rows.as_mut_ptr().cast(), user, state),
            }
        }
    }

    /// # Safety
    ///
    /// `result` is NULL or the struct of this callback's layout.
    unsafe fn call_raw(self, result: *mut c_void, user: *mut c_void, state: c_int) -> c_int {
        // SAFETY: passed on to the caller.
        unsafe {
            match self {
                Self::V110(callback) => callback(result.cast(), user, state),
                Self::V120(callback) => callback(result.cast(), user, state),
                Self::V121(callback) => return callback(result.cast(), user, state),
            }
        }
        0
    }
}

/// A model between init and destroy.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) abi: &'static AbiVersion,
    pub(crate) script: Script,
    pub(crate) callback: Callback,
    pub(crate) model_path: Vec<u8>,
    /// The callbacks of 1.3.0 that runs may ask.
    pub(crate) asked: Asked,
    /// `result_userdata` of 1.3.0, which stands in for a NULL userdata.
    pub(crate) fallback_user: usize,
    /// What init was given, as it was then.
    pub(crate) given: Vec<Given>,
    pub(crate) n_batch: usize,
    pub(crate) max_new_tokens: i32,
    pub(crate) next_run: AtomicUsize,
    /// The number of runs played when the size of the cache was asked for last.
    pub(crate) size_asked: AtomicUsize,
    pub(crate) running: AtomicBool,
    /// The run goes on behind the caller's back, and its last callback has been made: for the caller it
    /// is over, so that who comes next waits for its thread.
    told: AtomicBool,
    over: Condvar,
    /// The callback paused the last run, and its cache is as it left it.
    pub(crate) paused: AtomicBool,
    pub(crate) state: Mutex<State>,
    /// Read before each token; the time is looked at only when it is set.
    pub(crate) abort_asked: AtomicBool,
    abort_time: Mutex<Option<Instant>>,
    /// Calls that are inside the library, but for abort and is_running.
    active: Mutex<Vec<(i64, &'static str)>>,
    /// Held while a late callback is under way; true once destroyed.
    pub(crate) destroyed: Mutex<bool>,
    /// The rows that the last callback showed, overwritten but not yet freed.
    pub(crate) stale_rows: Mutex<Vec<Vec<f32>>>,
    pub(crate) recorder: Recorder,
}

/// Locks, and goes on after a panic: a test's record must not end there.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call under way; over when dropped.
pub(crate) struct Entered<'a> {
    instance: &'a Instance,
    entry: (i64, &'static str),
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut active = lock(&self.instance.active);
        if let Some(at) = active.iter().position(|entry| *entry == self.entry) {
            active.swap_remove(at);
        }
    }
}

impl Instance {
    pub(crate) fn new(abi: &'static AbiVersion, script: Script, callback: Callback) -> Self {
        let recorder = Recorder::new([config::config().record.clone(), script.record.clone()]);
        Self {
            abi,
            script,
            callback,
            model_path: Vec::new(),
            asked: Asked::default(),
            fallback_user: 0,
            given: Vec::new(),
            n_batch: 1,
            max_new_tokens: -1,
            next_run: AtomicUsize::new(0),
            size_asked: AtomicUsize::new(0),
            running: AtomicBool::new(false),
            told: AtomicBool::new(false),
            over: Condvar::new(),
            paused: AtomicBool::new(false),
            state: Mutex::default(),
            abort_asked: AtomicBool::new(false),
            abort_time: Mutex::new(None),
            active: Mutex::new(Vec::new()),
            destroyed: Mutex::new(false),
            stale_rows: Mutex::new(Vec::new()),
            recorder,
        }
    }

    /// Notes that a call has begun, and records it if another one has not ended.
    pub(crate) fn enter(&self, function: &'static str) -> Entered<'_> {
        let entry = (output::thread_id(), function);
        let mut active = lock(&self.active);
        if let Some((thread, other)) = active.first().copied() {
            let what = if thread == entry.0 {
                "reentrant"
            } else {
                "concurrent"
            };
            self.recorder.broken(what, function, |fields| {
                fields.insert("during".to_owned(), other.into());
            });
        }
        active.push(entry);
        Entered {
            instance: self,
            entry,
        }
    }

    /// What `rkllm_get_kv_cache_size` writes: the last run's, or the script's.
    pub(crate) fn kv_cache_size(&self) -> &[i32] {
        let runs = &self.script.runs;
        let played = self.next_run.load(Ordering::Relaxed).min(runs.len());
        let asked = self.size_asked.swap(played, Ordering::Relaxed) == played;
        let own = played.checked_sub(1).map(|at| {
            let later = &runs[at].kv_cache_size_later;
            if asked && !later.is_empty() {
                later
            } else {
                &runs[at].kv_cache_size
            }
        });
        let own = own.filter(|sizes| !sizes.is_empty());
        own.unwrap_or(&self.script.kv_cache_size)
    }

    /// Claims the run; false when one is under way.
    pub(crate) fn begin_run(&self) -> bool {
        self.wait_if_told();
        let begun = !self.running.swap(true, Ordering::SeqCst);
        if begun {
            *lock(&self.abort_time) = None;
            self.abort_asked.store(false, Ordering::SeqCst);
        }
        begun
    }

    /// Frees the claim of [`Self::begin_run`].
    pub(crate) fn end_run(&self) {
        // Under the lock, so that an abort that found a run is one of that run.
        let _time = lock(&self.abort_time);
        self.told.store(false, Ordering::SeqCst);
        self.running.store(false, Ordering::SeqCst);
        self.over.notify_all();
    }

    /// The last callback of a run behind the caller's back comes now.
    pub(crate) fn tell(&self) {
        self.told.store(true, Ordering::SeqCst);
    }

    /// Waits for the end of a run that has told its own, as a library waits for its threads.
    pub(crate) fn wait_if_told(&self) {
        let mut time = lock(&self.abort_time);
        while self.told.load(Ordering::SeqCst) {
            time = self.over.wait(time).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Asks the current run to end; false when there is none.
    pub(crate) fn ask_abort(&self) -> bool {
        let mut time = lock(&self.abort_time);
        if !self.running.load(Ordering::SeqCst) {
            return false;
        }
        time.get_or_insert_with(Instant::now);
        self.abort_asked.store(true, Ordering::SeqCst);
        true
    }

    /// Whether an abort has come and `patience` has passed since.
    pub(crate) fn abort_is_due(&self, patience: Duration) -> bool {
        lock(&self.abort_time).is_some_and(|time| time.elapsed() >= patience)
    }
}

enum Entry {
    Live(Arc<Instance>),
    Destroyed(Recorder),
}

static REGISTRY: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Mutex::default);

/// Gives an instance its handle. The few bytes behind it are never freed, so that no later handle
/// can have the same value and a call on a destroyed one is always noticed.
pub(crate) fn register(instance: Arc<Instance>) -> LLMHandle {
    let handle: LLMHandle = Box::into_raw(Box::new(u64::from_ne_bytes(*b"fakehndl"))).cast();
    lock(&REGISTRY).insert(handle.addr(), Entry::Live(instance));
    handle
}

/// A struct that init was given: where it lies, and what was in it.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) name: &'static str,
    address: usize,
    hex: String,
}

impl Given {
    pub(crate) fn of(name: &'static str, view: View<'_>) -> Self {
        Self {
            name,
            address: view.address(),
            hex: view.raw_hex(),
        }
    }

    /// Whether it is still there, unchanged.
    ///
    /// # Safety
    ///
    /// The memory may be read, whosever it is by now.
    pub(crate) unsafe fn is_there(&self) -> bool {
        let from = std::ptr::with_exposed_provenance(self.address);
        // SAFETY: passed on to the caller.
        unsafe { hex(from, self.hex.len() / 2) == self.hex }
    }
}

/// What the models were opened with that have been destroyed.
pub(crate) static BEHIND_US: Mutex<Vec<Given>> = Mutex::new(Vec::new());

/// Marks a handle as destroyed.
pub(crate) fn forget(handle: LLMHandle, recorder: Recorder) {
    lock(&REGISTRY).insert(handle.addr(), Entry::Destroyed(recorder));
}

/// The instance behind a handle that is live.
pub(crate) fn find(handle: LLMHandle, function: &'static str) -> Option<Arc<Instance>> {
    match lock(&REGISTRY).get(&handle.addr()) {
        Some(Entry::Live(instance)) => return Some(Arc::clone(instance)),
        Some(Entry::Destroyed(recorder)) => {
            recorder.broken("use_after_destroy", function, |_| ());
            output::error(&format!("{function}: the handle was destroyed"));
            return None;
        }
        None => {}
    }
    config::recorder().broken("bad_handle", function, |_| ());
    output::error(&format!("{function}: the handle is not valid"));
    None
}
