//! How a model is talked to, found by its files, by what the program says of it, or by its name.

use std::path::Path;
use std::sync::Arc;

use rkllm_text::answer::Format;
use rkllm_text::families::{self, Abilities};
use rkllm_text::jinja::{Serde, Value};
use rkllm_text::template::{ChatTemplate, Prompt};

use super::{Chat, ends, prompt};
use crate::files::ModelKind;
use crate::files::template::{TemplateText, Templates};
use crate::protocol::error::{ErrorKind, Failure};

impl Chat {
    /// How a model with this template is talked to. The family follows from the text of the template, if it
    /// is not named; `response_template` is the model's own word on how its answers are read.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for a family that is not known, `ErrorKind::Template` for a template that
    /// cannot render a single user's message.
    pub fn new(
        template: ChatTemplate,
        path: Option<&Path>,
        family: Option<&str>,
        response_template: Option<&serde_json::Value>,
    ) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let mut family = match family {
            Some(name) => families::named(name).ok_or_else(|| unknown_family(name))?,
            None => families::recognise(template.source()),
        };
        if let Some(spec) = response_template {
            match family.with_response_template(spec) {
                Ok(own) => family = Arc::new(own),
                Err(problem) => notes.push(format!(
                    "the model's response_template cannot be used, the family {} is: {problem}",
                    family.name
                )),
            }
        }
        let render = |probe: &families::Probe| {
            let messages = Value::from(Serde(&probe.messages));
            let prompt = Prompt {
                messages: messages.try_iter().into_iter().flatten().collect(),
                tools: (!probe.tools.is_null()).then(|| Value::from(Serde(&probe.tools))),
                add_generation_prompt: probe.add_generation_prompt,
                variables: probe
                    .keywords
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::from(Serde(value))))
                    .collect(),
                ..Prompt::default()
            };
            template.render(&prompt)
        };
        let Some(abilities) = Abilities::probe(render) else {
            let messages = [("role", "user"), ("content", "Hello")];
            let prompt = Prompt {
                messages: vec![Value::from_pairs(messages)],
                add_generation_prompt: true,
                ..Prompt::default()
            };
            let trouble = template.render(&prompt).err();
            return Err(trouble.map_or_else(
                || {
                    Failure::new(
                        ErrorKind::Template,
                        "the chat template writes nothing for a user's message",
                    )
                },
                |trouble| Failure::template(&trouble, path),
            ));
        };
        let mut format = Arc::clone(&family.format);
        let generic = prompt::generic_calls();
        if !abilities.tools && !format.calls.contains(&generic) {
            let mut with_calls = Format::clone(&format);
            with_calls.calls.push(generic);
            format = Arc::new(with_calls);
        }
        Ok(Self {
            ends: ends::of(&family, &template, None),
            template: Some(template),
            path: path.map(Path::to_path_buf),
            family,
            format,
            abilities,
            result_role: None,
            thinks: None,
            notes,
        })
    }

    /// How the model in this file is talked to, and how with tools where it has a template for those.
    /// `chat_template` is the text of a template or the path of a file, in place of what is found in the model
    /// and beside it.
    ///
    /// # Errors
    /// As [`Self::new`]; `ErrorKind::Template` if there is no template, or it cannot be used;
    /// `ErrorKind::FileMissing` for a path that does not exist.
    pub fn of_model(
        path: &Path,
        chat_template: Option<&str>,
        family: Option<&str>,
    ) -> Result<(Self, Option<Self>), Failure> {
        let mut found = Templates::of_model(path)?;
        if let Some(given) = chat_template {
            found.replace(given)?;
        }
        let chat = |one: &TemplateText| -> Result<Self, Failure> {
            let template = found.compile(one)?;
            let own = found.response_template.as_ref();
            let mut chat = Self::new(template.clone(), one.source.path(), family, own)?;
            chat.ends = ends::of(&chat.family, &template, Some(&found));
            Ok(chat)
        };
        let Some(plain) = found.choose(None, false)? else {
            let own = found.response_template.as_ref();
            return Self::of_family(path, family, own).map(|chat| (chat, None));
        };
        let tools = found
            .choose(None, true)?
            .filter(|one| one.name != plain.name);
        Ok((chat(plain)?, tools.map(chat).transpose()?))
    }

    /// With the template of a family, for a model that comes without one.
    fn of_family(
        path: &Path,
        family: Option<&str>,
        response_template: Option<&serde_json::Value>,
    ) -> Result<Self, Failure> {
        let family = match family {
            Some(name) => Some(families::named(name).ok_or_else(|| unknown_family(name))?),
            None => path
                .file_name()
                .and_then(|name| families::of_file(&name.to_string_lossy())),
        };
        let Some(family) = family else {
            let is_lone = ModelKind::of(path) == Some(ModelKind::Rkllm);
            return if is_lone {
                Ok(Self::of_library(path))
            } else {
                Err(no_template(path))
            };
        };
        let Some(text) = family.template else {
            return Err(no_template(path));
        };
        let template =
            ChatTemplate::new(text).map_err(|trouble| Failure::template(&trouble, None))?;
        let mut chat = Self::new(template, None, Some(&family.name), response_template)?;
        // These templates are for all roles alike, or for three: probing them tells nothing of the model's.
        chat.abilities.developer = false;
        chat.abilities.tool_results = family.result_role().is_some();
        chat.result_role = family.result_role().map(str::to_owned);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        chat.thinks = family.is_quiet(&name).then_some(false);
        chat.notes.push(format!(
            "no chat template was found beside the model: a simple one for the family {} is used",
            family.name
        ));
        Ok(chat)
    }

    /// With the library's own template, of which nothing is known but that it takes a user's message.
    fn of_library(path: &Path) -> Self {
        let family = families::recognise("");
        Self {
            template: None,
            ends: Vec::new(),
            path: Some(path.to_path_buf()),
            format: Arc::clone(&family.format),
            family,
            abilities: Abilities::none(),
            result_role: None,
            thinks: None,
            notes: vec![
                "no chat template and no family was found for the model: the library's own template is used"
                    .to_owned(),
            ],
        }
    }

    /// The end marks of this model's answers, if markers of its family are special tokens; else none. A
    /// library that is to show them is opened with [`ModelConfig::end_marks`](crate::ModelConfig), or it
    /// leaves them out of the text, and a tool call becomes prose. Cheap: nothing is compiled, and what
    /// cannot be read is left for [`Self::of_model`] to tell.
    #[must_use]
    pub fn end_marks(
        path: &Path,
        chat_template: Option<&str>,
        family: Option<&str>,
    ) -> Vec<String> {
        let family = if let Some(name) = family {
            families::named(name)
        } else {
            let found = Templates::of_model(path).and_then(|mut found| {
                chat_template
                    .map(|given| found.replace(given))
                    .transpose()?;
                found.choose(None, false).map(Option::<&_>::cloned)
            });
            match found {
                Ok(Some(template)) => Some(families::recognise(&template.text)),
                Ok(None) => path
                    .file_name()
                    .and_then(|name| families::of_file(&name.to_string_lossy())),
                Err(_) => None,
            }
        };
        let family = family.filter(|family| family.needs_special_tokens);
        family.map_or_else(Vec::new, |family| family.format.stops.clone())
    }
}

pub(super) fn no_template(path: &Path) -> Failure {
    let text = format!("no chat template was found for {}", path.display());
    Failure::new(ErrorKind::Template, text)
        .with_path(path)
        .with_hint(
            "Put the model's tokenizer_config.json or chat_template.jinja beside it, pass \
             chat_template=, or name its family with family=. The files are in the model's \
             repository on the hub.",
        )
}

/// Refuses what is not the name of a family.
///
/// # Errors
/// `ErrorKind::InvalidArgument`, with the names of all families.
pub fn check_family(name: &str) -> Result<(), Failure> {
    families::named(name)
        .map(drop)
        .ok_or_else(|| unknown_family(name))
}

fn unknown_family(name: &str) -> Failure {
    let known: Vec<&str> = families::all()
        .iter()
        .map(|family| family.name.as_str())
        .collect();
    let reason = format!("must be the name of a family, got {name:?}");
    let hint = format!("The families are: {}.", known.join(", "));
    Failure::invalid_with_hint("family", reason, hint)
}
