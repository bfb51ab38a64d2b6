//! The calls of an answer as their readers find them.

use super::Event;
use crate::schema::Tools;

/// A call that is being read, or has been.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) name: Option<String>,
    pub(super) arguments: String,
    /// What its form says is wrong with it; the arguments are checked later.
    pub(super) odd: Option<String>,
    pub(super) is_incomplete: bool,
    /// Text in the call that belongs to no argument.
    pub(super) stray: String,
    /// Text in the call that is neither its name nor arguments, and does no harm.
    pub(super) other: String,
    is_over: bool,
    /// How much has been told: the name, and so many bytes of arguments.
    is_told: bool,
    told: usize,
}

/// All calls of the answer, and what may be known of the tools.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    pub(super) list: Vec<Record>,
    pub(super) notes: Vec<String>,
    pub(super) tools: std::sync::Arc<Tools>,
    /// Makes the ids.
    pub(super) seed: u64,
    pub(super) id_prefix: &'static str,
    /// Where in the buffer the last call that is over ended.
    pub(super) over_at: usize,
    /// So many calls are over and told.
    pub(super) told: usize,
}

impl Calls {
    fn open(&mut self) -> &mut Record {
        if self.list.last().is_none_or(|last| last.is_over) {
            self.list.push(Record::default());
        }
        self.list.last_mut().expect("one was just added")
    }

    /// The call's name is known. A name with something before a known one is read as that one.
    pub(super) fn name(&mut self, name: &str) {
        let resolved = self.tools.resolve(name).map(str::to_owned);
        let record = self.open();
        record.name = Some(match resolved {
            Some(known) if known != name => {
                record.odd = Some(format!("the tool was called {name:?}"));
                known
            }
            _ => name.to_owned(),
        });
    }

    /// More of the arguments.
    pub(super) fn arguments(&mut self, text: &str) {
        self.open().arguments.push_str(text);
    }

    /// Something about the call's form is wrong.
    pub(super) fn odd(&mut self, what: impl Into<String>) {
        let record = self.open();
        record.odd.get_or_insert(what.into());
    }

    /// A character that belongs to no argument.
    pub(super) fn stray(&mut self, next: char) {
        self.open().stray.push(next);
    }

    /// Text that is neither name nor arguments, of a call that has a name.
    pub(super) fn other(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let last = self
            .list
            .last_mut()
            .filter(|last| !last.is_over && last.name.is_some());
        if let (Some(last), false) = (last, text.is_empty()) {
            if !last.other.is_empty() {
                last.other.push_str(", ");
            }
            last.other.push_str(text);
        }
    }

    /// The call is over, at `at` in the buffer. One without arguments gets none.
    pub(super) fn end(&mut self, is_incomplete: bool, at: usize) {
        self.over_at = at;
        let record = self.open();
        record.is_over = true;
        record.is_incomplete = is_incomplete;
        if record.arguments.is_empty() && !is_incomplete {
            record.arguments.push_str("{}");
        }
    }

    /// The call that is being read, if one is.
    pub(super) fn current(&self) -> Option<&Record> {
        self.list.last().filter(|last| !last.is_over)
    }

    /// Ends what is being read, or forgets it if it has no name.
    pub(super) fn cut(&mut self, at: usize) {
        match self.current() {
            Some(record) if record.name.is_some() => self.end(true, at),
            Some(_) => drop(self.list.pop()),
            None => {}
        }
    }

    /// Tells all that is new.
    pub(super) fn tell(&mut self, out: &mut Vec<Event>) {
        let (seed, prefix) = (self.seed, self.id_prefix);
        for (index, record) in self.list.iter_mut().enumerate().skip(self.told) {
            let Some(name) = &record.name else { continue };
            if !record.is_told {
                record.is_told = true;
                out.push(Event::Call {
                    index,
                    id: id(seed, prefix, index),
                    name: name.clone(),
                });
            }
            if record.is_over {
                self.told = index + 1;
            }
            let new = &record.arguments[record.told..];
            if new.is_empty() {
                continue;
            }
            match out.last_mut() {
                Some(Event::Arguments { index: last, text }) if *last == index => {
                    text.push_str(new);
                }
                _ => out.push(Event::Arguments {
                    index,
                    text: new.to_owned(),
                }),
            }
            record.told = record.arguments.len();
        }
    }
}

/// Nine letters and digits (what Mistral's templates ask for) after a prefix.
pub(super) fn id(seed: u64, prefix: &str, index: usize) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // SplitMix64: neighbouring seeds give ids that share nothing.
    let mut z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let mut id = prefix.to_owned();
    for _ in 0..9 {
        id.push(DIGITS[(z % 62) as usize] as char);
        z /= 62;
    }
    id
}
