//! Locks on bytes of a file that belong to an open file, not to a process (`F_OFD_SETLK`).
//!
//! The kernel takes them back when the open file is closed for the last time, however its process ends. A
//! lock may lie far behind the end of its file.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Where locks end: an offset is signed.
pub(crate) const END: u64 = i64::MAX as u64;

/// The system call that takes 64-bit offsets. The C library's own function takes other structs for it on
/// 32-bit machines, release by release.
#[cfg(target_pointer_width = "64")]
const FCNTL: libc::c_long = libc::SYS_fcntl;
#[cfg(target_pointer_width = "32")]
const FCNTL: libc::c_long = libc::SYS_fcntl64;

/// The kernel's `struct flock`, of 64 bits everywhere.
#[repr(C)]
struct Flock {
    kind: libc::c_short,
    whence: libc::c_short,
    start: i64,
    len: i64,
    pid: libc::pid_t,
}

fn call(
    file: BorrowedFd<'_>,
    command: libc::c_int,
    kind: libc::c_int,
    bytes: &Range<u64>,
) -> io::Result<Flock> {
    let mut lock = Flock {
        kind: kind as libc::c_short,
        whence: libc::SEEK_SET as libc::c_short,
        start: bytes.start as i64,
        len: (bytes.end - bytes.start) as i64,
        pid: 0,
    };
    crate::sync::step();
    // SAFETY: the descriptor is open for the call, and the struct is the one that the kernel reads and
    // writes for these commands; it keeps no pointer to it.
    let done = unsafe {
        libc::syscall(
            FCNTL,
            libc::c_long::from(file.as_raw_fd()),
            libc::c_long::from(command),
            &raw mut lock,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock)
}

/// Locks these bytes, unless somebody else has one of them; returns whether they were free. Never waits.
///
/// # Errors
/// When the file was not opened for writing, or its system has no such locks.
pub(crate) fn try_lock(file: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<bool> {
    match call(file, libc::F_OFD_SETLK, libc::F_WRLCK, &bytes) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives these bytes back.
pub(crate) fn unlock(file: BorrowedFd<'_>, bytes: Range<u64>) {
    // Of a lock that is ours there is nothing to refuse.
    drop(call(file, libc::F_OFD_SETLK, libc::F_UNLCK, &bytes));
}

/// A lock of others among these bytes, not always the lowest one.
///
/// # Errors
/// When the system has no such locks.
pub(crate) fn locked_among(
    file: BorrowedFd<'_>,
    bytes: Range<u64>,
) -> io::Result<Option<Range<u64>>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let found = call(file, libc::F_OFD_GETLK, libc::F_WRLCK, &bytes)?;
    if libc::c_int::from(found.kind) == libc::F_UNLCK {
        return Ok(None);
    }
    let start = found.start as u64;
    // No length: up to the end, wherever that is.
    let end = match found.len {
        0 => END,
        len => start.saturating_add(len as u64).min(END),
    };
    Ok(Some(start..end))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn open_files_exclude_each_other_in_one_process_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = file.reopen().unwrap();
        let far = END - 2;
        let byte = || far..far + 1;
        assert!(try_lock(file.as_fd(), byte()).unwrap());
        assert!(try_lock(file.as_fd(), byte()).unwrap(), "it is ours");
        assert!(!try_lock(other.as_fd(), byte()).unwrap());
        assert!(!try_lock(other.as_fd(), 0..END).unwrap());
        assert_eq!(
            locked_among(other.as_fd(), 1..END).unwrap(),
            Some(far..far + 1)
        );
        assert_eq!(locked_among(other.as_fd(), 1..far).unwrap(), None);
        assert_eq!(locked_among(file.as_fd(), 1..END).unwrap(), None);
        unlock(file.as_fd(), byte());
        assert!(try_lock(other.as_fd(), 0..END).unwrap());
        unlock(other.as_fd(), 1..END);
        assert!(try_lock(file.as_fd(), 1..END).unwrap());
        assert!(!try_lock(file.as_fd(), 0..1).unwrap());
        drop(other);
        assert!(try_lock(file.as_fd(), 0..1).unwrap());
        assert_eq!(file.as_file().metadata().unwrap().len(), 0);
    }
}
