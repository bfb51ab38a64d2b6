//! The markers that mean something in each mode.

use crate::answer::format::Format;

/// What a marker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reasoning begins.
    Open,
    /// Reasoning ends.
    Close,
    /// A call begins.
    Call,
    /// Nothing.
    Skip,
    /// The answer ends.
    Stop,
}

/// The markers of one mode.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// Longest first.
    pub(super) markers: Vec<(String, Kind)>,
    /// Bytes that begin one, or are newlines before one.
    pub(super) first: Box<[bool; 256]>,
}

impl Watch {
    fn new(mut markers: Vec<(String, Kind)>) -> Self {
        markers.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        markers.dedup();
        let mut first = Box::new([false; 256]);
        first[usize::from(b'\n')] = true;
        for (text, _) in &markers {
            first[usize::from(text.as_bytes()[0])] = true;
        }
        Self { markers, first }
    }
}

/// The markers of all modes.
#[derive(Debug, Clone)]
pub(super) struct Watches {
    pub(super) content: Watch,
    pub(super) reasoning: Watch,
    /// Calls that begin without a marker, by number, and the bytes they can begin with.
    pub(super) bare: Vec<usize>,
    pub(super) bare_first: Box<[bool; 256]>,
}

impl Watches {
    pub(super) fn new(format: &Format, reads_calls: bool, has_tools: bool) -> Self {
        let all = |list: &[String], kind| -> Vec<(String, Kind)> {
            list.iter().map(|text| (text.clone(), kind)).collect()
        };
        let mut content = all(&format.stops, Kind::Stop);
        let mut reasoning = content.clone();
        content.extend(all(&format.skipped, Kind::Skip));
        for region in &format.reasoning {
            content.extend(all(&region.open, Kind::Open));
            content.extend(all(&region.close, Kind::Close));
            reasoning.extend(all(&region.open, Kind::Open));
            reasoning.extend(all(&region.close, Kind::Close));
        }
        let (mut bare, mut bare_first) = (Vec::new(), Box::new([false; 256]));
        for (number, call) in format.calls.iter().enumerate().filter(|_| reads_calls) {
            content.extend(all(&call.open, Kind::Call));
            if format.calls_in_reasoning {
                reasoning.extend(all(&call.open, Kind::Call));
            }
            // Prose can look like a bare call. Without tools it is prose.
            if call.open.is_empty() && has_tools {
                bare.push(number);
                for byte in 0..=255_u8 {
                    let is_word = byte.is_ascii_alphabetic() || byte == b'_';
                    bare_first[usize::from(byte)] |= is_word || byte == b'{' || byte == b'[';
                }
            }
        }
        Self {
            content: Watch::new(content),
            reasoning: Watch::new(reasoning),
            bare,
            bare_first,
        }
    }
}
