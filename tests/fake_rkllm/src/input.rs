//! What a run takes from its inputs.

use crate::decode::View;
use crate::ffi::shared::input_type;
use crate::script::terminated;

/// One input, copied so that it can outlive the call.
pub(crate) struct Input {
    /// The prompt or the ids joined by spaces, NUL-terminated.
    pub(crate) prompt: Vec<u8>,
    /// Tokens or embeddings; a text counts as one.
    pub(crate) n_tokens: usize,
}

impl Input {
    pub(crate) fn of(view: View<'_>) -> Self {
        let mut n_tokens = 1;
        let prompt = match view.int("input_type").unwrap_or(input_type::PROMPT) {
            input_type::PROMPT => view.text("prompt_input"),
            input_type::TOKEN => view
                .inside("token_input")
                .and_then(|tokens| tokens.ids("input_ids"))
                .map(|ids| {
                    n_tokens = ids.len();
                    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                    ids.join(" ").into_bytes()
                }),
            input_type::EMBED => {
                n_tokens = view
                    .inside("embed_input")
                    .map_or(0, |embed| embed.count("n_tokens"));
                None
            }
            _ => view
                .inside("multimodal_input")
                .and_then(|input| input.text("prompt")),
        };
        Self {
            prompt: terminated(prompt.unwrap_or_default()),
            n_tokens,
        }
    }

    /// The prompt without its NUL.
    pub(crate) fn text(&self) -> &[u8] {
        self.prompt.split_last().map_or(&[], |(_, text)| text)
    }
}
