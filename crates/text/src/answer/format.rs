//! How a family of models writes reasoning, tool calls and the end of its answer.

use serde::Serialize;

/// What the [`Parser`](super::Parser) looks for. Made from the family table or from a model's own
/// `response_template` by [`Format::from_response_template`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Format {
    /// Texts after the last of which the answer begins in a rendered prompt.
    pub start_anchors: Vec<String>,
    /// Where the model thinks.
    pub reasoning: Vec<Region>,
    /// How it calls tools.
    pub calls: Vec<CallForm>,
    /// Markers that carry nothing: around several calls, or around the answer.
    pub skipped: Vec<String>,
    /// Texts of end marks, taken away at the end of an answer.
    pub stops: Vec<String>,
    /// The model calls tools without ending its thinking. Such a call counts if it begins a line, is well
    /// formed and names a known tool.
    pub calls_in_reasoning: bool,
    /// The model takes call ids of exactly nine letters and digits.
    pub plain_ids: bool,
}

/// A stretch of text between markers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Any of these begins it.
    pub open: Vec<String>,
    /// Any of these ends it.
    pub close: Vec<String>,
}

/// One way to write tool calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallForm {
    /// Any of these begins it. None: it stands bare at the start of the answer.
    pub open: Vec<String>,
    /// Any of these ends it. None: it ends by itself.
    pub close: Vec<String>,
    /// What stands between.
    pub body: Body,
    /// A call that is asked for is written in this way, though it is not the first of the family's.
    pub is_own: bool,
}

/// What stands between the markers of a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A JSON object with the name and the arguments, several of them, or a list of them.
    Json {
        /// Keys that can hold the name.
        name_keys: Vec<String>,
        /// Keys that can hold the arguments.
        argument_keys: Vec<String>,
    },
    /// The name, then the arguments as one object.
    Named {
        /// Stands before the name.
        prefix: String,
        /// Any of these ends the name. None: the arguments' bracket does.
        name_end: Vec<String>,
        /// What is no name, but says that one follows.
        kind: Option<String>,
        /// An id of the model's own begins after this mark, and ends at the last `name_end`.
        id_open: Option<String>,
        /// The name of prose: what follows is content.
        prose: Option<String>,
        /// Markers around strings, in place of quotes. With them keys stand bare.
        quotes: Vec<[String; 2]>,
    },
    /// The name, then a marked value for each argument.
    Tags(Tags),
    /// Calls with keyword arguments, as Python writes them.
    Python {
        /// They stand in a list.
        in_list: bool,
        /// The name stands on a line before a block of code that calls a function of this name.
        stand_in: Option<String>,
    },
}

/// Markers around names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tags {
    /// Before the tool's name; may be empty.
    pub name_open: String,
    /// After it. What is a marker of its own is found again by the next step.
    pub name_close: Vec<String>,
    /// Before and after an argument's name.
    pub key: [String; 2],
    /// Before a value; may be empty.
    pub value_open: String,
    /// After a value.
    pub value_close: String,
    /// Ends the call.
    pub end: String,
}

impl Format {
    /// All markers that could be tokens of their own: ask the tokenizer for each whether it is one, and
    /// give the ids to the parser.
    #[must_use]
    pub fn markers(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let regions = self.reasoning.iter().flat_map(|r| [&r.open, &r.close]);
        let calls = self.calls.iter().flat_map(|call| [&call.open, &call.close]);
        for list in regions.chain(calls).chain([&self.skipped, &self.stops]) {
            all.extend(list.iter().map(String::as_str));
        }
        for call in &self.calls {
            match &call.body {
                Body::Json { .. } | Body::Python { .. } => {}
                Body::Named {
                    name_end,
                    id_open,
                    quotes,
                    ..
                } => {
                    all.extend(name_end.iter().chain(id_open).map(String::as_str));
                    all.extend(quotes.iter().flatten().map(String::as_str));
                }
                Body::Tags(tags) => {
                    all.extend(tags.key.iter().map(String::as_str));
                    let parts = [&tags.value_open, &tags.value_close, &tags.end];
                    all.extend(parts.map(String::as_str));
                }
            }
        }
        all.retain(|text| !text.trim().is_empty());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Adds bare JSON objects at the start of an answer as calls, for models that forget their markers.
    #[must_use]
    pub fn with_bare_json(mut self) -> Self {
        self.calls.push(CallForm::json(Vec::new(), Vec::new()));
        self
    }
}

impl CallForm {
    /// JSON objects with the usual keys between `open` and `close`.
    #[must_use]
    pub fn json(open: Vec<String>, close: Vec<String>) -> Self {
        let body = Body::Json {
            name_keys: vec!["name".to_owned()],
            argument_keys: vec!["arguments".to_owned(), "parameters".to_owned()],
        };
        Self {
            open,
            close,
            body,
            is_own: false,
        }
    }
}
