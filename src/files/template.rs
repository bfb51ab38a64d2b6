//! Where a model's chat template is: given by the caller, in files beside the model, or in the model's own.

mod ends;
mod given;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rkllm_text::jinja::Trouble;
use rkllm_text::template::ChatTemplate;
use serde_json::{Map, Value};

pub use self::given::template_given;
use super::{ModelKind, gguf};
use crate::library::reason;
use crate::protocol::error::{ErrorKind, Failure};

/// Longer than any real template by far; the engine takes no longer ones.
const LONGEST_TEMPLATE: u64 = 1 << 20;
/// The configuration of a tokenizer with many added tokens has about 1 MB.
const LONGEST_JSON: u64 = 16 << 20;
/// Named templates that are looked at.
const MOST_NAMED: usize = 64;

const TEMPLATE_FILE: &str = "chat_template.jinja";
const NAMED_FOLDER: &str = "additional_chat_templates";
const CONFIG_FILE: &str = "tokenizer_config.json";
const PROCESSOR_FILE: &str = "chat_template.json";
const TOKENS_FILE: &str = "special_tokens_map.json";
const GENERATION_FILE: &str = "generation_config.json";

/// The name of the template that is used unless another one fits better.
pub const DEFAULT: &str = "default";
/// The name of the template for conversations with tools.
pub const TOOL_USE: &str = "tool_use";

/// Where a template comes from.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// The caller gave its text.
    Argument,
    /// The caller named this file.
    GivenFile(PathBuf),
    /// A file beside the model.
    Beside(PathBuf),
    /// The metadata of the model's file.
    Model(PathBuf),
}

impl TemplateSource {
    /// The file that it is in.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Argument => None,
            Self::GivenFile(path) | Self::Beside(path) | Self::Model(path) => Some(path),
        }
    }
}

/// The text of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateText {
    /// Its name: `default`, `tool_use`, `rag`, or another.
    pub name: String,
    /// The Jinja text.
    pub text: String,
    /// Where it comes from.
    pub source: TemplateSource,
}

/// What a model's files say of conversations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Templates {
    /// The templates, by name. The order is that of the names.
    pub all: Vec<TemplateText>,
    /// Special tokens by the names that transformers has for them, such as `bos_token`.
    pub tokens: Vec<(String, String)>,
    /// The ids of the tokens that end an answer, as far as a file names them.
    pub stop_ids: Vec<i32>,
    /// The texts of those tokens, with the ids, as far as a file names both.
    pub ends: Vec<(String, i32)>,
    /// Whether the tokenizer puts a token at the beginning of a text by itself. A template writes it, too:
    /// what has been rendered is tokenized without.
    pub add_bos: Option<bool>,
    /// `response_template`: how an answer is read, in the format of transformers.
    pub response_template: Option<Value>,
}

impl Templates {
    /// Looks beside a model, and then into its file. What is not there is no error.
    ///
    /// # Errors
    /// `ErrorKind::Template` for a file that cannot be read, is too large, or is not what its name says.
    pub fn of_model(model: &Path) -> Result<Self, Failure> {
        let mut found = model.parent().map_or_else(|| Ok(Self::default()), beside)?;
        if ModelKind::of(model) == Some(ModelKind::Gguf) {
            found.add_gguf(model)?;
        }
        Ok(found)
    }

    /// Takes the caller's `chat_template=` in place of what was found: the text of a template, or else the
    /// path of a file, or else the name of one that was found. The tokens stay.
    ///
    /// # Errors
    /// `ErrorKind::FileMissing` or `ErrorKind::Template`.
    pub fn replace(&mut self, given: &str) -> Result<(), Failure> {
        let named = self.all.iter().find(|one| one.name == given);
        let named = named.filter(|_| !Path::new(given).exists());
        let one = match named {
            Some(named) => TemplateText {
                name: DEFAULT.to_owned(),
                ..named.clone()
            },
            None => template_given(given).map_err(|failure| {
                if failure.kind != ErrorKind::FileMissing || self.all.len() < 2 {
                    return failure;
                }
                failure.with_hint(format!(
                    "Pass the path of a file, or the name of one of the model's templates: {}.",
                    self.names()
                ))
            })?,
        };
        self.all = vec![one];
        Ok(())
    }

    fn names(&self) -> String {
        let all: Vec<_> = self.all.iter().map(|one| one.name.as_str()).collect();
        all.join(", ")
    }

