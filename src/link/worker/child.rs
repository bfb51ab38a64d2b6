//! One child's life, on a thread of its own: started, read from, and told about when it has died.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::crash;
use super::frame::{Down, Frames, HELLO, Problem, Up};
use super::gate::Keeper;
use super::queue::Queue;
use super::rows::{Memory, Refused};
use super::state::{Death, Supervisor};
use crate::files::BackendKind;
use crate::host::process::{self, Process, Started};
use crate::host::socket::Socket;
use crate::host::{self, LogOfWorker, LogStream};
use crate::protocol::error::Failure;
use crate::protocol::message::{Command, Ended, Event, StopReason};

/// How long a child may take until it says that it is one.
const HELLO_LIMIT: Duration = Duration::from_secs(60);
/// How long a child that has left is waited for before it is killed, and after.
const LEAVING: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// What is read from one child.
struct Reader<'a> {
    supervisor: &'a Arc<Supervisor>,
    life: u64,
    process: Arc<Process>,
    socket: Arc<Socket>,
    pipes: [(LogStream, Option<OwnedFd>); 2],
    log: LogOfWorker,
    frames: Frames,
    /// Files that have come and not been mapped.
    files: Vec<OwnedFd>,
    memory: Arc<Memory>,
    queue: Arc<Queue>,
    gate: Keeper,
    greeted: bool,
}

/// What has come from a child.
#[derive(Default)]
struct Come {
    /// Something is in the socket.
    said: bool,
    /// Something is in the pipes.
    printed: bool,
    /// The process has ended.
    ended: bool,
}

/// Why nothing more is read.
enum Stop {
    /// The socket is at its end, or the process has ended.
    Left,
    /// It has to be ended.
    Unfit(String),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Unfit(problem.to_string())
    }
}

/// Starts the child of that number and reads from it until it dies.
pub(super) fn live(supervisor: &Arc<Supervisor>, life: u64) {
    let death = match process::start(supervisor.program.clone()) {
        Ok(started) => serve(supervisor, life, started),
        Err(error) => Death::of_nothing(crash::not_started(&supervisor.program, &error)),
    };
    supervisor.died(life, &death);
}

fn serve(supervisor: &Arc<Supervisor>, life: u64, started: Started) -> Death {
    let Started {
        process,
        socket,
        out,
        err,
    } = started;
    let socket = Arc::new(socket);
    let queue = Arc::new(Queue::default());
    let (sending, far) = (Arc::clone(&queue), Arc::clone(&socket));
    let mut reader = Reader {
        supervisor,
        life,
        process: Arc::clone(&process),
        socket,
        pipes: [
            (LogStream::Stdout, Some(out)),
            (LogStream::Stderr, Some(err)),
        ],
        log: LogOfWorker::default(),
        frames: Frames::default(),
        files: Vec::new(),
        memory: Memory::new(&queue),
        queue: Arc::clone(&queue),
        gate: Keeper::new(&queue),
        greeted: false,
    };
    let told = host::spawn("rkllm-tell", move || sending.serve(&far));
    let stop = if let Err(error) = told {
        Stop::Unfit(format!("no thread to talk to it: {error}"))
    } else {
        supervisor.started(life, &process, &queue);
        reader.read()
    };
    queue.end();
    reader.bury(stop)
}

