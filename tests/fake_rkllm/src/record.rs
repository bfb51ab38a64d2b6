//! The record: one JSON line for each call, for tests to read.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::output;

/// The environment variable that names a file for broken promises, whatever library and model.
const BROKEN: &str = "RKLLM_RS_FAKE_BROKEN";

/// Appends to zero or more files. They are opened for each line, so that no descriptor stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    paths: Vec<PathBuf>,
}

impl Recorder {
    pub(crate) fn new(paths: impl IntoIterator<Item = Option<PathBuf>>) -> Self {
        let mut unique: Vec<PathBuf> = Vec::new();
        for path in paths.into_iter().flatten() {
            if !unique.contains(&path) {
                unique.push(path);
            }
        }
        Self { paths: unique }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.paths.is_empty()
    }

    /// Writes `{"fn": what, "thread": id, …}`, the rest by `fill`, which runs only if somebody reads.
    pub(crate) fn write(&self, what: &str, fill: impl FnOnce(&mut Map<String, Value>)) {
        if self.is_off() {
            return;
        }
        let mut fields = Map::new();
        fields.insert("fn".to_owned(), what.into());
        fields.insert("thread".to_owned(), output::thread_id().into());
        fill(&mut fields);
        let mut line = Value::Object(fields).to_string();
        line.push('\n');
        for path in &self.paths {
            let appended = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                // One write, so that lines of several threads or processes do not mix.
                .and_then(|mut file| file.write_all(line.as_bytes()));
            if let Err(error) = appended {
                output::error(&format!("cannot record to {}: {error}", path.display()));
            }
        }
    }

    /// Writes that a promise to the library was broken, also to the file that `BROKEN` names: the test
    /// that finds it fails. The process goes on, so that the tests after that one still run.
    pub(crate) fn broken(
        &self,
        what: &str,
        during: &str,
        fill: impl FnOnce(&mut Map<String, Value>),
    ) {
        let paths = self.paths.iter().cloned().map(Some);
        let broken = std::env::var_os(BROKEN).map(PathBuf::from);
        Self::new(paths.chain([broken])).write(what, |fields| {
            fields.insert("in".to_owned(), during.into());
            fill(fields);
        });
    }
}
