//! From Python's values to C's, with errors that name the argument.

use std::ffi::{CString, OsString};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBoolMethods, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyIterator, PyList, PySet,
    PyString,
};

pub(super) use super::advice::{hinted_type, wrong_type};
use super::errors::raise;
use crate::protocol::error::Failure;

/// The items of an argument, each with its name: `stop[0]`. A text is one value, and has none.
pub(super) fn items<'py, T>(
    name: &str,
    wanted: &str,
    value: &Bound<'py, PyAny>,
    convert: impl Fn(&str, &Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let Some(items) = iterable(value) else {
        return Err(wrong_type(name, wanted, value));
    };
    items
        .enumerate()
        .map(|(at, item)| {
            let item = item?;
            // The name is made only for what is wrong: there may be a million token ids.
            convert(name, &item).or_else(|_| convert(&format!("{name}[{at}]"), &item))
        })
        .collect()
}

/// What an argument has of items, in order: a text is one value, a dict has names, and a set has no order.
pub(super) fn iterable<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyIterator>> {
    let one = value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>();
    let unordered = value.is_instance_of::<PyDict>() || is_set(value);
    if one || unordered {
        None
    } else {
        value.try_iter().ok()
    }
}

fn is_set(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>()
}

/// A set as a list, for an argument whose items may come in any order; anything else as it is.
fn unordered<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if is_set(value) {
        value.py().get_type::<PyList>().call1((value,))
    } else {
        Ok(value.clone())
    }
}

/// One of a few texts, of which `choices` are the right ones; the text itself is not checked.
pub(super) fn choice(name: &str, choices: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if !value.is_instance_of::<PyString>() {
        return Err(wrong_type(name, choices, value));
    }
    text(name, value)
}

/// An integer that fits `T`; `bool` is none. Of `range`, only what `T` does not hold is refused here: what is
/// wrong with the rest is told where it is known why.
pub(super) fn integer<'py, T>(
    name: &str,
    value: &Bound<'py, PyAny>,
    range: RangeInclusive<T>,
) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr> + std::fmt::Display,
{
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyFloat>() {
        return Err(wrong_type(name, "an int", value));
    }
    value.extract::<T>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            out_of_range(name, value, &range)
        } else {
            wrong_type(name, "an int", value)
        }
    })
}

fn out_of_range<T: std::fmt::Display>(
    name: &str,
    value: &Bound<'_, PyAny>,
    range: &RangeInclusive<T>,
) -> PyErr {
    let got = value
        .str()
        .map_or_else(|_| "?".to_owned(), |text| text.to_string());
    let (low, high) = (range.start(), range.end());
    let reason = format!("must be from {low} to {high}, got {got}");
    let negative = value.lt(0).unwrap_or(false);
    let other = if negative { "larger" } else { "smaller" };
    let hint = if name.contains('[') {
        format!("Pass a {other} number.")
    } else {
        format!("Pass a {other} number, or omit {name} for its default.")
    };
    raise(value.py(), &Failure::invalid_with_hint(name, reason, hint))
}

/// A seed: a random one is asked for with `None`, and not with a negative number as in C programs.
pub(super) fn seed(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let negative = value.is_instance_of::<PyInt>() && value.lt(0)?;
    if !negative {
        return integer("seed", value, 0..=u64::MAX);
    }
    let reason = format!("must be 0 or more, got {}", value.str()?);
    let hint = "Omit seed, or pass None, for a random seed.";
    Err(raise(
        value.py(),
        &Failure::invalid_with_hint("seed", reason, hint),
    ))
}

/// A flag: `True` or `False`, nothing that merely counts as such.
pub(super) fn boolean(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value
        .cast::<PyBool>()
        .map(PyBoolMethods::is_true)
        .map_err(|_| wrong_type(name, "a bool", value))
}

/// A float that fits C's `float`: finite ones must stay finite.
pub(super) fn float(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f32> {
    let wide = double(name, value)?;
    #[allow(clippy::cast_possible_truncation, reason = "checked in the next line")]
    let narrow = wide as f32;
    if wide.is_finite() && !narrow.is_finite() {
        let hint = "Pass a number that fits a C float (up to 3.4e38).";
        return Err(raise(
            value.py(),
            &Failure::invalid_with_hint(name, format!("must fit a C float, got {wide}"), hint),
        ));
    }
    Ok(narrow)
}

fn double(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyString>() {
        return Err(wrong_type(name, "a float", value));
    }
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            raise(
                value.py(),
                &Failure::invalid_with_hint(
                    name,
                    "must fit a C float",
                    "Pass a number that fits a C float (up to 3.4e38).",
                ),
            )
        } else {
            wrong_type(name, "a float", value)
        }
    })
}

