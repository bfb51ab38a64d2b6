//! What the record tells of buffers that are too long to be shown.

use serde_json::{Map, Value};

use crate::decode::View;
use crate::script::CrossSizes;

/// Numbers shown of each end.
const END: usize = 4;

/// Count, sum, and both ends of a buffer; null for NULL.
///
/// # Safety
///
/// Unless NULL, `from` points to `count` readable numbers.
unsafe fn digest<T: Copy + Into<f64> + ToString>(from: *const T, count: usize) -> Value {
    if from.is_null() {
        return Value::Null;
    }
    // SAFETY: in bounds by the caller's promise. One by one, since nothing promises alignment.
    let at = |at: usize| unsafe { from.add(at).read_unaligned() };
    let sum: f64 = (0..count).map(|index| at(index).into()).sum();
    // As decimals are written, so that 0.1f is 0.1.
    let shown = |index: usize| -> Value { at(index).to_string().parse::<f64>().ok().into() };
    let mut fields = Map::new();
    fields.insert("count".to_owned(), count.into());
    fields.insert("sum".to_owned(), sum.into());
    let first: Vec<Value> = (0..count.min(END)).map(shown).collect();
    fields.insert("first".to_owned(), first.into());
    let last: Vec<Value> = (count.saturating_sub(END)..count).map(shown).collect();
    fields.insert("last".to_owned(), last.into());
    fields.into()
}

/// The arrays of cross attention, as addresses, since they are read again at each run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossArrays {
    k: usize,
    v: usize,
    mask: usize,
    positions: usize,
    num_tokens: usize,
}

impl CrossArrays {
    pub(crate) fn of(params: View<'_>) -> Self {
        let address = |field| {
            params
                .pointer::<u8>(field)
                .map_or(0, <*const u8>::expose_provenance)
        };
        let tokens = params.int("num_tokens").unwrap_or(0);
        Self {
            k: address("encoder_k_cache"),
            v: address("encoder_v_cache"),
            mask: address("encoder_mask"),
            positions: address("encoder_pos"),
            num_tokens: usize::try_from(tokens).unwrap_or(0),
        }
    }

    /// Reads all of them.
    ///
    /// # Safety
    ///
    /// They are still where they were when they were set, and as long as `sizes` says.
    pub(crate) unsafe fn note(self, sizes: CrossSizes, fields: &mut Map<String, Value>) {
        let floats = |address: usize, count| {
            let from = std::ptr::with_exposed_provenance::<f32>(address);
            // SAFETY: passed on to the caller.
            unsafe { digest(from, count) }
        };
        fields.insert("k".to_owned(), floats(self.k, sizes.k));
        fields.insert("v".to_owned(), floats(self.v, sizes.v));
        fields.insert("mask".to_owned(), floats(self.mask, self.num_tokens));
        let ids = std::ptr::with_exposed_provenance::<i32>(self.positions);
        // SAFETY: passed on to the caller.
        let positions = unsafe { digest(ids, self.num_tokens) };
        fields.insert("positions".to_owned(), positions);
    }
}

/// Records the bytes behind structs, as a library reads them that thinks them larger.
///
/// # Safety
///
/// Each struct is NULL, or has so many readable bytes behind it.
pub(crate) unsafe fn behind(
    structs: &[(&'static str, Option<View<'_>>)],
    count: usize,
    fields: &mut Map<String, Value>,
) {
    for (name, view) in structs {
        // SAFETY: passed on to the caller.
        let bytes = view.map(|view| unsafe { view.behind(count) });
        fields.insert((*name).to_owned(), bytes.into());
    }
}

/// Reads the embeddings of an input as far as `sizes` allows.
///
/// # Safety
///
/// The buffers are as long as `sizes` says.
pub(crate) unsafe fn embeddings(
    input: View<'_>,
    sizes: [(&'static str, usize); 4],
    fields: &mut Map<String, Value>,
) {
    for (name, count) in sizes {
        let (kind, member, buffers): (_, _, &[&str]) = match name {
            "embed" => (2, "embed_input", &["embed"]),
            "image" => (3, "multimodal_input", &["image_embed", "image.image_embed"]),
            "audio" => (3, "multimodal_input", &["audio.audio_embed"]),
            _ => (3, "multimodal_input", &["video.video_embed"]),
        };
        if input.int("input_type") != Some(kind) {
            continue;
        }
        let Some(member) = input.inside(member) else {
            continue;
        };
        let buffer = buffers
            .iter()
            .find_map(|field| member.pointer::<f32>(field));
        if let Some(buffer) = buffer {
            // SAFETY: passed on to the caller.
            fields.insert(name.to_owned(), unsafe { digest(buffer, count) });
        }
    }
}
