//! Where a rendered text may be cut, so that a library that keeps its history is given the rest alone.

use rkllm_text::families::Family;
use rkllm_text::template::ChatTemplate;

use crate::files::template::Templates;

/// The tokens that end an answer, with their ids as far as a file names them. None where a text may be given
/// a token at its beginning: it would stand in the middle of the conversation.
pub(super) fn of(
    family: &Family,
    template: &ChatTemplate,
    found: Option<&Templates>,
) -> Vec<(String, Option<i32>)> {
    let adds_nothing = found
        .and_then(|found| found.add_bos)
        .map_or_else(|| writes_none(family, template), |adds| !adds);
    if !adds_nothing {
        return Vec::new();
    }
    let known = found.map(|found| found.ends.iter());
    let known = known
        .into_iter()
        .flatten()
        .map(|(text, id)| (text.clone(), Some(*id)));
    let stops = family.format.stops.iter();
    let written = stops
        .filter(|stop| is_marker(stop))
        .map(|stop| (stop.clone(), None));
    known.chain(written).collect()
}

/// The texts that end an answer of this family where no token does.
pub(super) fn texts(family: &Family) -> impl Iterator<Item = &String> {
    let stops = family.format.stops.iter();
    stops.filter(|stop| !is_marker(stop))
}

/// Models of this family have no token that begins a text.
fn writes_none(family: &Family, template: &ChatTemplate) -> bool {
    let is_known = !family.recognise.is_empty() || !family.files.is_empty();
    is_known && family.bos.is_none() && !template.source().contains("bos_token")
}

/// Such as are tokens of their own in all tokenizers that have them.
fn is_marker(text: &str) -> bool {
    text.starts_with('<') && text.ends_with('>') && !text.contains(char::is_whitespace)
}
