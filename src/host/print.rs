//! Prints the library's lines, as the mode says, from a thread in the ordinary descriptor table.
//!
//! Nobody waits for it: a program whose own output nobody reads holds up neither the library nor the
//! lines that errors carry.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::forward::write_all;
use super::lines::{LogLevel, LogLine, LogStream};
use super::mode::{self, Mode};

/// How long lines of an open are held back: if it fails, they are in the error. One that hangs must
/// show them.
const HOLD: Duration = Duration::from_secs(2);
/// How many bytes may wait for someone to read the program's output; later lines are left out.
const WAITING: usize = 1 << 20;
/// How many lines are remembered that are printed only if the process crashes.
const LAST_WORDS: usize = 20;

/// A line on its way.
struct Item {
    number: u64,
    target: RawFd,
    bytes: Vec<u8>,
    since: Instant,
}

#[derive(Default)]
struct Queues {
    /// To be printed now.
    due: VecDeque<Item>,
    /// Lines of an open that goes on.
    held: VecDeque<Item>,
    /// Printed only if the process crashes.
    last: VecDeque<Item>,
    /// How many opens go on.
    opens: usize,
    /// Bytes of `due`.
    bytes: usize,
    left_out: usize,
}

/// How the process is about to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// By `exit`: what is held back is printed.
    Exit = 1,
    /// By a signal: also what explains it.
    Crash = 2,
}

/// The printing thread's state. The counts are kept beside the queues for signal handlers.
pub(super) struct Printer {
    queues: Mutex<Queues>,
    due: AtomicUsize,
    held: AtomicUsize,
    last: AtomicUsize,
    end: AtomicU8,
    /// Set when a wait for the printing was in vain.
    stalled: AtomicBool,
    thread: OnceLock<Thread>,
}

/// Waits until `done`, `limit` at most; returns whether it is.
pub(super) fn wait(limit: Duration, done: &dyn Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    true
}

