//! Python's methods of strings, lists and dicts, beyond those of minijinja-contrib.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, State};
use minijinja_contrib::pycompat;

use super::guard::{charge, invalid, pay};
use super::python;

/// Methods that make each character of a text anew, by itself.
const CHARWISE: &[&str] = &["capitalize", "casefold", "swapcase", "title"];

/// Calls a method that the engine does not know.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    args.iter().try_for_each(|one| pay(state, one))?;
    match value.as_str() {
        Some(text) if CHARWISE.contains(&method) => {
            charge(state, text.len().saturating_mul(8))?;
        }
        None if method != "get" => {
            // Nearly all walk over the items.
            let items = value.as_object().and_then(|_| value.len());
            state.consume_fuel(items.unwrap_or(0) as u64)?;
        }
        _ => {}
    }
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => of_string(state, text, method, args)?,
        (None, ValueKind::Map | ValueKind::Seq) => of_container(value, method, args)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn of_container(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match (method, value.kind()) {
        ("copy", ValueKind::Map) => {
            let () = from_args(args)?;
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                pairs.push((key, item));
            }
            Value::from_pairs(pairs)
        }
        ("copy", ValueKind::Seq) => {
            let () = from_args(args)?;
            value.try_iter()?.collect()
        }
        ("index", ValueKind::Seq) => {
            let (wanted, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
            let length = value.len().unwrap_or(0);
            // A place from the end is told as a negative number.
            let place = |at: i64| match usize::try_from(at) {
                Ok(at) => at.min(length),
                Err(_) => length.saturating_sub(at.unsigned_abs() as usize),
            };
            let (start, end) = (place(start.unwrap_or(0)), end.map_or(length, place));
            let mut items = value.try_iter()?.enumerate().take(end).skip(start);
            let found = items.find(|(_, item)| *item == wanted);
            Value::from(
                found
                    .ok_or_else(|| invalid("index: the value is not in the list"))?
                    .0,
            )
        }
        _ => return Ok(None),
    }))
}

fn of_string(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" | "rpartition" => {
            let (by,): (&str,) = from_args(args)?;
            if by.is_empty() {
                return Err(invalid(format!("{method}: the separator is empty")));
            }
            let parts = match (method, text.split_once(by), text.rsplit_once(by)) {
                ("partition", Some((before, after)), _)
                | ("rpartition", _, Some((before, after))) => [before, by, after],
                ("partition", ..) => [text, "", ""],
                _ => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from).to_vec()))
        }
        "split" | "rsplit" => split(text, method == "rsplit", args)?,
        "replace" => {
            let (old, new, count, named): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
            let count = count.or(named.get("count")?).unwrap_or(-1);
            named.assert_all_used()?;
            let most = if old.is_empty() {
                text.chars().count() + 1
            } else {
                text.matches(old).count()
            };
            let times = usize::try_from(count).map_or(most, |count| count.min(most));
            // Finding one takes as long as copying some bytes.
            charge(state, times.saturating_mul(new.len() + 16))?;
            Value::from(text.replacen(old, new, times))
        }
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            let mut out = String::new();
            for (index, item) in items.try_iter()?.enumerate() {
                if index > 0 {
                    charge(state, text.len())?;
                    state.consume_fuel(1)?;
                    out.push_str(text);
                }
                python::print(&mut out, &item);
            }
            Value::from(out)
        }
        "format" => {
            charge(state, longest_format(text, args))?;
            return Ok(None);
        }
        "zfill" | "center" | "ljust" | "rjust" => fill(state, text, method, args)?,
        "startswith" | "endswith" if args.len() > 1 => {
            let (wanted, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
            let (_, part) = part(text, start, end);
            let wanted: Vec<Value> = if wanted.as_str().is_some() {
                vec![wanted]
            } else {
                wanted.try_iter()?.collect()
            };
            let mut found = false;
            for one in &wanted {
                let one = one
                    .as_str()
                    .ok_or_else(|| invalid(format!("{method}: expected strings")))?;
                found |= if method == "startswith" {
                    part.starts_with(one)
                } else {
                    part.ends_with(one)
                };
            }
            Value::from(found)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, method, args)?,
        "swapcase" => {
            let () = from_args(args)?;
            let swapped = text.chars().map(|c| {
                if c.is_uppercase() {
                    c.to_lowercase().to_string()
                } else {
                    c.to_uppercase().to_string()
                }
            });
            Value::from(swapped.collect::<String>())
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        _ => return Ok(None),
    }))
}

