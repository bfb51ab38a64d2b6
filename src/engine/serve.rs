//! The life of a model's thread: opens, serves in turn, lets go.

mod calling;
mod guided;
mod holding;
mod own;
mod requests;
mod warm;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::warm::Warm;
use super::beside::Answering;
use super::gate::{Gate, Inside};
use super::guide::Guides;
use super::held::Held;
use super::outbox::Outbox;
use super::{Engine, Message, RunLanes, registry};
use crate::files::prompt_cache::Saving;
use crate::files::{BackendKind, context};
use crate::host;
use crate::host::wake::Side;
use crate::native::{Asker, Lane as _, NativeModel, RunEnd};
use crate::protocol::config::ModelConfig;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::input::Input;
use crate::protocol::message::{Event, Opened, RunSpec, Work};
use crate::runtime::Runtime;

/// How often a model in the middle of steps looks whether they were given up.
const STEPS_LOOK: Duration = Duration::from_millis(20);

/// A model's whole life: what its thread does.
pub(super) fn live(
    engine: &Arc<Engine>,
    runtime: &Arc<Runtime>,
    path: &Path,
    config: &ModelConfig,
    out: &Arc<dyn Outbox>,
    gate: Option<Box<dyn Gate>>,
) {
    let serving = AssertUnwindSafe(|| open_and_serve(engine, runtime, path, config, out, gate));
    let ended = catch_unwind(serving).unwrap_or_else(|_| {
        let reason = "the model's thread panicked; this is a bug in rkllm_rs";
        Err(Failure::new(ErrorKind::Model, reason)
            .with_hint("Please report it, with the message on stderr."))
    });
    retire(engine, ended.err(), out.as_ref());
}

/// The end of an engine: whoever waits for anything is told.
pub(super) fn retire(engine: &Engine, failure: Option<Failure>, out: &dyn Outbox) {
    // Before the caller knows: it may open another one at once. Whatever happened, nobody waits for more.
    engine.close(Side::Vendor);
    engine.watch.quit();
    // Whoever still waits in line is told.
    for message in engine.messages.close() {
        refuse(message, out);
    }
    if let Some(beside) = &engine.beside {
        beside.close(out);
    }
    engine.gone.set();
    if let Some(failure) = failure {
        out.put(Event::OpenFailed(Box::new(failure)), Side::Vendor);
    }
    out.put(Event::Gone, Side::Vendor);
}

fn open_and_serve(
    engine: &Arc<Engine>,
    runtime: &Arc<Runtime>,
    path: &Path,
    config: &ModelConfig,
    out: &Arc<dyn Outbox>,
    gate: Option<Box<dyn Gate>>,
) -> Result<(), Failure> {
    // Models that were closed before are let go of first: there may be memory for one only.
    let waited = registry::wait_for_closing(&(Arc::clone(engine) as _), config.open_timeout());
    if engine.is_closed() {
        return Ok(());
    }
    waited?;
    let asker = Asker::new(Box::new(Arc::clone(&engine.desk)));
    let aborter = Arc::clone(&engine.aborter);
    let model = NativeModel::open(runtime, path, config, aborter, asker)?;
    registry::guard_exit();
    if runtime.backend() == BackendKind::Npu {
        context::remember(path, &model.info());
    }
    let watch = Arc::clone(&engine.watch);
    let aborter = Arc::clone(&engine.aborter);
    host::spawn("rkllm-watch", move || watch.watch(&aborter))
        .map_err(|error| Failure::system("cannot start a thread for the model", error))?;
    let beside = engine.beside.as_ref();
    let answering = beside
        .map(|beside| Answering::start(engine, beside, model.words(), out))
        .transpose()?;
    let opened = Opened {
        effective: model.effective(),
        info: model.info(),
    };
    out.put(Event::Opened(Box::new(opened)), Side::Vendor);
    let room = usize::try_from(model.effective().max_context_len).unwrap_or(0);
    let mut server = Server {
        _answering: answering,
        warm: Warm::default(),
        held: Held::new(runtime.capabilities().prefix_way(), room),
        model,
        engine,
        runtime,
        path,
        out: out.as_ref(),
        gate,
        patience: config.open_timeout(),
        guides: Guides::default(),
        has_tokenizer: config.tokenizer,
        steps: None,
        waiting: VecDeque::new(),
    };
    server.serve();
    let waiting = std::mem::take(&mut server.waiting);
    // rkllm_destroy
    drop(server);
    for message in waiting {
        refuse(message, out.as_ref());
    }
    Ok(())
}

