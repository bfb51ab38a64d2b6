//! How the death of a worker is told.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::host::process::{Program, Status};
use crate::protocol::error::{ErrorKind, Failure};

/// What the worker was in when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Loading,
    Opening,
    Idle,
    Run,
}

impl Moment {
    /// Whether no run or request can have caused it.
    pub(super) fn is_start(self) -> bool {
        matches!(self, Self::Loading | Self::Opening)
    }
}

/// What is known of a death.
pub(super) struct Death {
    pub(super) pid: Option<u32>,
    pub(super) status: Status,
    /// What we have ended it for.
    pub(super) problem: Option<String>,
    /// What is to be told in place of a crash.
    pub(super) failure: Option<Failure>,
    /// It had said that it is a worker.
    pub(super) greeted: bool,
    /// The library's last lines.
    pub(super) log: Vec<String>,
}

impl Death {
    /// Of a child that could not be started.
    pub(super) fn of_nothing(failure: Failure) -> Self {
        Self {
            pid: None,
            status: Status::default(),
            problem: None,
            failure: Some(failure),
            greeted: false,
            log: Vec::new(),
        }
    }

    /// What those concerned are told; `again` if the next call starts another one.
    pub(super) fn failure(&self, program: &Program, moment: Moment, again: bool) -> Failure {
        let pid = self.pid.map(|pid| format!(" (pid {pid})"));
        let pid = pid.unwrap_or_default();
        let when = match moment {
            Moment::Loading => " while it loaded the runtime",
            Moment::Opening => " while it opened the model",
            Moment::Idle => "",
            Moment::Run => " during a call",
        };
        let how = match (&self.problem, self.status) {
            (Some(problem), _) => format!("was ended{when}: {problem}"),
            (
                None,
                Status {
                    signal: Some(signal),
                    ..
                },
            ) => {
                format!("was ended by {}{when}", signal_name(signal))
            }
            (
                None,
                Status {
                    exit_code: Some(status),
                    ..
                },
            ) => {
                format!("exited with status {status}{when}")
            }
            (None, _) => format!("has ended{when}"),
        };
        let mut text = format!("the worker process{pid} {how}");
        for line in &self.log {
            text.push_str("\n  ");
            text.push_str(line);
        }
        let mut hints = Vec::new();
        if !self.greeted {
            hints.push(other_python(program));
        } else if self.status.signal == Some(libc_sigkill()) && self.problem.is_none() {
            hints.push(
                "Check `dmesg`: unless the process was killed on purpose, the system probably ran out of memory.".to_owned(),
            );
        }
        if again {
            hints.push("The next call starts a new worker and opens the model again.".to_owned());
        } else {
            hints.push("Open the model again.".to_owned());
        }
        let mut failure = Failure::new(ErrorKind::WorkerCrashed, text).with_hint(hints.join(" "));
        failure.fields.log.clone_from(&self.log);
        failure.fields.signal = self.status.signal;
        failure.fields.exit_code = self.status.exit_code;
        failure
    }
}

/// There is no process: the system has no room for one, or the file cannot be started.
pub(super) fn not_started(program: &Program, error: &io::Error) -> Failure {
    let what = "cannot start the worker process";
    let of_file = [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS, Errno::NOEXEC];
    if Errno::from_io_error(error).is_some_and(|errno| of_file.contains(&errno)) {
        let file = Path::new(&program.file).display();
        return Failure::system(&format!("{what} with {file}"), error)
            .with_hint(other_python(program));
    }
    Failure::system(what, error)
}

/// What to do about a program that is not a Python.
fn other_python(program: &Program) -> String {
    format!(
        "The worker is started with {}; set RKLLM_RS_WORKER_PYTHON to the path of a Python that can import \
         rkllm_rs, or pass isolate=False.",
        Path::new(&program.file).display(),
    )
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

fn signal_name(number: i32) -> String {
    use rustix::process::Signal;
    let known = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::TERM, "SIGTERM"),
    ];
    let name = known.iter().find(|(signal, _)| signal.as_raw() == number);
    name.map_or_else(
        || format!("signal {number}"),
        |(_, name)| format!("signal {number} ({name})"),
    )
}

/// No further child is started.
pub(super) fn worn_out(failure: &Failure, times: u32) -> Failure {
    let mut failure = failure.clone();
    failure.text = format!(
        "the worker process has died {times} times in a row before it served anything; the last time: {}",
        failure.text
    );
    failure.hint = Some(
        "Read the runtime's last lines in `log`. To try again, close this model and open it again."
            .to_owned(),
    );
    failure
}
