//! What can be proved of a model's file, what its name hints at, and what the library said when it was last loaded.

use std::path::Path;

use serde_json::{Value, json};

use super::directory::{Directory, Found};
use super::file::Seen;
use super::{ModelKind, ModelProblem, context, name};

/// What was found, in the shape of `rkllm-rs inspect --json`. The file is read once.
#[must_use]
pub fn inspect(path: &Path) -> Value {
    let seen = Seen::of(path);
    let named = ModelKind::of(path);
    let checked = seen.as_ref().map_err(Clone::clone).and_then(|seen| {
        match named.or_else(|| seen.sniffed()) {
            Some(kind) => seen.check(kind),
            None => Err(seen.no_model()),
        }
    });
    let mut problems = Vec::new();
    let mut put = |summary: String, fix: Option<String>| {
        problems.push(json!({"summary": summary, "fix": fix}));
    };
    match &checked {
        Err(problem) => put(problem.to_string(), problem.hint()),
        Ok(Some(doubt)) => put(
            doubt.to_string(),
            Some("Compare its size and checksum with the download page.".to_owned()),
        ),
        Ok(None) => {}
    }
    let told = name::hints(path);
    let nothing = Directory::default();
    let (directory, truncated) = match seen.as_ref().map(|seen| &seen.found) {
        Ok(Found::Whole(directory)) => (&**directory, Some(false)),
        Ok(Found::Cut(directory, _)) => (&**directory, Some(true)),
        Ok(Found::Implausible) | Err(_) => (&nothing, None),
    };
    let known = |count: u64| (count > 0).then_some(count);
    let about = &directory.about;
    json!({
        "path": path.to_string_lossy(),
        "kind": kind_of(seen.as_ref(), checked.as_ref().err(), named),
        "loadable": checked.is_ok(),
        "truncated": truncated,
        "size": path.metadata().ok().map(|data| data.len()),
        "problems": problems,
        "facts": {
            "tensor_count": known(directory.tensors),
            "metadata_count": known(directory.keys),
            "vocabulary": directory.vocabulary,
            "hidden_size": directory.hidden_size,
            "architecture": about.architecture,
            "context_length": about.context_length,
            "context_bytes_per_token": bytes_per_token(directory),
        },
        "hints": {
            "chip": told.chip,
            "dtype": told.dtype,
            "toolkit": told.toolkit,
            "max_context": told.max_context.or(directory.max_context),
            "core_num": directory.cores,
        },
        "last_load": context::last_load(path),
    })
}

/// The kind of a file without a model's suffix: a cache of downloads may name its files by their hash alone.
/// Else what is wrong with it.
pub(crate) fn sniffed(path: &Path) -> Result<ModelKind, ModelProblem> {
    let seen = Seen::of(path)?;
    seen.sniffed().ok_or_else(|| seen.no_model())
}

fn kind_of(
    seen: Result<&Seen, &ModelProblem>,
    problem: Option<&ModelProblem>,
    named: Option<ModelKind>,
) -> &'static str {
    // What it is for, whatever it is called.
    let gguf = seen.ok().filter(|seen| seen.is_gguf());
    let purpose = gguf.and_then(|seen| seen.check(ModelKind::Gguf).err());
    match purpose.as_ref().or(problem) {
        Some(ModelProblem::Empty) => return "empty",
        Some(ModelProblem::LfsPointer) => return "lfs-pointer",
        Some(ModelProblem::Html) => return "html",
        Some(ModelProblem::Part(_)) => return "part",
        Some(ModelProblem::Rknn) => return "rknn",
        Some(ModelProblem::Rknn3) => return "rknn3",
        Some(ModelProblem::Adapter) => return "adapter",
        Some(ModelProblem::Projector) => return "projector",
        _ => {}
    }
    let Ok(seen) = seen else {
        return "unknown";
    };
    let masked = seen.found != Found::Implausible;
    if seen.is_gguf() {
        "gguf"
    } else if masked || (seen.is_binary() && named == Some(ModelKind::Rkllm)) {
        "rkllm"
    } else {
        "unknown"
    }
}

