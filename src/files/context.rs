//! How long a context is opened for where the program leaves it open, and what is remembered for that.
//!
//! A GGUF file says what its model was trained for. Of a `.rkllm` file only the vendor's library knows it, and
//! says so while it loads the model: the next time it is remembered. Nothing here can make an opening fail.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{BackendKind, gguf};
use crate::protocol::info::ModelInfo;

/// A context takes memory whether it is used or not.
const MOST: usize = 4096;
/// What the vendor's library takes by itself, and what a batch gets for each of its prompts at least.
const LEAST: usize = 512;
/// Lengths are multiples of it.
const STEP: usize = 32;
/// More models than anybody has; a file that grows beyond it is thinned out.
const MOST_MODELS: usize = 256;
/// A file that is longer was not written here.
const LONGEST: u64 = 1 << 20;

/// The context that a model of `limit` is opened with, `prompts` at a time.
///
/// The vendor's library says in one place that the length must be below the limit, and in another that it may
/// be equal: below is always right.
fn length(limit: usize, prompts: u8) -> Option<i32> {
    let most = LEAST.max(MOST / usize::from(prompts.max(1)));
    let below = match limit.checked_sub(1)? / STEP * STEP {
        0 => limit,
        below => below,
    };
    i32::try_from(below.min(most)).ok()
}

/// The context for the model at `path`, if its limit is known.
pub(crate) fn default_length(path: &Path, backend: BackendKind, prompts: u8) -> Option<i32> {
    let limit = match backend {
        BackendKind::Cpu => {
            let length = gguf::context_length(File::open(path).ok()?)?;
            usize::try_from(length).ok()?
        }
        BackendKind::Npu => {
            let known = remembered(&store()?, path)?;
            usize::try_from(known.get(LIMIT)?.as_u64()?).ok()?
        }
    };
    length(limit, prompts)
}

/// What is remembered of files, by their paths. Whatever is not as it was written here is passed over.
type Entries = Map<String, Value>;
const LIMIT: &str = "context_limit";
/// When it was, in seconds since 1970.
const LOADED: &str = "loaded";

/// The file, one for all models; none if nothing is to be remembered.
fn store() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let value = PathBuf::from(std::env::var_os(name)?);
        value.is_absolute().then_some(value)
    };
    if std::env::var_os("RKLLM_RS_CACHE").is_some_and(|value| value.eq_ignore_ascii_case("off")) {
        return None;
    }
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("rkllm_rs/models.json"))
}

fn read(store: &Path) -> Entries {
    let readable = fs::metadata(store).is_ok_and(|data| data.is_file() && data.len() <= LONGEST);
    let text = readable.then(|| fs::read(store).ok()).flatten();
    match text.map(|text| serde_json::from_slice(&text)) {
        Some(Ok(Value::Object(entries))) => entries,
        _ => Entries::new(),
    }
}

/// A model's name in the file, and how to tell that it is still the same.
fn now(path: &Path) -> Option<(String, Entries)> {
    let whole = fs::canonicalize(path).ok()?;
    let data = fs::metadata(&whole).ok()?;
    let modified = data
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(data.mtime_nsec());
    let mut entry = Entries::new();
    entry.insert("size".to_owned(), json!(data.len()));
    entry.insert("modified".to_owned(), json!(modified));
    Some((whole.to_str()?.to_owned(), entry))
}

/// What is remembered of the model at `path`, if the file is the one that was loaded.
fn remembered(store: &Path, path: &Path) -> Option<Entries> {
    let (name, entry) = now(path)?;
    let known = read(store).remove(&name)?;
    let Value::Object(mut known) = known else {
        return None;
    };
    let same = entry
        .iter()
        .all(|(key, value)| known.remove(key).as_ref() == Some(value));
    same.then_some(known)
}

/// What the library said of the model at `path` when it was last loaded, as far as it is of the right type.
pub(super) fn last_load(path: &Path) -> Option<Value> {
    let mut known = remembered(&store()?, path)?;
    known.retain(|key, value| match key.as_str() {
        LIMIT | "npu_cores" => value.is_u64(),
        "platform" | "toolkit_version" | "dtype" | "driver_version" => value.is_string(),
        _ => false,
    });
    (!known.is_empty()).then_some(Value::Object(known))
}

/// Remembers what the library has told of the model at `path`.
pub(crate) fn remember(path: &Path, info: &ModelInfo) {
    let mut told = Entries::new();
    let mut put = |key: &str, value: Option<Value>| {
        told.extend(value.map(|value| (key.to_owned(), value)));
    };
    put(LIMIT, info.context_limit.map(|known| known.0.into()));
    put("npu_cores", info.npu_cores.map(|known| known.0.into()));
    let text = |known: &Option<(String, _)>| known.as_ref().map(|known| known.0.clone().into());
    put("platform", text(&info.platform));
    put("toolkit_version", text(&info.toolkit_version));
    put("dtype", text(&info.dtype));
    put("driver_version", text(&info.driver_version));
    if told.is_empty() {
        return;
    }
    // Of several, doctor believes the last load: a driver changes with the kernel.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    told.extend(
        now.ok()
            .map(|since| (LOADED.to_owned(), since.as_secs().into())),
    );
    if let Some(store) = store() {
        // It is a help for the next time, and nothing more.
        let _ = keep(&store, path, told);
    }
}

