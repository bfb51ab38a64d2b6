//! The Jinja dialect of chat templates: what Python's engine and its users' helpers offer.

use std::fmt::Write as _;
use std::io;

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};

/// A compiled template.
#[derive(Debug, Clone)]
pub(super) struct Jinja {
    environment: Environment<'static>,
    knows_tools: bool,
}

impl Jinja {
    pub(super) fn new(source: String) -> Result<Self, String> {
        let knows_tools = source.contains("'tool'") || source.contains("\"tool\"");
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_function("strftime_now", |format: String| now(&format));
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned("chat", source)
            .map_err(|e| format!("the model's chat template is not understood: {e}"))?;
        Ok(Self {
            environment,
            knows_tools,
        })
    }

    /// Whether the text speaks of messages with the role `tool`.
    pub(super) fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    pub(super) fn render(&self, context: Value) -> Result<String, String> {
        // The prompt itself must not reach the log, so only the kind of failure is told.
        self.environment
            .get_template("chat")
            .and_then(|template| template.render(context))
            .map_err(|e| match e.kind() {
                ErrorKind::InvalidOperation => format!(
                    "the model's chat template refuses this: {}",
                    e.detail().unwrap_or("")
                ),
                kind => format!(
                    "the model's chat template failed in line {}: {kind}",
                    e.line().unwrap_or(0)
                ),
            })
    }
}

/// Python's `json.dumps(value, ensure_ascii=False)`; the engine's own filter escapes for HTML.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the engine asks for this signature"
)]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<Value> = options.get("ensure_ascii")?;
    let mut out = Vec::new();
    let written = if let Some(indent) = indent {
        let spaces = " ".repeat(indent);
        let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
        let mut to = serde_json::Serializer::with_formatter(&mut out, pretty);
        serde::Serialize::serialize(value, &mut to)
    } else {
        let mut to = serde_json::Serializer::with_formatter(&mut out, PythonStyle);
        serde::Serialize::serialize(value, &mut to)
    };
    written.map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(Value::from_safe_string(
        String::from_utf8_lossy(&out).into_owned(),
    ))
}

/// Blanks after commas and colons.
struct PythonStyle;

impl serde_json::ser::Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Today's date (UTC) in the few forms that templates ask for.
fn now(format: &str) -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    format_time(format, seconds)
}

fn format_time(format: &str, seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let number = match rest.next() {
            Some('Y') => year,
            Some('m') => month,
            Some('d') => day,
            Some('H') => seconds / 3600 % 24,
            Some('M') => seconds / 60 % 60,
            Some('S') => seconds % 60,
            Some('B') => {
                out.push_str(name);
                continue;
            }
            Some('b') => {
                out.push_str(&name[..3]);
                continue;
            }
            Some('%') | None => {
                out.push('%');
                continue;
            }
            Some(other) => {
                out.extend(['%', other]);
                continue;
            }
        };
        // Writing to a String cannot fail.
        let _ = write!(out, "{number:02}");
    }
    out
}

/// Year, month and day of a day counted from 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(format_time("%Y-%m-%d %H:%M:%S", 0), "1970-01-01 00:00:00");
        assert_eq!(format_time("%d %b %Y", 951_782_400), "29 Feb 2000");
        assert_eq!(
            format_time("%B %d, %Y %%%q", 1_767_225_599),
            "December 31, 2025 %%q"
        );
    }

    #[test]
    fn json_is_written_as_python_does() {
        let jinja =
            Jinja::new("{{ x | tojson }}|{{ x | tojson(indent=2) }}".into()).expect("compiles");
        let x: Value = serde_json::from_str(r#"{"b": [1, "<é>"], "a": null}"#).expect("json");
        let out = jinja.render(minijinja::context! { x }).expect("renders");
        assert_eq!(
            out,
            "{\"b\": [1, \"<é>\"], \"a\": null}|{\n  \"b\": [\n    1,\n    \"<é>\"\n  ],\n  \"a\": null\n}"
        );
    }

    #[test]
    fn failures_keep_the_prompt_to_themselves() {
        let jinja = Jinja::new("{{ raise_exception('no such role') }}".into()).expect("compiles");
        let error = jinja.render(minijinja::context! {}).expect_err("raises");
        assert_eq!(
            error,
            "the model's chat template refuses this: no such role"
        );
        assert!(Jinja::new("{% if %}".into()).is_err());
    }
}