/// What each token of a context takes on the CPU runtime, by what a GGUF file says of itself: keys and values, in
/// 16 bits, of each layer.
fn bytes_per_token(directory: &Directory) -> Option<u64> {
    let about = &directory.about;
    let heads = about.heads.filter(|heads| *heads > 0)?;
    let width = match about.key_length {
        Some(width) => width,
        None => about.embedding?.checked_div(heads)?,
    };
    let kv = about.kv_heads.unwrap_or(heads);
    about
        .layers?
        .checked_mul(kv)?
        .checked_mul(width)?
        .checked_mul(4)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::directory;
    use super::*;

    fn of(name: &str, content: &[u8]) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        inspect(&path)
    }

    #[test]
    fn each_kind_is_told() {
        let model = directory::tests::made(true).0;
        let plain = directory::tests::made(false).0;
        let adapter = super::super::gguf::tests::made(&[("general.type", "adapter")], &[]);
        let projector = super::super::gguf::tests::made(&[("general.architecture", "clip")], &[]);
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
        for (name, content, kind, loadable) in [
            ("a.rkllm", &model[..], "rkllm", true),
            ("0123abcd", &model, "rkllm", true),
            ("a.rkllm", &[0xe5; 4096], "rkllm", true),
            ("a.gguf", &plain, "gguf", true),
            ("a.rkllm", &plain, "gguf", false),
            ("a.gguf", &model, "rkllm", false),
            (
                "a.rkllm",
                b"RKNN\0\0\0\0\x06\0\0\0\0\0\0\0xxxxxxxxxx",
                "rknn",
                false,
            ),
            (
                "a.rknn",
                b"RKNN\0\0\0\0\x06\0\0\0\0\0\0\0xxxxxxxxxx",
                "rknn",
                false,
            ),
            (
                "a.rknn3",
                b"\x01\x02\x03\x04xxxxxxxxxxxxxxxxxxxxxxxxx",
                "rknn3",
                false,
            ),
            ("a.gguf", &adapter, "adapter", false),
            ("a.rkllm", &projector, "projector", false),
            ("a.rkllm", lfs, "lfs-pointer", false),
            ("a.bin", lfs, "lfs-pointer", false),
            ("a.rkllm", b"<html><body>404", "html", false),
            ("a.rkllm.part", &model, "part", false),
            ("a.rkllm", b"", "empty", false),
            ("a.rkllm", b"just a note", "unknown", false),
            ("a.txt", &[0xe5; 4096], "unknown", false),
        ] {
            let told = of(name, content);
            assert_eq!(
                (&told["kind"], &told["loadable"]),
                (&json!(kind), &json!(loadable)),
                "{name}: {told}"
            );
            assert!(loadable || told["problems"][0]["fix"].is_string(), "{told}");
        }
        let gone = inspect(Path::new("/nowhere/a.rkllm"));
        assert_eq!(
            (&gone["kind"], &gone["loadable"]),
            (&json!("unknown"), &json!(false))
        );
        assert_eq!(inspect(Path::new("/"))["loadable"], json!(false));
        assert_eq!(inspect(Path::new("/dev/null"))["loadable"], json!(false));
    }

    #[test]
    fn a_cut_file_is_not_loadable_and_facts_are_no_guesses() {
        let (model, ends) = directory::tests::made(true);
        for end in ends.into_iter().filter(|end| *end > 0) {
            let told = of("a.rkllm", &model[..end]);
            assert_eq!(told["loadable"], json!(false), "{end}");
            if end >= directory::HEADER as usize {
                assert_eq!(told["truncated"], json!(true), "{end}");
                assert_eq!(told["facts"]["tensor_count"], json!(2), "{end}");
            }
        }
        let told = of("Qwen3-0.6B_W8A8_RK3588.rkllm", &model);
        assert_eq!(told["truncated"], json!(false));
        assert_eq!(told["facts"]["vocabulary"], json!(100));
        assert_eq!(told["facts"]["hidden_size"], json!(16));
        assert_eq!(told["hints"]["chip"], json!("rk3588"));
        assert_eq!(told["hints"]["core_num"], json!(3));
    }
}
