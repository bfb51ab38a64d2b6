//! The configuration inside a library's file: what it does before any model exists.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::output::{self, Stream};
use crate::record::Recorder;
use crate::{AbiVersion, ffi};

/// Bytes of the blob, tag included.
pub const BLOB_LEN: usize = 4096;
/// Bytes of the tag that starts the blob, `FAKE_RKLLM_CONFIG:`.
pub const TAG_LEN: usize = 18;

/// How long the constructor waits for its file.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the blob's JSON says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The whole banner; it is found by searching the file, and gives the version of the log line.
    pub banner: Option<String>,
    /// How `rkllm_createDefaultParam` answers.
    pub defaults: Defaults,
    /// A line that the ELF constructor prints.
    pub constructor_log: Option<String>,
    /// A file that the ELF constructor creates.
    pub constructor_touch: Option<PathBuf>,
    /// A file that the ELF constructor waits for, at most as long as [`LONGEST_WAIT`].
    pub constructor_wait: Option<PathBuf>,
    /// Where every call is appended.
    pub record: Option<PathBuf>,
    /// Leave out the line that every `rkllm_init` prints.
    pub quiet: bool,
}

/// How `rkllm_createDefaultParam` answers: a mode's name, or overrides by field name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Defaults {
    /// `"normal"` or `"garbage"`.
    Mode(Mode),
    /// `{"as": ABI version, field: value, …}`.
    Fields(Map<String, Value>),
}

/// A way to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The vendor's values.
    Normal,
    /// Values that fit no layout.
    Garbage,
}

impl Default for Defaults {
    fn default() -> Self {
        Self::Mode(Mode::Normal)
    }
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// The blob of a library as it is built; tests overwrite it in their copies of the file.
///
/// # Panics
///
/// While compiling, when the text does not fit.
#[must_use]
pub const fn blob(text: &str) -> [u8; BLOB_LEN] {
    let text = text.as_bytes();
    assert!(text.len() < BLOB_LEN);
    let mut blob = [0; BLOB_LEN];
    let mut at = 0;
    while at < text.len() {
        blob[at] = text[at];
        at += 1;
    }
    blob
}

/// What the ELF constructor does: reads the blob, then prints, touches and waits as it says.
///
/// # Safety
///
/// `blob` points to [`BLOB_LEN`] readable bytes.
pub unsafe fn constructor(blob: *const u8) {
    let mut text = Vec::with_capacity(BLOB_LEN);
    for at in TAG_LEN..BLOB_LEN {
        // SAFETY: in bounds by the caller's promise. Volatile, since the file was changed after the
        // compiler had seen the bytes.
        match unsafe { blob.add(at).read_volatile() } {
            0 => break,
            byte => text.push(byte),
        }
    }
    let config: Config = serde_json::from_slice(&text).unwrap_or_else(|error| {
        output::error(&format!("the fake's configuration is not valid: {error}"));
        Config::default()
    });
    if let Some(line) = &config.constructor_log {
        output::line(Stream::Stderr, line);
    }
    if let Some(path) = &config.constructor_touch {
        if let Err(error) = std::fs::File::create(path) {
            output::error(&format!("cannot create {}: {error}", path.display()));
        }
    }
    if let Some(path) = &config.constructor_wait {
        let start = Instant::now();
        while !path.exists() && start.elapsed() < LONGEST_WAIT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let _ = CONFIG.set(config);
}

/// The configuration of this library; all defaults where no constructor ran, as in unit tests.
pub fn config() -> &'static Config {
    CONFIG.get_or_init(Config::default)
}

/// Records to the file that the blob names, if any.
pub(crate) fn recorder() -> Recorder {
    Recorder::new([config().record.clone()])
}

/// The version that the log line of `rkllm_init` names.
pub(crate) fn release(abi: &AbiVersion) -> &str {
    config()
        .banner
        .as_deref()
        .and_then(|banner| banner.split_once("version: "))
        .and_then(|(_, rest)| rest.split([' ', ')']).next())
        .unwrap_or(abi.release)
}

/// The layouts that `rkllm_createDefaultParam` writes in: its own, or those of `{"as": …}`.
pub(crate) fn written_abi(own: &'static AbiVersion) -> &'static AbiVersion {
    let Defaults::Fields(fields) = &config().defaults else {
        return own;
    };
    let name = fields.get("as").and_then(Value::as_str);
    crate::ABI_VERSIONS
        .into_iter()
        .find(|abi| Some(abi.name) == name)
        .unwrap_or(own)
}

/// The largest struct that any layout returns by value.
pub const LARGEST_PARAM: usize = size_of::<ffi::v1_2_1::RKLLMParam>();
