//! The actor's life: opens, serves in turn, lets go.

use std::collections::VecDeque;
use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Message, Opened, Reply, Request, Shared, registry};
use crate::client::oneshot::Giver;
use crate::client::{Delivery, Rows};
use crate::error::Error;
use crate::files::prompt_cache::{self, Saving};
use crate::host;
use crate::host::wake::Side;
use crate::native::{NativeModel, RunEnd, RunSpec};
use crate::protocol::config::ModelConfig;
use crate::runtime::Runtime;

/// How often a model in the middle of steps looks whether they were given up.
const STEPS_LOOK: Duration = Duration::from_millis(20);

pub(super) fn live(
    shared: &Arc<Shared>,
    runtime: &Arc<Runtime>,
    path: &Path,
    config: &ModelConfig,
    messages: &Receiver<Message>,
    report: Giver<Opened>,
) {
    // Models that were closed before are let go of first: there may be memory for one only.
    let waited = registry::wait_for_closing(shared, config.open_timeout());
    if shared.is_closed() {
        return shared.gone.set();
    }
    if let Err(error) = waited {
        shared.closed.store(true, Ordering::Release);
        shared.gone.set();
        report.give(Err(error), Side::Vendor);
        return;
    }
    match NativeModel::open(
        runtime,
        path,
        config,
        Arc::clone(&shared.aborter),
        shared.desk,
    ) {
        Err(error) => {
            // Before the caller knows: it may open another one at once.
            shared.closed.store(true, Ordering::Release);
            report.give(Err(error), Side::Vendor);
        }
        Ok(model) => {
            registry::guard_exit();
            let watch = Arc::clone(&shared.watch);
            let aborter = Arc::clone(&shared.aborter);
            let watching = host::spawn("rkllm-watch", move || watch.watch(&aborter));
            let opened = Opened {
                effective: model.effective(),
                info: model.info(),
            };
            *shared.state.info.lock() = opened.info.clone();
            let ready = watching.map(|()| opened).map_err(|error| Error::System {
                what: "a thread for the model could not be started",
                reason: error.to_string(),
            });
            let usable = ready.is_ok();
            let mut actor = Actor {
                model,
                shared,
                runtime,
                path,
                steps: None,
                waiting: VecDeque::new(),
            };
            // Nobody may be waiting any more: then the model is destroyed right away.
            if report.give(ready, Side::Vendor) && usable {
                actor.serve(messages);
            }
            shared.closed.store(true, Ordering::Release);
            let waiting = std::mem::take(&mut actor.waiting);
            // rkllm_destroy
            drop(actor);
            waiting.into_iter().for_each(refuse);
        }
    }
    shared.desk.close();
    shared.watch.quit();
    // Whoever still waits in line is told.
    while let Ok(message) = messages.try_recv() {
        refuse(message);
    }
    shared.gone.set();
}

struct Actor<'a> {
    model: NativeModel,
    shared: &'a Shared,
    runtime: &'a Runtime,
    path: &'a Path,
    /// The run that is paused between two steps.
    steps: Option<Arc<Delivery>>,
    /// Runs that came while the model was in the middle of steps.
    waiting: VecDeque<Message>,
}

