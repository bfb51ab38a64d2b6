//! What the caller gives as `chat_template`.

use std::path::Path;

use super::{DEFAULT, LONGEST_TEMPLATE, TemplateSource, TemplateText, read};
use crate::protocol::error::Failure;

/// The template of the argument `chat_template`: what holds `{{` or `{%` is its text, all else a path.
///
/// # Errors
/// `ErrorKind::FileMissing` or `ErrorKind::Template`.
pub fn template_given(given: &str) -> Result<TemplateText, Failure> {
    if given.contains("{{") || given.contains("{%") {
        return Ok(TemplateText {
            name: DEFAULT.to_owned(),
            text: given.to_owned(),
            source: TemplateSource::Argument,
        });
    }
    let path = Path::new(given);
    if given.is_empty() || path.is_dir() {
        let reason = format!("must be the text of a template or the path of a file, got {given:?}");
        let hint = "Pass the path of a file such as chat_template.jinja.";
        return Err(Failure::invalid_with_hint("chat_template", reason, hint));
    }
    let text = read(path, LONGEST_TEMPLATE)?
        .ok_or_else(|| Failure::file_missing("chat_template", path))?;
    // Files in one line are written with `\n` for new lines.
    let one_line = !text.trim_end().contains('\n') && text.contains("\\n");
    Ok(TemplateText {
        name: DEFAULT.to_owned(),
        text: if one_line {
            text.replace("\\n", "\n")
        } else {
            text
        },
        source: TemplateSource::GivenFile(path.to_owned()),
    })
}
