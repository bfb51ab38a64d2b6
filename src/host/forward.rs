//! Reads what the library prints, at once, keeps the last lines and hands on what is to be printed.
//!
//! Read in the library's own descriptor table, where the program cannot close anything. The ordinary
//! table has the same pipes under the same numbers, for those who ask there whether they are empty.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::fds::{FileKey, Readers};
use super::lines::{Kept, LogLine, LogStream, Partial};
use super::print::{self, Printer};

/// One of the pipes.
struct Pipe {
    stream: LogStream,
    number: RawFd,
    key: FileKey,
}

/// The process's log: lines of a library in it, and of those in workers.
pub(super) struct Log {
    kept: Mutex<Kept>,
    pub(super) printer: Printer,
}

impl Log {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            kept: Mutex::default(),
            printer,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes of one library's output; gives its whole lines to `seen`, too.
    pub(super) fn take(
        &self,
        partial: &mut Partial,
        stream: LogStream,
        bytes: &[u8],
        seen: &mut dyn FnMut(&LogLine),
    ) {
        let done = &mut |line: &LogLine, bytes| {
            seen(line);
            self.printer.take(line, bytes);
        };
        self.kept().add(partial, stream, bytes, done);
    }

    /// Takes unfinished lines for whole.
    pub(super) fn finish(&self, partial: &mut Partial, seen: &mut dyn FnMut(&LogLine)) {
        let done = &mut |line: &LogLine, bytes| {
            seen(line);
            self.printer.take(line, bytes);
        };
        self.kept().finish_all(partial, done);
    }

    pub(super) fn mark(&self) -> u64 {
        self.kept().next
    }

    pub(super) fn since(&self, mark: u64) -> Vec<LogLine> {
        self.kept().since(mark)
    }

    pub(super) fn pass_on(&self, number: u64, awaited: bool) {
        self.kept().pass_on(number, awaited);
        self.printer.pass_on(number);
    }
}

/// The reading thread's state; lives as long as the process.
pub(super) struct Capture {
    pipes: [Pipe; 2],
    /// Set before a read and cleared when what was read is kept.
    busy: AtomicBool,
    partial: Mutex<Partial>,
    pub(super) log: &'static Log,
}

impl Capture {
    /// For pipes whose read ends have these numbers in both tables; they stay open for good.
    pub(super) fn new(readers: Readers, log: &'static Log) -> std::io::Result<Self> {
        let pipe = |stream, reader: std::os::fd::OwnedFd| {
            Ok::<_, std::io::Error>(Pipe {
                stream,
                key: FileKey::of(&reader)?,
                number: reader.into_raw_fd(),
            })
        };
        Ok(Self {
            pipes: [
                pipe(LogStream::Stdout, readers.0)?,
                pipe(LogStream::Stderr, readers.1)?,
            ],
            busy: AtomicBool::new(false),
            partial: Mutex::default(),
            log,
        })
    }

    /// The reading thread, in the library's table.
    pub(super) fn read(&self) {
        let mut buffer = vec![0_u8; 64 * 1024];
        // SAFETY: open in this table for good.
        let mut open: Vec<(&Pipe, BorrowedFd<'_>)> = self
            .pipes
            .iter()
            .map(|pipe| (pipe, unsafe { BorrowedFd::borrow_raw(pipe.number) }))
            .collect();
        while !open.is_empty() {
            let mut fds: Vec<_> = open
                .iter()
                .map(|(_, fd)| PollFd::new(fd, PollFlags::IN))
                .collect();
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            let ready: Vec<_> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            self.busy.store(true, Ordering::SeqCst);
            let mut ready = ready.into_iter();
            open.retain(|(pipe, fd)| {
                let events = ready.next().unwrap_or(PollFlags::empty());
                if events.contains(PollFlags::IN) {
                    if let Ok(count @ 1..) = rustix::io::read(fd, &mut buffer[..]) {
                        self.take(pipe.stream, &buffer[..count]);
                    }
                    true
                } else {
                    // A library that has closed its own output would keep us awake for ever.
                    !events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
                }
            });
            self.busy.store(false, Ordering::SeqCst);
        }
    }

    fn take(&self, stream: LogStream, bytes: &[u8]) {
        self.log
            .take(&mut self.partial(), stream, bytes, &mut |_| ());
    }

    fn partial(&self) -> MutexGuard<'_, Partial> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes unfinished lines for whole.
    pub(super) fn finish_lines(&self) {
        self.log.finish(&mut self.partial(), &mut |_| ());
    }

    /// Whether all that was written is kept. Only system calls and atomics: signal handlers ask too.
    pub(super) fn is_read(&self) -> bool {
        // The pipes first: what leaves them while we look is then still under the flag.
        let empty = self.pipes.iter().all(|pipe| {
            let mut count: libc::c_int = 0;
            // Where the program has closed the number, nobody can tell.
            !pipe.key.is_at(pipe.number)
                // SAFETY: FIONREAD writes one int; the number leads to the pipe, as just seen.
                || unsafe { libc::ioctl(pipe.number, libc::FIONREAD, &raw mut count) != 0 }
                || count == 0
        });
        empty && !self.busy.load(Ordering::SeqCst)
    }

    /// Waits until everything is kept and printed, `limit` at most for each.
    pub(super) fn drain(&self, limit: Duration) {
        if print::wait(limit, &|| self.is_read()) {
            self.finish_lines();
            self.log.printer.drain(limit);
        }
    }
}

/// Writes to the host program's descriptor as it is at this moment.
pub(super) fn write_all(number: RawFd, mut bytes: &[u8]) {
    // SAFETY: used for a write at once; if the host has closed it, the write fails and that is all.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return,
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let fd = fd.as_fd();
                let _ = poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None);
            }
            Err(_) => return,
        }
    }
}