/// `split` and `rsplit`: without a separator at runs of white space.
fn split(text: &str, from_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (by, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let by = match by {
        Some(by) => Some(by),
        None => named.get::<Option<Value>>("sep")?,
    };
    let most = most.or(named.get("maxsplit")?).unwrap_or(-1);
    named.assert_all_used()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let by = by.filter(|by| !by.is_none());
    let mut parts: Vec<&str> = Vec::new();
    let Some(by) = by else {
        let mut rest = if from_right {
            text.trim_end()
        } else {
            text.trim_start()
        };
        while !rest.is_empty() {
            let cut = if from_right {
                rest.rsplit_once(char::is_whitespace)
            } else {
                rest.split_once(char::is_whitespace)
            };
            let Some((left, right)) = cut.filter(|_| parts.len() < most) else {
                break;
            };
            if from_right {
                parts.push(right);
                rest = left.trim_end();
            } else {
                parts.push(left);
                rest = right.trim_start();
            }
        }
        let last = if from_right {
            rest.trim_start()
        } else {
            rest.trim_end()
        };
        if !rest.is_empty() {
            // What is left over keeps its inner white space, and that at its far end.
            parts.push(if parts.len() < most { last } else { rest });
        }
        if from_right {
            parts.reverse();
        }
        return Ok(parts.into_iter().map(Value::from).collect());
    };
    let by = by.as_str().filter(|by| !by.is_empty());
    let by =
        by.ok_or_else(|| invalid("split: the separator must be a string that is not empty"))?;
    if from_right {
        parts.extend(text.rsplitn(most.saturating_add(1), by));
        parts.reverse();
    } else {
        parts.extend(text.splitn(most.saturating_add(1), by));
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// The characters from `start` to `end`, counted as Python does, and how many come before.
fn part(text: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    let length = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (length + at).max(0) } else { at.min(length) } as usize;
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
    let byte = |at: usize| {
        text.char_indices()
            .nth(at)
            .map_or(text.len(), |(byte, _)| byte)
    };
    (start, &text[byte(start)..byte(end.max(start))])
}

fn search(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (before, part) = part(text, start, end);
    if method == "count" {
        let found = if wanted.is_empty() {
            part.chars().count() + 1
        } else {
            part.matches(wanted).count()
        };
        return Ok(Value::from(found));
    }
    let at = if method.starts_with('r') {
        part.rfind(wanted)
    } else {
        part.find(wanted)
    };
    match at {
        Some(at) => Ok(Value::from(before + part[..at].chars().count())),
        None if method.ends_with("index") => {
            Err(invalid(format!("{method}: the text is not in the string")))
        }
        None => Ok(Value::from(-1)),
    }
}

fn fill(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, padding): (i64, Option<&str>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    let padding = padding.unwrap_or(if method == "zfill" { "0" } else { " " });
    if padding.chars().count() != 1 {
        return Err(invalid(format!("{method}: the fill must be one character")));
    }
    charge(state, missing.saturating_mul(padding.len()))?;
    let fill = |count| padding.repeat(count);
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", fill(missing)),
        "rjust" => format!("{}{text}", fill(missing)),
        "center" => {
            // Python gives the odd one to the left where the width is odd.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", fill(left), fill(missing - left))
        }
        _ => match text.strip_prefix(['+', '-']) {
            Some(digits) => format!("{}{}{digits}", &text[..1], fill(missing)),
            None => format!("{}{text}", fill(missing)),
        },
    }))
}

/// A bound for what `str.format` writes: each field may be the longest argument, or as wide as it says.
fn longest_format(text: &str, args: &[Value]) -> usize {
    let fields = text.matches('{').count();
    let longest = args.iter().map(weight).max().unwrap_or(0);
    let mut inside = 0_usize;
    let mut widths = 0_usize;
    let mut number = 0_usize;
    for c in text.chars() {
        match (c, c.to_digit(10)) {
            ('{', _) => inside += 1,
            ('}', _) => inside = inside.saturating_sub(1),
            (_, Some(digit)) if inside > 0 => {
                number = number.saturating_mul(10).saturating_add(digit as usize);
                continue;
            }
            _ => {}
        }
        widths = widths.saturating_add(std::mem::take(&mut number));
    }
    fields.saturating_mul(longest).saturating_add(widths)
}

/// About how long a value is when it is printed; what it holds has been paid for.
fn weight(value: &Value) -> usize {
    match value.as_str() {
        Some(text) => text.len(),
        None if value.as_object().is_some() => value.to_string().len(),
        None => 40,
    }
}