    /// The template for a conversation: by its name; else, with tools, the one for tools; else the default.
    /// `None` when there is no template at all.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for a name that no template has, and `ErrorKind::Template` when there
    /// are only others.
    pub fn choose(
        &self,
        name: Option<&str>,
        tools: bool,
    ) -> Result<Option<&TemplateText>, Failure> {
        let find = |name: &str| self.all.iter().find(|one| one.name == name);
        if let Some(name) = name {
            return match find(name) {
                Some(found) => Ok(Some(found)),
                None if self.all.is_empty() => Err(Failure::invalid_with_hint(
                    "chat_template",
                    format!("must not be {name:?}: the model has no chat template"),
                    "Pass the text of a template, or the path of a file.",
                )),
                None => Err(Failure::invalid_with_hint(
                    "chat_template",
                    format!("must be the name of a template, got {name:?}"),
                    format!("The model has these templates: {}.", self.names()),
                )),
            };
        }
        let found = tools.then(|| find(TOOL_USE)).flatten();
        match found.or_else(|| find(DEFAULT)) {
            Some(found) => Ok(Some(found)),
            None if self.all.is_empty() => Ok(None),
            None => Err(Failure::new(
                ErrorKind::Template,
                format!(
                    "the model has several chat templates and no default: {}",
                    self.names()
                ),
            )
            .with_hint("Pass the name of one of them as chat_template=.")),
        }
    }

    /// Compiles one of the templates, with the tokens.
    ///
    /// # Errors
    /// `ErrorKind::Template` with the file, the line and the reason.
    pub fn compile(&self, one: &TemplateText) -> Result<ChatTemplate, Failure> {
        let compiled = ChatTemplate::new(&one.text);
        let compiled = compiled.map_err(|trouble| one.failure(&trouble))?;
        Ok(compiled.with_tokens(self.tokens.iter().cloned()))
    }

    fn add_token(&mut self, name: &str, token: &str) {
        if self.tokens.iter().all(|(known, _)| known != name) {
            self.tokens.push((name.to_owned(), token.to_owned()));
        }
    }

    /// `bos_token` and others: strings, or objects that hold one.
    fn add_tokens(&mut self, config: &Map<String, Value>) {
        let text = |value: &Value| {
            let text = value.get("content").unwrap_or(value).as_str();
            text.map(str::to_owned)
        };
        let own = config.iter().filter(|(name, _)| name.ends_with("_token"));
        // Those that only this model has.
        let more = config
            .get("extra_special_tokens")
            .and_then(Value::as_object);
        for (name, value) in own.chain(more.into_iter().flatten()) {
            if let Some(token) = text(value) {
                self.add_token(name, &token);
            }
        }
    }

    fn add_gguf(&mut self, model: &Path) -> Result<(), Failure> {
        // A file that cannot be opened is for the opening of the model to judge.
        let Some(chat) = File::open(model).ok().and_then(gguf::chat) else {
            return Ok(());
        };
        if self.all.is_empty() {
            if chat.unusable {
                return Err(problem(
                    model,
                    "the chat template is longer than 1 MiB, or not UTF-8, or one of more than 16",
                ));
            }
            let default = chat.template.map(|text| (DEFAULT.to_owned(), text));
            let all: BTreeMap<String, String> = default.into_iter().chain(chat.named).collect();
            self.all
                .extend(all.into_iter().map(|(name, text)| TemplateText {
                    name,
                    text,
                    source: TemplateSource::Model(model.to_owned()),
                }));
        }
        for (name, id, token) in &chat.tokens {
            self.add_token(name, token);
            if self.stop_ids.is_empty() && *name == "eos_token" {
                self.stop_ids.extend(i32::try_from(*id));
            }
        }
        self.add_bos = self.add_bos.or(chat.add_bos);
        Ok(())
    }
}

impl TemplateText {
    /// An error about this template.
    #[must_use]
    pub fn failure(&self, trouble: &Trouble) -> Failure {
        Failure::template(trouble, self.source.path())
    }
}

