//! The parser: which text is content, which is reasoning, and where calls begin and end.

mod call;
mod text;
mod watch;

use std::sync::Arc;

use super::calls::{Calls, id};
use super::check;
use super::format::Format;
use super::input::Marks;
use super::reader::Reader;
use super::{Answer, Event};
use crate::schema::Tools;
use watch::Watches;

/// What a [`Parser`] is told besides the format.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The tools of the run. None: nothing is known of them, and calls are not checked.
    pub tools: Arc<Tools>,
    /// Calls are not looked for: all their text is content.
    pub ignores_calls: bool,
    /// An end mark outside of calls ends the answer, whatever comes after it. Else what more than white space
    /// follows is text, and so is what looked like a mark.
    pub ends_at_mark: bool,
    /// Makes the ids of calls: another one for each answer.
    pub seed: u64,
    /// Markers of [`Format::markers`] that are single tokens, with their ids. They are then found by the
    /// ids that [`Parser::push_token`] is given, and the same text spelled otherwise is text.
    pub marker_ids: Vec<(String, i32)>,
}

/// What text outside calls is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Content,
    Reasoning,
}

/// What is being read.
#[derive(Debug, Clone)]
enum State {
    /// Content or reasoning.
    Text,
    /// After an end mark; if more comes than marks and white space, all from `start` was text.
    Ended { start: usize },
    /// A tool call.
    Call(Body),
}

/// A tool call, or several between the same markers.
#[derive(Debug, Clone)]
struct Body {
    /// Where it begins in the buffer, as long as it may turn out to be no call.
    start: usize,
    /// What it can be, by number of the format's calls.
    forms: Vec<usize>,
    /// Which of them it is.
    reader: Option<(usize, Reader)>,
    /// The number of its first call.
    first: usize,
    /// It is a call for certain, and has been told.
    is_certain: bool,
}

/// Reads one answer. The text comes in any pieces, each of whole characters
/// ([`Utf8Joiner`](crate::utf8::Utf8Joiner) joins them).
#[derive(Debug, Clone)]
pub struct Parser {
    format: Arc<Format>,
    watches: Watches,
    marks: Marks,
    calls: Calls,
    /// Text that is not read yet, or may have to be read again, and the place of the next step in it.
    buffer: String,
    at: usize,
    mode: Mode,
    state: State,
    /// Newlines that belong to the marker before, if they come now.
    newlines: u8,
    /// Nothing but white space has come in this mode since the last marker.
    is_blank: bool,
    /// Before these places no call and no end mark begins: they turned out to be none.
    no_calls_before: usize,
    no_end_before: usize,
    /// A marker that ends reasoning is passed over now, though none is open.
    may_close_again: bool,
    ends_at_mark: bool,
    /// What of the last marker's text is yet to come, without its token.
    owed: String,
    content: String,
    reasoning: String,
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) log: Vec<(char, String)>,
    #[cfg(any(test, feature = "fuzzing"))]
    logged: usize,
}

impl Parser {
    /// A parser for one answer in this format.
    #[must_use]
    pub fn new(format: Arc<Format>, options: Options) -> Self {
        let has_tools = !options.tools.is_empty();
        Self {
            watches: Watches::new(&format, !options.ignores_calls, has_tools),
            marks: Marks::new(options.marker_ids),
            calls: Calls {
                list: Vec::new(),
                notes: Vec::new(),
                tools: options.tools,
                seed: options.seed,
                id_prefix: if format.plain_ids { "" } else { "call_" },
                over_at: 0,
                told: 0,
            },
            format,
            buffer: String::new(),
            at: 0,
            mode: Mode::Content,
            state: State::Text,
            newlines: 0,
            is_blank: true,
            no_calls_before: 0,
            no_end_before: 0,
            may_close_again: false,
            ends_at_mark: options.ends_at_mark,
            owed: String::new(),
            content: String::new(),
            reasoning: String::new(),
            #[cfg(any(test, feature = "fuzzing"))]
            log: Vec::new(),
            #[cfg(any(test, feature = "fuzzing"))]
            logged: 0,
        }
    }