/// Each writer puts a whole file in place; of two at once, what one of them knew may be told again later.
fn keep(store: &Path, path: &Path, told: Entries) -> io::Result<()> {
    let Some((name, mut entry)) = now(path) else {
        return Ok(());
    };
    entry.extend(told);
    let entry = Value::Object(entry);
    let mut entries = read(store);
    if entries.get(&name) == Some(&entry) {
        return Ok(());
    }
    if entries.len() >= MOST_MODELS {
        entries.retain(|name, _| Path::new(name).exists());
    }
    while entries.len() >= MOST_MODELS {
        let Some(first) = entries.keys().next().cloned() else {
            break;
        };
        entries.remove(&first);
    }
    entries.insert(name, entry);
    let folder = store.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut fresh = tempfile_in(folder)?;
    let written = serde_json::to_vec(&entries)
        .map_err(io::Error::from)
        .and_then(|text| fresh.1.write_all(&text))
        .and_then(|()| fs::rename(&fresh.0, store));
    written.inspect_err(|_| drop(fs::remove_file(&fresh.0)))
}

/// A new file beside the one that it will replace; nobody else has its name.
fn tempfile_in(folder: &Path) -> io::Result<(PathBuf, File)> {
    let path = folder.join(format!(
        ".models.{}.{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    Ok((path.clone(), File::create(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(limit: usize) -> Entries {
        Entries::from_iter([(LIMIT.to_owned(), json!(limit))])
    }

    fn of(store: &Path, model: &Path) -> Option<u64> {
        remembered(store, model)?.get(LIMIT)?.as_u64()
    }

    #[test]
    fn the_largest_multiple_below_the_limit_is_taken() {
        for (limit, prompts, expected) in [
            (32768, 1, Some(4096)),
            (4097, 1, Some(4096)),
            (4096, 1, Some(4064)),
            (2000, 1, Some(1984)),
            (33, 1, Some(32)),
            (32, 1, Some(32)),
            (7, 1, Some(7)),
            (0, 1, None),
            (32768, 4, Some(1024)),
            (32768, 100, Some(512)),
            (300, 100, Some(288)),
        ] {
            assert_eq!(length(limit, prompts), expected, "{limit} {prompts}");
        }
    }

    #[test]
    fn a_file_that_has_changed_is_not_the_one_that_was_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("cache/models.json");
        let model = folder.path().join("a.rkllm");
        fs::write(&model, "one").unwrap();
        assert_eq!(of(&store, &model), None);
        keep(&store, &model, limit(2048)).unwrap();
        assert_eq!(of(&store, &model), Some(2048));
        let link = folder.path().join("link.rkllm");
        std::os::unix::fs::symlink(&model, &link).unwrap();
        assert_eq!(of(&store, &link), Some(2048));
        fs::write(&model, "another").unwrap();
        assert_eq!(of(&store, &model), None);
        keep(&store, &model, limit(1024)).unwrap();
        assert_eq!(of(&store, &model), Some(1024));
        fs::write(&store, "{ damaged").unwrap();
        assert_eq!(of(&store, &model), None);
        // Other entries are kept, whatever is wrong with one.
        let name = fs::canonicalize(&model).unwrap();
        for wrong in [
            json!(7),
            json!(null),
            json!({"size": "7"}),
            json!({"context_limit": []}),
        ] {
            let text = json!({ name.to_str().unwrap(): wrong, "/other": {"size": 1} });
            fs::write(&store, text.to_string()).unwrap();
            assert_eq!(of(&store, &model), None, "{wrong}");
        }
        keep(&store, &model, limit(256)).unwrap();
        assert!(read(&store).contains_key("/other"));
        fs::write(&store, "{ damaged").unwrap();
        assert_eq!(of(&store, &model), None);
        keep(&store, &model, limit(512)).unwrap();
        assert_eq!(of(&store, &model), Some(512));
        assert_eq!(fs::read_dir(store.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn many_models_and_writers_leave_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("models.json");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (store, folder) = (&store, folder.path());
                scope.spawn(move || {
                    for at in 0..80 {
                        let model = folder.join(format!("{writer}-{at}.rkllm"));
                        fs::write(&model, "x").unwrap();
                        keep(store, &model, limit(1024)).unwrap();
                        assert!(!read(store).is_empty());
                    }
                });
            }
        });
        let entries = read(&store);
        assert!(!entries.is_empty() && entries.len() <= MOST_MODELS);
    }
}
