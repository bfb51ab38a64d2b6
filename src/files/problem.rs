//! What can be wrong with a model's file, and what to do about it.

use std::path::PathBuf;

use super::ModelKind;
use crate::protocol::error::ErrorKind;

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