    /// Starts from how the rendered prompt ended: templates open the reasoning, close it, or begin a call.
    /// What has begun of a call there is told. So many bytes of the prompt's end are the answer's own beginning.
    pub fn begin(&mut self, prompt: &str, begun: usize, out: &mut Vec<Event>) {
        let ends = self.format.start_anchors.iter();
        let ends = ends.filter_map(|anchor| prompt.rfind(anchor).map(|at| at + anchor.len()));
        let tail = match ends.max() {
            Some(end) => &prompt[end..],
            None if begun > 0 => &prompt[prompt.len() - begun..],
            None => self.open_at_end(prompt),
        };
        let mut events = Vec::new();
        // In a prompt markers are text, whatever their tokens are.
        let marks = std::mem::take(&mut self.marks);
        let ends_at_mark = std::mem::replace(&mut self.ends_at_mark, false);
        self.may_close_again = true;
        self.push(tail, &mut events);
        self.may_close_again = false;
        self.marks = marks;
        self.ends_at_mark = ends_at_mark;
        let is_text = begun > 0 && matches!(self.state, State::Text);
        if self.has_ended() || is_text {
            // That was the end of an earlier answer, or is in the conversation already.
            self.state = State::Text;
            self.buffer.clear();
            self.at = 0;
            #[cfg(any(test, feature = "fuzzing"))]
            {
                self.logged = 0;
            }
        }
        self.content.clear();
        self.reasoning.clear();
        #[cfg(any(test, feature = "fuzzing"))]
        self.log.clear();
        out.extend(
            events
                .into_iter()
                .filter(|event| matches!(event, Event::Call { .. } | Event::Arguments { .. })),
        );
    }

