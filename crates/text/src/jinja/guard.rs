//! What values cost before they are walked.

use minijinja::value::{Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::operators;

// Names that no template can write, and without white space, which the engine would take out.
pub(super) const PAY: &str = "pay()";
pub(super) const PAY_HELD: &str = "pay{}";
pub(super) const PAY_REST: &str = "pay(,)";
pub(super) const PAY_LENGTH: &str = "pay[]";
pub(super) const PAY_ITEMS: &str = "pay(*)";
pub(super) const PAY_PLACE: &str = "pay[:]";
pub(super) const ADD: &str = "+";
pub(super) const IN: &str = "in()";
pub(super) const EQUAL: &str = "==";
pub(super) const UNEQUAL: &str = "!=";
pub(super) const LIST: &str = "list()";
pub(super) const LOOP: &str = "for()";
pub(super) const KEEP: &str = "set()";
pub(super) const KEY: &str = "key[]";
pub(super) const MAP: &str = "{}";
pub(super) const PERCENT: &str = "%";
pub(super) const CONCAT: &str = "~";
pub(super) const FORMAT: &str = "format()";
/// Those that occur most come first: there are numbers for some only.
pub(super) const ALL: [&str; 18] = [
    ADD, LOOP, LIST, EQUAL, KEY, IN, UNEQUAL, KEEP, CONCAT, PAY_REST, PAY_HELD, PAY, MAP, PERCENT,
    PAY_PLACE, PAY_ITEMS, PAY_LENGTH, FORMAT,
];

/// Lists in lists, or dicts, as deep as JSON is read elsewhere.
pub(super) const DEEPEST: usize = 128;
/// Bytes that one unit of fuel pays for, as in the engine.
pub(super) const BYTES: usize = 64;

/// Fuel for a pair of a dict, which is looked for by its key.
const PAIR: u64 = 4;

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

/// Filters whose result holds nothing else.
const SIMPLE: &[&str] = &[
    "capitalize",
    "count",
    "float",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "replace",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
];

/// Filters that take the characters of a text as items, or compare a list's items with each other.
const ITEMWISE: &[&str] = &[
    "groupby", "join", "map", "max", "min", "sort", "sum", "unique",
];

/// Tests that look at each character of a text.
const CHARWISE: &[&str] = &["lower", "upper"];

/// Whether a filter's result is a text or a number.
pub(super) fn gives_text_or_number(filter: &str) -> bool {
    SIMPLE.contains(&filter)
}

/// Whether a filter may walk all that its arguments hold.
pub(super) fn walks(filter: &str) -> bool {
    !SHALLOW.contains(&filter)
}

/// Whether a filter takes a text apart, as a list.
pub(super) fn takes_items(filter: &str) -> bool {
    ITEMWISE.contains(&filter)
}

/// Whether a test looks at all of its value.
pub(super) fn tests_all(test: &str) -> bool {
    CHARWISE.contains(&test)
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
        // Inside of others texts are printed with quotes, which takes longer than copying them.
        let times = if depth > 0 { 4 } else { 1 };
        return charge(state, text.len().saturating_mul(times));
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if depth == DEEPEST {
        return Err(invalid("lists and dicts are nested too deeply"));
    }
    if object.repr() == ObjectRepr::Map {
        for (key, value) in object.try_iter_pairs().into_iter().flatten() {
            state.consume_fuel(PAIR)?;
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

/// An operation that cannot be done. The text speaks of types and names, never of what is in a prompt.
pub(super) fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text).with_source(Ours)
}

/// Marks errors of [`invalid`], whose text may be told.
#[derive(Debug)]
pub(super) struct Ours;

impl std::fmt::Display for Ours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an operation that this package refuses")
    }
}