/// An open model, as its thread serves it.
struct Server<'a> {
    /// Ends before the model does, so it stands before it.
    _answering: Option<Answering<'a>>,
    model: NativeModel,
    engine: &'a Engine,
    runtime: &'a Runtime,
    path: &'a Path,
    out: &'a dyn Outbox,
    /// Who may use the NPU, where it is shared, and how long a run waits for that.
    gate: Option<Box<dyn Gate>>,
    patience: Duration,
    /// What the library holds.
    held: Held,
    /// Beginnings that are kept in files.
    warm: Warm,
    guides: Guides,
    /// Whether the program turns text into tokens.
    has_tokenizer: bool,
    /// The run that is paused between two steps, and what the library was given for it.
    steps: Option<(Box<RunSpec>, RunLanes)>,
    /// Runs that came while the model was in the middle of steps.
    waiting: VecDeque<Message>,
}

impl Server<'_> {
    fn serve(&mut self) {
        while !self.engine.is_closed() {
            self.end_steps();
            let look = self.steps.is_some().then_some(STEPS_LOOK);
            let waiting = match look {
                None => self.waiting.pop_front(),
                Some(_) => None,
            };
            let Some(message) = waiting.or_else(|| self.engine.messages.take(look)) else {
                continue;
            };
            // They may have ended while the message was waited for.
            self.end_steps();
            match message {
                Message::Resume {
                    run,
                    input,
                    max_new_tokens,
                } => self.resume(run, input, max_new_tokens),
                Message::Run(..) if self.steps.is_some() => self.waiting.push_back(message),
                Message::Run(spec, lanes) => self.run(spec, lanes),
                Message::Ask { ref request, .. }
                    if self.steps.is_some() && !request.fits_a_pause() =>
                {
                    self.waiting.push_back(message);
                }
                Message::Ask { number, request } => {
                    self.working(Some(Work::Ask(number)));
                    let outcome = self.answer(request);
                    self.out
                        .put(Event::Replied { number, outcome }, Side::Vendor);
                    self.working(None);
                }
                Message::Look => {}
                Message::Close => return,
            }
        }
    }

    /// Goes on with steps, if they have not ended meanwhile.
    fn resume(&mut self, run: u64, input: Input, max_new_tokens: i32) {
        let paused = self.steps.take_if(|(_, lanes)| lanes[0].run() == run);
        let Some((mut spec, lanes)) = paused else {
            return;
        };
        if let Input::Tokens(ids) = &input {
            lanes[0].replace_last(ids);
        }
        spec.lanes[0].input = input;
        spec.max_new_tokens = max_new_tokens;
        // The prompt's cache was saved in the first run.
        spec.save_prompt_cache = None;
        self.run(spec, lanes);
    }

    /// Lets go of steps that have ended.
    fn end_steps(&mut self) {
        let ended = self
            .steps
            .take_if(|(_, lanes)| lanes.iter().all(|lane| lane.has_ended()));
        if ended.is_some() {
            self.model.end_pause();
        }
    }

    fn working(&self, work: Option<Work>) {
        self.out.put(Event::Working(work), Side::Vendor);
    }

    fn run(&mut self, spec: Box<RunSpec>, lanes: RunLanes) {
        let wanted = || !lanes.iter().all(|lane| lane.has_ended());
        if !wanted() {
            return self.model.end_pause();
        }
        // Taken out, so that a run in it can use the rest.
        let mut gate = self.gate.take();
        match Inside::enter(gate.as_mut(), self.patience, &wanted) {
            Ok(inside) if wanted() => {
                self.working(Some(Work::Run(lanes[0].run())));
                self.run_lanes(spec, lanes, inside);
                self.working(None);
            }
            Ok(_) => self.model.end_pause(),
            Err(error) => self.end(&lanes, &Err(error)),
        }
        self.gate = gate;
    }

    /// Ends a run for its readers. It may have ended in a pause.
    fn end(&mut self, lanes: &RunLanes, outcome: &Result<(), Failure>) {
        self.model.end_pause();
        lanes.iter().for_each(|lane| lane.end(outcome.clone()));
    }

    fn run_lanes(&mut self, mut spec: Box<RunSpec>, lanes: RunLanes, inside: Option<Inside<'_>>) {
        let notes = self.warm(&mut spec, &lanes);
        match self.model.settle(&mut spec) {
            Ok(all) => {
                for (lane, settled) in lanes.iter().zip(all) {
                    if let Some(mut settled) = settled {
                        settled.notes.clone_from(&notes);
                        lane.tell(Event::Settled(settled));
                    }
                }
            }
            Err(error) => return self.end(&lanes, &Err(error)),
        }
        let own = match self.ready(&lanes) {
            Ok(own) => own,
            Err(error) => return self.end(&lanes, &Err(error)),
        };
        if let Some(own) = own {
            let outcome = self.choose_here(&spec, &lanes, &own);
            drop(inside);
            return self.end(&lanes, &outcome.map(drop));
        }
        let begun = self.begin(&mut spec, &lanes);
        let saving = spec.save_prompt_cache.as_deref().map(Saving::to);
        if let Some(saving) = &saving {
            saving.clear();
            spec.save_prompt_cache = saving.part();
        }
        let forced = self.force_beginning(&mut spec, &lanes);
        if lanes.iter().all(|lane| lane.has_ended()) {
            // All of its answer was forced.
            return self.end(&lanes, &Ok(()));
        }
        let outcome = self.call(&spec, &lanes, &lanes, begun.clears);
        let outcome = self.go_on(&spec, &lanes, forced, outcome);
        drop(inside);
        self.follow(&outcome, &lanes);
        if let (Some(kind), Some(width)) = (spec.wants, lanes[0].width()) {
            self.out.put(Event::Learned { kind, width }, Side::Vendor);
        }
        let outcome = match saving {
            Some(saving) => self.keep_saved(&saving, outcome, &spec, &lanes),
            None => outcome,
        };
        match outcome {
            Ok(RunEnd::Paused) if !lanes[0].has_ended() => {
                let paused = Arc::clone(&lanes[0]);
                self.steps = Some((spec, lanes));
                paused.tell(Event::Paused);
            }
            Ok(RunEnd::Paused) => self.model.end_pause(),
            Ok(RunEnd::Over) => self.end(&lanes, &Ok(())),
            Err(error) => self.end(&lanes, &Err(error)),
        }
    }

    /// Puts the prompt cache that a run has saved in its place, or removes what a failed run has left of one.
    fn keep_saved(
        &self,
        saving: &Saving,
        outcome: Result<RunEnd, Failure>,
        spec: &RunSpec,
        lanes: &RunLanes,
    ) -> Result<RunEnd, Failure> {
        let end = match outcome {
            Ok(end) => end,
            Err(error) => {
                saving.clear();
                return Err(error);
            }
        };
        let lora = spec.lora.as_ref();
        let lora = lora.map(|name| name.to_string_lossy().into_owned());
        match saving.keep(self.path, self.maker(), lora) {
            // A run that was ended early may have saved none.
            Err(error) if !lanes[0].abort_wanted() => Err(error),
            _ => Ok(end),
        }
    }
}

fn refuse(message: Message, out: &dyn Outbox) {
    match message {
        Message::Run(_, lanes) => lanes.iter().for_each(|lane| lane.close(Side::Vendor)),
        Message::Ask { number, .. } => {
            let outcome = Err(Failure::closed());
            out.put(Event::Replied { number, outcome }, Side::Vendor);
        }
        Message::Resume { .. } | Message::Look | Message::Close => {}
    }
}
