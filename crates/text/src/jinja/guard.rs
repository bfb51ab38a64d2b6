//! What values cost before they are walked, and the operators that Python has and the engine has not.

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use super::python;

// Names that no template can write.
pub(super) const PAY: &str = "pay()";
pub(super) const PAY_REST: &str = "pay(, )";
pub(super) const PAY_IN: &str = "pay in";
pub(super) const ADD: &str = "add()";
pub(super) const LIST: &str = "list()";
pub(super) const KEY: &str = "key[]";
pub(super) const MAP: &str = "{}";
pub(super) const PERCENT: &str = "%";
pub(super) const CONCAT: &str = "~";

/// Lists in lists, or dicts, as deep as JSON is read elsewhere.
const DEEPEST: usize = 128;
/// Bytes that one unit of fuel pays for, as in the engine.
const BYTES: usize = 64;

/// Filters that look at the first level of their value only, or pay for the rest themselves.
const SHALLOW: &[&str] = &[
    "attr",
    "batch",
    "bool",
    "chain",
    "count",
    "d",
    "default",
    "first",
    "float",
    "int",
    "items",
    "last",
    "length",
    "list",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "slice",
    "tojson",
    "zip",
];

/// Whether a filter may walk all that its arguments hold.
pub(super) fn walks(filter: &str) -> bool {
    !SHALLOW.contains(&filter)
}

/// Takes the fuel for `bytes` bytes.
pub(super) fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    if bytes < BYTES {
        return Ok(());
    }
    state.consume_fuel((bytes / BYTES) as u64)
}

/// Takes the fuel for all that a value holds, each time that it holds it.
///
/// # Errors
///
/// Out of fuel, or nested deeper than any real value.
pub(super) fn pay(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    pay_from(state, value, 0)
}

fn pay_from(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return charge(state, text.len());
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if depth == DEEPEST {
        return Err(invalid("lists and dicts are nested too deeply"));
    }
    if object.repr() == ObjectRepr::Map {
        for (key, value) in object.try_iter_pairs().into_iter().flatten() {
            state.consume_fuel(1)?;
            pay_from(state, &key, depth + 1)?;
            pay_from(state, &value, depth + 1)?;
        }
    } else {
        for item in object.try_iter().into_iter().flatten() {
            state.consume_fuel(1)?;
            pay_from(state, &item, depth + 1)?;
        }
    }
    Ok(())
}

pub(super) fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