impl std::error::Error for Ours {}

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
    let mut add =
        |name: &'static str, function: fn(&State<'_, '_>, &[Value]) -> Result<Value, Error>| {
            environment.add_filter(
                name,
                move |state: &State<'_, '_>, args: Rest<ValueOrKwargs>| {
                    let args = args.0.into_iter().map(ValueOrKwargs::into_value);
                    function(state, &args.collect::<Vec<_>>())
                },
            );
        };
    add(PAY, |state, args| {
        args.iter().try_for_each(|one| pay(state, one))?;
        Ok(handed_on(args))
    });
    // The engine itself takes the fuel for texts that a filter is given.
    add(PAY_HELD, |state, args| {
        pay_for_held(state, args)?;
        Ok(handed_on(args))
    });
    add(PAY_REST, |state, args| {
        args.iter().skip(1).try_for_each(|one| pay(state, one))?;
        Ok(handed_on(args))
    });
    add(PAY_ITEMS, |state, args| {
        if let Some(text) = args.first().and_then(Value::as_str) {
            state.consume_fuel(text.len() as u64)?;
        }
        pay_for_held(state, args)?;
        Ok(handed_on(args))
    });
    // Characters are counted up to the place; a list's items, too, if it is lazy.
    add(PAY_PLACE, |state, args| {
        if let Some(from) = args.first() {
            pay_for_place(state, from)?;
        }
        Ok(handed_on(args))
    });
    add(KEY, |state, args| {
        if let [from, key] = args {
            hashable(key)?;
            if from.as_str().is_some() {
                pay_for_place(state, from)?;
            }
        }
        Ok(handed_on(args))
    });
    add(PAY_LENGTH, |state, args| {
        for one in args.iter().filter(|one| one.as_object().is_some()) {
            state.consume_fuel(one.len().unwrap_or(0) as u64)?;
        }
        Ok(handed_on(args))
    });
    add(MAP, |_, args| {
        let pairs = args.chunks_exact(2);
        pairs.clone().try_for_each(|pair| hashable(&pair[0]))?;
        Ok(Value::from_pairs(
            pairs.map(|pair| (pair[0].clone(), pair[1].clone())),
        ))
    });
    environment.add_filter(
        FORMAT,
        |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.0.into_iter().map(ValueOrKwargs::into_value);
            operators::format(state, args.collect())
        },
    );
    environment.add_filter(ADD, operators::add);
    environment.add_filter(IN, operators::contains);
    environment.add_filter(PERCENT, operators::percent);
    environment.add_filter(CONCAT, operators::concat);
    environment.add_filter(EQUAL, |state: &State<'_, '_>, a: &Value, b: &Value| {
        operators::equal(state, a, b)
    });
    environment.add_filter(UNEQUAL, |state: &State<'_, '_>, a: &Value, b: &Value| {
        operators::equal(state, a, b).map(|equal| !equal)
    });
    environment.add_filter(LIST, |state: &State<'_, '_>, value: &Value| {
        listed(state, value)
    });
    environment.add_filter(LOOP, |state: &State<'_, '_>, value: &Value| {
        let Some(text) = value.as_str() else {
            return Ok(value.clone());
        };
        // With a length, which the engine's own iteration over text has not.
        state.consume_fuel(text.len() as u64)?;
        let one = |c: char| Value::from(c.encode_utf8(&mut [0; 4]) as &str);
        Ok::<_, Error>(Value::from(text.chars().map(one).collect::<Vec<_>>()))
    });
    environment.add_filter(KEEP, |state: &State<'_, '_>, value: &Value| {
        keep(state, value, 0)?;
        Ok::<_, Error>(value.clone())
    });
}

/// Takes the fuel for what lists and dicts hold.
fn pay_for_held(state: &State<'_, '_>, args: &[Value]) -> Result<(), Error> {
    let mut held = args.iter().filter(|one| one.as_object().is_some());
    held.try_for_each(|one| pay(state, one))
}

/// Takes the fuel for finding a place in a text or list.
fn pay_for_place(state: &State<'_, '_>, from: &Value) -> Result<(), Error> {
    match from.as_str() {
        Some(text) => charge(state, text.len().saturating_mul(4)),
        None => state.consume_fuel(from.len().unwrap_or(0) as u64 / 8),
    }
}

/// What is lazy as a list: it could be laid around what is lazy for ever.
fn listed(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let lazy = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
        && !value.is_tuple()
        && value.downcast_object_ref::<Vec<Value>>().is_none();
    if !lazy {
        return Ok(value.clone());
    }
    let mut list = Vec::new();
    for item in value.try_iter()?.checked() {
        state.consume_fuel(1)?;
        list.push(item?);
    }
    Ok(Value::from(list))
}

/// Pays for what a namespace is to keep. That outlives the loop or macro in which it was made, so that what
/// holds it could be nested ever more deeply; and it is freed by recursion.
fn keep(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if depth == DEEPEST {
        return Err(invalid("lists and dicts are nested too deeply"));
    }
    match object.repr() {
        // A macro holds whatever was there when it was made.
        ObjectRepr::Plain => Err(invalid("a namespace cannot keep functions")),
        ObjectRepr::Map => {
            for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                state.consume_fuel(1)?;
                keep(state, &key, depth + 1)?;
                keep(state, &value, depth + 1)?;
            }
            Ok(())
        }
        _ => {
            for item in object.try_iter().into_iter().flatten() {
                state.consume_fuel(1)?;
                keep(state, &item, depth + 1)?;
            }
            Ok(())
        }
    }
}

/// One value as it is, several for an unpacking that begins with the last.
fn handed_on(args: &[Value]) -> Value {
    match args {
        [one] => one.clone(),
        _ => args.iter().rev().cloned().collect(),
    }
}

/// Refuses what Python has no hash of.
pub(super) fn hashable(key: &Value) -> Result<(), Error> {
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
