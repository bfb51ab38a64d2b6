//! Small changes to what templates are rendered from.

use rkllm_text::jinja::{Value, ValueKind};

/// A map with one entry replaced, added, or taken away; the order of the others stays.
pub(super) fn map_with(map: &Value, name: &str, value: Option<Value>) -> Value {
    let mut pairs = Vec::new();
    let mut value = value;
    for key in map.try_iter().into_iter().flatten() {
        if key.as_str() == Some(name) {
            pairs.extend(value.take().map(|value| (key, value)));
        } else {
            let item = map.get_item(&key).unwrap_or_default();
            pairs.push((key, item));
        }
    }
    pairs.extend(value.map(|value| (Value::from(name), value)));
    Value::from_pairs(pairs)
}

/// The text of an entry, if it is one.
pub(super) fn text_of(map: &Value, name: &str) -> Option<String> {
    map.get_attr(name).ok()?.as_str().map(str::to_owned)
}

/// What kind of value it is, by the name that Python has for it; JSON's values have no others.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "nothing",
        ValueKind::None => "None",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ => "another object",
    }
}
