//! Conversations: messages in, an answer with reasoning and tool calls out.

mod answer;
mod before;
mod calls;
mod continued;
mod conversation;
mod ends;
mod found;
mod messages;
mod overflow;
mod plan;
mod prompt;
mod runs;
mod stream;
mod tokenizer;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rkllm_text::answer::{Format, Options};
use rkllm_text::families::{Abilities, Family};
use rkllm_text::schema::Tools;
use rkllm_text::template::ChatTemplate;

pub use self::answer::{ChatAnswer, ChatDelta, ToolCallDelta};
pub use self::conversation::{Conversation, TurnStream};
pub use self::found::check_family;
#[cfg(feature = "python")]
pub(crate) use self::messages::no_text;
pub use self::runs::Runs;
pub use self::stream::ChatStream;
pub use self::tokenizer::Tokenizer;
pub use rkllm_text::answer::ToolCall;
pub use rkllm_text::jinja::{Serde, Value};

use self::plan::Plan;
use crate::model::{GenerateOptions, Model};
use crate::protocol::PromptStore;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::message::Settled;

/// How a model is talked to: its chat template, and how its answers are read.
#[derive(Debug, Clone)]
pub struct Chat {
    /// None: the library puts its own around a single message.
    template: Option<ChatTemplate>,
    /// The file that the template came from, or the model that has none.
    path: Option<PathBuf>,
    family: Arc<Family>,
    format: Arc<Format>,
    abilities: Abilities,
    /// What the template calls the role of a tool's result, if it is another.
    result_role: Option<String>,
    /// Whether it thinks, where it is not the template that knows.
    thinks: Option<bool>,
    /// Tokens that end an answer, as [`Rendered::with_ends`](crate::protocol::input::Rendered::with_ends) takes
    /// them.
    ends: Vec<(String, Option<i32>)>,
    /// What is odd about it.
    notes: Vec<String>,
}

/// Which tools a model may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Those that it is given, or none.
    #[default]
    Auto,
    /// None: it is not even shown them.
    None,
    /// At least one of those that it is given.
    Required,
    /// This one, once.
    Named(String),
}

/// Options of one answer.
#[derive(Debug, Clone, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
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
    /// Where the computed system messages and tools are kept, in files (since 1.2.0).
    pub prompt_store: Option<PromptStore>,
    /// Old messages are left out where the conversation does not fit.
    pub drops_oldest: bool,
    /// The model is not told the JSON schema that its answer is kept to.
    pub hides_schema: bool,
    /// The answer goes on with the last message, which is an assistant's.
    pub continue_final_message: bool,
    /// Further names for the template.
    pub template_kwargs: Vec<(String, Value)>,
    /// Documents, for templates that know them.
    pub documents: Option<Value>,
    /// The time that the template is told; `None` is now.
    pub now: Option<SystemTime>,
    /// Counts tokens where the library cannot.
    pub tokenizer: Option<Tokenizer>,
}

