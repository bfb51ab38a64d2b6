//! Starting a child process, and its end.
//!
//! Children are started by one thread that lives as long as the process: a child asks the kernel to be
//! killed when the thread that started it ends. That thread is on the library's side of the descriptor
//! tables, so that a child inherits none of the program's descriptors, and a fork of the program does not
//! inherit those that lead to the child.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions as WaitOptions, kill_process, pidfd_open,
    pidfd_send_signal, waitid, waitpid,
};

use super::fds;
use super::jobs::{self, Jobs};
use super::socket::Socket;

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub file: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A child, with its standard input, output and error. All of it belongs to the library's side of the
/// descriptor tables.
pub(crate) struct Started {
    pub(crate) process: Arc<Process>,
    pub(crate) socket: Socket,
    pub(crate) out: OwnedFd,
    pub(crate) err: OwnedFd,
}

/// How a process has ended; neither is known if someone else has waited for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) signal: Option<i32>,
    pub(crate) exit_code: Option<i32>,
}

/// A child process.
pub(crate) struct Process {
    pid: Pid,
    /// Not to be closed: its number belongs to the library's side.
    handle: Option<std::mem::ManuallyDrop<OwnedFd>>,
    /// From here on its number may be another process's.
    gone: Mutex<bool>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What becomes readable when it has ended, on the library's side; none before Linux 5.3.
    pub(crate) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(|handle| handle.as_fd())
    }

    /// Kills it, from a thread of either side.
    pub(crate) fn kill(self: &Arc<Self>) {
        let this = Arc::clone(self);
        super::dispatch(move || this.kill_here());
    }

    /// [`Self::kill`] on the library's side.
    pub(crate) fn kill_here(&self) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if *gone {
            return;
        }
        // It may have ended meanwhile.
        let _ = match self.handle() {
            Some(handle) => pidfd_send_signal(handle, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
    }

    /// [`Self::wait`] for so long at most.
    pub(crate) fn wait_for(&self, limit: Duration) -> Option<Status> {
        let until = Instant::now() + limit;
        let mut pause = Duration::from_micros(100);
        loop {
            let options = WaitOptions::NOHANG | WaitOptions::EXITED | WaitOptions::NOWAIT;
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(None) if Instant::now() < until => {}
                Ok(None) => return None,
                // It has ended, or someone else has waited for it.
                _ => return Some(self.wait()),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Waits for its end, on the library's side.
    pub(crate) fn wait(&self) -> Status {
        // Whoever has the program's SIGCHLD may have taken the status away.
        let status = waitpid(Some(self.pid), rustix::process::WaitOptions::empty())
            .ok()
            .flatten();
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        *gone = true;
        let Some((_, status)) = status else {
            return Status::default();
        };
        Status {
            signal: status.terminating_signal(),
            exit_code: status.exit_status(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // In a forked child there is no such number.
        if super::fork::depth() == 0 {
            if let Some(handle) = self.handle.take() {
                super::dispatch(move || drop(std::mem::ManuallyDrop::into_inner(handle)));
            }
        }
    }
}

/// Starts a program whose standard input is a socket.
///
/// # Errors
/// What the system refuses.
pub(crate) fn start(program: Program) -> io::Result<Started> {
    static STARTER: OnceLock<Result<Jobs, String>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let started = Jobs::start(|work| super::spawn("rkllm-start", work));
        started.map_err(|error| error.to_string())
    });
    let starter = starter
        .as_ref()
        .map_err(|error| io::Error::other(error.clone()))?;
    jobs::outcome(move || spawn(&program), |job| starter.add(job))?
}

fn spawn(program: &Program) -> io::Result<Started> {
    let (socket, far) = Socket::pair()?;
    let mut command = Command::new(&program.file);
    command
        .args(&program.arguments)
        .stdin(Stdio::from(far.into_fd()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for the program.
        .process_group(0);
    let mut child = command.spawn()?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("the child has no output"));
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the child has no number"))?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
    let handle = handle.map(fds::raised).transpose()?;
    let pipe = |fd: OwnedFd| {
        let fd = fds::raised(fd)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        io::Result::Ok(fd)
    };
    Ok(Started {
        process: Arc::new(Process {
            pid,
            handle: handle.map(std::mem::ManuallyDrop::new),
            gone: Mutex::new(false),
        }),
        socket,
        out: pipe(out.into())?,
        err: pipe(err.into())?,
    })
}
