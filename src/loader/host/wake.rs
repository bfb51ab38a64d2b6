//! Event descriptors with which the library's side wakes an event loop.
//!
//! Each exists in both descriptor tables, under two numbers. They are never closed but used again,
//! so that neither side can close a number that means something else in the other's table.

use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, socket_with,
};

/// An event descriptor, as seen from both tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakePair {
    vendor: RawFd,
    host: RawFd,
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
    /// One that nobody uses, silent.
    pub(crate) fn acquire() -> io::Result<Self> {
        if let Some(pair) = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            pair.clear();
            return Ok(pair);
        }
        match super::host().and_then(|host| host.handover.as_ref()) {
            Some(handover) => {
                let (vendor, host) = handover.obtain(make)?;
                Ok(Self {
                    vendor,
                    host: host.into_raw_fd(),
                })
            }
            // One table serves both sides.
            None => make().map(|fd| {
                let fd = fd.into_raw_fd();
                Self {
                    vendor: fd,
                    host: fd,
                }
            }),
        }
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
        let fd = match side {
            Side::Vendor => self.vendor,
            Side::Host => self.host,
        };
        // SAFETY: never closed in the table of that side (see the module's text).
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
    }

    /// Makes it silent again; called in the ordinary table.
    pub(crate) fn clear(self) {
        // SAFETY: never closed in the ordinary table.
        let fd = unsafe { BorrowedFd::borrow_raw(self.host) };
        // One read empties an event descriptor, but takes one signal only from a socket.
        while rustix::io::read(fd, &mut [0_u8; 8]).is_ok() && SOCKETS.load(Ordering::Relaxed) {}
    }
}

/// Whether there are no event descriptors here, and sockets stand in for them.
static SOCKETS: AtomicBool = AtomicBool::new(false);

/// A descriptor that is readable once it has been written to.
fn make() -> io::Result<OwnedFd> {
    match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
        Err(Errno::NOSYS | Errno::PERM) => {
            SOCKETS.store(true, Ordering::Relaxed);
            echo()
        }
        made => Ok(made?),
    }
}

/// A datagram socket connected to itself: what is written to it can be read from it. Nobody else can
/// send to a socket that is connected.
fn echo() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // The kernel chooses a name, and no file is made.
    bind(&socket, &SocketAddrUnix::new_unnamed())?;
    connect(&socket, &getsockname(&socket)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_serves_where_there_is_no_event_descriptor() {
        let socket = echo().expect("a socket");
        let mut word = [0_u8; 8];
        assert_eq!(rustix::io::read(&socket, &mut word), Err(Errno::AGAIN));
        for number in [1_u64, 2] {
            let _ = rustix::io::write(&socket, &number.to_ne_bytes());
        }
        assert_eq!(rustix::io::read(&socket, &mut word), Ok(8));
        assert_eq!(word, 1_u64.to_ne_bytes());
        assert_eq!(rustix::io::read(&socket, &mut word), Ok(8));
        assert_eq!(rustix::io::read(&socket, &mut word), Err(Errno::AGAIN));
    }
}