/// Seconds of waiting, of which there may be none, as a duration; `None` stays none.
pub(super) fn patience(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds = double(name, value)?;
    if seconds.is_nan() || seconds < 0.0 {
        let reason = format!("must be at least 0, got {seconds}");
        let hint = "Pass a number of seconds, 0 to try once, or None for no limit.";
        return Err(raise(
            value.py(),
            &Failure::invalid_with_hint(name, reason, hint),
        ));
    }
    // Longer than a Duration can be is as long as it takes.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// Seconds, as a duration; `None` stays none.
pub(super) fn seconds(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds = double(name, value)?;
    if seconds.is_nan() || seconds <= 0.0 {
        let hint = "Pass a number of seconds, or None for no limit.";
        return Err(raise(
            value.py(),
            &Failure::invalid_with_hint(
                name,
                format!("must be greater than 0, got {seconds}"),
                hint,
            ),
        ));
    }
    // Longer than a Duration can be means no deadline in practice.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// Text of an argument, as UTF-8.
pub(super) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(wrong_type(name, "a str", value));
    };
    text.to_cow()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| {
            raise(
                value.py(),
                &Failure::invalid_with_hint(
                    name,
                    "must not contain lone surrogates, which cannot be encoded as UTF-8",
                    "Decode the original bytes with errors=\"replace\".",
                ),
            )
        })
}

/// A C string of an argument.
pub(super) fn c_text(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<CString>> {
    let Some(value) = value else { return Ok(None) };
    let owned = text(name, value)?;
    let nul = |_| {
        raise(
            value.py(),
            &Failure::invalid_with_hint(
                name,
                "must not contain a NUL character",
                "Remove it: the C library would end the text there.",
            ),
        )
    };
    CString::new(owned).map(Some).map_err(nul)
}

/// A path: `str`, `bytes` or `os.PathLike`; bytes that are no UTF-8 are bytes like any other. A user's
/// folder may be written as in a shell: `~` or `~name`.
pub(super) fn path(name: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let py = value.py();
    let plain = match value.getattr_opt(pyo3::intern!(py, "__fspath__"))? {
        Some(method) => method.call0()?,
        None => value.clone(),
    };
    let plain = if plain.is_instance_of::<PyString>() || plain.is_instance_of::<PyBytes>() {
        py.import(pyo3::intern!(py, "os.path"))?
            .call_method1(pyo3::intern!(py, "expanduser"), (plain,))?
    } else {
        plain
    };
    let bytes = if let Ok(bytes) = plain.cast::<PyBytes>() {
        bytes.as_bytes().to_vec()
    } else if plain.is_instance_of::<PyString>() {
        plain.extract::<OsString>()?.into_vec()
    } else {
        return Err(wrong_type(
            name,
            "a path (str, bytes or os.PathLike)",
            value,
        ));
    };
    if bytes.is_empty() {
        let hint = "Pass the path of a file.";
        return Err(raise(
            py,
            &Failure::invalid_with_hint(name, "must not be an empty path", hint),
        ));
    }
    if bytes.contains(&0) {
        return Err(raise(
            py,
            &Failure::invalid_with_hint(
                name,
                "must not contain a NUL byte",
                "Remove it: file names cannot contain NUL bytes.",
            ),
        ));
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// An optional path.
pub(super) fn optional_path(
    name: &str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<PathBuf>> {
    value.map(|value| path(name, value)).transpose()
}

/// A path, or several in a sequence.
pub(super) fn paths(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    let one = value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.hasattr(pyo3::intern!(value.py(), "__fspath__"))?;
    if one || iterable(value).is_none() {
        return path(name, value).map(|path| vec![path]);
    }
    items(name, "a path or a list of paths", value, path)
}

/// Any iterable of integers.
pub(super) fn integers(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    items(name, "an iterable of int", value, |name, item| {
        integer(name, item, 0..=i32::MAX)
    })
}

/// A size or count: 0 or more.
pub(super) fn optional_size(
    name: &str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<usize>> {
    let size = |value| integer(name, value, 0..=usize::MAX);
    value.map(size).transpose()
}

/// Strings: one, or an iterable of them.
pub(super) fn texts(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() {
        return Ok(vec![text(name, value)?]);
    }
    items(name, "a str or a list of str", &unordered(value)?, text)
}

/// CPUs: a mask, or the numbers of the CPUs.
pub(super) fn cpu_mask(name: &str, value: &Bound<'_, PyAny>) -> PyResult<u32> {
    let wanted = "an int or a list of CPU numbers";
    let number = !value.is_instance_of::<PyBool>()
        && value.hasattr(pyo3::intern!(value.py(), "__index__"))?;
    if number && iterable(value).is_none() {
        return integer(name, value, 1..=u32::MAX);
    }
    let cpus = items(name, wanted, &unordered(value)?, |name, item| {
        integer::<u8>(name, item, 0..=31).and_then(|cpu| match 1_u32.checked_shl(cpu.into()) {
            Some(bit) => Ok(bit),
            None => Err(out_of_range(name, item, &(0..=31_u8))),
        })
    })?;
    Ok(cpus.into_iter().fold(0, |mask, bit| mask | bit))
}

/// Pairs of integers, such as ranges.
pub(super) fn pairs(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<(i32, i32)>> {
    items(name, "a list of (start, end)", value, |name, item| {
        let wanted = "a pair (start, end)";
        if iterable(item).is_none() {
            return Err(wrong_type(name, wanted, item));
        }
        let numbers = integers(name, item)?;
        <[i32; 2]>::try_from(numbers.as_slice())
            .map(|[start, end]| (start, end))
            .map_err(|_| {
                let reason = format!("must be {wanted}, got {} numbers", numbers.len());
                let hint = "Pass a list of (start, end), one for each prompt of the batch.";
                raise(item.py(), &Failure::invalid_with_hint(name, reason, hint))
            })
    })
}
