//! Memory that two processes share: one maps what the other has made.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Sizes are multiples of this, which is one of any page size in use.
const GRAIN: usize = 64 * 1024;
/// What is kept at the end for [`Segment::written`].
const TAIL: usize = 64;

/// A mapping, as long as it lives.
pub(crate) struct Segment {
    at: NonNull<c_void>,
    size: usize,
}

// SAFETY: plain memory; who writes where is the business of those who lend and borrow it.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: a mapping of this size that nobody refers to any more.
        let _ = unsafe { munmap(self.at.as_ptr(), self.size) };
    }
}

impl Segment {
    pub(super) fn address(&self) -> NonNull<f32> {
        self.at.cast()
    }

    /// The size of the file.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many bytes of it are for the user.
    pub(crate) fn room(&self) -> usize {
        self.size - TAIL
    }

    /// The number of what was written last; both processes see it.
    pub(crate) fn written(&self) -> &AtomicU32 {
        // SAFETY: the last bytes of a mapping that lives as long as `self`, at an address that is a multiple of
        // 64 since a mapping begins at a page and `GRAIN` divides its size. Nobody takes them for anything
        // else: `room` ends before.
        unsafe { AtomicU32::from_ptr(self.at.byte_add(self.size - TAIL).cast().as_ptr()) }
    }

    /// Makes memory with at least that much room, and the file that another process maps.
    pub(crate) fn create(room: usize) -> io::Result<(Arc<Self>, OwnedFd)> {
        let size = room
            .checked_add(TAIL)
            .and_then(|size| size.checked_next_multiple_of(GRAIN))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let (fd, sealable) = anonymous_file()?;
        // What is not there must fail here, and not when it is written to.
        match rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, size as u64) {
            Err(rustix::io::Errno::OPNOTSUPP) => rustix::fs::ftruncate(&fd, size as u64)?,
            done => done?,
        }
        if sealable {
            rustix::fs::fcntl_add_seals(
                &fd,
                SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
            )?;
        }
        Ok((Arc::new(Self::map_all(&fd, size)?), fd))
    }

    /// Maps what another process has made.
    ///
    /// # Errors
    /// For a file that is smaller than `size`, or that could still become smaller: who reads beyond the
    /// end of a file is killed. For a size that [`Self::create`] does not give.
    pub(crate) fn map(fd: &OwnedFd, size: usize) -> io::Result<Arc<Self>> {
        let there = u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
        if size == 0 || !size.is_multiple_of(GRAIN) || there < size as u64 {
            return Err(io::Error::other("the shared file is too small"));
        }
        // A file that cannot be sealed is trusted, as there is nothing else to ask.
        if let Ok(seals) = rustix::fs::fcntl_get_seals(fd) {
            if !seals.intersects(SealFlags::SHRINK | SealFlags::SEAL) {
                return Err(io::Error::other("the shared file may shrink"));
            }
        }
        Ok(Arc::new(Self::map_all(fd, size)?))
    }

    fn map_all(fd: impl AsFd, size: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let at = NonNull::new(at).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, size })
    }
}

/// A file that no other process can name, and whether it can be sealed.
fn anonymous_file() -> io::Result<(OwnedFd, bool)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("rkllm-rows", flags) {
        Ok(fd) => Ok((super::fds::raised(fd)?, true)),
        // A system that forbids it; too many open files are told as they are.
        Err(refused @ (rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) => Err(refused.into()),
        Err(refused) => unlinked_file()
            .map(|fd| (fd, false))
            .map_err(|_| refused.into()),
    }
}

/// A file without a name, in memory where there is such a folder.
fn unlinked_file() -> io::Result<OwnedFd> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = [
        runtime,
        Some(PathBuf::from("/dev/shm")),
        Some(std::env::temp_dir()),
    ];
    let mut last = io::Error::other("there is no folder for shared memory");
    for folder in folders.into_iter().flatten() {
        match nameless(&folder) {
            Ok(fd) => return Ok(fd),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn nameless(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?;
    super::fds::raised(fd)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_mappings_see_what_was_written() {
        let (here, fd) = Segment::create(GRAIN).unwrap();
        assert!(here.room() >= GRAIN);
        let there = Segment::map(&fd, here.size()).unwrap();
        here.written().store(7, Ordering::Release);
        assert_eq!(there.written().load(Ordering::Acquire), 7);
        for size in [0, 1, GRAIN + 1, here.size() + GRAIN] {
            assert!(Segment::map(&fd, size).is_err(), "{size}");
        }
    }
}
