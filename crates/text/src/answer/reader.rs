//! Readers of what stands between the markers of a tool call.

use super::calls::Calls;
use super::format::{Body, CallForm};
use super::input::{Hit, Input, LOOKED_OVER};
use super::json::JsonReader;
use super::named::NamedReader;
use super::python::PythonReader;
use super::tags::TagsReader;

/// Longer names are none.
pub(super) const LONGEST_NAME: usize = 256;

/// How far a reader came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It needs more text.
    More,
    /// The calls are over, and so are their markers.
    Done,
    /// This is no call, or what follows is none.
    Reject,
    /// What follows is content, although a call's marker began it.
    Prose,
}

/// The reader of one body.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    Json(JsonReader),
    Named(NamedReader),
    Tags(TagsReader),
    Python(PythonReader),
}

impl Reader {
    pub(super) fn new(body: &Body) -> Self {
        match body {
            Body::Json { .. } => Self::Json(JsonReader::default()),
            Body::Named { .. } => Self::Named(NamedReader::default()),
            Body::Tags(_) => Self::Tags(TagsReader::default()),
            Body::Python { .. } => Self::Python(PythonReader::default()),
        }
    }

    /// Reads on from `at`, and sets it to where the next step begins.
    pub(super) fn step(
        &mut self,
        form: &CallForm,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Step {
        match (self, &form.body) {
            (
                Self::Json(reader),
                Body::Json {
                    name_keys,
                    argument_keys,
                },
            ) => reader.step(form, [name_keys, argument_keys], input, at, calls),
            (Self::Named(reader), Body::Named { .. }) => reader.step(form, input, at, calls),
            (Self::Tags(reader), Body::Tags(tags)) => reader.step(form, tags, input, at, calls),
            (Self::Python(reader), Body::Python { in_list, stand_in }) => {
                reader.step(form, (*in_list, stand_in.as_deref()), input, at, calls)
            }
            _ => Step::Reject,
        }
    }

    /// Nothing more comes: what waits for its end is told as it is.
    pub(super) fn finish(&mut self, form: &CallForm, calls: &mut Calls) {
        match self {
            Self::Json(reader) => reader.finish(calls),
            Self::Named(reader) => reader.finish(form, calls),
            Self::Tags(reader) => reader.finish(calls),
            Self::Python(reader) => reader.finish(calls),
        }
    }
}

/// Whether a body of this form can begin at `at`, where no white space is.
pub(super) fn begins(form: &CallForm, input: &Input, at: usize) -> Hit {
    let Some(byte) = input.byte(at) else {
        return if input.is_last { Hit::No } else { Hit::Partial };
    };
    let is = |yes: bool| if yes { Hit::Yes(0) } else { Hit::No };
    let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    match &form.body {
        Body::Json { .. } => match byte {
            b'{' | b'/' => is(true),
            b'[' => match input.byte(input.near_space(at + 1)) {
                None if !input.is_last => Hit::Partial,
                next => is(next == Some(b'{')),
            },
            _ => input.hit(at, "```"),
        },
        Body::Named { prefix, .. } if prefix.is_empty() => is(is_word),
        Body::Named { prefix, .. } => input.hit(at, prefix),
        Body::Tags(tags) if tags.name_open.is_empty() => is(is_word),
        Body::Tags(tags) => input.hit(at, &tags.name_open),
        Body::Python {
            in_list: true,
            stand_in: None,
        } => is(byte == b'['),
        Body::Python { .. } if byte == b'`' => input.hit(at, "```"),
        Body::Python { .. } => is(is_word),
    }
}

/// What follows a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Not known yet.
    More,
    /// The closing marker, up to this place.
    Closed(usize),
    /// Another byte, at this place, after separators only.
    Next(usize),
    /// Nothing of the call's.
    Other,
}

/// Looks behind a call for its closing marker or the next call, over white space and what models write
/// too much: brackets, separators, the end of a block of code.
pub(super) fn after(form: &CallForm, input: &Input, at: usize, calls: &mut Calls) -> After {
    let bytes = input.text.as_bytes();
    let is_between = |byte: u8| byte.is_ascii_whitespace() || b",;}])`".contains(&byte);
    let mut place = at;
    while bytes.get(place).is_some_and(|&byte| is_between(byte)) && place - at < LOOKED_OVER {
        place += 1;
    }
    if input.must_wait(place) {
        return After::More;
    }
    match input.any(place, &form.close) {
        Hit::Partial => return After::More,
        Hit::Yes(length) => {
            let over: String = input.text[at..place]
                .chars()
                .filter(|c| "}])".contains(*c))
                .collect();
            if !over.is_empty() {
                calls
                    .notes
                    .push(format!("a tool call ends with {over:?} too many"));
            }
            return After::Closed(place + length);
        }
        Hit::No => {}
    }
    let is_separated = input.text[at..place]
        .bytes()
        .all(|b| b.is_ascii_whitespace() || b == b',' || b == b';');
    if is_separated && place < bytes.len() {
        After::Next(place)
    } else {
        After::Other
    }
}
