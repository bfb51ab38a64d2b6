//! Rendered conversations: tokens for a library that can make them, else text with the library's own
//! template switched off.

use std::collections::HashMap;
use std::ffi::CString;

use super::handle::NativeModel;
use crate::protocol::error::Failure;
use crate::protocol::input::{Input, Rendered};
use crate::protocol::message::{RunSpec, Settled};

/// The template that the library puts around text.
#[derive(Default)]
pub(super) struct LibraryTemplate {
    /// The strings that it was given; none is the model's own.
    given: Option<[CString; 3]>,
    /// It was switched off for rendered text.
    is_off: bool,
    /// Texts that were asked for, with their ids if they are single tokens.
    markers: HashMap<String, Option<i32>>,
}

impl LibraryTemplate {
    /// The library has been given these strings.
    pub(super) fn replace(&mut self, strings: &[CString; 3]) {
        self.given = Some(strings.clone());
        self.is_off = false;
    }
}

impl NativeModel {
    /// Puts what the library takes in the place of rendered conversations, and sees to it that it puts its
    /// template around all other text. Tells of each lane what became of a rendered one.
    ///
    /// # Errors
    /// `ErrorKind::ContextLength` if nothing fits; what the library says.
    pub(crate) fn settle(&mut self, spec: &mut RunSpec) -> Result<Vec<Option<Settled>>, Failure> {
        let can_count = self.runtime.capabilities().has("tokenize");
        let mut all = Vec::with_capacity(spec.lanes.len());
        for lane in &mut spec.lanes {
            all.push(match &lane.input {
                Input::Rendered(rendered) if can_count => {
                    let (rendering, ids) = self.fitting(rendered)?;
                    let markers = self.single_tokens(&rendered.markers)?;
                    lane.input = Input::Tokens(ids);
                    Some(Settled {
                        rendering,
                        markers,
                        notes: Vec::new(),
                    })
                }
                Input::Rendered(_) => {
                    self.switch_template(false)?;
                    Some(Settled::default())
                }
                Input::Prompt(_) | Input::Multimodal(_) => {
                    self.switch_template(true)?;
                    None
                }
                Input::Tokens(_) | Input::Embeddings(_) => None,
            });
        }
        Ok(all)
    }

    /// The first rendering that leaves room for an answer, as tokens.
    fn fitting(&mut self, rendered: &Rendered) -> Result<(usize, Vec<i32>), Failure> {
        let limit = usize::try_from(self.effective.max_context_len).unwrap_or(0);
        let last = rendered.texts.len() - 1;
        let mut needed = 0;
        for (at, text) in rendered.texts.iter().enumerate() {
            // It was made of a `str`.
            let ids = self.words().tokenize(&text.to_string_lossy(), false)?;
            // The last may leave room for a single token, rather than be refused.
            let room = if at == last { 1 } else { rendered.room };
            needed = ids.len();
            if ids.len() + room <= limit {
                return Ok((at, ids));
            }
        }
        Err(Failure::context_length(needed, limit))
    }

    /// Those of `markers` that are single tokens, by their number.
    fn single_tokens(&mut self, markers: &[String]) -> Result<Vec<(usize, i32)>, Failure> {
        let mut found = Vec::new();
        for (at, marker) in markers.iter().enumerate() {
            let id = if let Some(known) = self.template.markers.get(marker) {
                *known
            } else {
                let ids = self.words().tokenize(marker, false)?;
                let id = (ids.len() == 1).then(|| ids[0]);
                self.template.markers.insert(marker.clone(), id);
                id
            };
            found.extend(id.map(|id| (at, id)));
        }
        Ok(found)
    }

    fn switch_template(&mut self, on: bool) -> Result<(), Failure> {
        let able = self.runtime.capabilities();
        if self.template.is_off != on || !able.has_templates() {
            return Ok(());
        }
        let strings = match (&self.template.given, on) {
            (_, false) => [const { c"" }; 3].map(ToOwned::to_owned),
            (Some(strings), true) => strings.clone(),
            (None, true) => return Err(able.lacks(
                "text input after a chat on the same model",
                "a library that can give a model its own chat template back",
            ).with_hint(
                "Use chat(), pass Tokens, or open the model with template=; rkllm_set_chat_template() cannot \
                 be undone.",
            )),
        };
        self.set_chat_template(&strings)?;
        self.template.is_off = !on;
        Ok(())
    }
}
