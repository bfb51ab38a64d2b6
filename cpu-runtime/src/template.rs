//! Puts a chat template around text input.

use minijinja::{Value, context};
use rkllm_text::jinja::Jinja;

use crate::request::Role;

/// Stands for an answer when the text between two turns is looked for.
const ANSWER: &str = "\u{1}the-answer\u{1}";
/// Stands for a question likewise.
const QUESTION: &str = "\u{1}the-question\u{1}";

/// What surrounds text input.
#[derive(Debug, Clone)]
enum Kind {
    /// The model's own Jinja text.
    Model(Jinja),
    /// What `rkllm_set_chat_template` gave; three empty strings leave the text as it is.
    Custom {
        system: Vec<u8>,
        prefix: Vec<u8>,
        postfix: Vec<u8>,
    },
    /// The model has none.
    Raw,
}

/// Function tools, as `rkllm_set_function_tools` gave them.
#[derive(Debug, Clone)]
struct Tools {
    system: String,
    functions: Value,
    tag: String,
}

/// The template of one model, which the caller may replace.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    kind: Kind,
    tools: Option<Tools>,
    bos: String,
    eos: String,
}

/// What a turn is rendered from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) role: Role,
    pub(crate) text: &'a [u8],
    pub(crate) thinking: bool,
}

/// How a new turn relates to what is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing precedes it.
    First,
    /// An answer precedes it, whose end mark is not in the cache.
    AfterAnswer,
}

impl Template {
    /// Takes the model's Jinja text; a text that cannot be used is an error.
    pub(crate) fn of_model(
        source: Option<String>,
        bos: String,
        eos: String,
    ) -> Result<Self, String> {
        let kind = match source.filter(|text| !text.is_empty()) {
            Some(source) => Kind::Model(Jinja::new(&source).map_err(|e| e.to_string())?),
            None => Kind::Raw,
        };
        let template = Self {
            kind,
            tools: None,
            bos,
            eos,
        };
        // A template that cannot render the simplest chat is found out at init, not in a run.
        template.render(
            Place::First,
            Turn {
                role: Role::User,
                text: b"Hello",
                thinking: false,
            },
        )?;
        Ok(template)
    }

    /// No template: text goes to the model as it is.
    pub(crate) fn raw(bos: String, eos: String) -> Self {
        Self {
            kind: Kind::Raw,
            tools: None,
            bos,
            eos,
        }
    }

    pub(crate) fn replace(&mut self, system: Vec<u8>, prefix: Vec<u8>, postfix: Vec<u8>) {
        self.kind = Kind::Custom {
            system,
            prefix,
            postfix,
        };
    }

    pub(crate) fn set_tools(
        &mut self,
        system: &[u8],
        functions: &[u8],
        tag: &[u8],
    ) -> Result<(), String> {
        match self.kind {
            Kind::Model(_) => {}
            Kind::Custom { .. } => {
                return Err("function tools need the model's own chat template, which \
                            rkllm_set_chat_template has replaced"
                    .into());
            }
            Kind::Raw => return Err("function tools need a model with a chat template".into()),
        }
        let functions: Value = serde_json::from_slice(functions)
            .map_err(|e| format!("function tools are not valid JSON: {e}"))?;
        if functions.kind() != minijinja::value::ValueKind::Seq {
            return Err("function tools must be a JSON array".into());
        }
        self.tools = Some(Tools {
            system: String::from_utf8_lossy(system).into_owned(),
            functions,
            tag: String::from_utf8_lossy(tag).into_owned(),
        });
        Ok(())
    }

    /// Whether an end mark that the model has produced must stay in the cache before a next turn.
    ///
    /// The model's template writes the mark itself; three strings do not, and raw text is the
    /// caller's business.
    pub(crate) fn keeps_end_mark(&self) -> bool {
        match &self.kind {
            Kind::Custom {
                prefix, postfix, ..
            } => !prefix.is_empty() || !postfix.is_empty(),
            Kind::Model(_) | Kind::Raw => false,
        }
    }

