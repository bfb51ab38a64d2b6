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
    /// Nothing there, nor at the other paths that would do.
    #[error("no such file; also missing: {}", .0.join(", "))]
    AllMissing(Vec<String>),
    /// A symbolic link that leads nowhere.
    #[error("it is a symbolic link to {}, which does not exist", .0.display())]
    DanglingLink(PathBuf),
    /// A folder under a model's name.
    #[error("it is a folder")]
    Directory,
    /// A folder without models.
    #[error("the folder contains no .rkllm or .gguf file")]
    NoModelInside,
    /// A folder with several models of a kind.
    #[error("the folder contains several {} models: {}", .0.extension(), .1.join(", "))]
    Several(ModelKind, Vec<String>),
    /// A device, a pipe or a socket.
    #[error("it is not a regular file")]
    NotRegular,
    /// The system refuses to open or read it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Neither suffix.
    #[error("the file name ends in neither .rkllm nor .gguf")]
    UnknownKind,
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Too few bytes for any model.
    #[error("the file is too small to be a model ({0} bytes)")]
    TooSmall(u64),
    /// The text that Git keeps in place of a large file.
    #[error("the file is a Git LFS pointer, not the model itself")]
    LfsPointer,
    /// A web page saved under the model's name.
    #[error("the file is a web page, not a model")]
    Html,
    /// A download that has not ended, or a piece of one.
    #[error("the file is an unfinished or split download (its name ends in {0:?})")]
    Part(String),
    /// The file ends early: its size, and the size that its directory needs (0: not known).
    #[error("the file is incomplete: {}", incomplete(*.0, *.1))]
    Truncated(u64, u64),
    /// An encoder, or another model of Rockchip's other library.
    #[error("the file is an RKNN model, such as an image encoder, not a language model")]
    Rknn,
    /// The same for another family of chips.
    #[error("the file is an RKNN3 model, for RK1820 and RK1828")]
    Rknn3,
    /// Some other text.
    #[error("the file is a text file, not a model")]
    Text,
    /// A `.rkllm` that begins as GGUF.
    #[error("the file is a GGUF model, despite its name")]
    IsGguf,
    /// A `.gguf` that does not.
    #[error("the file is not a GGUF model, despite its name")]
    NotGguf,
    /// The part of a vision model that reads images.
    #[error("the file is a vision projector (mmproj), not a language model")]
    Projector,
    /// A LoRA adapter in a model's place.
    #[error("the file is a LoRA adapter, not a model")]
    Adapter,
    /// A model in an adapter's place.
    #[error("the file is a model, not a LoRA adapter")]
    NotAdapter,
    /// A later part of a model in several files, counted from 1.
    #[error("the file is part {0} of a model split into {1} files")]
    LaterPart(u64, u64),
    /// A model that has no words to give.
    #[error("the file is an embedding model ({0}), which does not generate text")]
    Embedding(String),
}

fn incomplete(size: u64, needed: u64) -> String {
    match needed {
        0 => format!("it ends inside its directory, after {size} bytes"),
        _ => format!("it has {size} bytes, and its directory says {needed}"),
    }
}

impl ModelProblem {
    /// The class of an error with this cause.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            _ if self.is_missing() => ErrorKind::ModelNotFound,
            Self::Missing
            | Self::AllMissing(_)
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
            Self::Missing | Self::AllMissing(_) | Self::DanglingLink(_) => {
                "Check the path; relative paths start at the current working folder."
            }
            Self::Directory | Self::NotRegular | Self::Several(..) => {
                "Pass the path of one model file."
            }
            Self::NoModelInside | Self::UnknownKind => {
                "Pass a .rkllm model (for the NPU) or a .gguf model (for the CPU)."
            }
            Self::Unreadable(_) => "Give your user read access to the file and its folders.",
            Self::LfsPointer => {
                "Run `git lfs pull` in the repository, or download the model with its \"raw\" link."
            }
            Self::Html => {
                "Download the model with its \"raw\" link, not with the link of its page."
            }
            Self::Empty | Self::TooSmall(_) => {
                "Download or copy the model again: the file is incomplete."
            }
            Self::Part(_) => {
                "Wait until the download has ended, or join its parts in their order: `cat FILE.part-* > \
                 FILE`."
            }
            Self::Truncated(..) => {
                "Download or copy the model again, and compare its size with the download page."
            }
            Self::Rknn => "Pass the .rkllm file of the language model.",
            Self::Rknn3 => {
                "Pass a .rkllm model: RKNN3 models run with another SDK, on other chips."
            }
            Self::Text => "Pass the model file that the toolkit wrote.",
            Self::IsGguf => {
                "Rename the file to .gguf to run it on the CPU; the NPU requires a converted .rkllm model."
            }
            Self::Projector => {
                "Pass the .gguf file of the language model; the CPU runtime does not support images."
            }
            Self::Adapter => {
                "Open the adapter's base model, then load the adapter with load_lora()."
            }
            Self::NotAdapter => {
                "Pass the adapter that was made for this model; to run this file, open it as a model."
            }
            Self::LaterPart(_, count) => {
                return Some(format!(
                    "Pass the first file, whose name ends in -00001-of-{count:05}.gguf; the others must be \
                     in the same folder."
                ));
            }
            Self::Embedding(_) => {
                "Pass a model that generates text (its embed() returns vectors, too); embedding models run \
                 with llama.cpp or sentence-transformers."
            }
            Self::NotGguf => {
                "Download the model again; if it is a .rkllm model, give it that suffix."
            }
        };
        Some(text.to_owned())
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Missing | Self::AllMissing(_) | Self::DanglingLink(_)
        )
    }
}
