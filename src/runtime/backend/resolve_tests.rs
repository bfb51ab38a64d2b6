//! Which file a name or a folder stands for.

use std::fs;

use std::os::unix::ffi::OsStrExt as _;

use super::*;

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    folder
}

fn names(found: &[(PathBuf, ModelKind)]) -> Vec<&str> {
    found
        .iter()
        .filter_map(|(path, _)| path.file_name()?.to_str())
        .collect()
}

#[test]
fn a_folder_s_model_for_the_npu_comes_first() {
    let place = folder(&["b.gguf", "a.RKLLM", "notes.txt", "mmproj-b.gguf"]);
    let found = expand(place.path(), None).unwrap();
    assert_eq!(names(&found), ["a.RKLLM", "b.gguf"]);
}

#[test]
fn a_folder_with_several_of_a_kind_is_no_answer() {
    let place = folder(&["a.rkllm", "b.rkllm", "c.gguf"]);
    let several = ModelProblem::Several(ModelKind::Rkllm, vec!["a.rkllm".into(), "b.rkllm".into()]);
    assert_eq!(expand(place.path(), None), Err(several.clone()));
    assert_eq!(expand(place.path(), Some(BackendKind::Npu)), Err(several));
    assert!(expand(place.path(), Some(BackendKind::Cpu)).is_ok());
    assert_eq!(
        expand(folder(&["x.txt"]).path(), None),
        Err(ModelProblem::NoModelInside)
    );
}

#[test]
fn split_models_begin_with_their_first_part() {
    let place = folder(&["q-00001-of-00002.gguf", "q-00002-of-00002.gguf"]);
    assert_eq!(
        names(&expand(place.path(), None).unwrap()),
        ["q-00001-of-00002.gguf"]
    );
}

#[test]
fn a_name_gets_its_suffix() {
    let place = folder(&["qwen3-1.7b.rkllm", "qwen3-1.7b.gguf"]);
    let found = expand(&place.path().join("qwen3-1.7b"), None).unwrap();
    assert_eq!(names(&found), ["qwen3-1.7b.rkllm", "qwen3-1.7b.gguf"]);
    assert_eq!(
        expand(&place.path().join("llama"), None),
        Err(ModelProblem::Missing)
    );
}

#[test]
fn other_files_are_no_models() {
    let place = folder(&["model.bin"]);
    assert_eq!(
        expand(&place.path().join("model.bin"), None),
        Err(ModelProblem::UnknownKind)
    );
    fs::write(place.path().join("sha256-00"), "GGUF and more").unwrap();
    assert_eq!(
        expand(&place.path().join("sha256-00"), None).unwrap()[0].1,
        ModelKind::Gguf
    );
    fs::create_dir(place.path().join("dir.rkllm")).unwrap();
    assert_eq!(
        expand(&place.path().join("dir.rkllm"), None),
        Err(ModelProblem::Directory)
    );
}

#[test]
fn any_bytes_make_a_name() {
    let place = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"m\xff.rkllm");
    fs::write(place.path().join(name), "{}").unwrap();
    let stem = place.path().join(std::ffi::OsStr::from_bytes(b"m\xff"));
    assert_eq!(
        expand(&stem, None).unwrap(),
        [(place.path().join(name), ModelKind::Rkllm)]
    );
}

#[test]
fn no_path_is_an_error() {
    let env = Environment::rooted("/nowhere".into());
    let error = resolve_in(&[], &LoadOptions::default(), &env).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