/// What the files in a model's folder say.
fn beside(folder: &Path) -> Result<Templates, Failure> {
    let mut found = Templates::default();
    let mut all = BTreeMap::new();
    let mut add = |name: &str, text: String, path: &Path| {
        let source = TemplateSource::Beside(path.to_owned());
        all.entry(name.to_owned()).or_insert(TemplateText {
            name: name.to_owned(),
            text,
            source,
        });
    };
    let path = folder.join(TEMPLATE_FILE);
    if let Some(text) = read(&path, LONGEST_TEMPLATE)? {
        add(DEFAULT, text, &path);
    }
    for (name, path) in named(&folder.join(NAMED_FOLDER)) {
        if let Some(text) = read(&path, LONGEST_TEMPLATE)? {
            add(&name, text, &path);
        }
    }
    let mut added = None;
    let path = folder.join(CONFIG_FILE);
    if let Some(config) = object(&path)? {
        match config.get("chat_template") {
            Some(Value::String(text)) => add(DEFAULT, text.clone(), &path),
            Some(Value::Array(list)) => {
                for one in list {
                    let text = |key| one.get(key).and_then(Value::as_str);
                    let (Some(name), Some(text)) = (text("name"), text("template")) else {
                        let wrong =
                            "chat_template must be a list of objects with name and template";
                        return Err(problem(&path, wrong));
                    };
                    add(name, text.to_owned(), &path);
                }
            }
            Some(Value::Null) | None => {}
            Some(_) => return Err(problem(&path, "chat_template must be a string or a list")),
        }
        found.add_tokens(&config);
        found.add_bos = config.get("add_bos_token").and_then(Value::as_bool);
        added = config.get("added_tokens_decoder").cloned();
        let response = config.get("response_template");
        found.response_template = response.filter(|value| value.is_object()).cloned();
    }
    let path = folder.join(PROCESSOR_FILE);
    if let Some(config) = object(&path)? {
        match config.get("chat_template") {
            Some(Value::String(text)) => add(DEFAULT, text.clone(), &path),
            _ => return Err(problem(&path, "chat_template must be a string")),
        }
    }
    if let Some(config) = object(&folder.join(TOKENS_FILE))? {
        found.add_tokens(&config);
    }
    if let Some(config) = object(&folder.join(GENERATION_FILE))? {
        let id = |value: &Value| value.as_i64().and_then(|id| i32::try_from(id).ok());
        found.stop_ids = match config.get("eos_token_id") {
            Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
            one => one.and_then(id).into_iter().collect(),
        };
    }
    found.ends = ends::of(added, &found);
    found.all = all.into_values().collect();
    Ok(found)
}

/// The files of named templates, by name. Only what lies in the folder itself is looked at.
fn named(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let templates = entries.filter_map(|entry| {
        let path = entry.path();
        let jinja = path.extension().is_some_and(|suffix| suffix == "jinja");
        let name = path.file_stem()?.to_str()?.to_owned();
        jinja.then_some((name, path))
    });
    templates.take(MOST_NAMED).collect()
}

/// A JSON object in a file; `None` when there is no such file.
fn object(path: &Path) -> Result<Option<Map<String, Value>>, Failure> {
    let Some(text) = read(path, LONGEST_JSON)? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let mut failure = problem(path, &format!("the file is not a JSON object: {error}"));
        failure.fields.line = Some(error.line()).filter(|line| *line > 0);
        failure
    })
}

/// The text of a file of a bounded length; `None` when there is no such file.
fn read(path: &Path, longest: u64) -> Result<Option<String>, Failure> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let unreadable = |error| {
        problem(
            path,
            &format!("the file cannot be read: {}", reason(&error)),
        )
    };
    // Before it is opened: a pipe would be waited for.
    match fs::metadata(path) {
        Ok(data) if data.is_file() => {}
        Ok(_) => return Err(problem(path, "it is not a regular file")),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(longest + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > longest {
        let wrong = format!("the file is larger than {} MiB", longest >> 20);
        return Err(problem(path, &wrong));
    }
    let text = String::from_utf8(bytes).map_err(|_| problem(path, "the file is not UTF-8"))?;
    // As editors on Windows begin a file.
    Ok(Some(
        text.strip_prefix('\u{feff}')
            .map_or(text.clone(), str::to_owned),
    ))
}

fn problem(path: &Path, what: &str) -> Failure {
    Failure::new(ErrorKind::Template, format!("{}: {what}", path.display()))
        .with_path(path)
        .with_hint("Repair the file or remove it, or pass a template as chat_template=.")
}

#[cfg(test)]
mod tests;
