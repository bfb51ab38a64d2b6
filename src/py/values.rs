//! From Python's objects to what templates are rendered from, without a detour over JSON.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use rkllm_text::jinja::{Record, Tuple, Value};

use super::answers::ChatAnswer;
use super::convert;
use super::errors::raise;
use crate::chat;
use crate::protocol::error::Failure;

/// Lists in lists, or dicts, as deep as JSON is read elsewhere.
const DEEPEST: usize = 128;

/// The value that a template is given for an argument.
///
/// # Errors
/// What is no data, such as bytes or a path, is an `InvalidTypeError` that says where it is.
pub(super) fn value(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Value> {
    at(object, 0).map_err(|misfit| misfit.raise(name, object))
}

/// An argument that has names and values, such as `template_kwargs`.
pub(super) fn named(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Value)>> {
    let Ok(mapping) = object.cast::<PyMapping>() else {
        return Err(convert::wrong_type(name, "a dict", object));
    };
    let pairs = mapping.items()?;
    let pair = |pair: Bound<'_, PyAny>| {
        let (key, item) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let text = convert::text(&format!("a key of {name}"), &key)?;
        let item = at(&item, 1).map_err(|misfit| misfit.within(&key).raise(name, object))?;
        Ok((text, item))
    };
    pairs.iter().map(pair).collect()
}

/// Why an object cannot become a value. The way to it is put together while it is left.
///
/// On the heap: nearly always there is none.
struct Misfit<'py>(Box<Told<'py>>);

struct Told<'py> {
    /// Keys and numbers, the innermost first.
    way: Vec<Bound<'py, PyAny>>,
    problem: Problem<'py>,
}

enum Problem<'py> {
    /// This is no data.
    NoData(Bound<'py, PyAny>),
    TooDeep,
    TooLarge,
    Surrogates(Bound<'py, PyAny>),
    /// What the object itself raised.
    Raised(PyErr),
}

type Found<'py, T> = Result<T, Misfit<'py>>;

impl<'py> From<Problem<'py>> for Misfit<'py> {
    fn from(problem: Problem<'py>) -> Self {
        let way = Vec::new();
        Self(Box::new(Told { way, problem }))
    }
}

impl From<PyErr> for Misfit<'_> {
    fn from(error: PyErr) -> Self {
        Problem::Raised(error).into()
    }
}

impl<'py> Misfit<'py> {
    fn within(mut self, key: &Bound<'py, PyAny>) -> Self {
        self.0.way.push(key.clone());
        self
    }

    fn at(self, py: Python<'py>, number: usize) -> Self {
        match number.into_pyobject(py) {
            Ok(number) => self.within(&number),
            Err(_) => self,
        }
    }

    /// The exception, about the argument `name`, which is `object`.
    fn raise(self, name: &str, object: &Bound<'py, PyAny>) -> PyErr {
        let py = object.py();
        let Told { way, problem } = *self.0;
        let place = way.iter().rev().fold(name.to_owned(), |place, step| {
            let plain = step.cast::<PyString>().ok().map(Bound::to_string_lossy);
            let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
            match plain {
                Some(key) if !key.is_empty() && is_name(&key) => format!("{place}.{key}"),
                _ => {
                    let shown = step.repr().map(|text| text.to_string());
                    format!("{place}[{}]", shown.unwrap_or_default())
                }
            }
        });
        match problem {
            Problem::NoData(found) => {
                let steps: Vec<String> = way.iter().rev().map(ToString::to_string).collect();
                if let (true, [number, content, rest @ ..]) = (name == "messages", &*steps) {
                    if let Some(kind) = other_part(object, number, content, rest) {
                        let part = format!("messages[{number}].content[{}]", rest[0]);
                        return raise(py, &chat::no_text(&part, &kind));
                    }
                    if content == "content" && rest.is_empty() {
                        return convert::wrong_type(&place, "a str or a list of parts", &found);
                    }
                }
                if found.is_instance_of::<ChatAnswer>() {
                    let hint = "Append the answer's message: messages.append(answer.message).";
                    return convert::hinted_type(&place, "a dict", &found, hint.to_owned());
                }
                convert::hinted_type(
                    &place,
                    "a str, int, float, bool, None, list or dict",
                    &found,
                    "Pass what JSON can represent: decode bytes, and convert other objects with str().".to_owned(),
                )
            }
            Problem::TooDeep => {
                let reason = format!("must not be nested more than {DEEPEST} levels deep");
                let hint = "Pass plain lists and dicts, and none that contains itself.";
                raise(py, &Failure::invalid_with_hint(name, reason, hint))
            }
            Problem::TooLarge => {
                let reason = "must not contain an int of more than 128 bits";
                raise(
                    py,
                    &Failure::invalid_with_hint(place, reason, "Pass it as text."),
                )
            }
            Problem::Surrogates(found) => match convert::text(&place, &found) {
                Err(error) => error,
                Ok(_) => convert::wrong_type(&place, "a str", &found),
            },
            Problem::Raised(error) => error,
        }
    }
}

