//! How scripts describe one callback.

use serde::Deserialize;

use crate::output::LogLine;

/// One callback, as prepared for playing: its text has its NUL already.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "RawStep")]
pub struct Step {
    /// NUL-terminated; None for a NULL text.
    pub text: Option<Vec<u8>>,
    /// Pass NULL as the result.
    pub null_result: bool,
    /// Give back the prompt as text.
    pub echo: bool,
    /// The token id, counted if not said.
    pub id: Option<i32>,
    /// The call state.
    pub state: i32,
    /// Time before it, in place of the run's.
    pub delay_ms: Option<u64>,
    /// Lines printed before it.
    pub log: Vec<LogLine>,
    /// How often.
    pub repeat: u64,
    /// Call from another thread than the run's.
    pub thread: bool,
}

/// A step as scripts write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawStep {
    Text(String),
    Fields(RawFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent switches of a test script"
)]
struct RawFields {
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    null_text: bool,
    #[serde(default)]
    null_result: bool,
    #[serde(default)]
    echo: bool,
    id: Option<i32>,
    #[serde(default)]
    state: i32,
    delay_ms: Option<u64>,
    #[serde(default)]
    log: Vec<LogLine>,
    #[serde(default = "once")]
    repeat: u64,
    #[serde(default)]
    thread: bool,
}

fn once() -> u64 {
    1
}

/// Bytes as a C string.
pub(crate) fn terminated(bytes: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut bytes = bytes.into();
    bytes.push(0);
    bytes
}

impl TryFrom<RawStep> for Step {
    type Error = String;

    fn try_from(raw: RawStep) -> Result<Self, String> {
        let fields = match raw {
            RawStep::Text(text) => {
                return Ok(Self {
                    text: Some(terminated(text)),
                    repeat: 1,
                    ..Self::default()
                });
            }
            RawStep::Fields(fields) => fields,
        };
        let text = match (fields.text, fields.bytes) {
            (Some(_), Some(_)) => return Err("a step has both `text` and `bytes`".to_owned()),
            (Some(text), None) => Some(terminated(text)),
            (None, Some(bytes)) => Some(terminated(bytes)),
            (None, None) if fields.null_text => None,
            (None, None) => Some(terminated("")),
        };
        Ok(Self {
            text,
            null_result: fields.null_result,
            echo: fields.echo,
            id: fields.id,
            state: fields.state,
            delay_ms: fields.delay_ms,
            log: fields.log,
            repeat: fields.repeat,
            thread: fields.thread,
        })
    }
}