/// A function over the values on the stack, whatever they are.
pub(super) struct Raw<F>(pub(super) &'static str, pub(super) F);

impl<F> std::fmt::Debug for Raw<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl<F> Object for Raw<F>
where
    F: Fn(&mut State<'_, '_>, &[Value]) -> Result<Value, Error> + Send + Sync + 'static,
{
    fn repr(self: &std::sync::Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(
        self: &std::sync::Arc<Self>,
        state: &mut State<'_, '_>,
        args: &[Value],
    ) -> Result<Value, Error> {
        (self.1)(state, args)
    }
}

/// Makes the guards and operators known.
pub(super) fn install(environment: &mut Environment<'static>) {
    let mut add = |name, function: fn(&mut State<'_, '_>, &[Value]) -> Result<Value, Error>| {
        environment.add_global(name, Value::from_object(Raw(name, function)));
    };
    add(PAY, |state, args| {
        args.iter().try_for_each(|one| pay(state, one))?;
        Ok(handed_on(args))
    });
    add(PAY_IN, |state, args| {
        let [needle, container] = args else {
            return Err(invalid("in: expected two values"));
        };
        let items = container.len().unwrap_or(0);
        match (needle.as_str(), container.kind()) {
            (_, ValueKind::Map) => hashable(needle)?,
            (Some(text), _) => charge(state, items.saturating_mul(text.len()))?,
            (None, _) if needle.as_object().is_some() => {
                pay(state, needle)?;
                pay(state, container)?;
            }
            _ => {}
        }
        Ok(handed_on(args))
    });
    add(PAY_REST, |state, args| {
        args.iter().skip(1).try_for_each(|one| pay(state, one))?;
        Ok(handed_on(args))
    });
    add(ADD, |state, args| {
        for one in args.iter().filter(|one| one.as_object().is_some()) {
            state.consume_fuel(one.len().unwrap_or(0) as u64)?;
        }
        Ok(handed_on(args))
    });
    add(LIST, |state, args| match args {
        // What is lazy could be laid around what is lazy for ever.
        [lazy]
            if matches!(lazy.kind(), ValueKind::Seq | ValueKind::Iterable)
                && !lazy.is_tuple()
                && lazy.downcast_object_ref::<Vec<Value>>().is_none() =>
        {
            let mut list = Vec::new();
            for item in lazy.try_iter()?.checked() {
                state.consume_fuel(1)?;
                list.push(item?);
            }
            Ok(Value::from(list))
        }
        [other] => Ok(other.clone()),
        _ => Err(invalid("list: expected one value")),
    });
    add(KEY, |_, args| {
        args.iter().try_for_each(hashable)?;
        Ok(handed_on(args))
    });
    add(MAP, |_, args| {
        let pairs = args.chunks_exact(2);
        pairs.clone().try_for_each(|pair| hashable(&pair[0]))?;
        Ok(Value::from_pairs(
            pairs.map(|pair| (pair[0].clone(), pair[1].clone())),
        ))
    });
    add(CONCAT, |state, args| {
        let mut out = String::new();
        for one in args {
            // What becomes of strings is counted by the engine.
            if one.as_object().is_some() {
                pay(state, one)?;
            }
            python::print(&mut out, one);
        }
        Ok(Value::from(out))
    });
    add(PERCENT, |state, args| match args {
        [format, values] if format.kind() == ValueKind::String => percent(state, format, values),
        [left, right] => remainder(left, right),
        _ => Err(invalid("%: expected two values")),
    });
}

/// One value as it is, several for an unpacking that begins with the last.
fn handed_on(args: &[Value]) -> Value {
    match args {
        [one] => one.clone(),
        _ => args.iter().rev().cloned().collect(),
    }
}

/// Refuses what Python has no hash of.
fn hashable(key: &Value) -> Result<(), Error> {
    match key.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable if !key.is_tuple() => {
            Err(invalid(format!("a {} cannot be a key", key.kind())))
        }
        ValueKind::Seq if key.try_iter()?.any(|item| item.as_object().is_some()) => {
            Err(invalid("a tuple of lists or dicts cannot be a key"))
        }
        _ => Ok(()),
    }
}

/// Python's `"%s and %d" % values`.
fn percent(state: &mut State<'_, '_>, format: &Value, values: &Value) -> Result<Value, Error> {
    pay(state, values)?;
    let mut args = vec![format.clone()];
    if values.is_tuple() {
        args.extend(values.try_iter()?);
    } else {
        args.push(values.clone());
    }
    let fields = format
        .as_str()
        .unwrap_or_default()
        .replace("%%", "")
        .matches('%')
        .count();
    if fields + 1 < args.len() && values.kind() != ValueKind::Map {
        return Err(invalid(
            "not all arguments converted during string formatting",
        ));
    }
    state.apply_filter("format", &args)
}

/// Python's remainder, which has the sign of the divisor.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let number = |value: &Value| value.is_number() || value.kind() == ValueKind::Bool;
    if !number(left) || !number(right) {
        return Err(invalid(format!(
            "tried to use % operator on unsupported types {} and {}",
            left.kind(),
            right.kind()
        )));
    }
    let whole = |value: &Value| {
        if value.is_number() && !value.is_integer() {
            None
        } else {
            i128::try_from(value.clone()).ok()
        }
    };
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        let rest = a
            .checked_rem(b)
            .ok_or_else(|| invalid("remainder of a division by zero"))?;
        let rest = if rest != 0 && (rest < 0) != (b < 0) {
            rest + b
        } else {
            rest
        };
        return Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from));
    }
    let (a, b) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
    if b == 0.0 {
        return Err(invalid("remainder of a division by zero"));
    }
    let rest = a % b;
    let rest = if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    };
    Ok(Value::from(rest))
}
