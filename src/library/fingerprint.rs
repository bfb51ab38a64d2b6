//! Evidence A and B: one pass over a library's file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use memchr::memmem;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::abi::{Evidence, KnownLibrary, Version, known_library, needs_sha256};
use rkllm_ffi::cpu_table::MARKER;

/// Which file it is, and in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// The size in bytes.
    pub size: u64,
    /// The time of the last write, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl FileId {
    pub(super) fn of(data: &Metadata) -> Self {
        Self {
            dev: data.dev(),
            ino: data.ino(),
            size: data.len(),
            mtime_ns: i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec()),
        }
    }

    /// Device and inode, by which the dynamic linker tells files apart as well.
    #[must_use]
    pub fn key(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// What a library's file says, before anything of it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvidence {
    /// The file that was read.
    pub id: FileId,
    /// The SHA-1 that Git gives it as a blob, in lower-case hex.
    pub git_blob_sha1: String,
    /// Its SHA-256, likewise, where a file of that size is known by it.
    pub sha256: Option<String>,
    /// The official library with the same bytes.
    pub known: Option<&'static KnownLibrary>,
    /// The releases that banners in it name, each once.
    pub banners: Vec<Version>,
    /// Whether it bears the mark of the CPU runtime.
    pub cpu_marker: bool,
}

impl FileEvidence {
    /// As the evidence to decide on, with everything else still open.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        Evidence {
            fingerprint: self.known,
            banners: self.banners.clone(),
            marker: self.cpu_marker,
            ..Evidence::default()
        }
    }
}

const BANNER: &[u8] = b"RKLLM SDK (version: ";
/// Longer than any text searched for, the version behind the banner included.
const OVERLAP: usize = 256;
const CHUNK: usize = 1 << 20;

/// Reads the whole of `file`, which `id` describes.
pub(super) fn read(file: &File, id: FileId) -> io::Result<FileEvidence> {
    let mut scan = Scan::new(id.size);
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => break,
            Ok(count) => {
                scan.feed(&buffer[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if offset != id.size {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file changed while it was read",
        ));
    }
    Ok(scan.finish(id))
}

/// What [`read`] finds in a file of these chunks.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn scanned<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Version>, bool) {
    let id = FileId {
        dev: 0,
        ino: 0,
        size: 0,
        mtime_ns: 0,
    };
    let mut scan = Scan::new(id.size);
    chunks.into_iter().for_each(|chunk| scan.feed(chunk));
    let found = scan.finish(id);
    (found.banners, found.cpu_marker)
}

/// The pass itself, over chunks of any size.
struct Scan {
    sha1: Sha1,
    /// Only where it can tell something: it takes longer than all the rest.
    sha256: Option<Sha256>,
    /// The end of what was seen, for texts that lie across two chunks.
    tail: Vec<u8>,
    banners: Vec<Version>,
    cpu_marker: bool,
}

impl Scan {
    fn new(size: u64) -> Self {
        let mut sha1 = Sha1::new();
        sha1.update(format!("blob {size}\0"));
        Self {
            sha1,
            sha256: needs_sha256(size).then(Sha256::new),
            tail: Vec::new(),
            banners: Vec::new(),
            cpu_marker: false,
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.sha1.update(chunk);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(chunk);
        }
        let seam = chunk.len().min(OVERLAP);
        self.tail.extend_from_slice(&chunk[..seam]);
        let tail = std::mem::take(&mut self.tail);
        // What ends exactly at the seam may go on behind it: the chunk's own search sees that.
        self.search(&tail, chunk.len() > seam);
        self.search(chunk, true);
        let mut tail = tail;
        if chunk.len() > OVERLAP {
            tail.clear();
            tail.extend_from_slice(&chunk[chunk.len() - OVERLAP..]);
        } else {
            let excess = tail.len().saturating_sub(OVERLAP);
            tail.drain(..excess);
        }
        self.tail = tail;
    }

    /// Looks through `bytes`; with `more`, a version that touches the end is left for later.
    fn search(&mut self, bytes: &[u8], more: bool) {
        self.cpu_marker |= memmem::find(bytes, MARKER.as_bytes()).is_some();
        for at in memmem::find_iter(bytes, BANNER) {
            let rest = &bytes[at + BANNER.len()..];
            let Some((version, length)) = Version::parse_prefix(rest) else {
                continue;
            };
            let cut = more && length == rest.len();
            if !cut && !self.banners.contains(&version) {
                self.banners.push(version);
            }
        }
    }

    fn finish(mut self, id: FileId) -> FileEvidence {
        let tail = std::mem::take(&mut self.tail);
        self.search(&tail, false);
        let git_blob_sha1 = hex(&self.sha1.finalize());
        let sha256 = self.sha256.map(|sha256| hex(&sha256.finalize()));
        FileEvidence {
            id,
            known: known_library(&git_blob_sha1, sha256.as_deref()),
            git_blob_sha1,
            sha256,
            banners: self.banners,
            cpu_marker: self.cpu_marker,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(size: u64) -> FileEvidence {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        read(&file, FileId::of(&file.metadata().unwrap())).unwrap()
    }

    #[test]
    fn sha256_is_computed_where_the_size_may_be_known_by_it() {
        let known = crate::abi::known_libraries();
        let size = known.iter().filter(|one| one.sha256.is_some());
        let size = size.filter_map(|one| one.size).max().unwrap();
        let zeroes = vec![0; usize::try_from(size).unwrap()];
        let found = evidence(size);
        assert_eq!(found.sha256, Some(hex(&Sha256::digest(&zeroes))));
        assert_eq!(found.known, None);
        assert_eq!(evidence(size - 1).sha256, None);
    }

    #[test]
    fn git_gives_the_empty_file_this_id() {
        let id = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        assert_eq!(evidence(0).git_blob_sha1, id);
    }
}
