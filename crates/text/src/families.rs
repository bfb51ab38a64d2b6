//! How families of models talk: a table as data, found by the text of a chat template or by name.
//!
//! The table is `families.json`: reading of answers in the shape of transformers' `response_template`, and
//! what a conversation must know besides. What a template can do is found by rendering it
//! ([`Abilities::probe`]), not by names.

mod probe;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Format, TemplateProblem};

pub use probe::{Abilities, ContentShape, Probe};

/// The table, first match first.
static TABLE: LazyLock<Vec<Arc<Family>>> = LazyLock::new(|| {
    let rows: Vec<Entry> = serde_json::from_str(include_str!("families/families.json"))
        .expect("the table is part of the program");
    rows.into_iter().map(|row| Arc::new(row.family())).collect()
});

/// Chat templates for models that come without one: turns and the switch of thinking, no tools.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "chatglm3",
        include_str!("families/templates/chatglm3.jinja"),
    ),
    ("chatml", include_str!("families/templates/chatml.jinja")),
    (
        "chatml-always-thinking",
        include_str!("families/templates/chatml-always-thinking.jinja"),
    ),
    (
        "chatml-thinking",
        include_str!("families/templates/chatml-thinking.jinja"),
    ),
    (
        "deepseek",
        include_str!("families/templates/deepseek.jinja"),
    ),
    ("gemma", include_str!("families/templates/gemma.jinja")),
    ("llama3", include_str!("families/templates/llama3.jinja")),
    ("minicpm", include_str!("families/templates/minicpm.jinja")),
    ("phi2", include_str!("families/templates/phi2.jinja")),
    ("phi3", include_str!("families/templates/phi3.jinja")),
    ("rwkv", include_str!("families/templates/rwkv.jinja")),
    (
        "telechat2",
        include_str!("families/templates/telechat2.jinja"),
    ),
    ("zephyr", include_str!("families/templates/zephyr.jinja")),
];

/// What a model does about thinking if it is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// It has no thinking that a template switches; what it marks as thinking is read as that.
    None,
    /// It thinks unless told not to.
    On,
    /// It thinks if told to.
    Off,
    /// The template always says something about it.
    Always,
}

/// How tools come into the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolPrompt {
    /// The family's template shows them.
    Template,
    /// It does not: a system text has to.
    Generic,
}

/// Where a system message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// It is a turn of its own.
    Role,
    /// Its text goes before that of the first user turn.
    FirstUser,
}

/// Who writes the token that begins a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bos {
    /// The template does, so the tokenizer must not.
    Template,
    /// The tokenizer does.
    Tokenizer,
}

/// A family of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Family {
    /// What `family=` calls it.
    pub name: String,
    /// Models that belong to it, for people.
    pub models: String,
    /// A chat template for its models that come without one.
    pub template: Option<&'static str>,
    /// Parts of the names of files of its models, in lower case.
    pub files: Vec<String>,
    /// Words in the names of files of models that do not think unless told to, although others of the family
    /// do.
    pub files_without_thinking: Vec<String>,
    /// Texts of which a template of the family holds all, in one of these lists.
    pub recognise: Vec<Vec<String>>,
    /// What it does about thinking.
    pub thinking: Thinking,
    /// The template's keyword that switches thinking.
    pub thinking_keyword: Option<String>,
    /// Words in a message that switch thinking on and off.
    pub thinking_words: Option<[String; 2]>,
    /// How tools come into the prompt.
    pub tools: ToolPrompt,
    /// Where a system message goes.
    pub system: System,
    /// Who writes the token that begins a text, if anybody does.
    pub bos: Option<Bos>,
    /// Markers of the answer are special tokens: without them shown, they are lost.
    pub needs_special_tokens: bool,
    /// How a tool's result comes into the prompt: "role" and its name, or in words for people.
    pub tool_results: Option<String>,
    /// What surprises people about it.
    pub notes: Vec<String>,
    /// How its answers are read.
    pub format: Arc<Format>,
}

