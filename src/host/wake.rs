//! Descriptors with which the library's side wakes an event loop.
//!
//! Each exists in both descriptor tables, under two numbers. They are never closed but used again,
//! so that neither side can close a number that means something else in the other's table. A program
//! may close them behind us all the same, and open something else under the number: so each is a
//! socket, which can be told from any other file, and is looked at before it is used.

use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::net::{
    RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, bind, connect, getsockname, recv, send,
};

use super::fds::{self, FileKey};

/// A descriptor for waking, as seen from both tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakePair {
    vendor: RawFd,
    host: RawFd,
    key: FileKey,
}

/// On which side of the tables the calling thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A thread started by [`super::spawn`], or one of the library's own.
    Vendor,
    /// Any other thread.
    Host,
}

static FREE: Mutex<Vec<WakePair>> = Mutex::new(Vec::new());

impl WakePair {
    /// One that nobody uses, silent. Waits for no call of a library.
    pub(crate) fn acquire() -> io::Result<Self> {
        let free = || FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(pair) = free() {
            // One that was closed behind us is left where it is: the number is not ours any more.
            if pair.is_here() {
                pair.clear();
                return Ok(pair);
            }
        }
        // To the checker of interleavings all threads are one, and have one table.
        let parted = cfg!(not(feature = "interleavings"));
        let (vendor, host) = if parted && super::host().is_some_and(|host| host.parted) {
            fds::obtain(echo)?
        } else {
            // One table serves both sides.
            let fd = fds::raised(echo()?)?;
            (std::os::fd::AsRawFd::as_raw_fd(&fd), fd)
        };
        Ok(Self {
            vendor,
            key: FileKey::of(&host)?,
            host: host.into_raw_fd(),
        })
    }

    /// The one in `place`, or a new one put there if there is none, or it has been closed behind us.
    pub(crate) fn kept_in(place: &mut Option<Self>) -> io::Result<Self> {
        match place {
            Some(pair) if pair.is_here() => Ok(*pair),
            _ => Ok(*place.insert(Self::acquire()?)),
        }
    }

    fn is_here(self) -> bool {
        self.key.is_at(self.host)
    }

    /// Gives it back; the caller has made sure that nobody will signal it any more.
    pub(crate) fn release(self) {
        FREE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }

    /// The number that an event loop of the host program watches for reading.
    pub(crate) fn host_fd(self) -> RawFd {
        self.host
    }

    /// Makes it readable.
    pub(crate) fn signal(self, side: Side) {
        let number = match side {
            Side::Vendor => self.vendor,
            Side::Host => self.host,
        };
        if self.key.is_at(number) {
            // SAFETY: it is open, as just seen, and used at once.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            // A full queue is readable already.
            let _ = send(fd, &[0], SendFlags::NOSIGNAL);
        }
    }

    /// Makes it silent again; called in the ordinary table.
    pub(crate) fn clear(self) {
        if self.is_here() {
            // SAFETY: it is open, as just seen, and used at once.
            let fd = unsafe { BorrowedFd::borrow_raw(self.host) };
            while recv(fd, &mut [0_u8; 1], RecvFlags::empty()).is_ok() {}
        }
    }
}

/// A datagram socket connected to itself: what is written to it can be read from it. Nobody else can
/// send to a socket that is connected.
fn echo() -> io::Result<OwnedFd> {
    let socket = fds::datagrams(SocketFlags::NONBLOCK)?;
    // The kernel chooses a name, and no file is made.
    bind(&socket, &SocketAddrUnix::new_unnamed())?;
    connect(&socket, &getsockname(&socket)?)?;
    Ok(socket)
}

/// What an event loop sees that watches the number of a pair.
#[cfg(test)]
pub(crate) fn is_readable(number: RawFd) -> bool {
    // SAFETY: pairs are never closed.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let mut fds = [rustix::event::PollFd::new(
        &fd,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::event::Timespec::default();
    rustix::event::poll(&mut fds, Some(&now)).expect("a poll") == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_cross_and_can_be_taken_back() {
        let pair = WakePair::acquire().expect("a descriptor");
        let readable = || is_readable(pair.host_fd());
        assert!(!readable());
        super::super::dispatch(move || (0..50).for_each(|_| pair.signal(Side::Vendor)));
        assert!(readable());
        pair.clear();
        assert!(!readable());
        pair.signal(Side::Host);
        assert!(readable());
        pair.clear();
        pair.release();
    }

    #[test]
    fn another_file_under_the_number_is_left_alone() {
        let pair = WakePair::acquire().expect("a descriptor");
        let (here, other) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe");
        rustix::io::write(&other, b"text").expect("room");
        // SAFETY: the number is the pair's own, which is never used as an owned descriptor.
        let mut number = std::mem::ManuallyDrop::new(unsafe {
            std::os::fd::FromRawFd::from_raw_fd(pair.host_fd())
        });
        rustix::io::dup2(&here, &mut number).expect("a copy");
        let mut place = Some(pair);
        pair.clear();
        let new = WakePair::kept_in(&mut place).expect("a descriptor");
        assert_ne!(new.host_fd(), pair.host_fd());
        assert_eq!(place, Some(new));
        assert_eq!(rustix::io::read(&*number, &mut [0; 8]), Ok(4));
    }
}
