//! The models behind handles.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rkllm_ffi::cpu_table::LogitsProcessor;

use crate::callback::{Callback, Sink, Userdata};
use crate::flag::{RunFlag, Running};
use crate::llama::{self, Model};
use crate::params::Options;
use crate::request::Request;
use crate::session::{Figures, Following, Reuse, Session, first_tokens, system_tokens};
use crate::template::{Template, Turn};
use crate::{cpus, log};

/// A model that `rkllm_init` has opened.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) model: Arc<Model>,
    pub(crate) flag: Arc<RunFlag>,
    pub(crate) lanes: usize,
    /// Why the model's own chat template is not used, where it has one.
    pub(crate) template_problem: Option<String>,
    callback: Callback,
    template: Mutex<Arc<Template>>,
    following: Mutex<Following>,
    /// Of the last run's prompts.
    pub(crate) figures: Figures,
    session: Mutex<Session>,
}

/// Handles are numbers, never reused: one that is stale or made up is found out, not followed.
static HANDLES: Mutex<(usize, BTreeMap<usize, Arc<Instance>>)> = Mutex::new((0, BTreeMap::new()));

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session whose run has panicked: its lanes and llama.cpp's cache may disagree.
const BROKEN: &str = "this model was broken by an internal error; destroy it and open it again";

/// Locks what is of no use any more once a panic has interrupted a change of it.
fn unbroken<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, String> {
    mutex.lock().map_err(|_| BROKEN.into())
}

/// Gives `instance` a handle.
pub(crate) fn register(instance: Instance) -> usize {
    let mut handles = locked(&HANDLES);
    handles.0 += 0x10;
    let handle = handles.0;
    handles.1.insert(handle, Arc::new(instance));
    handle
}

/// The model behind a handle.
pub(crate) fn find(handle: usize) -> Result<Arc<Instance>, String> {
    if handle == 0 {
        return Err("the handle is NULL".into());
    }
    let found = locked(&HANDLES).1.get(&handle).cloned();
    found.ok_or_else(|| "the handle does not belong to an open model".into())
}

/// Takes a handle away, ends its run and waits for that end.
pub(crate) fn destroy(handle: usize) -> Result<(), String> {
    let instance = find(handle)?;
    if instance.flag.on_own_thread() {
        return Err("rkllm_destroy was called from inside the callback".into());
    }
    locked(&HANDLES).1.remove(&handle);
    instance.flag.close();
    // Another call, that of an adapter for example, may still have it.
    drop(locked(&instance.session));
    Ok(())
}

impl Instance {
    /// Loads a model and makes its context.
    pub(crate) fn open(path: &CStr, options: Options, callback: Callback) -> Result<Self, String> {
        check_file(path)?;
        llama::start();
        let shown = path.to_string_lossy();
        let model = Model::load(path).ok_or_else(|| {
            format!(
                "failed to load the model {shown} (llama.cpp {})",
                llama::version()
            )
        })?;
        if !model.generates() {
            return Err(format!("the model {shown} is not one that generates text"));
        }
        let limit = model.context_limit();
        if i64::try_from(options.max_context_len).unwrap_or(i64::MAX) > i64::from(limit) {
            return Err(format!(
                "max_context_len ({}) must be less than or equal to the model's max_context_limit ({limit})",
                options.max_context_len
            ));
        }
        let threads = cpus::threads(options.cpus, options.cpu_mask);
        log::info!("rkllm-runtime version: 1.3.0, rknpu driver version: none, platform: CPU");
        log::info!(
            "loaded {}: max_context_limit: {limit}, max_context_len: {}, vocab_size: {}, \
             embd_size: {}, enabled_cpus_num: {threads}",
            model.description(),
            options.max_context_len,
            model.vocabulary_size(),
            model.hidden_width(),
        );
        let (template, template_problem) = template_of(&model);
        let model = Arc::new(model);
        let flag = Arc::new(RunFlag::default());
        let lanes = options.lanes;
        let session = Session::new(&model, options, threads, &flag)
            .ok_or_else(|| format!("failed to create a context for the model {shown}"))?;
        Ok(Self {
            model,
            flag,
            lanes,
            template_problem,
            callback,
            template: Mutex::new(Arc::new(template)),
            following: Mutex::default(),
            figures: session.figures.clone(),
            session: Mutex::new(session),
        })
    }

