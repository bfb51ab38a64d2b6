//! `rkllm_init`, `rkllm_destroy`, and the calls that may come from any thread.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::ask::Asked;
use crate::decode::View;
use crate::ffi::shared::LLMHandle;
use crate::ffi::v1_3_0;
use crate::instance::{self, BEHIND_US, Given, Instance, lock};
use crate::output::{self, Stream};
use crate::record::Recorder;
use crate::script::Script;
use crate::{AbiVersion, config, digest, state};

pub use crate::instance::Callback;
pub use crate::run::{run, run_async};

/// What init is given to call back.
#[derive(Debug, Clone, Copy)]
pub struct Callbacks {
    result: Option<Callback>,
    user: *mut c_void,
    asked: Asked,
    /// The struct of 1.3.0, for the record.
    raw: *const v1_3_0::RKLLMCallback,
}

impl From<Option<Callback>> for Callbacks {
    fn from(result: Option<Callback>) -> Self {
        Self {
            result,
            user: std::ptr::null_mut(),
            asked: Asked::default(),
            raw: std::ptr::null(),
        }
    }
}

impl Callbacks {
    /// Reads the struct of 1.3.0.
    ///
    /// # Safety
    ///
    /// `raw` is NULL or points to a valid struct.
    #[must_use]
    pub unsafe fn from_struct(raw: *const v1_3_0::RKLLMCallback) -> Self {
        // SAFETY: by the caller's promise.
        let Some(callbacks) = (unsafe { raw.as_ref() }) else {
            return None.into();
        };
        Self {
            result: callbacks.result_callback.map(Callback::V121),
            user: callbacks.result_userdata,
            asked: callbacks.into(),
            raw,
        }
    }
}

/// `rkllm_init`.
///
/// # Safety
///
/// The contract of the vendor's function: `out` is writable, `param` is NULL or a filled struct of
/// this layout, the callback stays valid until destroy.
pub unsafe fn init(
    abi: &'static AbiVersion,
    out: *mut LLMHandle,
    param: *const u8,
    callbacks: Callbacks,
) -> c_int {
    // SAFETY: by the caller's promise.
    let view = unsafe { View::new(abi, "RKLLMParam", param) };
    let path = view.and_then(|view| view.text("model_path"));
    let script = path.as_deref().map(load);
    let record = match &script {
        Some(Ok(script)) => script.record.clone(),
        _ => None,
    };
    let recorder = Recorder::new([config::config().record.clone(), record]);
    recorder.write("rkllm_init", |fields| {
        fields.insert("abi".to_owned(), abi.name.into());
        fields.insert(
            "param".to_owned(),
            view.map_or(Value::Null, |view| view.json(true)),
        );
        // SAFETY: by the caller's promise; NULL where the layout has no such struct.
        let shown = unsafe { View::new(abi, "RKLLMCallback", callbacks.raw.cast()) };
        let bare = callbacks.result.is_some().into();
        fields.insert(
            "callback".to_owned(),
            shown.map_or(bare, |view| view.json(false)),
        );
    });
    let quiet = config::config().quiet || matches!(&script, Some(Ok(script)) if script.quiet);
    if !quiet {
        let release = config::release(abi);
        let text = format!(
            "I rkllm: rkllm-runtime version: {release}, rknpu driver version: 0.9.8, platform: FAKE"
        );
        output::line(Stream::Stderr, &text);
    }
    let script = match script {
        Some(Ok(script)) => script,
        Some(Err(reason)) => return refuse(&reason),
        None => return refuse("param or model_path is NULL"),
    };
    let (Some(view), Some(callback)) = (view, callbacks.result) else {
        return refuse("the result callback is NULL");
    };
    if let Err(reason) = validate(view, &recorder) {
        return refuse(&reason);
    }
    // SAFETY: as above.
    let shown = unsafe { View::new(abi, "RKLLMCallback", callbacks.raw.cast()) };
    if let Some(count) = script.read_behind {
        let structs = [("param", Some(view)), ("callback", shown)];
        recorder.write("behind", |fields| {
            // SAFETY: the script says that there is such room.
            unsafe { digest::behind(&structs, count, fields) };
        });
    }
    if script.look_back {
        recorder.write("look_back", look_back);
    }
    output::lines(&script.init.log);
    if let Err(reason) = callbacks.asked.all(&script.init.ask, &recorder) {
        return refuse(&reason);
    }
    script.take(script.init.delay_ms);
    script.init.death().happen();
    let (returns, null_handle) = (script.init.returns, script.init.null_handle);
    if returns != 0 {
        return returns;
    }
    let mut instance = Instance::new(abi, script, callback);
    instance.model_path = path.unwrap_or_default();
    instance.asked = callbacks.asked;
    instance.fallback_user = callbacks.user.expose_provenance();
    instance.given = vec![Given::of("param", view)];
    instance
        .given
        .extend(shown.map(|view| Given::of("callback", view)));
    instance.n_batch = batch(view).unwrap_or(1);
    instance.max_new_tokens = view.int("max_new_tokens").unwrap_or(-1);
    let handle = if null_handle {
        std::ptr::null_mut()
    } else {
        instance::register(Arc::new(instance))
    };
    if !out.is_null() {
        // SAFETY: by the caller's promise.
        unsafe { out.write(handle) };
    }
    0
}