    /// The marker at the end of a prompt that opens the reasoning, with the white space after it.
    fn open_at_end<'a>(&self, prompt: &'a str) -> &'a str {
        let plain = prompt.trim_end();
        let opens = self.format.reasoning.iter().flat_map(|region| &region.open);
        let open = opens.filter(|open| plain.ends_with(open.trim_end()));
        let length = open.map(|open| open.trim_end().len()).max();
        length.map_or("", |length| &prompt[plain.len() - length..])
    }

    /// Reads the next piece of text.
    #[inline(always)]
    pub fn push(&mut self, text: &str, out: &mut Vec<Event>) {
        self.buffer.push_str(text);
        self.run(false, out);
    }

    /// Reads the text of the next token. A token that is a marker counts as that even if its text is not
    /// shown. A negative id is none: its text is the rest of what the token before has of it.
    pub fn push_token(&mut self, id: i32, text: &str, out: &mut Vec<Event>) {
        if let Some(marker) = self.marks.text(id) {
            let rest = marker.strip_prefix(text).filter(|_| !text.is_empty());
            rest.unwrap_or_default().clone_into(&mut self.owed);
            let place = self.buffer.len();
            self.buffer.push_str(marker);
            self.marks.add(place);
            return self.run(false, out);
        }
        if self.owed.is_empty() {
            return self.push(text, out);
        }
        let owed = std::mem::take(&mut self.owed);
        match (owed.strip_prefix(text), text.strip_prefix(owed.as_str())) {
            _ if id >= 0 => self.push(text, out),
            (Some(rest), _) => rest.clone_into(&mut self.owed),
            (None, rest) => self.push(rest.unwrap_or(text), out),
        }
    }

    /// Whether an end mark has come, and nothing after it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// Whether the text now is reasoning.
    #[must_use]
    pub fn is_in_reasoning(&self) -> bool {
        self.mode == Mode::Reasoning
    }

    /// How many calls have begun.
    #[must_use]
    pub fn calls(&self) -> usize {
        let is_named = |record: &&super::calls::Record| record.name.is_some();
        self.calls.list.iter().filter(is_named).count()
    }

    /// Whether anything but reasoning has come so far: calls, or content that is more than white space.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.calls() > 0 || !self.content.trim().is_empty()
    }

    /// The reasoning has ended without a marker in the text: somebody ended it.
    pub fn end_reasoning(&mut self, out: &mut Vec<Event>) {
        if self.mode == Mode::Reasoning {
            self.run(true, out);
            self.enter(Mode::Content);
            self.may_close_again = true;
        }
    }

    /// Another run goes on with the same answer: what it repeats of the markers is passed over.
    pub fn next_run(&mut self) {
        self.may_close_again = true;
    }

    /// The text is over. What was held back is told, and a call that is not complete says so.
    pub fn finish(&mut self, out: &mut Vec<Event>) -> Answer {
        self.run(true, out);
        let (seed, prefix) = (self.calls.seed, self.calls.id_prefix);
        let tools = Arc::clone(&self.calls.tools);
        for call in &self.calls.list {
            // Of a call that is complete, text between the arguments is its error.
            let stray = if call.is_incomplete {
                call.stray.trim()
            } else {
                ""
            };
            let name = call.name.as_deref().unwrap_or_default();
            for text in [&call.other, stray] {
                if !text.is_empty() {
                    let note = format!(
                        "the call of {name:?} has text besides its name and arguments: {text}"
                    );
                    self.calls.notes.push(note);
                }
            }
        }
        let calls = std::mem::take(&mut self.calls.list).into_iter().enumerate();
        let calls =
            calls.map(|(index, call)| check::finished(call, id(seed, prefix, index), &tools));
        let reasoning = std::mem::take(&mut self.reasoning);
        Answer {
            content: std::mem::take(&mut self.content),
            reasoning: Some(reasoning).filter(|text| !text.is_empty()),
            tool_calls: calls.collect(),
            notes: std::mem::take(&mut self.calls.notes),
        }
    }

    fn run(&mut self, is_last: bool, out: &mut Vec<Event>) {
        while match self.state {
            State::Text => self.text(is_last, out),
            State::Ended { .. } => self.ended(is_last),
            State::Call(_) => self.call(is_last, out),
        } {}
        self.compact();
    }

    /// Lets go of what need not be read again.
    fn compact(&mut self) {
        let keep = match &self.state {
            State::Text => self.at,
            State::Ended { start } => *start,
            State::Call(body) if !body.is_certain => body.start,
            State::Call(_) => match self.calls.current() {
                Some(call) if call.name.is_some() => self.at,
                _ => self.calls.over_at.min(self.at),
            },
        };
        if keep == 0 {
            return;
        }
        if let State::Call(_) = self.state {
            self.took('c', keep);
        }
        if keep == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..keep);
        }
        #[cfg(any(test, feature = "fuzzing"))]
        {
            self.logged -= keep;
        }
        self.at -= keep;
        self.marks.shift(keep);
        for place in [
            &mut self.no_calls_before,
            &mut self.no_end_before,
            &mut self.calls.over_at,
        ] {
            *place = place.saturating_sub(keep);
        }
        match &mut self.state {
            State::Text => {}
            State::Ended { start } => *start -= keep,
            State::Call(body) => body.start = body.start.saturating_sub(keep),
        }
    }

    /// What became of each piece of the text, in its order.
    #[cfg(any(test, feature = "fuzzing"))]
    #[doc(hidden)]
    #[must_use]
    pub fn log(&self) -> &[(char, String)] {
        &self.log
    }

    /// After a marker.
    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.state = State::Text;
        self.newlines = 2;
        self.is_blank = true;
    }

    /// The text before `to` is accounted for. Tests see to it that this is so for all of it.
    #[cfg_attr(not(any(test, feature = "fuzzing")), allow(clippy::unused_self))]
    fn took(&mut self, kind: char, to: usize) {
        #[cfg(any(test, feature = "fuzzing"))]
        if to > self.logged {
            let text = self.buffer[self.logged..to].to_owned();
            self.log.push((kind, text));
            self.logged = to;
        }
        #[cfg(not(any(test, feature = "fuzzing")))]
        let _ = (kind, to);
    }
}
