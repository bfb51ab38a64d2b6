//! What can be known to be wrong with an input before the library sees it.

use crate::protocol::config::Effective;
use crate::protocol::error::Failure;
use crate::protocol::info::ModelInfo;
use crate::protocol::input::{Input, Multimodal};
use crate::runtime::Runtime;

/// What can be known to be wrong before the library sees it.
pub(crate) fn check_input(
    runtime: &Runtime,
    info: &ModelInfo,
    effective: &Effective,
    input: &Input,
) -> Result<(), Failure> {
    let limit = usize::try_from(effective.max_context_len).unwrap_or(0);
    let tokens = input.positions();
    if tokens > limit {
        return Err(Failure::context_length(tokens, limit));
    }
    let check_width = |name: &'static str, width: usize| match info.hidden_size {
        Some((expected, _)) if width != expected => Err(Failure::invalid_with_hint(
            name,
            format!("must have rows of {expected} floats (the model's hidden size), got {width}"),
            "Compute the embeddings with this model's own embedding layer or encoder.",
        )),
        _ => Ok(()),
    };
    match input {
        Input::Prompt(_) | Input::Rendered(_) => Ok(()),
        Input::Tokens(ids) => {
            let Some((size, _)) = info.vocab_size else {
                return Ok(());
            };
            let outside = |id: &i32| usize::try_from(*id).is_ok_and(|id| id >= size);
            ids.iter().position(outside).map_or(Ok(()), |at| {
                Err(Failure::invalid_with_hint(
                    format!("ids[{at}]"),
                    format!(
                        "must be less than the vocabulary size {size}, got {}",
                        ids[at]
                    ),
                    "Use ids from the model's own tokenizer.",
                ))
            })
        }
        Input::Embeddings(values) => check_width("embeddings", values.width()),
        Input::Multimodal(multimodal) => {
            check_multimodal(runtime, multimodal)?;
            multimodal
                .widths()
                .try_for_each(|(name, width)| check_width(name, width))
        }
    }
}

fn check_multimodal(runtime: &Runtime, multimodal: &Multimodal) -> Result<(), Failure> {
    let able = runtime.capabilities();
    able.require("multimodal_input")?;
    if multimodal.needs_several() {
        able.require("multi_image")?;
    }
    if multimodal.needs_markers() {
        able.require("per_run_image_markers")?;
    }
    if multimodal.videos().is_some() {
        able.require("video")?;
    }
    if multimodal.audios().is_some() {
        able.require("audio")?;
    }
    Ok(())
}
