//! The private descriptor table: how it is made, and how descriptors cross to the ordinary one.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

/// Pipes and socket, made before the tables part, so that both have them under the same numbers.
pub(super) struct Plumbing {
    out: (OwnedFd, OwnedFd),
    err: (OwnedFd, OwnedFd),
    socket: (OwnedFd, OwnedFd),
}

/// Read ends for the forwarding thread, stdout then stderr.
pub(super) struct Readers(pub(super) OwnedFd, pub(super) OwnedFd);

/// The numbers that the vendor thread needs in its own table.
#[derive(Clone, Copy)]
pub(super) struct PrivateSide {
    out: RawFd,
    err: RawFd,
    keep: [RawFd; 5],
    probe: RawFd,
}

/// Brings a descriptor of the private table into the ordinary one.
pub(super) struct Handover {
    /// Receives in the ordinary table; locked so that an answer reaches the one who asked.
    receive: Mutex<OwnedFd>,
    /// The number of the sending end in the private table.
    send: RawFd,
}

impl Plumbing {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            out: pipe_with(PipeFlags::CLOEXEC)?,
            err: pipe_with(PipeFlags::CLOEXEC)?,
            socket: socketpair(
                AddressFamily::UNIX,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                None,
            )?,
        })
    }

    pub(super) fn private_side(&self) -> PrivateSide {
        let (out, err, probe) = (
            self.out.1.as_raw_fd(),
            self.err.1.as_raw_fd(),
            self.socket.1.as_raw_fd(),
        );
        // The read ends stay known on the private side for the crash handler, which asks there how
        // much is still unread.
        let mut keep = [
            out,
            err,
            self.out.0.as_raw_fd(),
            self.err.0.as_raw_fd(),
            probe,
        ];
        keep.sort_unstable();
        PrivateSide {
            out,
            err,
            keep,
            probe,
        }
    }

    /// Whether the vendor thread's table is really another one than ours.
    ///
    /// It cleared a descriptor flag, and such flags belong to the table.
    pub(super) fn is_isolated(&self) -> bool {
        rustix::io::fcntl_getfd(&self.socket.1).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC))
    }

    /// What the ordinary table keeps; the rest is closed in it.
    pub(super) fn host_side(self) -> (Readers, Handover) {
        let send = self.socket.1.as_raw_fd();
        let handover = Handover {
            receive: Mutex::new(self.socket.0),
            send,
        };
        (Readers(self.out.0, self.err.0), handover)
    }
}

impl PrivateSide {
    /// Parts the calling thread from the process's table and puts the pipes in place of 1 and 2.
    pub(super) fn enter(self) -> bool {
        if !unshare_and_close(&self.keep) {
            return false;
        }
        // SAFETY: these numbers are open in this thread's own table, which only this code manages;
        // the borrow ends with this function.
        let (out, err, probe) = unsafe {
            (
                BorrowedFd::borrow_raw(self.out),
                BorrowedFd::borrow_raw(self.err),
                BorrowedFd::borrow_raw(self.probe),
            )
        };
        let placed = rustix::io::fcntl_setfd(probe, FdFlags::empty()).is_ok()
            && rustix::stdio::dup2_stdout(out).is_ok()
            && rustix::stdio::dup2_stderr(err).is_ok();
        // A library has no business with the host's standard input either.
        if let Ok(null) = std::fs::File::open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(null.as_fd());
        }
        // SAFETY: both numbers belong to this table alone and are not used again.
        unsafe {
            drop(OwnedFd::from_raw_fd(self.out));
            drop(OwnedFd::from_raw_fd(self.err));
        }
        placed
    }
}

/// Gives the calling thread a table with 0, 1, 2 and `keep` (sorted) only.
///
/// Copies of the host's sockets and pipes left open here would keep their peers waiting for an end
/// of file that never comes.
fn unshare_and_close(keep: &[RawFd]) -> bool {
    let never = u32::MAX;
    // close_range first: container profiles that forbid unshare(2) allow it.
    let parted = close_range(never, never, libc::CLOSE_RANGE_UNSHARE as i32)
        // SAFETY: plain system call without pointers; it concerns the calling thread only.
        || unsafe { libc::unshare(libc::CLONE_FILES) } == 0;
    if !parted {
        return false;
    }
    let mut next = 3_u32;
    let mut gaps = Vec::new();
    for &fd in keep {
        let fd = fd as u32;
        if fd > next {
            gaps.push((next, fd - 1));
        }
        next = next.max(fd + 1);
    }
    gaps.push((next, never));
    if gaps
        .iter()
        .all(|&(first, last)| close_range(first, last, 0))
    {
        return true;
    }
    // Kernels before 5.9: one by one. Collected first, since the listing itself uses a descriptor.
    let Ok(entries) = std::fs::read_dir("/proc/thread-self/fd") else {
        return true;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: closes numbers of this thread's own table, which nothing else refers to.
        unsafe { libc::close(fd) };
    }
    true
}

fn close_range(first: u32, last: u32, flags: i32) -> bool {
    // SAFETY: plain system call without pointers; called only for this thread's own table.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}

impl Handover {
    /// Runs `make` on the vendor thread and returns the number there and a copy for here.
    pub(super) fn obtain(
        &self,
        make: impl FnOnce() -> io::Result<OwnedFd> + Send + 'static,
    ) -> io::Result<(RawFd, OwnedFd)> {
        let socket = self
            .receive
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let send = self.send;
        let there = super::run(move || -> io::Result<RawFd> {
            let fd = make()?;
            // SAFETY: the socket is open in the private table, where this job runs, for good.
            let socket = unsafe { BorrowedFd::borrow_raw(send) };
            let fds = [fd.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            sendmsg(
                socket,
                &[IoSlice::new(&[0])],
                &mut control,
                SendFlags::empty(),
            )?;
            // Kept open in the private table for good; dropping the owner elsewhere would close
            // that number in the wrong table.
            Ok(std::os::fd::IntoRawFd::into_raw_fd(fd))
        })?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let received = recvmsg(
            &*socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let here = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match here {
            Some(fd) if !received.flags.contains(ReturnFlags::CTRUNC) => Ok((there, fd)),
            _ => Err(io::Error::other("a descriptor could not be handed over")),
        }
    }
}
