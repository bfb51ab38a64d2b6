//! From Python's objects to what templates are rendered from, without a detour over JSON.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use rkllm_text::jinja::{Tuple, Value};

use super::convert;
use super::errors::raise;
use crate::protocol::error::Failure;

/// Lists in lists, or dicts, as deep as JSON is read elsewhere.
const DEEPEST: usize = 128;

/// The value that a template is given for an argument.
///
/// What is no data, such as an image, becomes its type's name between `<` and `>`, as in transformers:
/// templates look whether it is there, and never at what it is.
pub(super) fn value(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Value> {
    at(name, object, 0)
}

/// An argument that has names and values, such as `template_kwargs`.
pub(super) fn named(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Value)>> {
    let Ok(mapping) = object.cast::<PyMapping>() else {
        return Err(convert::wrong_type(name, "a dict", object));
    };
    let pairs = mapping.items()?;
    let pair = |pair: Bound<'_, PyAny>| {
        let (key, item) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        Ok((
            convert::text(&format!("a key of {name}"), &key)?,
            at(name, &item, 1)?,
        ))
    };
    pairs.iter().map(pair).collect()
}

fn at(name: &str, object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > DEEPEST {
        let reason = format!("must not be nested more than {DEEPEST} levels deep");
        let hint = "Pass plain lists and dicts, and none that contains itself.";
        return Err(raise(
            object.py(),
            &Failure::invalid_with_hint(name, reason, hint),
        ));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return match text.to_str() {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => convert::text(name, object).map(Value::from),
        };
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let mut pairs = Vec::with_capacity(dict.len());
        for (key, item) in dict.iter() {
            pairs.push((at(name, &key, depth + 1)?, at(name, &item, depth + 1)?));
        }
        return Ok(Value::from_pairs(pairs));
    }
    if let Ok(list) = object.cast::<PyList>() {
        let items = list.iter().map(|item| at(name, &item, depth + 1));
        return items.collect::<PyResult<Vec<Value>>>().map(Value::from);
    }
    if object.is_none() {
        return Ok(Value::from(()));
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::from(flag.is_true()));
    }
    if object.is_instance_of::<PyInt>() {
        return integer(name, object);
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Value::from(number.value()));
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        let items = tuple.iter().map(|item| at(name, &item, depth + 1));
        let items = items.collect::<PyResult<Vec<Value>>>()?;
        return Ok(Value::from(Tuple::from(items)));
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        let mut pairs = Vec::new();
        for pair in mapping.items()?.iter() {
            let (key, item) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            pairs.push((at(name, &key, depth + 1)?, at(name, &item, depth + 1)?));
        }
        return Ok(Value::from_pairs(pairs));
    }
    match plain(object)? {
        Some(plain) => at(name, &plain, depth + 1),
        None => Ok(Value::from(format!("<{}>", object.get_type().name()?))),
    }
}

fn integer(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(number) = object.extract::<i64>() {
        return Ok(Value::from(number));
    }
    object.extract::<i128>().map(Value::from).map_err(|_| {
        let hint = "Pass it as text.";
        let reason = "must not contain an int of more than 128 bits";
        raise(object.py(), &Failure::invalid_with_hint(name, reason, hint))
    })
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