/// A row of the table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    models: String,
    template: Option<String>,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    files_without_thinking: Vec<String>,
    recognise: Vec<Vec<String>>,
    thinking: Thinking,
    thinking_keyword: Option<String>,
    thinking_words: Option<[String; 2]>,
    tools: ToolPrompt,
    system: System,
    bos: Option<Bos>,
    #[serde(default)]
    needs_special_tokens: bool,
    tool_results: Option<String>,
    #[serde(default)]
    notes: Vec<String>,
    response_template: Value,
}

impl Entry {
    fn family(self) -> Family {
        let format = Format::from_response_template(&self.response_template);
        let template = self.template.map(|name| {
            let found = TEMPLATES.iter().find(|(known, _)| *known == name);
            found.expect("the table is part of the program").1
        });
        Family {
            template,
            files: self.files,
            files_without_thinking: self.files_without_thinking,
            format: Arc::new(format.expect("the table is part of the program")),
            name: self.name,
            models: self.models,
            recognise: self.recognise,
            thinking: self.thinking,
            thinking_keyword: self.thinking_keyword,
            thinking_words: self.thinking_words,
            tools: self.tools,
            system: self.system,
            bos: self.bos,
            needs_special_tokens: self.needs_special_tokens,
            tool_results: self.tool_results,
            notes: self.notes,
        }
    }
}

/// All families in the order in which they are tried; the last is for any other model.
#[must_use]
pub fn all() -> &'static [Arc<Family>] {
    &TABLE
}

/// The family of this name.
#[must_use]
pub fn named(name: &str) -> Option<Arc<Family>> {
    TABLE.iter().find(|family| family.name == name).cloned()
}

/// The family of a model that comes without a chat template, by its file's name.
#[must_use]
pub fn of_file(name: &str) -> Option<Arc<Family>> {
    let name = name.to_lowercase();
    TABLE
        .iter()
        .find(|family| {
            family
                .files
                .iter()
                .any(|part| begins_word(&name, part).next().is_some())
        })
        .cloned()
}

/// What of a name comes after each `part` at the start of a word: `functiongemma-2` is no `gemma-2`.
fn begins_word<'a>(name: &'a str, part: &'a str) -> impl Iterator<Item = &'a str> {
    let places = name.match_indices(part);
    let places = places.filter(|(at, _)| !name[..*at].ends_with(char::is_alphanumeric));
    places.map(|(at, _)| &name[at + part.len()..])
}

/// The family that a chat template belongs to; `generic` for one that none knows.
#[must_use]
pub fn recognise(template: &str) -> Arc<Family> {
    let holds = |texts: &Vec<String>| texts.iter().all(|text| template.contains(text.as_str()));
    let found = TABLE
        .iter()
        .find(|family| family.recognise.iter().any(holds));
    Arc::clone(found.unwrap_or(&TABLE[TABLE.len() - 1]))
}

impl Family {
    /// The role of a message with a tool's result. None: it is told in a user's message.
    #[must_use]
    pub fn result_role(&self) -> Option<&str> {
        let role = self.tool_results.as_deref()?.strip_prefix("role ")?;
        Some(role.split(',').next().unwrap_or(role))
    }

    /// Whether the model in a file of this name thinks only if it is told to, although the family's template
    /// has it think.
    #[must_use]
    pub fn is_quiet(&self, file_name: &str) -> bool {
        let name = file_name.to_lowercase();
        let is_word = |word: &String| {
            begins_word(&name, word).any(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        self.files_without_thinking.iter().any(is_word)
    }

    /// The same family for a model with a `response_template` of its own, which says how its answers are
    /// read. What it leaves out of the answer's end is the family's.
    ///
    /// # Errors
    /// [`TemplateProblem`]: then the family's own reading is the one to use.
    pub fn with_response_template(&self, spec: &Value) -> Result<Self, TemplateProblem> {
        let mut format = Format::from_response_template(spec)?;
        if format.stops.is_empty() {
            format.stops.clone_from(&self.format.stops);
        }
        format.plain_ids |= self.format.plain_ids;
        Ok(Self {
            format: Arc::new(format),
            ..self.clone()
        })
    }
}
