//! Checks of a model's file that need no library.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::{ModelKind, gguf};
use crate::library::{LoadProblem, known_text, reason};
use crate::protocol::error::ErrorKind;

/// Shorter than any header. Real models have hundreds of megabytes, stand-ins for tests a few bytes.
const SMALLEST: u64 = 8;
/// A script that stands in for a model is not longer than this.
const LONGEST_SCRIPT: u64 = 16 << 20;

/// What is wrong with a model's path or file.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelProblem {
    /// Nothing there, nor with a suffix added.
    #[error("no such file")]
    Missing,
    /// A symbolic link that leads nowhere.
    #[error("a symbolic link to {}, which does not exist", .0.display())]
    DanglingLink(PathBuf),
    /// A folder under a model's name.
    #[error("a folder, not a file")]
    Directory,
    /// A folder without models.
    #[error("a folder without a .rkllm or .gguf file in it")]
    NoModelInside,
    /// A folder with several models of a kind.
    #[error("a folder with several {} models: {}", .0.extension(), .1.join(", "))]
    Several(ModelKind, Vec<String>),
    /// A device, a pipe or a socket.
    #[error("not a regular file")]
    NotRegular,
    /// The system refuses to open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Neither suffix.
    #[error("neither a .rkllm nor a .gguf file")]
    UnknownKind,
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Too few bytes for any model.
    #[error("the file has {0} bytes only, too few for a model")]
    TooSmall(u64),
    /// The text that Git keeps in place of a large file.
    #[error("a Git LFS pointer, not the model itself")]
    LfsPointer,
    /// A web page saved under the model's name.
    #[error("a web page, not a model")]
    Html,
    /// Some other text.
    #[error("a text file, not a model")]
    Text,
    /// A `.rkllm` that begins as GGUF.
    #[error("a GGUF file, in spite of its name")]
    IsGguf,
    /// A `.gguf` that does not.
    #[error("not a GGUF file, in spite of its name")]
    NotGguf,
    /// The part of a vision model that reads images.
    #[error("a vision projector (mmproj), not a language model")]
    Projector,
    /// A LoRA adapter in a model's place.
    #[error("a LoRA adapter, not a model")]
    Adapter,
    /// A model in an adapter's place.
    #[error("a model, not a LoRA adapter")]
    NotAdapter,
    /// A later part of a model in several files, counted from 1.
    #[error("part {0} of a model in {1} files")]
    LaterPart(u64, u64),
    /// A model that has no words to give.
    #[error("an embedding model ({0}), which generates no text")]
    Embedding(String),
    /// No path was given.
    #[error("no path was given")]
    NoPath,
}

impl ModelProblem {
    /// The class of an error with this cause.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            _ if self.is_missing() => ErrorKind::ModelNotFound,
            Self::NoPath => ErrorKind::InvalidArgument,
            Self::Missing
            | Self::DanglingLink(_)
            | Self::Unreadable(_)
            | Self::NoModelInside
            | Self::Several(..) => ErrorKind::Model,
            _ => ErrorKind::ModelFormat,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Missing | Self::DanglingLink(_) => {
                "Check the path; a relative one counts from the working folder."
            }
            Self::Directory | Self::NotRegular | Self::Several(..) | Self::NoPath => {
                "Give the path of one file."
            }
            Self::NoModelInside | Self::UnknownKind => {
                "Give a .rkllm model (for the NPU) or a .gguf model (for the CPU)."
            }
            Self::Unreadable(_) => "Give this user the right to read the file and its folders.",
            Self::LfsPointer => {
                "Fetch the model itself: run `git lfs pull` in its repository, or download it with \
                 the \"raw\" link."
            }
            Self::Html => "Download the model again, with the \"raw\" link in place of the page's.",
            Self::Empty | Self::TooSmall(_) => "Copy or download the model again, to its end.",
            Self::Text => "Give the model file itself, as the vendor's toolkit wrote it.",
            Self::IsGguf => {
                "Rename it to .gguf to run it on the CPU; the NPU needs a converted .rkllm model."
            }
            Self::Projector => {
                "Give the .gguf file of the language model; the projector belongs to it, and the CPU \
                 runtime does not read images."
            }
            Self::Adapter => {
                "Open the model that the adapter was made for, then load the adapter with load_lora()."
            }
            Self::NotAdapter => {
                "Give the adapter that was made for this model; to run this file, open it as a model."
            }
            Self::LaterPart(_, count) => {
                return Some(format!(
                    "Give the first file, whose name ends in -00001-of-{count:05}.gguf; the others are \
                     found beside it."
                ));
            }
            Self::Embedding(_) => {
                "Give a model that generates text, whose embed() gives vectors as well; models of this \
                 kind run with llama.cpp or sentence-transformers."
            }
            Self::NotGguf => "Download it again; a .rkllm model keeps its own suffix.",
        };
        Some(text.to_owned())
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing | Self::DanglingLink(_))
    }
}