impl Printer {
    pub(super) fn new() -> Self {
        // SAFETY: used for this one question; a number that is not open is an error, and no more.
        let stderr = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
        if rustix::io::fcntl_getfd(stderr).is_err() {
            mode::set_no_stderr();
        }
        Self {
            queues: Mutex::default(),
            due: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
            end: AtomicU8::new(0),
            stalled: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line that has come.
    pub(super) fn take(&self, line: &LogLine, bytes: Vec<u8>) {
        let telling = matches!(line.level, LogLevel::Error | LogLevel::Warning);
        let mode = mode::get();
        let target = match (mode, line.stream) {
            (Mode::Direct, LogStream::Stdout) => libc::STDOUT_FILENO,
            _ if mode::no_stderr() => return,
            _ => libc::STDERR_FILENO,
        };
        let item = Item {
            number: line.number,
            target,
            bytes,
            since: Instant::now(),
        };
        let mut queues = self.queues();
        match mode {
            Mode::Warnings | Mode::All if mode::taken() => self.remember(&mut queues, item),
            Mode::Warnings if telling && queues.opens > 0 => {
                self.held.fetch_add(1, Ordering::SeqCst);
                queues.held.push_back(item);
            }
            Mode::Direct | Mode::All => self.push(&mut queues, item),
            Mode::Warnings if telling => self.push(&mut queues, item),
            // What has no level may be the reason of an abort.
            Mode::Warnings if line.level == LogLevel::Other => self.remember(&mut queues, item),
            Mode::Warnings | Mode::Quiet => return,
        }
        drop(queues);
        self.wake();
    }

    fn push(&self, queues: &mut Queues, item: Item) {
        if queues.bytes + item.bytes.len() > WAITING {
            queues.left_out += 1;
            return;
        }
        queues.bytes += item.bytes.len();
        self.due.fetch_add(1, Ordering::SeqCst);
        queues.due.push_back(item);
    }

    fn remember(&self, queues: &mut Queues, item: Item) {
        if queues.last.len() == LAST_WORDS {
            queues.last.pop_front();
        } else {
            self.last.fetch_add(1, Ordering::SeqCst);
        }
        queues.last.push_back(item);
    }

    /// The program's logger has been given the lines below `number`.
    pub(super) fn pass_on(&self, number: u64) {
        let mut queues = self.queues();
        queues.last.retain(|item| item.number >= number);
        self.last.store(queues.last.len(), Ordering::SeqCst);
    }

    /// From here to [`Self::opened`] lines are held back.
    pub(super) fn opening(&self) {
        self.queues().opens += 1;
    }

    /// An open has ended; lines from `in_error` on are in its error and not printed.
    pub(super) fn opened(&self, in_error: Option<u64>) {
        let mut queues = self.queues();
        queues.opens -= 1;
        if let Some(mark) = in_error {
            queues.held.retain(|item| item.number < mark);
        }
        if queues.opens == 0 {
            // Due from here on, so that whoever waits until nothing is due waits for them too.
            while let Some(item) = queues.held.pop_front() {
                self.push(&mut queues, item);
            }
        }
        self.held.store(queues.held.len(), Ordering::SeqCst);
        drop(queues);
        self.wake();
    }

    /// Whether nothing waits to be printed now. For signal handlers too.
    pub(super) fn is_idle(&self) -> bool {
        self.due.load(Ordering::SeqCst) == 0
    }

    /// Waits until what is due is printed, `limit` at most.
    ///
    /// Where nobody reads the program's own output, one call waits and the next ones do not.
    pub(super) fn drain(&self, limit: Duration) {
        if self.is_idle() {
            self.stalled.store(false, Ordering::Relaxed);
        } else if !self.stalled.load(Ordering::Relaxed) && !wait(limit, &|| self.is_idle()) {
            self.stalled.store(true, Ordering::Relaxed);
        }
    }

    /// Prints what is held back as well; done when this gives true. For signal handlers too.
    pub(super) fn ends(&self, end: End) -> bool {
        if self.end.fetch_max(end as u8, Ordering::SeqCst) < end as u8 {
            // An atomic and a futex.
            self.wake();
        }
        self.held.load(Ordering::SeqCst) == 0
            && (end == End::Exit || self.last.load(Ordering::SeqCst) == 0)
            && self.is_idle()
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The printing thread.
    pub(super) fn print(&self) {
        let _ = self.thread.set(std::thread::current());
        loop {
            match self.next() {
                Ok(item) => {
                    write_all(item.target, &item.bytes);
                    self.due.fetch_sub(1, Ordering::SeqCst);
                }
                Err(Some(limit)) => std::thread::park_timeout(limit),
                Err(None) => std::thread::park(),
            }
        }
    }

    /// The next line to print, or for how long there is none.
    fn next(&self) -> Result<Item, Option<Duration>> {
        let mut queues = self.queues();
        let queues = &mut *queues;
        let end = self.end.load(Ordering::SeqCst);
        let free = |item: &Item| queues.opens == 0 || end > 0 || item.since.elapsed() >= HOLD;
        let mut now = VecDeque::new();
        while queues.held.front().is_some_and(free) {
            now.extend(queues.held.pop_front());
        }
        if end == End::Crash as u8 {
            now.append(&mut queues.last);
            now.make_contiguous().sort_by_key(|item| item.number);
        }
        for item in now {
            self.push(queues, item);
        }
        // After the lines are due, so that no handler finds nothing left in between.
        self.held.store(queues.held.len(), Ordering::SeqCst);
        self.last.store(queues.last.len(), Ordering::SeqCst);
        if let Some(item) = queues.due.pop_front() {
            queues.bytes -= item.bytes.len();
            return Ok(item);
        }
        if queues.left_out > 0 {
            let count = std::mem::take(&mut queues.left_out);
            let text = format!(
                "W rkllm_rs: {count} lines of the runtime were dropped here, because stderr was not read in time\n"
            );
            self.due.fetch_add(1, Ordering::SeqCst);
            return Ok(Item {
                number: 0,
                target: libc::STDERR_FILENO,
                bytes: text.into_bytes(),
                since: Instant::now(),
            });
        }
        Err(queues
            .held
            .front()
            .map(|item| HOLD.saturating_sub(item.since.elapsed())))
    }
}