impl Chat {
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
        if self.template.is_none() {
            return Err(self.no_template());
        }
        let mut prepared = self.prepare(messages, options, usize::MAX)?;
        Ok(prepared.texts.swap_remove(0))
    }

    /// How many tokens the prompt of a conversation has: by the library, else by the options' tokenizer.
    ///
    /// # Errors
    /// As [`Self::prompt`]; `ErrorKind::UnsupportedFeature` if there is nothing to count with.
    pub fn count_tokens(
        &self,
        model: &Model,
        messages: &[Value],
        options: &ChatOptions,
    ) -> Result<usize, Failure> {
        let text = self.prompt(messages, options)?;
        if model.runtime().capabilities().has("tokenize") {
            let counted = model.begin_tokenize(&text, false)?;
            loop {
                if let Some(reply) = counted.wait(Duration::from_secs(60)) {
                    return Ok(reply?.numbers().len());
                }
            }
        }
        match &options.tokenizer {
            Some(tokenizer) => Ok(tokenizer.encode(&text)?.len()),
            None => Err(Failure::new(
                ErrorKind::UnsupportedFeature,
                "tokens cannot be counted: the library has no tokenizer, and the options have none",
            )
            .with_hint("Set tokenizer of the options.")),
        }
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
        generate.stop.extend(ends::texts(&self.family).cloned());
        let tools = tools(options)?;
        let limit = model.effective().max_context_len;
        let window = usize::try_from(limit).unwrap_or(1);
        if let (Some(constraint), true) = (&generate.constraint, options.shows_tools()) {
            return Err(Failure::invalid_with_hint(
                constraint.grammar.argument(),
                "cannot be combined with tools",
                "Pass tool_choice=\"none\" for an answer that is kept to it, or leave it out.",
            ));
        }
        let asked = self.asked_calls(options, &tools)?;
        let requires_call = asked.is_some();
        let mut prepared = self.prepare(messages, options, window)?;
        generate.constraint = asked.or(generate.constraint);
        if let Some(constraint) = &mut generate.constraint {
            constraint.thinking = self.thinking_before(&prepared.texts[0], prepared.begun);
        }
        let able = model.runtime().capabilities();
        if options.prompt_store.is_some() {
            able.require_for("prompt_cache", "prompt_cache_dir")?;
            able.require_for("prefix_reuse", "prompt_cache_dir")?;
        }
        let (is_npu, by_library) = (!able.has("tokenize"), self.template.is_none());
        if by_library {
            if !model.puts_template() || options.max_reasoning_tokens.is_some() {
                return Err(self.no_template());
            }
            generate.thinking = options.thinking;
        }
        let answer = generate
            .max_new_tokens
            .unwrap_or(model.effective().max_new_tokens);
        let room = usize::try_from(answer.min(limit / 4)).unwrap_or(1).max(1);
        let markers = self.markers();
        let (settled, prompt_tokens) = match &options.tokenizer {
            _ if by_library => (Some(Settled::default()), None),
            Some(tokenizer) if is_npu => {
                let (rendering, tokens) = tokenizer.settle(&prepared.texts, room, window)?;
                let settled = Settled {
                    rendering,
                    markers: tokenizer.single(&markers, &model.state.markers)?,
                    notes: Vec::new(),
                };
                (Some(settled), Some(tokens))
            }
            _ => (None, None),
        };
        // A token has at least one byte: what has no more of them fits for certain.
        let may_overflow = prepared.texts[0].len() + room > window;
        if options.drops_oldest && is_npu && settled.is_none() && may_overflow {
            prepared.notes.push(NOT_COUNTED.to_owned());
        }
        if is_npu && !by_library && able.has_templates() {
            self.renders_text(model);
        }
        let parser = Options {
            tools: Arc::new(tools),
            ignores_calls: !options.shows_tools(),
            // Some converted models do not end by themselves (RKLLM 1.3.0).
            ends_at_mark: is_npu,
            seed: seed(),
            marker_ids: Vec::new(),
        };
        let mut format = Arc::clone(&self.format);
        if requires_call {
            // What it writes in its thinking is kept to nothing.
            Arc::make_mut(&mut format).calls_in_reasoning = false;
        }
        let plan = Plan {
            prepared,
            options: generate,
            format,
            parser,
            markers,
            settled,
            prompt_tokens,
            by_library,
            ends: if is_npu {
                self.ends.clone()
            } else {
                Vec::new()
            },
            store: options.prompt_store.clone(),
            close: self.close(),
            max_reasoning_tokens: options.max_reasoning_tokens,
            ends_with_thinking: model.runtime().capabilities().ends_with_thinking(),
            one_call: options.one_call || matches!(options.tool_choice, ToolChoice::Named(_)),
            room,
        };
        ChatStream::begin(model, plan)
    }

    /// What is looked for in answers.
    fn markers(&self) -> Vec<String> {
        let markers = self.format.markers().into_iter();
        markers.map(str::to_owned).collect()
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

    /// The error of what needs a template of ours.
    fn no_template(&self) -> Failure {
        found::no_template(self.path.as_deref().unwrap_or(Path::new("the model")))
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

/// What an answer says that was to leave out old messages if need be, where nobody can tell.
const NOT_COUNTED: &str = "the tokens of the conversation could not be counted, so overflow=\"drop_oldest\" left nothing \
    out; put the model's tokenizer.json beside it, and install rkllm_rs[tokenizers]";

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
