//! From a template's text to instructions that are safe to run.
//!
//! The engine counts its fuel for what it creates, but compares, prints and hashes values as they
//! are, whatever they hold. So what such an instruction is about to walk is paid for in front of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions, TemplateConfig};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Error, Value};

use super::guard;

/// The engine's mark of a filter without number, and how many numbers it has.
const UNNUMBERED: u8 = u8::MAX;
const NUMBERED: u8 = 50;

/// A compiled template, together with the text that it borrows from.
pub(super) struct Program(Inner);

self_cell::self_cell!(
    struct Inner {
        owner: String,
        #[covariant]
        dependent: Instructions,
    }
);

impl Program {
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        let source = with_scopes(&source.replace("\r\n", "\n").replace('\r', "\n"));
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        let config = TemplateConfig {
            syntax_config: syntax,
            default_auto_escape: Arc::new(|_| AutoEscape::None),
        };
        Inner::try_new(source, |source| {
            let compiled = CompiledTemplate::new("chat", source, &config)?;
            Ok(guarded(&compiled.instructions))
        })
        .map(Self)
    }

    pub(super) fn instructions(&self) -> &Instructions<'_> {
        self.0.borrow_dependent()
    }
}

/// The instructions again, with those of [`guard`] in front of whatever walks values.
fn guarded<'s>(old: &Instructions<'s>) -> Instructions<'s> {
    let targets: BTreeSet<u32> = all(old)
        .filter_map(|(_, one)| jump(&mut one.clone()).copied())
        .collect();
    let guards = Guards::new(old);
    let mut new = Instructions::new(old.name(), old.source());
    let mut places = BTreeMap::new();
    let (mut constant, mut length) = (None, 0);
    for (at, one) in all(old) {
        let line = old.get_line(at).unwrap_or(0) as u16;
        constant = constant.filter(|_| !targets.contains(&at));
        // A jump to what is guarded goes to its guard.
        places.insert(at, length);
        for each in guards.around(one, constant) {
            length = new.add_with_line(each, line) + 1;
        }
        constant = match one {
            Instruction::LoadConst(value) if value.as_object().is_none() => Some(value),
            _ => None,
        };
    }
    for at in 0..length {
        if let Some(target) = new.get_mut(at).and_then(jump) {
            // The end of the template is a target as well.
            *target = places.get(target).copied().unwrap_or(length);
        }
    }
    new
}

fn all<'i, 's>(
    instructions: &'i Instructions<'s>,
) -> impl Iterator<Item = (u32, &'i Instruction<'s>)> {
    (0..).map_while(|at| Some((at, instructions.get(at)?)))
}

/// Where an instruction may jump to.
fn jump<'i>(one: &'i mut Instruction<'_>) -> Option<&'i mut u32> {
    match one {
        Instruction::Iterate(to)
        | Instruction::Jump(to)
        | Instruction::JumpIfFalse(to)
        | Instruction::JumpIfFalseOrPop(to)
        | Instruction::JumpIfTrueOrPop(to)
        | Instruction::BuildMacro(_, to, _) => Some(to),
        _ => None,
    }
}

/// Guards are filters, which the engine finds by number once it has looked for them by name.
struct Guards {
    /// The first number that no filter of the template has.
    first: u8,
}

impl Guards {
    fn new(instructions: &Instructions<'_>) -> Self {
        let used = all(instructions).filter_map(|(_, one)| match one {
            Instruction::ApplyFilter(_, _, number) if *number != UNNUMBERED => Some(*number + 1),
            _ => None,
        });
        Self {
            first: used.max().unwrap_or(0),
        }
    }

