//! Forwards what the library prints, at once, and keeps the last lines of it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How many lines are kept.
const RING: usize = 512;
/// How much of a line is kept; the whole of it is forwarded.
const LINE: usize = 4096;

/// Severity of a vendor log line, by its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogLevel {
    /// `E`
    Error,
    /// `W`
    Warning,
    /// `I`
    Info,
    /// `D`
    Debug,
    /// A line of another form.
    Other,
}

/// Where the library wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that the vendor library printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Counts the lines of the process.
    pub number: u64,
    /// Its severity.
    pub level: LogLevel,
    /// Where it was written.
    pub stream: LogStream,
    /// The line without its end; bytes that are no UTF-8 are replaced.
    pub text: String,
}

impl LogLevel {
    /// The letter with which such lines begin; "" for lines of another form.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Error => "E",
            Self::Warning => "W",
            Self::Info => "I",
            Self::Debug => "D",
            Self::Other => "",
        }
    }

    /// Reads the letter of `E rkllm: …`, `W RKNN: …` and the like.
    fn of(line: &str) -> Self {
        let mut bytes = line.bytes();
        let level = match bytes.next() {
            Some(b'E') => Self::Error,
            Some(b'W') => Self::Warning,
            Some(b'I') => Self::Info,
            Some(b'D') => Self::Debug,
            _ => return Self::Other,
        };
        // A tag and a colon must follow, or any sentence that begins with "I" would count.
        let rest = line.get(1..).unwrap_or_default();
        match rest.strip_prefix(' ').and_then(|rest| rest.split_once(':')) {
            Some((tag, _)) if !tag.is_empty() && !tag.contains(' ') => level,
            _ => Self::Other,
        }
    }
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    next: u64,
    partial: [Vec<u8>; 2],
}

impl Kept {
    fn add(&mut self, stream: LogStream, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.append(stream, &bytes[..end]);
            self.finish_line(stream);
            bytes = &bytes[end + 1..];
        }
        self.append(stream, bytes);
    }

    fn append(&mut self, stream: LogStream, bytes: &[u8]) {
        let partial = &mut self.partial[stream as usize];
        let room = LINE.saturating_sub(partial.len());
        partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish_line(&mut self, stream: LogStream) {
        let bytes = std::mem::take(&mut self.partial[stream as usize]);
        let text = String::from_utf8_lossy(&bytes)
            .trim_end_matches('\r')
            .to_owned();
        if self.lines.len() == RING {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine {
            number: self.next,
            level: LogLevel::of(&text),
            stream,
            text,
        });
        self.next += 1;
    }
}

/// The forwarding thread's state; lives as long as the process.
pub(super) struct Capture {
    readers: [OwnedFd; 2],
    /// Set before a read and cleared when what was read is out.
    busy: AtomicBool,
    /// Set when a wait for the forwarding was in vain.
    stalled: AtomicBool,
    kept: Mutex<Kept>,
}