    /// Enters a run; the flag is up from here on.
    pub(crate) fn enter(&self) -> Result<Running, String> {
        self.flag.enter().ok_or_else(|| {
            if self.flag.closing() {
                return "the model is being destroyed".into();
            }
            "a run of this model is active".into()
        })
    }

    /// Does a run that was entered.
    pub(crate) fn run(
        &self,
        running: &Running,
        request: &Request,
        userdata: Userdata,
    ) -> Result<(), String> {
        running.claim();
        let following = *locked(&self.following);
        let sink = Sink::new(
            self.callback,
            userdata,
            self.lanes,
            &self.flag,
            following.processor,
        );
        // Not locked during the run: the callback may ask how long a text is.
        let template = self.template();
        let result = unbroken(&self.session)?.run(request, &template, following, &sink);
        result.map_err(|failure| {
            if failure.begun {
                log::error!("{}", failure.reason);
                sink.error();
                return "the run has failed".into();
            }
            failure.reason
        })?;
        if sink.is_mute() {
            return Err("the model was destroyed before the run had begun".into());
        }
        Ok(())
    }

    /// The session, unless a run has it.
    pub(crate) fn session(&self) -> Result<MutexGuard<'_, Session>, String> {
        match self.session.try_lock() {
            Ok(session) => Ok(session),
            Err(TryLockError::Poisoned(_)) => Err(BROKEN.into()),
            Err(TryLockError::WouldBlock) => Err("a run of this model is active".into()),
        }
    }

    fn template(&self) -> Arc<Template> {
        Arc::clone(&locked(&self.template))
    }

    /// Changes the template of the runs that follow; refused while a run is active.
    pub(crate) fn change_template(
        &self,
        change: impl FnOnce(&mut Template) -> Result<(), String>,
    ) -> Result<(), String> {
        let _idle = self.session()?;
        change(Arc::make_mut(&mut locked(&self.template)))
    }

    pub(crate) fn set_seed(&self, seed: Option<u64>) {
        locked(&self.following).seed = seed;
    }

    pub(crate) fn set_reuse(&self, reuse: Reuse) {
        locked(&self.following).reuse = reuse;
    }

    pub(crate) fn set_logits_processor(&self, processor: Option<LogitsProcessor>) {
        locked(&self.following).processor = processor;
    }

    /// Tokens that a text takes at the start of a conversation.
    pub(crate) fn count(&self, turn: Turn<'_>) -> Result<usize, String> {
        first_tokens(&self.model, &self.template(), turn).map(|tokens| tokens.len())
    }

    /// The tokens of the system prompt.
    pub(crate) fn system(&self) -> Vec<i32> {
        system_tokens(&self.model, &self.template())
    }
}

/// The model's own template, or why it cannot be used: then prompts are left as they are.
fn template_of(model: &Model) -> (Template, Option<String>) {
    let text = |token: Option<i32>| {
        token.map_or_else(String::new, |token| {
            String::from_utf8_lossy(&model.piece(token, true)).into_owned()
        })
    };
    let (bos, eos) = (text(model.bos()), text(model.eos()));
    match Template::of_model(model.chat_template(), bos.clone(), eos.clone()) {
        Ok(template) => (template, None),
        Err(reason) => {
            log::warning!("{reason}; prompts go to the model as they are");
            (Template::raw(bos, eos), Some(reason))
        }
    }
}

/// Finds the usual mistakes with a better text than llama.cpp's.
fn check_file(path: &CStr) -> Result<(), String> {
    use std::io::Read as _;
    let shown = path.to_string_lossy();
    let file = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    if file.is_dir() {
        return Err(format!("the model path {shown} is a folder"));
    }
    let mut magic = [0_u8; 4];
    std::fs::File::open(file)
        .map_err(|e| format!("failed to open the model file {shown}: {e}"))?
        .read_exact(&mut magic)
        .map_err(|_| format!("invalid model: {shown} is too short"))?;
    if &magic != b"GGUF" {
        return Err(format!(
            "invalid model: {shown} has invalid magic characters; the CPU runtime runs .gguf files, \
             .rkllm files need the NPU"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_has_interrupted_is_refused() {
        let mutex = Mutex::new(1);
        assert!(unbroken(&mutex).is_ok());
        let run = || {
            let _session = unbroken(&mutex).expect("whole");
            panic!("in the middle of a run");
        };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(caught.is_err());
        assert_eq!(unbroken(&mutex).expect_err("refused"), BROKEN);
        // It can still be waited for, to be destroyed.
        assert_eq!(*locked(&mutex), 1);
    }
}