/// The type of a content part that is no text, if the way leads into one.
fn other_part(
    messages: &Bound<'_, PyAny>,
    number: &str,
    content: &str,
    rest: &[String],
) -> Option<String> {
    let (number, part) = (
        number.parse::<usize>().ok()?,
        rest.first()?.parse::<usize>().ok()?,
    );
    let parts = messages.get_item(number).ok()?.get_item(content).ok()?;
    let kind = parts.get_item(part).ok()?.get_item("type").ok()?;
    let kind: String = kind.extract().ok()?;
    (content == "content" && kind != "text").then_some(kind)
}

fn at<'py>(object: &Bound<'py, PyAny>, depth: usize) -> Found<'py, Value> {
    if depth > DEEPEST {
        return Err(Problem::TooDeep.into());
    }
    if let Ok(text) = object.cast::<PyString>() {
        return match text.to_str() {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => Err(Problem::Surrogates(object.clone()).into()),
        };
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let mut pairs = Vec::with_capacity(dict.len());
        for (key, item) in dict.iter() {
            pairs.push(entry(&key, &item, depth)?);
        }
        return Ok(Record::dict(pairs));
    }
    if let Ok(list) = object.cast::<PyList>() {
        return items(list.py(), list.iter(), depth).map(Value::from);
    }
    if object.is_none() {
        return Ok(Value::from(()));
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::from(flag.is_true()));
    }
    if object.is_instance_of::<PyInt>() {
        if let Ok(number) = object.extract::<i64>() {
            return Ok(Value::from(number));
        }
        let number = object.extract::<i128>();
        return number
            .map(Value::from)
            .map_err(|_| Problem::TooLarge.into());
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Value::from(number.value()));
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        let items = items(tuple.py(), tuple.iter(), depth)?;
        return Ok(Value::from(Tuple::from(items)));
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        let mut pairs = Vec::new();
        for pair in mapping.items()?.iter() {
            let (key, item) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            pairs.push(entry(&key, &item, depth)?);
        }
        return Ok(Record::dict(pairs));
    }
    match plain(object)? {
        Some(plain) => at(&plain, depth + 1),
        None => Err(Problem::NoData(object.clone()).into()),
    }
}

fn entry<'py>(
    key: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    depth: usize,
) -> Found<'py, (Value, Value)> {
    let name = at(key, depth + 1)?;
    match at(item, depth + 1) {
        Ok(item) => Ok((name, item)),
        Err(misfit) => Err(misfit.within(key)),
    }
}

fn items<'py>(
    py: Python<'py>,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
) -> Found<'py, Vec<Value>> {
    let one = |(number, item): (usize, Bound<'py, PyAny>)| {
        at(&item, depth + 1).map_err(|misfit| misfit.at(py, number))
    };
    items.enumerate().map(one).collect()
}

/// A Pydantic model, a dataclass or a NumPy scalar as what it holds.
fn plain<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    if let Some(dump) = object.getattr_opt(pyo3::intern!(py, "model_dump"))? {
        if dump.is_callable() {
            return dump.call0().map(Some);
        }
    }
    let is_class = object.is_instance_of::<pyo3::types::PyType>();
    if let Some(fields) = object.getattr_opt(pyo3::intern!(py, "__dataclass_fields__"))? {
        if !is_class {
            let dict = PyDict::new(py);
            for name in fields.try_iter()? {
                let name = name?.cast_into::<PyString>()?;
                dict.set_item(&name, object.getattr(&name)?)?;
            }
            return Ok(Some(dict.into_any()));
        }
    }
    let scalar = object
        .getattr_opt(pyo3::intern!(py, "ndim"))?
        .is_some_and(|ndim| ndim.eq(0).unwrap_or(false));
    if scalar && object.hasattr(pyo3::intern!(py, "item"))? {
        return object.call_method0(pyo3::intern!(py, "item")).map(Some);
    }
    Ok(None)
}

/// JSON as Python's objects.
pub(super) fn to_python<'py>(
    py: Python<'py>,
    value: &serde_json::Value,
) -> PyResult<Bound<'py, PyAny>> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Null => py.None().into_bound(py),
        Json::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => {
                let float = number.as_f64().unwrap_or(f64::NAN);
                PyFloat::new(py, float).into_any()
            }
        },
        Json::String(text) => PyString::new(py, text).into_any(),
        Json::Array(items) => {
            let items = items.iter().map(|item| to_python(py, item));
            PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any()
        }
        Json::Object(map) => dict(py, map)?.into_any(),
    })
}

/// A JSON object as a dict.
pub(super) fn dict<'py>(
    py: Python<'py>,
    map: &serde_json::Map<String, serde_json::Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in map {
        dict.set_item(name, to_python(py, value)?)?;
    }
    Ok(dict)
}
