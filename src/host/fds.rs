//! The private descriptor table: how it is made, and how descriptors cross to the ordinary one.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrAny, SocketAddrUnix,
    SocketFlags, SocketType, bind, getsockname, recvmsg, sendmsg_addr, socket_with,
};
use rustix::pipe::{PipeFlags, pipe_with};

/// No descriptor of ours has a number below this one: a program may have closed its standard streams,
/// and what it opens or prints next belongs there.
const FLOOR: RawFd = 10;

/// Pipes, made before the tables part, so that both have them under the same numbers.
pub(super) struct Plumbing {
    out: (OwnedFd, OwnedFd),
    err: (OwnedFd, OwnedFd),
}

/// Read ends for the forwarding thread, stdout then stderr.
pub(super) struct Readers(pub(super) OwnedFd, pub(super) OwnedFd);

/// The numbers that the vendor thread needs in its own table.
#[derive(Clone, Copy)]
pub(super) struct PrivateSide {
    out: RawFd,
    err: RawFd,
    keep: [RawFd; 4],
    probe: RawFd,
}

/// What tells an open file from all others that are open at the same time: device and inode.
///
/// Event descriptors all share one inode, and cannot be told apart so; pipes and sockets can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileKey(u64, u64);

impl FileKey {
    #[allow(clippy::useless_conversion, reason = "narrower on 32-bit machines")]
    pub(super) fn of(fd: impl AsFd) -> io::Result<Self> {
        let data = rustix::fs::fstat(fd)?;
        Ok(Self(data.st_dev.into(), data.st_ino.into()))
    }

    /// Whether the number leads to this file in the calling thread's table: a program that closes
    /// descriptors which are not its own (`os.closerange`, daemons) may have taken it for another.
    pub(super) fn is_at(self, number: RawFd) -> bool {
        // SAFETY: used for this one question; a number that is not open is an error, and no more.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        Self::of(fd).is_ok_and(|key| key == self)
    }
}

/// The same file under a number that is not one of the standard streams'.
pub(super) fn raised(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FLOOR {
        return Ok(fd);
    }
    // So the kernel says that the limit of open files is below that number.
    let refused = |error| match error {
        rustix::io::Errno::INVAL => rustix::io::Errno::MFILE,
        other => other,
    };
    Ok(fcntl_dupfd_cloexec(&fd, FLOOR).map_err(refused)?)
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((raised(read)?, raised(write)?))
}

impl Plumbing {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            out: pipe()?,
            err: pipe()?,
        })
    }

    pub(super) fn private_side(&self) -> PrivateSide {
        let (out, err) = (self.out.1.as_raw_fd(), self.err.1.as_raw_fd());
        // The read ends stay known on the private side for the crash handler, which asks there how
        // much is still unread.
        let mut keep = [out, err, self.out.0.as_raw_fd(), self.err.0.as_raw_fd()];
        keep.sort_unstable();
        PrivateSide {
            out,
            err,
            keep,
            probe: self.out.0.as_raw_fd(),
        }
    }

    /// Whether the vendor thread's table is really another one than ours.
    ///
    /// It cleared a descriptor flag, and such flags belong to the table.
    pub(super) fn is_isolated(&self) -> bool {
        rustix::io::fcntl_getfd(&self.out.0).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC))
    }

    /// What the ordinary table keeps; the rest is closed in it.
    pub(super) fn host_side(self) -> Readers {
        Readers(self.out.0, self.err.0)
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
        if let Ok(null) = std::fs::File::open("/dev/null").and_then(|null| raised(null.into())) {
            let _ = rustix::stdio::dup2_stdin(null);
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
    if parted {
        close_others(keep);
    }
    parted
}

/// Closes everything but 0, 1, 2 and `keep` (sorted) in the calling thread's table.
pub(super) fn close_others(keep: &[RawFd]) {
    let never = u32::MAX;
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
        return;
    }
    // Kernels before 5.9: one by one. Collected first, since the listing itself uses a descriptor.
    let Ok(entries) = std::fs::read_dir("/proc/thread-self/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: closes numbers of this thread's own table, which nothing else refers to.
        unsafe { libc::close(fd) };
    }
}

fn close_range(first: u32, last: u32, flags: i32) -> bool {
    // SAFETY: plain system call without pointers; called only for this thread's own table.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}

/// Makes a descriptor in the private table and brings a copy into the ordinary one, in which it is
/// called; returns the number there and the copy.
///
/// The one there is kept open for good: dropping its owner elsewhere would close that number in the
/// wrong table. Each time a socket is made for it, so that none has to be kept in the ordinary table,
/// where the program might close it.
pub(super) fn obtain(
    make: impl FnOnce() -> io::Result<OwnedFd> + Send + 'static,
) -> io::Result<(RawFd, OwnedFd)> {
    let receive = raised(datagrams(SocketFlags::empty())?)?;
    // The kernel chooses a name, and no file is made.
    bind(&receive, &SocketAddrUnix::new_unnamed())?;
    let name = getsockname(&receive)?;
    let (there, key) = super::dispatch(move || make_and_send(make, &name))?;
    let here = raised(take(&receive)?)?;
    // Anyone on this machine can send to a socket.
    if FileKey::of(&here)? == key {
        Ok((there, here))
    } else {
        Err(lost())
    }
}

fn make_and_send(
    make: impl FnOnce() -> io::Result<OwnedFd>,
    name: &SocketAddrAny,
) -> io::Result<(RawFd, FileKey)> {
    let fd = raised(make()?)?;
    let key = FileKey::of(&fd)?;
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg_addr(
        datagrams(SocketFlags::empty())?,
        name,
        &[IoSlice::new(&[0])],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok((fd.into_raw_fd(), key))
}

fn take(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.filter(|_| !received.flags.contains(ReturnFlags::CTRUNC))
        .ok_or_else(lost)
}

fn lost() -> io::Error {
    io::Error::other("a descriptor could not be handed over")
}

/// A datagram socket of this machine, closed at exec.
pub(super) fn datagrams(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        flags,
        None,
    )?)
}
