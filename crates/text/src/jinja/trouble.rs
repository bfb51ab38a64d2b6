//! Why a template gave no text, in words that tell nothing of a prompt.

use std::fmt;

use minijinja::ErrorKind;

use super::{DEEPEST_CALL, LONGEST, guard};

/// Why a template gave no text. Nothing of a prompt is in it, but what the template itself raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The text is no template, or uses what is not there.
    NotUnderstood {
        /// Where, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// It called `raise_exception`, with this text.
    Refused(String),
    /// It ran out of fuel, or asked for a loop or a text that is larger than any may be.
    Endless,
    /// Its macros or loops call each other without end.
    TooDeep,
    /// It wrote more than 16 MiB.
    TooLong,
    /// Anything else that happens while it runs.
    Failed {
        /// Where, counted from 1.
        line: Option<usize>,
        /// What kind of failure.
        reason: String,
    },
}

impl Trouble {
    /// The line of the template, counted from 1, where one can be told.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::NotUnderstood { line, .. } | Self::Failed { line, .. } => *line,
            Self::Refused(_) | Self::Endless | Self::TooDeep | Self::TooLong => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the chat template ")?;
        match self {
            Self::NotUnderstood { reason, .. } => write!(f, "cannot be parsed: {reason}")?,
            Self::Refused(why) => write!(f, "rejects the messages: {why}")?,
            Self::Endless => f.write_str("takes too many steps or too much memory")?,
            Self::TooDeep => write!(f, "calls its macros more than {DEEPEST_CALL} levels deep")?,
            Self::TooLong => write!(f, "produces more than {} MiB of text", LONGEST >> 20)?,
            Self::Failed { reason, .. } => write!(f, "failed: {reason}")?,
        }
        match self.line() {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

/// What `raise_exception` was called with.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// The prompt itself must not reach the log, so only kinds of failure and names are told.
pub(super) fn trouble(error: &minijinja::Error) -> Trouble {
    let source = std::error::Error::source(error);
    if let Some(refusal) = source.and_then(|source| source.downcast_ref::<Refusal>()) {
        return Trouble::Refused(refusal.0.clone());
    }
    let is_ours = source.is_some_and(<dyn std::error::Error>::is::<guard::Ours>);
    let line = error.line();
    match error.kind() {
        ErrorKind::OutOfFuel => Trouble::Endless,
        ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod => Trouble::NotUnderstood {
            line,
            reason: error.detail().unwrap_or("unknown syntax").to_owned(),
        },
        kind => match error.detail() {
            Some("recursion limit exceeded") => Trouble::TooDeep,
            Some(
                "range has too many elements"
                | "repeated string is too large"
                | "repeated sequence is too large",
            ) => Trouble::Endless,
            detail => Trouble::Failed {
                line,
                reason: match detail.filter(|text| is_ours || tells_no_values(text)) {
                    Some(detail) => detail.to_owned(),
                    None => kind.to_string(),
                },
            },
        },
    }
}

/// Whether what the engine says of an operation speaks of types alone, and not of what is in a prompt.
fn tells_no_values(detail: &str) -> bool {
    const BEGIN: [&str; 8] = [
        "cannot convert ",
        "cannot create range ",
        "cannot join value of type ",
        "cannot perform a containment check ",
        "cannot reverse values of type ",
        "strings can only be multiplied ",
        "tried to use ",
        "value of type ",
    ];
    BEGIN.iter().any(|begin| detail.starts_with(begin)) || detail.ends_with(" is not iterable")
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use crate::jinja::{Jinja, Trouble};

    fn rendered(template: &str) -> Result<String, Trouble> {
        Jinja::new(template)?.render(context! {})
    }

    #[test]
    fn what_is_missing_is_named() {
        for (template, name) in [
            ("{{ 'x' | from_json }}", "from_json"),
            ("{{ frobnicate() }}", "frobnicate"),
            ("{{ 'x'.frobnicate() }}", "frobnicate"),
            ("{% if 1 is frobnicate %}{% endif %}", "frobnicate"),
            ("{% frobnicate %}", "frobnicate"),
            ("{% include 'other' %}", "include"),
        ] {
            let template = format!("one\ntwo {template}");
            let Err(Trouble::NotUnderstood { line, reason }) = rendered(&template) else {
                panic!("{template}");
            };
            assert!(reason.contains(name), "{template}: {reason}");
            assert_eq!(line, Some(2), "{template}");
        }
        assert_eq!(
            rendered("{{ raise_exception('no such role') }}"),
            Err(Trouble::Refused("no such role".to_owned()))
        );
    }

    #[test]
    fn failures_keep_the_prompt_to_themselves() {
        for template in [
            "{{ p - 1 }}",
            "{{ p * p }}",
            "{{ [p] - 1 }}",
            "{{ p() }}",
            "{{ p[1:2:0] }}",
            "{{ p.frobnicate() }}",
            "{{ p | frobnicate }}",
            "{{ p % 1 }}",
            "{{ [p] | tojson(5, 6, 7, 8, 9) }}",
        ] {
            let jinja = Jinja::new(template).expect("compiles");
            let error = jinja.render(context! { p => "sesame" }).expect_err("fails");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }

    #[test]
    fn failures_say_what_went_wrong() {
        let deep = "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}";
        assert_eq!(rendered(deep), Err(Trouble::TooDeep));
        for large in [
            "{% for i in range(1000000) %}{% endfor %}",
            "{{ 'x' * 1000000000 }}",
        ] {
            assert_eq!(rendered(large), Err(Trouble::Endless), "{large}");
        }
        for (template, words) in [
            ("a\n{{ {} + 1 }}", "map"),
            ("a\n{% for x in 5 %}{% endfor %}", "not iterable"),
        ] {
            let Err(Trouble::Failed { line, reason }) = rendered(template) else {
                panic!("{template}");
            };
            assert_eq!(line, Some(2), "{template}");
            assert!(reason.contains(words), "{template}: {reason}");
        }
    }
}