    /// The text that goes to the tokenizer.
    pub(crate) fn render(&self, place: Place, turn: Turn<'_>) -> Result<Vec<u8>, String> {
        match &self.kind {
            Kind::Raw => Ok(turn.text.to_vec()),
            Kind::Custom {
                system,
                prefix,
                postfix,
            } => {
                let system = if place == Place::First {
                    &system[..]
                } else {
                    &[]
                };
                Ok([system, prefix, turn.text, postfix].concat())
            }
            Kind::Model(jinja) => {
                let text = String::from_utf8_lossy(turn.text);
                let rendered = match place {
                    Place::First => self.chat(
                        jinja,
                        &[self.message(jinja, turn.role, &text)],
                        true,
                        turn.thinking,
                    )?,
                    Place::AfterAnswer => self.next_turn(jinja, turn.role, &text, turn.thinking)?,
                };
                Ok(rendered.into_bytes())
            }
        }
    }

    /// The text before the first turn, which `keep_system_prompt` and context shifts spare.
    pub(crate) fn system_text(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Raw => Vec::new(),
            Kind::Custom { system, .. } => system.clone(),
            Kind::Model(jinja) => self
                .model_system_text(jinja)
                .unwrap_or_default()
                .into_bytes(),
        }
    }

    fn model_system_text(&self, jinja: &Jinja) -> Option<String> {
        let [question, answer] = [message("user", QUESTION), message("assistant", ANSWER)];
        let one = self
            .chat(jinja, &[question.clone(), answer.clone()], false, false)
            .ok()?;
        let two = self
            .chat(jinja, &[question.clone(), answer, question], false, false)
            .ok()?;
        // What a second turn adds before its question heads the first one, too.
        let header = two.strip_prefix(&one)?.split_once(QUESTION)?.0;
        let before = one.split_once(QUESTION)?.0;
        before.strip_suffix(header).map(str::to_owned)
    }

    /// The end of an answer and a turn after it, cut out of a chat made up for the purpose: that
    /// way no system prompt is repeated, and the answer's end mark is written as the model knows it.
    fn next_turn(
        &self,
        jinja: &Jinja,
        role: Role,
        text: &str,
        thinking: bool,
    ) -> Result<String, String> {
        let messages = [
            message("user", QUESTION),
            message("assistant", ANSWER),
            self.message(jinja, role, text),
        ];
        let whole = self.chat(jinja, &messages, true, thinking)?;
        whole
            .split_once(ANSWER)
            .map(|(_, rest)| rest.to_owned())
            .ok_or_else(|| "the model's chat template drops earlier answers".into())
    }

    fn message(&self, jinja: &Jinja, role: Role, text: &str) -> Value {
        match role {
            Role::User => message("user", text),
            Role::Tool if jinja.knows_tools() => message("tool", text),
            Role::Tool => {
                let tag = self
                    .tools
                    .as_ref()
                    .map_or("tool_response", |tools| &tools.tag);
                message("user", &format!("<{tag}>\n{text}\n</{tag}>"))
            }
        }
    }

    fn chat(
        &self,
        jinja: &Jinja,
        messages: &[Value],
        prompt: bool,
        thinking: bool,
    ) -> Result<String, String> {
        let mut all = Vec::with_capacity(messages.len() + 1);
        if let Some(tools) = self.tools.as_ref().filter(|tools| !tools.system.is_empty()) {
            all.push(message("system", &tools.system));
        }
        all.extend_from_slice(messages);
        jinja.render(context! {
            messages => all,
            add_generation_prompt => prompt,
            enable_thinking => thinking,
            // As transformers does: given always, None where there are none.
            tools => self.tools.as_ref().map_or_else(|| Value::from(()), |tools| tools.functions.clone()),
            documents => Value::from(()),
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        })
        .map_err(|trouble| trouble.to_string())
    }
}

fn message(role: &str, content: &str) -> Value {
    context! { role => role, content => content }
}

#[cfg(test)]
mod tests;