    fn call<'s>(&self, name: &'static str, count: usize) -> Instruction<'s> {
        let place = guard::ALL.iter().position(|known| *known == name);
        let number = place.map_or(usize::MAX, |place| usize::from(self.first) + place);
        let number = u8::try_from(number).ok().filter(|one| *one < NUMBERED);
        let count = u16::try_from(count).ok();
        Instruction::ApplyFilter(name, count, number.unwrap_or(UNNUMBERED))
    }

    /// A filter returns one value: several come as a list.
    fn behind<'s>(
        &self,
        name: &'static str,
        count: usize,
        one: &Instruction<'s>,
    ) -> Vec<Instruction<'s>> {
        match count {
            1 => vec![self.call(name, 1), one.clone()],
            _ => vec![
                self.call(name, count),
                Instruction::UnpackList(count),
                one.clone(),
            ],
        }
    }

    /// An instruction with what goes in front of it and behind it, or with what takes its place.
    ///
    /// `constant` is the last value on the stack if that is a string or a number of the template's text:
    /// what is compared with it is walked no further than that.
    fn around<'s>(&self, one: &Instruction<'s>, constant: Option<&Value>) -> Vec<Instruction<'s>> {
        let is_name = constant.is_some_and(|value| value.as_str().is_some());
        let constant = constant.is_some();
        let count = |count: &Option<u16>| count.map_or(0, usize::from);
        let mut all = match one {
            Instruction::Add => vec![self.call(guard::ADD, 2)],
            Instruction::In => vec![self.call(guard::IN, 2)],
            Instruction::Rem => vec![self.call(guard::PERCENT, 2)],
            Instruction::StringConcat => vec![self.call(guard::CONCAT, 2)],
            Instruction::BuildMap(pairs) => vec![self.call(guard::MAP, 2 * pairs)],
            Instruction::Eq if !constant => vec![self.call(guard::EQUAL, 2)],
            Instruction::Ne if !constant => vec![self.call(guard::UNEQUAL, 2)],
            Instruction::Mul if !constant => self.behind(guard::PAY_LENGTH, 2, one),
            Instruction::GetItem if !is_name => self.behind(guard::KEY, 2, one),
            Instruction::Slice => self.behind(guard::PAY_PLACE, 4, one),
            Instruction::PushLoop(_) => self.behind(guard::LOOP, 1, one),
            Instruction::SetAttr(_) => vec![
                Instruction::Swap,
                self.call(guard::KEEP, 1),
                Instruction::Swap,
                one.clone(),
            ],
            Instruction::Gt
            | Instruction::Gte
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::CompareAndPreserve(_)
                if !constant =>
            {
                self.behind(guard::PAY, 2, one)
            }
            Instruction::ApplyFilter("format", args, _) if count(args) > 0 => {
                vec![self.call(guard::FORMAT, count(args))]
            }
            Instruction::ApplyFilter(name, args, _)
                if count(args) > 0 && guard::takes_items(name) =>
            {
                self.behind(guard::PAY_ITEMS, count(args), one)
            }
            Instruction::ApplyFilter(name, args, _) if count(args) > 0 && guard::walks(name) => {
                self.behind(guard::PAY_HELD, count(args), one)
            }
            Instruction::ApplyFilter(_, args, _) if count(args) > 1 => {
                self.behind(guard::PAY_REST, count(args), one)
            }
            Instruction::PerformTest(name, args, _)
                if count(args) > 1 || guard::tests_all(name) =>
            {
                self.behind(guard::PAY, count(args), one)
            }
            _ => vec![one.clone()],
        };
        let may_be_lazy = match one {
            Instruction::Mul | Instruction::Slice => true,
            Instruction::ApplyFilter(name, ..) => !guard::gives_text_or_number(name),
            _ => false,
        };
        if may_be_lazy {
            all.push(self.call(guard::LIST, 1));
        }
        all
    }
}

/// Writes `{% generation %}`, with which transformers marks the text of the assistant, as the scope
/// that it is to a renderer: `{% with %}`.
fn with_scopes(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (before, at) = rest.split_at(start);
        out.push_str(before);
        let length = if at.starts_with("{#") {
            at.find("#}").map_or(at.len(), |end| end + 2)
        } else if at.starts_with("{{") {
            inside(at, "}}")
        } else if at.starts_with("{%") {
            inside(at, "%}")
        } else {
            1
        };
        let (part, after) = at.split_at(length);
        rest = after;
        match at.starts_with("{%").then(|| block(part)).flatten() {
            Some("generation") => out.push_str(&part.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&part.replacen("endgeneration", "endwith", 1)),
            Some("raw") => {
                let length = end_of_raw(rest);
                out.push_str(part);
                // The engine drops a line's end here, as behind other blocks. Python's does not.
                if rest.starts_with('\n') && !part.ends_with("-%}") {
                    out.push('\n');
                }
                out.push_str(&rest[..length]);
                rest = &rest[length..];
            }
            _ => out.push_str(part),
        }
    }
    out.push_str(rest);
    out
}

/// The only word of a block such as `{%- raw -%}`.
fn block(part: &str) -> Option<&str> {
    let inner = part.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    Some(inner.trim())
}

/// The length of what begins with two characters and ends with `end`, which counts outside of
/// strings only.
fn inside(text: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(mark) if c == mark => quote = None,
            None if text[at..].starts_with(end) => return at + 2,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(_) | None => {}
        }
    }
    text.len()
}

/// The length of raw text before the block that ends it.
fn end_of_raw(text: &str) -> usize {
    let mut from = 0;
    while let Some(start) = text[from..].find("{%").map(|start| from + start) {
        let end = text[start..]
            .find("%}")
            .map_or(text.len(), |end| start + end + 2);
        if block(&text[start..end]) == Some("endraw") {
            return start;
        }
        from = start + 2;
    }
    text.len()
}