/// Tells of each struct that destroyed models were opened with whether it is still there.
fn look_back(fields: &mut serde_json::Map<String, Value>) {
    for name in ["param", "callback"] {
        let given = lock(&BEHIND_US);
        let there = given.iter().filter(|one| one.name == name);
        // SAFETY: the caller promises never to free them, which is what is tested; memory that was
        // freed after all is still mapped, as pages of a heap in use.
        let there: Vec<bool> = there.map(|one| unsafe { one.is_there() }).collect();
        fields.insert(name.to_owned(), there.into());
    }
}

pub(crate) fn refuse(reason: &str) -> c_int {
    output::error(reason);
    -1
}

fn load(path: &[u8]) -> Result<Script, String> {
    let path = state::path(path);
    let text = std::fs::read(path)
        .map_err(|error| format!("failed to open model {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("invalid rkllm model: {error}"))
}

/// `n_batch`, where the layout has it.
fn batch(view: View<'_>) -> Option<usize> {
    view.inside("extend_param")?
        .byte("n_batch")
        .map(usize::from)
}

/// The checks whose failure is known from the vendor's library.
fn validate(view: View<'_>, recorder: &Recorder) -> Result<(), String> {
    if ["img_start", "img_end", "img_content"]
        .iter()
        .any(|marker| view.is_null(marker))
    {
        recorder.broken("null_marker", "rkllm_init", |_| ());
        return Err("basic_string: construction from null is not valid".to_owned());
    }
    match batch(view) {
        Some(count) if !(1..=100).contains(&count) => Err(format!(
            "n_batch must be between 1 and 100, but got {count}"
        )),
        _ => Ok(()),
    }
}

/// `rkllm_destroy`.
pub fn destroy(handle: LLMHandle) -> c_int {
    let Some(instance) = instance::find(handle, "rkllm_destroy") else {
        return -1;
    };
    instance
        .recorder
        .write("rkllm_destroy", |fields| note_handle(fields, handle));
    instance.wait_if_told();
    if instance.running.load(Ordering::SeqCst) {
        instance
            .recorder
            .broken("destroy_during_run", "rkllm_destroy", |_| ());
        return refuse("destroyed during a run");
    }
    let _entered = instance.enter("rkllm_destroy");
    let call = &instance.script.destroy;
    call.begin(&instance.script);
    let returns = call.returns.unwrap_or(0);
    if returns == 0 {
        // Waits for a late callback that is under way; later ones are not made.
        *lock(&instance.destroyed) = true;
        lock(&BEHIND_US).extend_from_slice(&instance.given);
        instance::forget(handle, instance.recorder.clone());
    }
    returns
}

/// `rkllm_abort`.
pub fn abort(handle: LLMHandle) -> c_int {
    let Some(instance) = instance::find(handle, "rkllm_abort") else {
        return -1;
    };
    instance
        .recorder
        .write("rkllm_abort", |fields| note_handle(fields, handle));
    let call = &instance.script.abort;
    call.begin(&instance.script);
    match call.returns {
        Some(returns) if returns != 0 => returns,
        _ if instance.ask_abort() => 0,
        _ => -1,
    }
}

/// `rkllm_is_running`: 1 while running, in all layouts, whatever their headers say.
pub fn is_running(handle: LLMHandle) -> c_int {
    let Some(instance) = instance::find(handle, "rkllm_is_running") else {
        return -1;
    };
    instance
        .recorder
        .write("rkllm_is_running", |fields| note_handle(fields, handle));
    c_int::from(instance.running.load(Ordering::SeqCst))
}

/// Adds the handle to a record.
pub(crate) fn note_handle(fields: &mut serde_json::Map<String, Value>, handle: LLMHandle) {
    fields.insert("handle".to_owned(), handle.addr().into());
}
