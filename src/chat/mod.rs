//! Conversations: messages in, an answer with reasoning and tool calls out.

mod answer;
mod ends;
mod messages;
mod prompt;
mod runs;
mod stream;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rkllm_text::answer::{Format, Options};
use rkllm_text::families::{self, Abilities, Family};
use rkllm_text::schema::Tools;
use rkllm_text::template::{ChatTemplate, Prompt};

pub use self::answer::{ChatAnswer, ChatDelta, ToolCallDelta};
pub use self::runs::Runs;
pub use self::stream::ChatStream;
pub use rkllm_text::answer::ToolCall;
pub use rkllm_text::jinja::{Serde, Value};

use self::stream::Plan;
use crate::files::template::{TemplateText, Templates};
use crate::model::{GenerateOptions, Model};
use crate::protocol::error::{ErrorKind, Failure};

/// How a model is talked to: its chat template, and how its answers are read.
#[derive(Debug, Clone)]
pub struct Chat {
    template: ChatTemplate,
    /// The file that the template came from.
    path: Option<PathBuf>,
    family: Arc<Family>,
    format: Arc<Format>,
    abilities: Abilities,
    /// Tokens that end an answer, as [`Rendered::with_ends`](crate::protocol::input::Rendered::with_ends) takes
    /// them.
    ends: Vec<(String, Option<i32>)>,
    /// What is odd about it.
    notes: Vec<String>,
}

/// Which tools a model may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Those that it is given, or none.
    #[default]
    Auto,
    /// None: it is not even shown them.
    None,
}

/// Options of one answer.
#[derive(Debug, Clone, Default)]
pub struct ChatOptions {
    /// How the answer is generated.
    pub generate: GenerateOptions,
    /// Tools, in the shape `{"type": "function", "function": {…}}`.
    pub tools: Option<Value>,
    /// Which of them may be called.
    pub tool_choice: ToolChoice,
    /// At most one call: the answer ends where a second would begin.
    pub one_call: bool,
    /// Thinking, for models that have it; `None` is what the template does.
    pub thinking: Option<bool>,
    /// Most tokens of thinking; after them it is ended, and the model answers.
    pub max_reasoning_tokens: Option<usize>,
    /// Old messages are left out where the conversation does not fit.
    pub drops_oldest: bool,
    /// Further names for the template.
    pub template_kwargs: Vec<(String, Value)>,
    /// Documents, for templates that know them.
    pub documents: Option<Value>,
    /// The time that the template is told; `None` is now.
    pub now: Option<SystemTime>,
}

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
            template,
            path: path.map(Path::to_path_buf),
            family,
            format,
            abilities,
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
            let mut chat = Self::new(template, one.source.path(), family, own)?;
            chat.ends = ends::of(&chat.family, &chat.template, Some(&found));
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
        let found = family.and_then(|family| Some((family.template?, family)));
        let Some((text, family)) = found else {
            let text = format!("no chat template was found for {}", path.display());
            return Err(Failure::new(ErrorKind::Template, text)
                .with_path(path)
                .with_hint(
                    "Put the model's tokenizer_config.json or chat_template.jinja beside it, pass \
                     chat_template=, or name its family with family=. The files are in the model's \
                     repository on the hub.",
                ));
        };
        let template =
            ChatTemplate::new(text).map_err(|trouble| Failure::template(&trouble, None))?;
        let mut chat = Self::new(template, None, Some(&family.name), response_template)?;
        chat.notes.push(format!(
            "no chat template was found beside the model: a simple one for the family {} is used",
            family.name
        ));
        Ok(chat)
    }

    /// The name of the model's family.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.family.name
    }

    /// What the template can do.
    #[must_use]
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// The text that a conversation gives to the model, whole.
    ///
    /// # Errors
    /// As [`Self::stream`], as far as no model is needed.
    pub fn prompt(&self, messages: &[Value], options: &ChatOptions) -> Result<String, Failure> {
        tools(options)?;
        let mut prepared = self.prepare(messages, options)?;
        Ok(prepared.texts.swap_remove(0))
    }

    /// Starts an answer and returns it as it comes. Never blocks.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for what are no messages or tools, `ErrorKind::Template`, and those of
    /// [`Model::stream`].
    pub fn stream(
        &self,
        model: &Arc<Model>,
        messages: &[Value],
        options: &ChatOptions,
    ) -> Result<ChatStream, Failure> {
        let mut generate = options.generate.clone();
        if generate.keep_history {
            return Err(Failure::invalid_with_hint(
                "keep_history",
                "is not supported by chat()",
                "Pass all messages; what the model holds of them is not computed again.",
            ));
        }
        generate.turn = true;
        let tools = tools(options)?;
        let prepared = self.prepare(messages, options)?;
        let is_npu = !model.runtime().capabilities().has("tokenize");
        if is_npu && model.runtime().capabilities().has_templates() {
            self.renders_text(model);
        }
        if is_npu {
            // Some converted models do not end by themselves (RKLLM 1.3.0).
            let missing = self
                .format
                .stops
                .iter()
                .filter(|stop| !generate.stop.contains(stop));
            let missing: Vec<_> = missing.cloned().collect();
            generate.stop.extend(missing);
        }
        let limit = model.effective().max_context_len;
        let answer = generate
            .max_new_tokens
            .unwrap_or(model.effective().max_new_tokens);
        let parser = Options {
            tools: Arc::new(tools),
            ignores_calls: !options.shows_tools(),
            seed: seed(),
            marker_ids: Vec::new(),
        };
        let plan = Plan {
            prepared,
            options: generate,
            format: Arc::clone(&self.format),
            parser,
            markers: self
                .format
                .markers()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ends: if is_npu {
                self.ends.clone()
            } else {
                Vec::new()
            },
            close: self.close(),
            max_reasoning_tokens: options.max_reasoning_tokens,
            ends_with_thinking: model.runtime().capabilities().ends_with_thinking(),
            one_call: options.one_call,
            room: usize::try_from(answer.min(limit / 4)).unwrap_or(1).max(1),
        };
        ChatStream::begin(model, plan)
    }

    /// After this, the library's own template is off: other calls get theirs from this one.
    fn renders_text(&self, model: &Model) {
        let chat = self.clone();
        model.state.renders(move |text, role, thinking| {
            let message = [("role", role), ("content", text)];
            let options = ChatOptions {
                thinking,
                ..ChatOptions::default()
            };
            chat.prompt(&[Value::from_pairs(message)], &options)
        });
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// As [`Self::stream`], and what the run meets.
    pub fn answer(
        &self,
        model: &Arc<Model>,
        messages: &[Value],
        options: &ChatOptions,
    ) -> Result<ChatAnswer, Arc<Failure>> {
        self.stream(model, messages, options)
            .map_err(Arc::new)?
            .into_answer()
    }

    /// What ends the thinking, with the line ends that models write around it.
    fn close(&self) -> String {
        let close = self
            .format
            .reasoning
            .first()
            .and_then(|region| region.close.first());
        close.map_or_else(String::new, |close| format!("\n{}\n\n", close.trim()))
    }
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

fn tools(options: &ChatOptions) -> Result<Tools, Failure> {
    let Some(tools) = &options.tools else {
        return Ok(Tools::default());
    };
    let plain = serde_json::to_value(tools)
        .map_err(|error| Failure::invalid("tools", format!("must be JSON: {error}")))?;
    Tools::new(&plain).map_err(|problem| Failure::invalid("tools", problem.to_string()))
}

/// Another one for each answer, so that ids of calls are not repeated in a conversation.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(SystemTime::now())
}
