//! The worker's main thread: takes what the program says.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use super::frame::{Bytes, Down, Frames, HELLO, Load, Loaded, Up};
use super::gate::{Entered, FarGate};
use super::outbox::{Line, Post};
use super::pool::Pool;
use crate::engine::{self, Engine, Gate, Outbox};
use crate::files::BackendKind;
use crate::host::wake::Side;
use crate::host::worker::RemoteLog;
use crate::host::{self, FloatBlock, LogLine, worker};
use crate::protocol::error::Failure;
use crate::protocol::message::{Command, Ended, Event};
use crate::runtime::{Runtime, backend};

/// Serves the program whose process has that number, until it closes the model or ends. The socket to it is
/// the standard input.
///
/// # Errors
/// What the system refuses at the start.
pub fn serve(parent: i32) -> std::io::Result<std::convert::Infallible> {
    let socket = worker::become_one(parent)?;
    let line = Line::new(socket)?;
    line.say(&Up::Hello(HELLO));
    let pool = Pool::new(&line);
    let source = Arc::clone(&pool);
    host::copy_into(Box::new(move |size| source.take(size)));
    let (answer, lines) = channel();
    worker::ask_for_lines(Box::new(Lines {
        line: Arc::clone(&line),
        answers: Mutex::new(lines),
    }));
    let (entered, come) = channel();
    let mut worker = Worker {
        gate: Some(FarGate::new(&line, come)),
        line,
        answer,
        entered,
        pool,
        loaded: None,
        engine: None,
    };
    let mut frames = Frames::default();
    // Nobody sends any.
    let mut fds: Vec<OwnedFd> = Vec::new();
    loop {
        let socket = worker.line.socket();
        let received = socket
            .wait()
            .and_then(|()| socket.receive(frames.room(), &mut fds));
        match received {
            Ok(count @ 1..) => frames.came(count),
            // The program has ended, or does not want us any more.
            _ => worker::leave(0),
        }
        fds.clear();
        loop {
            match frames.next::<Down>() {
                Ok(Some(message)) => worker.take(message),
                Ok(None) => break,
                Err(_) => worker::leave(70),
            }
        }
    }
}

/// Asks the program for the library's lines.
struct Lines {
    line: Arc<Line>,
    answers: Mutex<Receiver<Vec<LogLine>>>,
}

impl RemoteLog for Lines {
    fn since(&self, mark: u64) -> Vec<LogLine> {
        // One question at a time, so that the answer is to this one.
        let answers = self.answers.lock();
        self.line.say_and_send(&Up::Lines(mark));
        answers.recv().unwrap_or_default()
    }
}

struct Worker {
    line: Arc<Line>,
    answer: Sender<Vec<LogLine>>,
    /// To the gate, and the gate until the model is opened.
    entered: Sender<Entered>,
    gate: Option<FarGate>,
    pool: Arc<Pool>,
    loaded: Option<(Arc<Runtime>, std::path::PathBuf)>,
    engine: Option<Arc<Engine>>,
}

/// Takes the events of the model, and ends the process after the last one.
struct General {
    post: Post,
    line: Arc<Line>,
}

impl Outbox for General {
    fn put(&self, event: Event<'_>, side: Side) {
        let last = matches!(event, Event::Gone);
        self.post.put(event, side);
        if last {
            self.line.flush();
            worker::leave(0);
        }
    }

    fn lend(&self, number: u64, block: FloatBlock) {
        self.post.lend(number, block);
    }
}

impl Worker {
    fn take(&mut self, message: Down) {
        match message {
            Down::Load(load) => {
                let loaded = self.load(*load).map(Box::new).map_err(Box::new);
                self.line.say(&Up::Loaded(loaded));
            }
            Down::Open(config) => {
                let Some((runtime, path)) = self.loaded.clone() else {
                    worker::leave(70);
                };
                let out = Arc::new(General {
                    post: Post::new(&self.line, &self.pool, None),
                    line: Arc::clone(&self.line),
                });
                let shared = runtime.backend() == BackendKind::Npu;
                let gate = self.gate.take().filter(|_| shared);
                let gate = gate.map(|gate| Box::new(gate) as Box<dyn Gate>);
                match engine::start(runtime, path, *config, Arc::clone(&out) as _, gate) {
                    Ok(engine) => self.engine = Some(engine),
                    Err(failure) => {
                        out.put(Event::OpenFailed(Box::new(failure)), Side::Host);
                        out.put(Event::Gone, Side::Host);
                    }
                }
            }
            Down::Tell(command) => self.tell(command),
            Down::Back(number) => self.pool.returned(number, true),
            Down::Drop(number) => self.pool.returned(number, false),
            Down::Entered(entered) => drop(self.entered.send(entered)),
            Down::Lines(lines) => drop(self.answer.send(lines)),
        }
    }

    fn load(&mut self, load: Load) -> Result<Loaded, Failure> {
        let models: Vec<_> = load.models.into_iter().map(|Bytes(path)| path).collect();
        let found = backend::resolve(&models, &load.options)?;
        let told = found.runtime.tell();
        self.loaded = Some((found.runtime, found.model.clone()));
        Ok(Loaded {
            model: found.model,
            told,
            warnings: found.warnings.iter().map(ToString::to_string).collect(),
            fallback: found.fallback,
        })
    }

    fn tell(&self, command: Command) {
        let Some(engine) = &self.engine else {
            worker::leave(70);
        };
        let (lanes, number) = match &command {
            Command::Run { run, spec, .. } => {
                let post = |lane| Arc::new(Post::new(&self.line, &self.pool, Some((*run, lane))));
                let lanes: Vec<Arc<dyn Outbox>> =
                    (0..spec.lanes.len()).map(|lane| post(lane) as _).collect();
                (lanes, None)
            }
            Command::Ask { number, .. } => (Vec::new(), Some(*number)),
            _ => (Vec::new(), None),
        };
        if let Err(failure) = engine.take(command, lanes.clone(), Side::Host) {
            for lane in lanes {
                let ended = Ended::at_once(Err(failure.clone()));
                lane.put(Event::Ended(Box::new(ended)), Side::Host);
            }
            if let Some(number) = number {
                let outcome = Err(failure);
                self.line
                    .say(&Up::Event(Event::Replied { number, outcome }));
            }
        }
    }
}
