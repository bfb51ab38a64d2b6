//! Functions, filters and tests as transformers gives them to a template, and how Python prints.

use std::fmt::Write as _;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::guard::{Raw, charge, invalid, pay};
use super::trouble::Refusal;
use super::{clock, json, methods};

/// Makes all of it known.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(|out, state, value| {
        if let Some(text) = value.as_str() {
            return out.write_str(text).map_err(Error::from);
        }
        pay(state, value)?;
        let mut text = String::new();
        print(&mut text, value);
        out.write_str(&text).map_err(Error::from)
    });
    environment.remove_global("debug");
    environment.add_global("dict", Value::from_object(Dict));
    environment.add_function("namespace", |state: &State, args: Rest<ValueOrKwargs>| {
        let args: Vec<Value> = args.0.into_iter().map(ValueOrKwargs::into_value).collect();
        minijinja::functions::namespace(Some(entries(state, &args)?.into()))
    });
    environment.add_function("cycler", |items: Rest<Value>| {
        minijinja_contrib::globals::cycler(items.0)
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::from(ErrorKind::InvalidOperation).with_source(Refusal(text)))
    });
    environment.add_function("strftime_now", |state: &State, format: &str| {
        charge(state, format.len().saturating_mul(32))?;
        let text = clock::now(format).map_err(invalid)?;
        charge(state, text.len())?;
        Ok(text)
    });
    let tojson = Raw("tojson", |state: &mut State<'_, '_>, args: &[Value]| {
        json::filter(state, args)
    });
    let tojson = Arc::new(tojson);
    environment.add_filter(
        "tojson",
        move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args: Vec<Value> = args.0.into_iter().map(ValueOrKwargs::into_value).collect();
            tojson.call(state, &args)
        },
    );
    environment.add_filter("string", |value: &Value| {
        let mut text = String::new();
        print(&mut text, value);
        text
    });
    environment.add_filter("join", join);
    for name in ["default", "d"] {
        environment.add_filter(name, default);
    }
    environment.add_filter("int", |value: &Value, default: Option<Value>| {
        let number = match value.as_str() {
            Some(text) => text.trim().replace('_', "").parse().ok(),
            None if value.is_integer() || value.kind() == ValueKind::Bool => {
                i128::try_from(value.clone()).ok()
            }
            None => f64::try_from(value.clone())
                .ok()
                .filter(|one| one.is_finite())
                .map(|one| one as i128),
        };
        number
            .map(whole)
            .or(default)
            .unwrap_or_else(|| Value::from(0))
    });
    environment.add_filter("float", |value: &Value, default: Option<Value>| {
        let number = match value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => f64::try_from(value.clone()).ok(),
        };
        number
            .map(Value::from)
            .or(default)
            .unwrap_or_else(|| Value::from(0.0))
    });
    environment.add_test("iterable", |value: &Value| match value.kind() {
        ValueKind::Undefined | ValueKind::String => true,
        ValueKind::None | ValueKind::Number | ValueKind::Bool => false,
        _ => value.try_iter().is_ok(),
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map
        )
    });
    environment.add_test("callable", |value: &Value| {
        value
            .as_object()
            .is_some_and(|object| object.repr() == ObjectRepr::Plain)
    });
}

pub(super) fn whole(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}

/// `join(items, by, attribute)`.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the engine asks for this signature"
)]
fn join(state: &State, items: &Value, by: Option<&str>, named: Kwargs) -> Result<String, Error> {
    let by = by.or(named.get("d")?).unwrap_or_default();
    let attribute: Option<&str> = named.get("attribute")?;
    named.assert_all_used()?;
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            charge(state, by.len())?;
            out.push_str(by);
        }
        match attribute {
            Some(name) => print(&mut out, &item.get_attr(name)?),
            None => print(&mut out, &item),
        }
    }
    Ok(out)
}

/// `default(value, other, boolean)`, its last argument by name as well.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the engine asks for this signature"
)]
fn default(
    value: &Value,
    other: Option<Value>,
    boolean: Option<bool>,
    named: Kwargs,
) -> Result<Value, Error> {
    let other = match other {
        Some(other) => other,
        None => named
            .get::<Option<Value>>("default_value")?
            .unwrap_or_else(|| Value::from("")),
    };
    let boolean = boolean.or(named.get("boolean")?).unwrap_or(false);
    named.assert_all_used()?;
    let missing = value.is_undefined() || (boolean && !value.is_true());
    Ok(if missing { other } else { value.clone() })
}

/// The dict of what `dict` and `namespace` are called with: a dict or pairs, and names.
fn entries(state: &State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
    let (given, named): (Option<Value>, Kwargs) = minijinja::value::from_args(args)?;
    let mut pairs = Vec::new();
    if let Some(given) = given {
        pay(state, &given)?;
        if given.kind() == ValueKind::Map {
            for key in given.try_iter()? {
                let value = given.get_item(&key)?;
                pairs.push((key, value));
            }
        } else {
            for pair in given.try_iter()? {
                match &pair.try_iter()?.take(3).collect::<Vec<_>>()[..] {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(invalid("expected a dict, or pairs of a key and a value")),
                }
            }
        }
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// Python's `dict`: called, and with the method `fromkeys`.
#[derive(Debug)]
struct Dict;

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        entries(state, args)
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "fromkeys" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (keys, value): (Value, Option<Value>) = minijinja::value::from_args(args)?;
        pay(state, &keys)?;
        let value = value.unwrap_or_else(|| Value::from(()));
        Ok(Value::from_pairs(
            keys.try_iter()?.map(|key| (key, value.clone())),
        ))
    }
}

/// Prints as Python's `str`. What the value holds has been paid for.
pub(super) fn print(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number, ["inf", "nan"])),
            // Writing to a String cannot fail.
            Err(_) => _ = write!(out, "{value}"),
        },
        ValueKind::Seq if value.is_tuple() => {
            let one = value.len() == Some(1);
            listed(out, ["(", if one { ",)" } else { ")" }], value);
        }
        ValueKind::Seq | ValueKind::Iterable => listed(out, ["[", "]"], value),
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(out, &key);
                out.push_str(": ");
                repr(out, &value.get_item(&key).unwrap_or_default());
            }
            out.push('}');
        }
        _ => _ = write!(out, "{value}"),
    }
}

fn listed(out: &mut String, [open, close]: [&str; 2], value: &Value) {
    out.push_str(open);
    for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        repr(out, &item);
    }
    out.push_str(close);
}

/// As inside of a list: strings with their quotes.
fn repr(out: &mut String, value: &Value) {
    if value.kind() == ValueKind::String {
        let quoted = Value::from(vec![value.clone()]).to_string();
        out.push_str(&quoted[1..quoted.len() - 1]);
    } else {
        print(out, value);
    }
}

/// A number as Python's `repr` writes it, with the words for what is none.
pub(super) fn float(number: f64, [infinity, nan]: [&str; 2]) -> String {
    if number.is_nan() {
        return nan.to_owned();
    }
    if number.is_infinite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}{infinity}");
    }
    // Shortest digits that give the same number, as in Python; only the form is different.
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
