//! Who holds the lock, and who waits, for people to see.

use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::line;
use super::place::{self, Place};
use super::record::Record;

/// The lock as it is now.
pub struct Look {
    /// The file that there is, or that would be made; None where nobody takes the lock.
    pub path: Option<PathBuf>,
    /// Why it cannot be looked at.
    pub problem: Option<String>,
    /// Those in the line, the holder first; None of whom nothing is known.
    pub line: Vec<Option<Record>>,
}

/// Looks at the lock, and makes nothing. Reading is enough for it.
#[must_use]
pub fn look(place: &Place) -> Look {
    let mut look = Look {
        path: place.path().map(ToOwned::to_owned),
        problem: None,
        line: Vec::new(),
    };
    let Some(path) = &look.path else {
        return look;
    };
    // Nobody has taken the lock yet. What may not be seen could be anything.
    if matches!(rustix::fs::lstat(path), Err(Errno::NOENT)) {
        return look;
    }
    let read = place::open_with(path, OFlags::RDONLY).and_then(|file| {
        let tickets = line::tickets(&file);
        let tickets = tickets.map_err(|error| place::Problem {
            path: path.clone(),
            reason: format!("cannot be read: {error}"),
        })?;
        let record = |ticket| Record::read(&file, ticket);
        Ok(tickets.into_iter().map(record).collect())
    });
    match read {
        Ok(line) => look.line = line,
        Err(problem) => look.problem = Some(problem.to_string()),
    }
    look
}