/// Looks at the path alone: something must be there that can be a file.
pub(crate) fn present(path: &Path) -> Result<fs::Metadata, ModelProblem> {
    fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => match fs::read_link(path) {
            Ok(target) => ModelProblem::DanglingLink(target),
            Err(_) => ModelProblem::Missing,
        },
        _ => ModelProblem::Unreadable(reason(&error)),
    })
}

/// Checks the content as far as a closed format allows.
pub(crate) fn check(path: &Path, kind: ModelKind) -> Result<(), ModelProblem> {
    match whole(path, kind)? {
        Some(about) => purpose(&about).map_or(Ok(()), Err),
        None => Ok(()),
    }
}

/// Checks the content of an adapter likewise.
pub(crate) fn check_adapter(path: &Path, kind: ModelKind) -> Result<(), ModelProblem> {
    match whole(path, kind)?.as_ref().map(purpose) {
        None | Some(Some(ModelProblem::Adapter)) => Ok(()),
        Some(Some(other)) => Err(other),
        Some(None) => Err(ModelProblem::NotAdapter),
    }
}

/// Architectures that give vectors only.
const EMBEDDING: [&str; 10] = [
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
    "t5encoder",
];

/// What a whole file is for, if not for generating text.
fn purpose(about: &gguf::About) -> Option<ModelProblem> {
    let architecture = about.architecture.as_deref().unwrap_or_default();
    match (about.kind.as_deref(), architecture) {
        (Some("mmproj"), _) | (_, "clip") => return Some(ModelProblem::Projector),
        (Some("adapter"), _) => return Some(ModelProblem::Adapter),
        _ => {}
    }
    if let (Some(part @ 1..), Some(count)) = (about.part, about.parts) {
        return Some(ModelProblem::LaterPart(part.saturating_add(1), count));
    }
    EMBEDDING
        .contains(&architecture)
        .then(|| ModelProblem::Embedding(architecture.to_owned()))
}

/// Checks that a file is of `kind` and whole; what a GGUF file says of itself, if it can be read.
fn whole(path: &Path, kind: ModelKind) -> Result<Option<gguf::About>, ModelProblem> {
    let data = present(path)?;
    if data.is_dir() {
        return Err(ModelProblem::Directory);
    }
    if !data.is_file() {
        return Err(ModelProblem::NotRegular);
    }
    if data.len() == 0 {
        return Err(ModelProblem::Empty);
    }
    let unreadable = |error: io::Error| ModelProblem::Unreadable(reason(&error));
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref()
        .take(4096)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    match known_text(&head) {
        Some(LoadProblem::LfsPointer) => return Err(ModelProblem::LfsPointer),
        Some(_) => return Err(ModelProblem::Html),
        None => {}
    }
    let gguf = head.starts_with(b"GGUF");
    if kind == ModelKind::Gguf {
        // Magic, version and two counts.
        return match (gguf, data.len()) {
            (false, _) => Err(ModelProblem::NotGguf),
            (true, size @ ..24) => Err(ModelProblem::TooSmall(size)),
            (true, _) => {
                file.rewind().map_err(unreadable)?;
                Ok(gguf::about(file))
            }
        };
    }
    if gguf {
        return Err(ModelProblem::IsGguf);
    }
    if is_text(&head) {
        // Stand-ins for the vendor's library, ours and other people's, take their scripts as JSON in
        // the model's place; the closed binary format never looks like that.
        file.rewind().map_err(unreadable)?;
        let script = is_script(file, &head, data.len());
        return if script {
            Ok(None)
        } else {
            Err(ModelProblem::Text)
        };
    }
    if data.len() < SMALLEST {
        return Err(ModelProblem::TooSmall(data.len()));
    }
    Ok(None)
}

/// Whether the start of a file reads as text; a character cut off at its end may be.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text
            .chars()
            .all(|one| !one.is_control() || one.is_ascii_whitespace())
}

