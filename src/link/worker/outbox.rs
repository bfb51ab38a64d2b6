//! The worker's side: where an engine's events go on to the program.
//!
//! A token that comes alone is sent by the callback itself: one system call, and no other thread wakes. When
//! tokens come one upon the other, they are gathered, and a thread of its own sends what has gathered. All else
//! is sent at once.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::frame::{self, Up};
use super::pool::Pool;
use crate::engine::Outbox;
use crate::host::socket::Socket;
use crate::host::wake::Side;
use crate::host::{self, FloatBlock};
use crate::protocol::message::Event;

/// Events that come sooner than this after the last one are gathered.
const SOON: Duration = Duration::from_micros(500);
/// How long is gathered.
const GATHER: Duration = Duration::from_micros(100);
/// What the sending thread does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sender {
    /// It sleeps.
    #[default]
    Idle,
    /// It has been woken, or waits for more; whoever has the lock may send in its place.
    Gathers,
    /// It sends.
    Sends,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    sender: Sender,
    last: Option<Instant>,
}

/// The way to the program.
pub(super) struct Line {
    socket: Socket,
    pending: Mutex<Pending>,
    /// There is something for the sending thread.
    given: Condvar,
    /// The sending thread has sent.
    sent: Condvar,
}

impl Line {
    /// Takes the socket, and starts the sending thread.
    pub(super) fn new(socket: Socket) -> std::io::Result<Arc<Self>> {
        let line = Arc::new(Self {
            socket,
            pending: Mutex::default(),
            given: Condvar::new(),
            sent: Condvar::new(),
        });
        let this = Arc::clone(&line);
        host::spawn("rkllm-send", move || this.send_given())?;
        Ok(line)
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Adds a message to what is to be sent.
    fn put(&self, message: &Up<'_>) -> MutexGuard<'_, Pending> {
        let mut pending = self.pending.lock();
        if frame::write(message, &mut pending.bytes).is_err() {
            // Longer than any answer can be: the program is told by our end.
            host::worker::leave(70);
        }
        pending
    }

    /// Says something; never waits for the program.
    pub(super) fn say(&self, message: &Up<'_>) {
        let mut pending = self.put(message);
        // What is being sent is followed by the rest.
        if pending.sender != Sender::Sends {
            self.send_now(&mut pending);
            pending.last = Some(Instant::now());
        }
    }

    /// Says something of which much may come: at once, or together with what comes soon after it.
    fn say_with_others(&self, message: &Up<'_>) {
        let mut pending = self.put(message);
        if pending.sender != Sender::Idle {
            return;
        }
        let now = Instant::now();
        let soon = pending
            .last
            .replace(now)
            .is_some_and(|last| now.duration_since(last) < SOON);
        if soon {
            self.give(&mut pending);
        } else {
            self.send_now(&mut pending);
        }
    }

    /// Says something, and that everything is sent when this returns: what comes next may be the end of this
    /// process.
    pub(super) fn say_and_send(&self, message: &Up<'_>) {
        drop(self.put(message));
        self.flushed().last = Some(Instant::now());
    }

    fn give(&self, pending: &mut Pending) {
        pending.sender = Sender::Gathers;
        self.given.notify_one();
    }

    /// Sends what goes without waiting. The lock is held: one who comes meanwhile waits for a system call
    /// that does not wait.
    fn send_now(&self, pending: &mut Pending) {
        match self.socket.try_send(&pending.bytes) {
            Ok(sent) => {
                pending.bytes.drain(..sent);
                if !pending.bytes.is_empty() {
                    self.give(pending);
                }
            }
            Err(_) => host::worker::leave(0),
        }
    }

    /// Says that there is new shared memory, and waits until that is sent.
    pub(super) fn give_memory(&self, number: u32, size: usize, fd: &OwnedFd) {
        let mut pending = self.flushed();
        let mut bytes = Vec::new();
        let memory = Up::Memory { number, size };
        let sent = frame::write(&memory, &mut bytes)
            .is_ok_and(|()| self.socket.send_with(&bytes, fd.as_fd()).is_ok());
        if !sent {
            host::worker::leave(0);
        }
        pending.last = Some(Instant::now());
    }

    /// Sends everything; nobody else says anything as long as the guard lives.
    fn flushed(&self) -> MutexGuard<'_, Pending> {
        let mut pending = self.pending.lock();
        while pending.sender == Sender::Sends {
            self.sent.wait(&mut pending);
        }
        if self.socket.send(&pending.bytes).is_err() {
            // Nobody is left.
            host::worker::leave(0);
        }
        pending.bytes.clear();
        pending
    }

    /// Sends everything.
    pub(super) fn flush(&self) {
        drop(self.flushed());
    }

    fn send_given(&self) {
        let mut bytes = Vec::new();
        let mut pending = self.pending.lock();
        loop {
            if pending.sender == Sender::Idle {
                self.given.wait(&mut pending);
                continue;
            }
            pending.sender = Sender::Sends;
            std::mem::swap(&mut bytes, &mut pending.bytes);
            MutexGuard::unlocked(&mut pending, || {
                if self.socket.send(&bytes).is_err() {
                    host::worker::leave(0);
                }
                bytes.clear();
            });
            pending.sender = Sender::Gathers;
            self.sent.notify_all();
            MutexGuard::unlocked(&mut pending, || std::thread::sleep(GATHER));
            if pending.bytes.is_empty() {
                pending.sender = Sender::Idle;
                pending.last = Some(Instant::now());
            }
        }
    }
}

/// Takes the events of a model, or of a lane of a run.
pub(super) struct Post {
    line: Arc<Line>,
    pool: Arc<Pool>,
    /// The lane; none for events of the model.
    place: Option<(u64, usize)>,
}

impl Post {
    pub(super) fn new(line: &Arc<Line>, pool: &Arc<Pool>, place: Option<(u64, usize)>) -> Self {
        Self {
            line: Arc::clone(line),
            pool: Arc::clone(pool),
            place,
        }
    }
}

impl Outbox for Post {
    fn put(&self, event: Event<'_>, _side: Side) {
        let Some((run, lane)) = self.place else {
            return match event {
                // Next comes a call of the library, which may be the last.
                Event::Working(Some(_)) => self.line.say_and_send(&Up::Event(event)),
                _ => self.line.say(&Up::Event(event)),
            };
        };
        let rows = matches!(event, Event::RowsCome(_) | Event::Rows { .. });
        match event {
            // So few are there sooner than that is said.
            Event::RowsCome(None) => return,
            Event::Piece { .. } => self.line.say_with_others(&Up::Lane { run, lane, event }),
            _ => self.line.say(&Up::Lane { run, lane, event }),
        }
        if rows {
            // The kernel keeps the one who is woken for this core, as if this thread were to wait now.
            std::thread::yield_now();
        }
    }

    fn lend(&self, block: u64, rows: FloatBlock) {
        let (Some((run, lane)), Some(lease)) = (self.place, rows.lease()) else {
            debug_assert!(false, "{rows:?} are of no run, or not in shared memory");
            return;
        };
        self.pool.lend(lease.number, &lease.segment);
        // Sent together with the event that follows.
        drop(self.line.put(&Up::Lend {
            run,
            lane,
            number: lease.number,
            block,
            serial: lease.serial,
            kind: rows.kind,
            rows: rows.rows(),
            width: rows.width(),
        }));
    }
}
