//! Python's `json.dumps`, as transformers' `tojson` calls it: nothing is escaped for HTML.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, State};

use super::guard::{charge, invalid, pay};
use super::python;

/// How it is written.
struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

/// `tojson(value, ensure_ascii, indent, separators, sort_keys)`, each by place or by name.
pub(super) fn filter(state: &State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
    type Places = (
        Value,
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Kwargs,
    );
    let (value, ascii, indent, separators, sort, named): Places = places(args)?;
    let option = |place: Option<Value>, name| -> Result<Value, Error> {
        match place {
            Some(given) => Ok(given),
            None => Ok(named
                .get::<Option<Value>>(name)?
                .unwrap_or_else(|| Value::from(()))),
        }
    };
    let ascii = option(ascii, "ensure_ascii")?.is_true();
    let indent = option(indent, "indent")?;
    let separators = option(separators, "separators")?;
    let sort = option(sort, "sort_keys")?.is_true();
    named.assert_all_used()?;
    let indent = match indent.kind() {
        ValueKind::None | ValueKind::Undefined => None,
        ValueKind::String => Some(indent.to_string()),
        ValueKind::Bool => Some(" ".repeat(usize::from(indent.is_true()))),
        _ => {
            let count = i64::try_from(indent)?.max(0) as usize;
            charge(state, count)?;
            Some(" ".repeat(count))
        }
    };
    let (item, key) = if separators.is_none() {
        (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        )
    } else {
        match &separators.try_iter()?.take(3).collect::<Vec<_>>()[..] {
            [item, key] => (item.to_string(), key.to_string()),
            _ => return Err(invalid("tojson: separators must be two strings")),
        }
    };
    pay(state, &value)?;
    let style = Style {
        ascii,
        indent,
        item,
        key,
        sort,
    };
    let mut out = Writer {
        state,
        style,
        out: String::new(),
    };
    out.value(&value, 0)?;
    Ok(Value::from(out.out))
}

/// The arguments; the engine's own limit is one less.
#[allow(clippy::type_complexity, reason = "the arguments of Python's function")]
fn places(
    args: &[Value],
) -> Result<
    (
        Value,
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Kwargs,
    ),
    Error,
> {
    let (named, given) = match args.split_last() {
        Some((last, rest)) if last.is_kwargs() => (std::slice::from_ref(last), rest),
        _ => (&[][..], args),
    };
    let (named,): (Kwargs,) = from_args(named)?;
    let mut given = given.iter().cloned();
    let value = given.next().ok_or_else(|| invalid("tojson: no value"))?;
    let all = (
        value,
        given.next(),
        given.next(),
        given.next(),
        given.next(),
        named,
    );
    match given.next() {
        Some(_) => Err(invalid("tojson: too many arguments")),
        None => Ok(all),
    }
}

struct Writer<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    style: Style,
    out: String,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all('[', ']', items, depth, |this, item| {
                    this.value(&item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    pairs.push((name(&key)?, item));
                }
                if self.style.sort {
                    pairs.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.all('{', '}', pairs, depth, |this, (key, item)| {
                    this.string(&key)?;
                    this.out.push_str(&this.style.key.clone());
                    this.value(&item, depth + 1)
                })?;
            }
            ValueKind::Undefined => return Err(invalid("tojson: the value is undefined")),
            other => {
                return Err(invalid(format!(
                    "tojson: a {other} cannot be written as JSON"
                )));
            }
        }
        Ok(())
    }

    fn all<T>(
        &mut self,
        open: char,
        close: char,
        items: Vec<T>,
        depth: usize,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let empty = items.is_empty();
        self.out.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                charge(self.state, self.style.item.len() + self.style.key.len())?;
                self.out.push_str(&self.style.item.clone());
            }
            self.line(depth + 1)?;
            write(self, item)?;
        }
        if !empty {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// A new line, where there is an indent.
    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.style.indent {
            charge(self.state, indent.len().saturating_mul(depth))?;
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        // Each character is looked at, and may become six, or twelve.
        charge(self.state, text.len().saturating_mul(4))?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                ' '..='~' => self.out.push(c),
                _ if self.style.ascii || c < ' ' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a String cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// What stands for a key: JSON has strings only.
fn name(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.to_string(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => number(key),
        other => return Err(invalid(format!("tojson: a {other} cannot be a key"))),
    })
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => python::float(number, ["Infinity", "NaN"]),
        _ => value.to_string(),
    }
}