impl Actor<'_> {
    fn serve(&mut self, messages: &Receiver<Message>) {
        while !self.shared.is_closed() {
            self.end_steps();
            let message = if self.steps.is_some() {
                match messages.recv_timeout(STEPS_LOOK) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else if let Some(message) = self.waiting.pop_front() {
                message
            } else {
                match messages.recv() {
                    Ok(message) => message,
                    Err(_) => return,
                }
            };
            // They may have ended while the message was waited for.
            self.end_steps();
            match message {
                Message::Run(spec, rows) => match &self.steps {
                    Some(steps) if !Arc::ptr_eq(steps, &rows[0]) => {
                        self.waiting.push_back(Message::Run(spec, rows));
                    }
                    _ => self.run(*spec, &rows),
                },
                Message::Ask(request, giver) if self.steps.is_some() && !request.fits_a_pause() => {
                    self.waiting.push_back(Message::Ask(request, giver));
                }
                Message::Ask(request, giver) => {
                    giver.give(self.answer(request), Side::Vendor);
                }
                Message::Look => {}
                Message::Close => return,
            }
        }
    }

    /// Lets go of steps that have ended.
    fn end_steps(&mut self) {
        if self.steps.as_ref().is_some_and(|steps| steps.has_ended()) {
            self.steps = None;
            self.model.end_pause();
        }
    }

    fn run(&mut self, mut spec: RunSpec, rows: &Rows) {
        if rows.iter().all(|row| row.has_ended()) {
            return;
        }
        self.steps = None;
        let saving = spec.save_prompt_cache.as_deref().map(Saving::to);
        if let Some(saving) = &saving {
            saving.clear();
            spec.save_prompt_cache = saving.part();
        }
        self.shared.watch.set_current(Some(Arc::clone(rows)));
        if rows.iter().any(|row| row.abort_wanted()) {
            // Asked for when the watch did not know the run yet.
            self.shared.watch.poke();
        }
        let outcome = self.model.run(&spec, rows);
        self.shared.watch.set_current(None);
        if let (Some(kind), Some(width)) = (spec.wants, rows[0].width()) {
            self.shared.state.info.lock().learn(kind, width);
        }
        let lora = || Some(spec.lora.as_ref()?.to_string_lossy().into_owned());
        let outcome = match (outcome, saving) {
            (Ok(end), Some(saving)) => match saving.keep(self.path, self.runtime, lora()) {
                // A run that was ended early may have saved none.
                Err(error) if !rows[0].abort_wanted() => Err(error),
                _ => Ok(end),
            },
            (Err(error), Some(saving)) => {
                saving.clear();
                Err(error)
            }
            (outcome, None) => outcome,
        };
        match outcome {
            Ok(RunEnd::Paused) if !rows[0].has_ended() => {
                self.steps = Some(Arc::clone(&rows[0]));
                rows[0].rest();
            }
            Ok(RunEnd::Paused) => self.model.end_pause(),
            Ok(RunEnd::Over) => {
                // It may have ended in a pause.
                self.model.end_pause();
                rows.iter().for_each(|row| row.end(Ok(())));
            }
            Err(error) => {
                self.model.end_pause();
                let error = Arc::new(error);
                rows.iter().for_each(|row| row.end(Err(Arc::clone(&error))));
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Error> {
        let model = &mut self.model;
        let state = &self.shared.state;
        match request {
            Request::KvCacheSize => return model.kv_cache_size(),
            Request::Tokenize { text, leading } => return model.tokenize(&text, leading),
            Request::ClearKvCache { keep_system_prompt } => {
                model.clear_kv_cache(keep_system_prompt)?;
                // What was to go on is gone.
                if let Some(steps) = self.steps.take() {
                    steps.cancel_from(Side::Vendor);
                }
            }
            Request::ClearKvRanges(ranges) => model.clear_kv_range(&ranges)?,
            Request::LoadLora(adapter) => {
                let loaded = adapter
                    .c_strings()
                    .and_then(|(path, name)| model.load_lora(&path, &name, adapter.scale));
                state.lora_loaded(&adapter.name, loaded.is_ok());
                loaded?;
            }
            Request::LoadPromptCache { path, verify } => {
                // Here and not where it was asked for: a run before it may just have written the file.
                prompt_cache::check(&path)?;
                if verify {
                    prompt_cache::verify(&path, self.path, self.runtime)?;
                }
                let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
                let path = CString::new(bytes)
                    .map_err(|_| Error::invalid("path", "it holds a NUL byte"))?;
                model.load_prompt_cache(&path)?;
            }
            Request::ReleasePromptCache => model.release_prompt_cache()?,
            Request::SetChatTemplate(strings) => {
                model.set_chat_template(&strings)?;
                state.template_set();
            }
            Request::SetFunctionTools(strings) => model.set_function_tools(&strings)?,
            Request::SetCrossAttention(encoder) => model.set_cross_attention(encoder)?,
        }
        Ok(Vec::new())
    }
}

fn refuse(message: Message) {
    match message {
        Message::Run(_, rows) => rows
            .iter()
            .for_each(|row| row.stop(Err(Arc::new(Error::Closed)), Side::Vendor)),
        Message::Ask(_, giver) => {
            giver.give(Err(Error::Closed), Side::Vendor);
        }
        Message::Look | Message::Close => {}
    }
}