impl Capture {
    /// Starts the thread; `None` when there is none to be had.
    pub(super) fn start(readers: super::fds::Readers) -> Option<&'static Self> {
        let capture: &'static Self = Box::leak(Box::new(Self {
            readers: [readers.0, readers.1],
            busy: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            kept: Mutex::default(),
        }));
        Builder::new()
            .name("rkllm-log".to_owned())
            .spawn(|| capture.forward())
            .ok()?;
        line_buffer_stdio();
        Some(capture)
    }

    fn forward(&self) {
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let mut fds = [
                PollFd::new(&self.readers[0], PollFlags::IN),
                PollFd::new(&self.readers[1], PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let ready = [fds[0].revents(), fds[1].revents()];
            self.busy.store(true, Ordering::SeqCst);
            for (index, stream) in [LogStream::Stdout, LogStream::Stderr]
                .into_iter()
                .enumerate()
            {
                if ready[index].contains(PollFlags::IN) {
                    if let Ok(count @ 1..) = rustix::io::read(&self.readers[index], &mut buffer[..])
                    {
                        let bytes = &buffer[..count];
                        write_all(stream, bytes);
                        self.kept().add(stream, bytes);
                    }
                }
            }
            self.busy.store(false, Ordering::SeqCst);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark(&self) -> u64 {
        self.kept().next
    }

    pub(super) fn since(&self, mark: u64) -> Vec<LogLine> {
        self.kept()
            .lines
            .iter()
            .filter(|line| line.number >= mark)
            .cloned()
            .collect()
    }

    /// Takes an unfinished line for whole: the call that printed it has returned, and what the next
    /// one prints is another line.
    pub(super) fn finish_lines(&self) {
        let mut kept = self.kept();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if !kept.partial[stream as usize].is_empty() {
                kept.finish_line(stream);
            }
        }
    }

    /// The read ends' numbers, the same in both tables.
    pub(super) fn reader_numbers(&self) -> [RawFd; 2] {
        [self.readers[0].as_raw_fd(), self.readers[1].as_raw_fd()]
    }

    /// Whether nothing waits to be forwarded. Only system calls and atomics: signal handlers ask too.
    pub(super) fn is_drained(&self) -> bool {
        // The pipes first: what leaves them while we look is then still under the flag.
        let empty = self.reader_numbers().into_iter().all(|fd| {
            let mut count: libc::c_int = 0;
            // SAFETY: FIONREAD writes one int; the number is open in both tables for good.
            unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) != 0 || count == 0 }
        });
        empty && !self.busy.load(Ordering::SeqCst)
    }

    /// Waits until everything is forwarded, `limit` at most.
    ///
    /// Where nobody reads the program's own output, one call waits and the next ones do not.
    pub(super) fn drain(&self, limit: Duration) {
        if self.is_drained() {
            self.stalled.store(false, Ordering::Relaxed);
            return;
        }
        if self.stalled.load(Ordering::Relaxed) {
            return;
        }
        let start = Instant::now();
        while !self.is_drained() {
            if start.elapsed() > limit {
                self.stalled.store(true, Ordering::Relaxed);
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Writes to the host program's descriptor as it is at this moment.
fn write_all(stream: LogStream, mut bytes: &[u8]) {
    let number = match stream {
        LogStream::Stdout => libc::STDOUT_FILENO,
        LogStream::Stderr => libc::STDERR_FILENO,
    };
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

unsafe extern "C" {
    static stdout: *mut libc::FILE;
}

/// C's stdout would fill a block before it writes, since it now meets a pipe: lines would come late
/// and be lost in an abort.
fn line_buffer_stdio() {
    // SAFETY: `stdout` is the C library's own stream; glibc allows this call at any time and locks
    // the stream itself.
    unsafe {
        libc::setvbuf(
            stdout,
            std::ptr::null_mut(),
            libc::_IOLBF,
            libc::BUFSIZ as libc::size_t,
        );
    }
}

/// Hands over what the library left in C's stdout without a line end.
pub(super) fn flush_stdio() {
    // SAFETY: as above; fflush locks the stream itself.
    unsafe {
        libc::fflush(stdout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_need_letter_tag_and_colon() {
        assert_eq!(LogLevel::of("E rkllm: bad"), LogLevel::Error);
        assert_eq!(LogLevel::of("W RKNN: hm"), LogLevel::Warning);
        assert_eq!(LogLevel::of("I rkllm: fine"), LogLevel::Info);
        assert_eq!(LogLevel::of("I think: so"), LogLevel::Info);
        assert_eq!(LogLevel::of("I do not think: so"), LogLevel::Other);
        assert_eq!(LogLevel::of("Error: no"), LogLevel::Other);
        assert_eq!(LogLevel::of(""), LogLevel::Other);
        assert_eq!(LogLevel::of("É rkllm: x"), LogLevel::Other);
    }

    #[test]
    fn lines_are_joined_over_reads_and_bounded() {
        let mut kept = Kept::default();
        kept.add(LogStream::Stderr, b"E rkl");
        kept.add(LogStream::Stdout, b"other\n");
        kept.add(LogStream::Stderr, b"lm: one\nW rkllm: two\nrest");
        let texts: Vec<_> = kept.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["other", "E rkllm: one", "W rkllm: two"]);
        kept.add(LogStream::Stderr, &vec![b'x'; 3 * LINE]);
        kept.add(LogStream::Stderr, b"\n");
        assert_eq!(kept.lines.back().map(|line| line.text.len()), Some(LINE));
        for _ in 0..2 * RING {
            kept.add(LogStream::Stdout, b"more\n");
        }
        assert_eq!(kept.lines.len(), RING);
    }
}
