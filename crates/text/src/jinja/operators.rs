//! The operators of Python that the engine has not, or pays too little for.

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, State};

use super::guard::{charge, hashable, invalid, pay};
use super::python;

/// `+`.
pub(super) fn add(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        charge(state, left.len() + right.len())?;
        let mut both = String::with_capacity(left.len() + right.len());
        both.push_str(left);
        both.push_str(right);
        return Ok(Value::from(both));
    }
    let impossible = || {
        let (left, right) = (left.kind(), right.kind());
        invalid(format!("+ cannot add a {right} to a {left}"))
    };
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        return left
            .checked_add(right)
            .map(python::whole)
            .ok_or_else(|| invalid("+: the number is too large"));
    }
    if number(left) && number(right) {
        return Ok(Value::from(
            f64::try_from(left.clone())? + f64::try_from(right.clone())?,
        ));
    }
    let list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if !list(left) || !list(right) || left.is_tuple() != right.is_tuple() {
        return Err(impossible());
    }
    let mut both = Vec::new();
    for item in left
        .try_iter()?
        .checked()
        .chain(right.try_iter()?.checked())
    {
        state.consume_fuel(1)?;
        both.push(item?);
    }
    Ok(if left.is_tuple() {
        Value::from(Tuple::from(both))
    } else {
        Value::from(both)
    })
}

/// `in`.
pub(super) fn contains(
    state: &mut State<'_, '_>,
    needle: &Value,
    container: &Value,
) -> Result<bool, Error> {
    match (needle.as_str(), container.as_str(), container.kind()) {
        (Some(needle), Some(text), _) => {
            charge(state, text.len())?;
            return Ok(text.contains(needle));
        }
        (_, _, ValueKind::Map) => hashable(needle)?,
        (Some(text), ..) => {
            let items = container.len().unwrap_or(0);
            charge(state, items.saturating_mul(text.len()))?;
        }
        _ if needle.as_object().is_some() => {
            pay(state, needle)?;
            pay(state, container)?;
        }
        _ => {}
    }
    state.perform_test("in", &[needle.clone(), container.clone()])
}

/// `==`.
pub(super) fn equal(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<bool, Error> {
    pay(state, left)?;
    pay(state, right)?;
    Ok(left == right)
}

/// `~`.
pub(super) fn concat(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for one in [left, right] {
        // What becomes of strings is counted by the engine.
        if one.as_object().is_some() {
            pay(state, one)?;
        }
        python::print(&mut out, one);
    }
    Ok(Value::from(out))
}

/// `%`, of numbers and of texts.
pub(super) fn percent(
    state: &mut State<'_, '_>,
    left: &Value,
    right: &Value,
) -> Result<Value, Error> {
    if left.kind() == ValueKind::String {
        formatted(state, left, right)
    } else {
        remainder(left, right)
    }
}

fn number(value: &Value) -> bool {
    value.is_number() || value.kind() == ValueKind::Bool
}

fn whole(value: &Value) -> Option<i128> {
    let whole = value.is_integer() || value.kind() == ValueKind::Bool;
    whole.then(|| i128::try_from(value.clone()).ok()).flatten()
}

/// Python's `"%s and %d" % values`.
fn formatted(state: &mut State<'_, '_>, text: &Value, values: &Value) -> Result<Value, Error> {
    let mut args = vec![text.clone()];
    if values.is_tuple() {
        args.extend(values.try_iter()?);
    } else {
        args.push(values.clone());
    }
    let fields = text.as_str().unwrap_or_default();
    let fields = fields.replace("%%", "").matches('%').count();
    if fields + 1 < args.len() && values.kind() != ValueKind::Map {
        return Err(invalid(
            "not all arguments converted during string formatting",
        ));
    }
    format(state, args)
}

/// The engine's formatting of a text and values, in which `%s` prints as Python does.
pub(super) fn format(state: &mut State<'_, '_>, mut args: Vec<Value>) -> Result<Value, Error> {
    args.iter().try_for_each(|one| pay(state, one))?;
    let text = args.first().and_then(Value::as_str).unwrap_or_default();
    let plain = text.split('%').skip(1).all(|rest| rest.starts_with('s'));
    if plain {
        for one in args.iter_mut().skip(1).filter(|one| !one.is_kwargs()) {
            let mut text = String::new();
            python::print(&mut text, one);
            *one = Value::from(text);
        }
    }
    state.apply_filter("format", &args)
}

/// Python's remainder, which has the sign of the divisor.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if !number(left) || !number(right) {
        return Err(invalid(format!(
            "tried to use % operator on unsupported types {} and {}",
            left.kind(),
            right.kind()
        )));
    }
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        let rest = a
            .checked_rem(b)
            .ok_or_else(|| invalid("remainder of a division by zero"))?;
        let rest = if rest != 0 && (rest < 0) != (b < 0) {
            rest + b
        } else {
            rest
        };
        return Ok(python::whole(rest));
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
