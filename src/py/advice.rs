//! What is said of an argument of the wrong type: what was expected, what came, and what to write.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString};

use super::errors::InvalidType;
use crate::protocol::choices::meaning;

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value
        .get_type()
        .name()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// An argument of another type than `wanted`; the hint says what to write.
pub(super) fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    hinted_type(name, wanted, value, advice(name, wanted, value))
}

/// [`wrong_type`], with a hint of its own.
pub(super) fn hinted_type(
    name: &str,
    wanted: &str,
    value: &Bound<'_, PyAny>,
    hint: String,
) -> PyErr {
    let message = format!("{name} must be {wanted}, got {}", type_name(value));
    InvalidType::new_err(value.py(), &message, hint)
}

/// What to write in place of a value of another type than `wanted`.
fn advice(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> String {
    if let Some(values) = meaning(name) {
        return values.to_owned();
    }
    let number = matches!(wanted, "an int" | "a float");
    if let Some(text) = text_of(value).filter(|text| number && text.trim().parse::<f64>().is_ok()) {
        return format!("Remove the quotes: {}.", text.trim());
    }
    if value.is_instance_of::<PyBytes>() && wanted.starts_with("a str") {
        return "Decode the bytes first: value.decode() returns text.".to_owned();
    }
    let argument = name.split('[').next().unwrap_or(name);
    match wanted {
        "a bool" => "Pass True or False.".to_owned(),
        "an int" => format!("Pass a whole number, such as {}.", example(argument, "1")),
        "a float" => format!("Pass a number, such as {}.", example(argument, "0.5")),
        "a str" => match example(argument, "") {
            "" => "Pass text in quotes.".to_owned(),
            text => format!("Pass text in quotes, such as {text}."),
        },
        "a str or a list of str" => {
            r####"Pass "###" for one, or ["###", "\n\n"] for several."####.to_owned()
        }
        "a path (str, bytes or os.PathLike)" => format!(
            r#"Pass the name of a file or folder as text, such as "{}"."#,
            example(argument, "folder/file")
        ),
        "a callable" => format!("Pass the function itself: {name}=function, without parentheses."),
        "a dict" => format!(r#"Write {name}={{"name": value}}."#),
        "a list of dicts" => r#"Pass [{"role": "user", "content": "Hello"}]."#.to_owned(),
        "an iterable of int" => "Pass a list of whole numbers, such as [1, 2, 3].".to_owned(),
        "SamplingParams" => {
            "Write SamplingParams(temperature=0.7), or pass temperature=0.7 itself.".to_owned()
        }
        "CrossAttention" => {
            "Put the arrays into CrossAttention(k_cache, v_cache, mask, positions).".to_owned()
        }
        "an int or a list of CPU numbers" => "Pass the cores, such as [4, 5, 6, 7].".to_owned(),
        "a pair (start, end)" | "a list of (start, end)" => {
            "Pass [(start, end)], such as [(0, 16)].".to_owned()
        }
        super::inputs::KINDS => match value.get_item(0) {
            Ok(first) if first.is_instance_of::<PyDict>() => {
                "Pass messages to chat(), which answers a conversation.".to_owned()
            }
            Ok(first) if first.is_instance_of::<PyInt>() => {
                "Pass token ids as Tokens([1, 2, 3]).".to_owned()
            }
            Ok(first) if first.is_instance_of::<PyString>() => {
                "Pass one text, or several to generate_batch().".to_owned()
            }
            _ => r#"Pass text, such as "Hello", or token ids as Tokens([1, 2, 3])."#.to_owned(),
        },
        "a list of str" => r#"Pass a list of texts, such as ["yes", "no"]."#.to_owned(),
        super::inputs::LIST => r#"Pass a list, such as ["Hello", "Good morning"]."#.to_owned(),
        super::buffer::WANTED => {
            "Convert it: numpy.ascontiguousarray(value, dtype=numpy.float32).".to_owned()
        }
        _ => format!("Pass {wanted}."),
    }
}

/// The text that a value is, if it is one.
fn text_of(value: &Bound<'_, PyAny>) -> Option<String> {
    value
        .cast::<PyString>()
        .ok()
        .map(|text| text.to_string_lossy().into_owned())
}

/// A value that an argument could have.
fn example<'a>(argument: &str, other: &'a str) -> &'a str {
    match argument {
        "max_context_len" => "4096",
        "max_new_tokens" => "256",
        "top_k" => "40",
        "top_p" => "0.9",
        "temperature" => "0.7",
        "repeat_penalty" => "1.1",
        "mirostat_tau" => "5.0",
        "mirostat_eta" => "0.1",
        "timeout" | "open_timeout" | "kill_after" => "30",
        "model" => "model.rkllm",
        "save_prompt_cache" => "prompt.cache",
        "family" => r#""qwen3""#,
        _ => other,
    }
}