impl Reader<'_> {
    fn read(&mut self) -> Stop {
        let begin = Instant::now();
        loop {
            let limit = (!self.greeted).then(|| HELLO_LIMIT.saturating_sub(begin.elapsed()));
            if limit == Some(Duration::ZERO) {
                let seconds = HELLO_LIMIT.as_secs();
                return Stop::Unfit(format!("it did not report within {seconds} s"));
            }
            let come = self.wait(limit);
            if come.printed {
                self.read_log();
            }
            if come.said {
                match self.socket.receive(self.frames.room(), &mut self.files) {
                    Ok(count @ 1..) => self.frames.came(count),
                    // A child that is killed with something unread resets the connection.
                    _ => return Stop::Left,
                }
                if let Err(stop) = self.take_frames() {
                    return stop;
                }
            } else if come.ended {
                return Stop::Left;
            }
        }
    }

    /// Waits until there is something. The socket is looked at first: what was printed before something was
    /// said is there when that is.
    fn wait(&self, limit: Option<Duration>) -> Come {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let handle = self.process.handle();
        let pipes = self.pipes.iter().filter_map(|(_, pipe)| pipe.as_ref());
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
        fds.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let pipes = fds.len();
        fds.extend(
            handle
                .iter()
                .map(|handle| PollFd::new(handle, PollFlags::IN)),
        );
        if poll(&mut fds, limit.as_ref()).is_err() {
            return Come::default();
        }
        let there = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Come {
            said: there(&fds[0]),
            printed: fds[1..pipes].iter().any(there),
            ended: fds[pipes..].iter().any(there),
        }
    }

    /// Reads what has been printed, up to a limit: a flood must not hold up anything else.
    fn read_log(&mut self) {
        let mut buffer = [0; 16 * 1024];
        for (stream, pipe) in &mut self.pipes {
            for _ in 0..64 {
                let Some(fd) = pipe.as_ref() else { break };
                match rustix::io::read(fd, &mut buffer) {
                    Ok(0) => *pipe = None,
                    Ok(count) => self.log.take(*stream, &buffer[..count]),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), Stop> {
        // Taken out so that what is read from it can be handed on.
        let mut frames = std::mem::take(&mut self.frames);
        let taken = loop {
            match frames.next::<Up<'_>>() {
                Ok(Some(message)) => {
                    if let Err(stop) = self.take(message) {
                        break Err(stop);
                    }
                }
                Ok(None) => break Ok(()),
                Err(problem) => break Err(problem.into()),
            }
        };
        self.frames = frames;
        taken
    }

    fn take(&mut self, message: Up<'_>) -> Result<(), Stop> {
        let lie = |what: &str| Err(Stop::Unfit(format!("it sent {what}")));
        if !self.greeted {
            let Up::Hello(hello) = message else {
                return lie("a message before its greeting");
            };
            if hello != HELLO {
                return lie(&format!("the greeting {hello:?} in place of {HELLO:?}"));
            }
            self.greeted = true;
            return Ok(());
        }
        match message {
            Up::Hello(_) => return lie("a second greeting"),
            Up::Loaded(loaded) => {
                self.end_lines();
                if let Ok(BackendKind::Npu) = loaded.as_ref().map(|loaded| loaded.told.backend()) {
                    // If there is none now, the first run asks again.
                    let _ = self.gate.start();
                }
                self.supervisor.loaded(self.life, loaded);
            }
            Up::Event(event) => {
                if matches!(
                    event,
                    Event::Opened(_) | Event::OpenFailed(_) | Event::Replied { .. }
                ) {
                    self.end_lines();
                }
                self.supervisor.event(self.life, event);
            }
            Up::Lane { run, lane, event } => {
                if matches!(event, Event::Ended(_)) {
                    self.end_lines();
                }
                self.supervisor.lane_event(run, lane, event);
            }
            Up::Memory { number, size } => {
                if self.files.is_empty() {
                    return lie("shared memory without its file");
                }
                let file = self.files.remove(0);
                if !self.memory.came(number, size, &file) {
                    return lie("shared memory that cannot be used");
                }
            }
            Up::Enter(limit) => self.gate.enter(limit),
            Up::NotWanted => self.gate.give_up(),
            Up::Leave => self.gate.leave(),
            Up::Lines(mark) => {
                self.end_lines();
                let lines = self.log.since(mark);
                self.queue.say(&Down::Lines(lines));
            }
            Up::Forget(number) => self.memory.forget(number),
            Up::Lend {
                run,
                lane,
                number,
                block,
                serial,
                kind,
                rows,
                width,
            } => match self.memory.borrow((number, serial), kind, rows, width) {
                Ok(rows) => {
                    if let Some(out) = self.supervisor.lane(run, lane) {
                        out.lend(block, rows);
                    }
                }
                Err(Refused::Lie) => return lie("rows that are not where it says"),
                Err(Refused::NoMemory) => {
                    let text = format!("out of memory while mapping {rows} x {width} floats");
                    self.supervisor
                        .fail_lane(run, lane, &Failure::of_run(&text));
                }
            },
        }
        Ok(())
    }

    /// What a call has printed comes before what the program is told of it.
    fn end_lines(&mut self) {
        self.read_log();
        self.log.finish();
        host::log_printed();
    }

    /// Waits for the end of the process, and reads its last lines.
    fn bury(mut self, stop: Stop) -> Death {
        let problem = match stop {
            Stop::Left if self.frames.is_cut() => {
                Some("it left in the middle of a message".to_owned())
            }
            Stop::Left => None,
            Stop::Unfit(problem) => {
                self.process.kill_here();
                Some(problem)
            }
        };
        let status = self.process.wait_for(LEAVING.0).or_else(|| {
            self.process.kill_here();
            self.process.wait_for(LEAVING.1)
        });
        if status.is_none() {
            // In the kernel, and not to be had back: somebody must take its status when it is.
            let process = Arc::clone(&self.process);
            drop(host::spawn("rkllm-wait", move || {
                process.wait();
            }));
        }
        self.end_lines();
        Death {
            pid: Some(self.process.pid()),
            status: status.unwrap_or_default(),
            problem,
            failure: None,
            greeted: self.greeted,
            log: self.log.last_words(),
        }
    }
}

impl Supervisor {
    /// Ends a lane for its reader, and asks the worker to stop it.
    fn fail_lane(&self, run: u64, lane: usize, failure: &Failure) {
        let ended = Ended::at_once(Err(failure.clone()));
        self.lane_event(run, lane, Event::Ended(Box::new(ended)));
        let reason = StopReason::Cancelled;
        self.say(&Down::Tell(Command::Stop { run, lane, reason }));
    }
}