fn is_script(file: File, head: &[u8], size: u64) -> bool {
    let object = head.trim_ascii_start().starts_with(b"{");
    let parsed = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    object && size <= LONGEST_SCRIPT && io::read_to_string(file).is_ok_and(|text| parsed(&text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(content: &[u8], kind: ModelKind) -> Result<(), ModelProblem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, content).unwrap();
        check(&path, kind)
    }

    #[test]
    fn content_that_cannot_be_a_model_is_named() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
        for kind in [ModelKind::Rkllm, ModelKind::Gguf] {
            assert_eq!(verdict(b"", kind), Err(ModelProblem::Empty));
            assert_eq!(verdict(lfs, kind), Err(ModelProblem::LfsPointer));
            assert_eq!(
                verdict(b"<!doctype html><p>", kind),
                Err(ModelProblem::Html)
            );
        }
        let big = |lead: &[u8]| [lead, &[0xe5; 4096]].concat();
        for (content, expected) in [
            (big(b"GGUF"), Err(ModelProblem::IsGguf)),
            (b"just a note\n".to_vec(), Err(ModelProblem::Text)),
            (vec![b'a'; 9000], Err(ModelProblem::Text)),
            (b"{\"not\": json".to_vec(), Err(ModelProblem::Text)),
            (b"[1, 2]".to_vec(), Err(ModelProblem::Text)),
            (b" \n{\"tokens\": [\"a\"]}".to_vec(), Ok(())),
            (vec![0xe5; 7], Err(ModelProblem::TooSmall(7))),
            (big(b""), Ok(())),
        ] {
            assert_eq!(verdict(&content, ModelKind::Rkllm), expected);
        }
        for (content, expected) in [
            (big(b"GGUF"), Ok(())),
            (b"GGUF".to_vec(), Err(ModelProblem::TooSmall(4))),
            (big(b"RKLM"), Err(ModelProblem::NotGguf)),
            (b"{}".to_vec(), Err(ModelProblem::NotGguf)),
        ] {
            assert_eq!(verdict(&content, ModelKind::Gguf), expected);
        }
    }

    #[test]
    fn what_is_no_language_model_is_named() {
        let of = |texts: &[(&str, &str)], numbers: &[(&str, u16)]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.gguf");
            fs::write(&path, gguf::tests::made(texts, numbers)).unwrap();
            let kind = ModelKind::Gguf;
            (check(&path, kind), check_adapter(&path, kind))
        };
        let (architecture, kind) = ("general.architecture", "general.type");
        let bert = ModelProblem::Embedding("nomic-bert".to_owned());
        let later = ModelProblem::LaterPart(2, 3);
        for (texts, numbers, model, adapter) in [
            (
                &[(architecture, "llama"), (kind, "model")][..],
                &[][..],
                Ok(()),
                Err(ModelProblem::NotAdapter),
            ),
            (
                &[(architecture, "llama")],
                &[("split.no", 0), ("split.count", 3)],
                Ok(()),
                Err(ModelProblem::NotAdapter),
            ),
            (
                &[(architecture, "clip")],
                &[],
                Err(ModelProblem::Projector),
                Err(ModelProblem::Projector),
            ),
            (
                &[(kind, "mmproj")],
                &[],
                Err(ModelProblem::Projector),
                Err(ModelProblem::Projector),
            ),
            (
                &[(architecture, "llama"), (kind, "adapter")],
                &[],
                Err(ModelProblem::Adapter),
                Ok(()),
            ),
            (
                &[],
                &[("split.no", 1), ("split.count", 3)],
                Err(later.clone()),
                Err(later),
            ),
            (
                &[(architecture, "nomic-bert")],
                &[],
                Err(bert.clone()),
                Err(bert),
            ),
        ] {
            assert_eq!(of(texts, numbers), (model, adapter), "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("gone", path("link")).unwrap();
        assert_eq!(
            check(&path("none"), ModelKind::Rkllm),
            Err(ModelProblem::Missing)
        );
        assert_eq!(
            check(&path("link"), ModelKind::Rkllm),
            Err(ModelProblem::DanglingLink("gone".into()))
        );
        assert_eq!(
            check(folder.path(), ModelKind::Rkllm),
            Err(ModelProblem::Directory)
        );
        assert_eq!(
            check(Path::new("/dev/null"), ModelKind::Rkllm),
            Err(ModelProblem::NotRegular)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_content_is_survived(content: Vec<u8>, text: String) {
            for kind in [ModelKind::Rkllm, ModelKind::Gguf] {
                let _ = verdict(&content, kind);
                let _ = verdict(text.as_bytes(), kind);
            }
        }
    }
}
