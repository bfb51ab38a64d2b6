//! Checks of a model's file that need no library.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use super::directory::{self, Directory, Found};
use super::name::is_part;
use super::{ModelKind, ModelProblem, gguf};
use crate::library::{LoadProblem, known_text, reason};

/// A script that stands in for a model is not longer than this.
const LONGEST_SCRIPT: u64 = 16 << 20;
/// How much of a file is looked at for its kind.
const HEAD: u64 = 4096;

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

/// What a check found that is not certain enough to refuse a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A `.rkllm` file that does not begin as all known ones do.
    Implausible,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Implausible => f.write_str(
                "the file does not begin like a .rkllm model, so it may be damaged or of another kind",
            ),
        }
    }
}

/// Checks the content as far as a closed format allows.
pub(crate) fn check(path: &Path, kind: ModelKind) -> Result<Option<Doubt>, ModelProblem> {
    Seen::of(path)?.check(kind)
}

/// What a file has in it.
enum Content<'a> {
    Known(&'a Directory),
    /// A `.rkllm` file without a directory that could be one.
    Implausible,
    NotJudged,
}

/// Checks the content of an adapter likewise.
pub(crate) fn check_adapter(path: &Path, kind: ModelKind) -> Result<(), ModelProblem> {
    match Seen::of(path)?.content(kind)? {
        Content::Known(directory) if kind == ModelKind::Gguf => match purpose(&directory.about) {
            Some(ModelProblem::Adapter) => Ok(()),
            Some(other) => Err(other),
            None => Err(ModelProblem::NotAdapter),
        },
        _ => Ok(()),
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

/// A regular file that was read once: its first bytes and its directory, which every question is answered from.
pub(super) struct Seen {
    /// What is wrong with it whatever it was taken for, by its first bytes or its name.
    wrong: Option<ModelProblem>,
    head: Vec<u8>,
    pub(super) size: u64,
    pub(super) found: Found,
    file: File,
}

impl Seen {
    /// Reads a file.
    pub(super) fn of(path: &Path) -> Result<Self, ModelProblem> {
        let data = present(path)?;
        if data.is_dir() {
            return Err(ModelProblem::Directory);
        }
        if !data.is_file() {
            return Err(ModelProblem::NotRegular);
        }
        let (size, suffix) = (data.len(), path.extension().filter(|_| is_part(path)));
        let part =
            suffix.map(|suffix| ModelProblem::Part(format!(".{}", suffix.to_string_lossy())));
        if size == 0 {
            return Err(part.unwrap_or(ModelProblem::Empty));
        }
        let unreadable = |error: io::Error| ModelProblem::Unreadable(reason(&error));
        let mut file = File::open(path).map_err(unreadable)?;
        let mut head = Vec::new();
        let read = file.by_ref().take(HEAD).read_to_end(&mut head);
        read.and_then(|_| file.rewind()).map_err(unreadable)?;
        let wrong = part.or_else(|| match known_text(&head) {
            Some(LoadProblem::LfsPointer) => Some(ModelProblem::LfsPointer),
            Some(_) => Some(ModelProblem::Html),
            None => rknn(&head, path),
        });
        let found = directory::read(&file, size);
        Ok(Self {
            wrong,
            head,
            size,
            found,
            file,
        })
    }

    pub(super) fn is_gguf(&self) -> bool {
        self.head.starts_with(b"GGUF")
    }

    pub(super) fn is_binary(&self) -> bool {
        std::str::from_utf8(&self.head).is_err()
    }

    /// The kind of a file whose name does not tell it.
    pub(super) fn sniffed(&self) -> Option<ModelKind> {
        if self.is_gguf() {
            return Some(ModelKind::Gguf);
        }
        (self.wrong.is_none() && self.found != Found::Implausible).then_some(ModelKind::Rkllm)
    }

    /// Checks that it is a model of `kind`, as far as a closed format allows.
    pub(super) fn check(&self, kind: ModelKind) -> Result<Option<Doubt>, ModelProblem> {
        match self.content(kind)? {
            Content::Known(directory) => purpose(&directory.about).map_or(Ok(None), Err),
            Content::Implausible => Ok(Some(Doubt::Implausible)),
            Content::NotJudged => Ok(None),
        }
    }

    /// What is wrong with a file that is no model by its name and content.
    pub(super) fn no_model(&self) -> ModelProblem {
        match self.check(ModelKind::Rkllm) {
            Err(ModelProblem::Text | ModelProblem::TooSmall(_)) | Ok(_) => {
                ModelProblem::UnknownKind
            }
            Err(problem) => problem,
        }
    }

    /// Checks that it is of `kind` and whole.
    fn content(&self, kind: ModelKind) -> Result<Content<'_>, ModelProblem> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let gguf = self.is_gguf();
        match (kind, gguf) {
            (ModelKind::Rkllm, true) => return Err(ModelProblem::IsGguf),
            (ModelKind::Gguf, false) => return Err(ModelProblem::NotGguf),
            (ModelKind::Rkllm, false) if is_text(&self.head) => {
                // Stand-ins for the vendor's library, ours and other people's, take their scripts as JSON in
                // the model's place; the closed binary format never looks like that.
                return if is_script(&self.file, &self.head, self.size) {
                    Ok(Content::NotJudged)
                } else {
                    Err(ModelProblem::Text)
                };
            }
            _ => {}
        }
        if self.size < directory::HEADER {
            return Err(ModelProblem::TooSmall(self.size));
        }
        match &self.found {
            Found::Whole(directory) => Ok(Content::Known(directory)),
            Found::Cut(directory, needed) => {
                Err(purpose(&directory.about)
                    .unwrap_or(ModelProblem::Truncated(self.size, *needed)))
            }
            // What is wrong with it, llama.cpp tells.
            Found::Implausible if gguf => Ok(Content::NotJudged),
            Found::Implausible => Ok(Content::Implausible),
        }
    }
}

/// The problem of a model of Rockchip's other libraries.
fn rknn(head: &[u8], path: &Path) -> Option<ModelProblem> {
    let named = path
        .extension()
        .is_some_and(|suffix| suffix.eq_ignore_ascii_case("rknn3"));
    if head.starts_with(b"RKNN3") || (named && !head.starts_with(b"GGUF")) {
        return Some(ModelProblem::Rknn3);
    }
    let rknn = [&b"RKNN"[..], b"CYPTRKNN"]
        .iter()
        .any(|magic| head.starts_with(magic));
    rknn.then_some(ModelProblem::Rknn)
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

fn is_script(mut file: &File, head: &[u8], size: u64) -> bool {
    let object = head.trim_ascii_start().starts_with(b"{");
    let parsed = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    object
        && size <= LONGEST_SCRIPT
        && file.rewind().is_ok()
        && io::read_to_string(file).is_ok_and(|text| parsed(&text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(content: &[u8], kind: ModelKind) -> Result<Option<Doubt>, ModelProblem> {
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
            (b" \n{\"tokens\": [\"a\"]}".to_vec(), Ok(None)),
            (vec![0xe5; 7], Err(ModelProblem::TooSmall(7))),
            (big(b""), Ok(Some(Doubt::Implausible))),
            (vec![0xe5; 23], Err(ModelProblem::TooSmall(23))),
            (big(b"RKNN\0\0\0\0"), Err(ModelProblem::Rknn)),
            (big(b"RKNN3"), Err(ModelProblem::Rknn3)),
            (directory::tests::made(true).0, Ok(None)),
        ] {
            assert_eq!(verdict(&content, ModelKind::Rkllm), expected);
        }
        for (content, expected) in [
            (big(b"GGUF"), Ok(None)),
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
            (check(&path, kind).map(drop), check_adapter(&path, kind))
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
