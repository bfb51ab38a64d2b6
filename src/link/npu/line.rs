//! The line of those who want the NPU: bytes of one file, that the kernel locks.
//!
//! Who comes takes a ticket: the byte behind the last one that is locked. Who has no locked byte before
//! his own has the lock. So nothing that stands in the file matters, numbers begin at 0 whenever the line is
//! empty, and the death of one who holds or waits takes him out of it. The last byte is the door: it is held
//! for the moment in which a ticket is taken, so that two do not look at the same time. Mostly nobody is there:
//! who can lock all bytes at once has the door and the first ticket, and gives back the rest.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use super::place::{Opened, Place, Problem};
use super::record::{Note, Record, Use};
use crate::host::byte_locks::{self, END};
use crate::protocol::error::Failure;

const FIRST: u64 = 0;
const DOOR: u64 = END - 1;

/// One place to stand in the line, on the library's side of the descriptor tables: children that the
/// program forks then have no part in its locks.
pub(super) struct Line {
    place: Place,
    /// Whether a file of this process alone will do.
    or_private: bool,
    opened: Option<Opened>,
    ticket: Option<u64>,
    note: Note,
    /// Whether this standing is noted as having the lock.
    noted: bool,
}

/// How one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// It is his turn.
    First,
    /// He waits, and others stand before him.
    Behind,
    /// Somebody else is just taking a ticket.
    AtTheDoor,
}

impl Line {
    pub(super) fn new(place: Place, what: Use, or_private: bool) -> Self {
        Self {
            place,
            or_private,
            opened: None,
            ticket: None,
            note: Note::new(what),
            noted: false,
        }
    }

    /// Stands in the line, and tells how. Never waits.
    ///
    /// # Errors
    /// Why the file cannot serve.
    pub(super) fn stand(&mut self) -> Result<Stand, Failure> {
        // Another file may have taken the place of ours: what we held there counts for nothing.
        if self
            .opened
            .as_ref()
            .is_some_and(|opened| !opened.is_current())
        {
            self.forget();
        }
        if self.opened.is_none() {
            let opened = if self.or_private {
                self.place.open_or_private()
            } else {
                self.place.open()
            };
            match opened.map_err(|problem| self.place.failure(&problem))? {
                Some(opened) => {
                    self.note.look(&opened.file);
                    self.opened = Some(opened);
                }
                // No lock is wanted, or none can be had.
                None => return Ok(Stand::First),
            }
        }
        let Some(opened) = &self.opened else {
            return Ok(Stand::First);
        };
        let file = &opened.file;
        let stood = match self.ticket {
            Some(ticket) => before(file, ticket).map(|others| Some((ticket, others))),
            None => take(file),
        };
        match stood {
            Ok(Some((ticket, others))) => {
                let new = self.ticket.replace(ticket).is_none();
                if new || (!others && !self.noted) {
                    self.note.write(file, ticket, !others);
                    self.noted = !others;
                }
                Ok(if others { Stand::Behind } else { Stand::First })
            }
            Ok(None) => Ok(Stand::AtTheDoor),
            Err(error) => Err(self.without_locks(&error)),
        }
    }

    /// Steps out of the line: lets the next one in, or waits no longer.
    pub(super) fn step_out(&mut self) {
        if let (Some(opened), Some(ticket)) = (&self.opened, self.ticket.take()) {
            byte_locks::unlock(opened.file.as_fd(), one(ticket));
            // Here, where nobody waits for it.
            self.note.look(&opened.file);
        }
        self.noted = false;
    }

    /// That whoever stands here comes anew.
    pub(super) fn come(&mut self) {
        self.note.ask();
    }

    /// Who has the lock, in a few words.
    pub(super) fn holder(&self) -> Option<String> {
        let file = &self.opened.as_ref()?.file;
        let first = tickets(file).ok()?.first().copied()?;
        let record = Record::read(file, first)?;
        Some(format!("{} (pid {})", record.program, record.pid))
    }

    fn forget(&mut self) {
        self.opened = None;
        self.ticket = None;
        self.noted = false;
    }

    fn without_locks(&mut self, error: &io::Error) -> Failure {
        self.forget();
        let path = self.place.path().unwrap_or_else(|| "".as_ref()).to_owned();
        let reason = format!("cannot be locked: {error}");
        self.place.failure(&Problem { path, reason })
    }
}

/// Takes a ticket, unless somebody is at the door, and tells whether anybody stands before it.
fn take(file: &OwnedFd) -> io::Result<Option<(u64, bool)>> {
    if byte_locks::try_lock(file.as_fd(), FIRST..END)? {
        byte_locks::unlock(file.as_fd(), FIRST + 1..END);
        return Ok(Some((FIRST, false)));
    }
    if !byte_locks::try_lock(file.as_fd(), one(DOOR))? {
        return Ok(None);
    }
    let taken = (|| {
        let mut ticket = FIRST;
        while let Some(locked) = byte_locks::locked_among(file.as_fd(), ticket..DOOR)? {
            ticket = locked.end;
        }
        if ticket >= DOOR {
            return Err(io::Error::other(
                "another program has locked the whole file",
            ));
        }
        Ok(byte_locks::try_lock(file.as_fd(), one(ticket))?.then_some(ticket))
    })();
    byte_locks::unlock(file.as_fd(), one(DOOR));
    match taken? {
        Some(ticket) => Ok(Some((ticket, before(file, ticket)?))),
        None => Ok(None),
    }
}

/// Whether anybody stands before that ticket.
fn before(file: &OwnedFd, ticket: u64) -> io::Result<bool> {
    Ok(byte_locks::locked_among(file.as_fd(), FIRST..ticket)?.is_some())
}

fn one(byte: u64) -> Range<u64> {
    byte..byte + 1
}

/// The tickets that others have taken, in their order.
pub(super) fn tickets(file: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut ranges = Vec::from_iter(Some(FIRST..DOOR));
    while let Some(range) = ranges.pop() {
        if let Some(locked) = byte_locks::locked_among(file.as_fd(), range.clone())? {
            found.push(locked.start);
            ranges.push(range.start..locked.start.max(range.start));
            ranges.push(locked.end.min(range.end)..range.end);
        }
    }
    found.sort_unstable();
    Ok(found)
}
