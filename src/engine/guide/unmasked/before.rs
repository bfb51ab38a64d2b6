//! What comes before an answer: thinking, and the white space behind it.

use rkllm_text::constraint::Refusal;

use super::{GAP, Looked, Pause, Phase, Seen, Unmasked, blanks, keep_end};

impl Unmasked {
    /// A tag of the thinking that has come, where the library shows no text of it.
    #[inline]
    pub(super) fn unshown_tag(&self, id: i32, text: &[u8]) -> Option<Vec<u8>> {
        let at = match self.phase {
            _ if !text.is_empty() => return None,
            Phase::Start => 0,
            Phase::Thinking(_) => 1,
            _ => return None,
        };
        let thinking = self
            .thinking
            .as_ref()
            .filter(|_| self.tags[at] == Some(id))?;
        let tag = [
            thinking.open.as_deref().unwrap_or_default(),
            &thinking.close,
        ][at];
        Some(tag.as_bytes().to_vec())
    }

    /// A token before the answer, or one that may begin it.
    pub(super) fn before_answer(&mut self, id: i32, text: &[u8]) -> Result<Looked, Refusal> {
        let all = text.len();
        let fits = Ok(Looked::at(Seen::Fits, 0..all));
        let thinking = self.thinking.clone();
        let (open, close) = thinking.as_ref().map_or(("", ""), |it| {
            (it.open.as_deref().unwrap_or_default(), it.close.as_str())
        });
        match std::mem::replace(&mut self.phase, Phase::Left) {
            Phase::Thinking(mut tail) => {
                tail.push_str(&String::from_utf8_lossy(text));
                let Some(at) = tail.find(close) else {
                    keep_end(&mut tail, close.len());
                    self.phase = Phase::Thinking(tail);
                    return fits;
                };
                self.phase = Phase::Gap(0);
                let rest = tail[at + close.len()..].len().min(all);
                let rest = rest - blanks(&text[all - rest..]);
                if rest == 0 {
                    return fits;
                }
                let took = self.follower.take(&text[all - rest..])?;
                if took == rest {
                    self.phase = Phase::Answer;
                    return Ok(Looked::at(self.after(), 0..all));
                }
                Ok(self.refuse(id, text, all - rest, all - rest + took))
            }
            Phase::Start => {
                self.phase = Phase::Start;
                let begun = String::from_utf8_lossy(text);
                let begun = begun.trim_start();
                let is_begun = !begun.is_empty() && open.starts_with(begun);
                if is_begun || begun.starts_with(open) {
                    self.opening(begun, open);
                    return fits;
                }
                self.answer(id, text)
            }
            Phase::Opening(begun) => {
                let more = format!("{begun}{}", String::from_utf8_lossy(text));
                if open.starts_with(&more) || more.starts_with(open) {
                    self.opening(&more, open);
                    return fits;
                }
                // What begins like the tag can begin the answer as well.
                if self.clone_takes(more.as_bytes()) {
                    self.follower.take(more.as_bytes())?;
                    self.phase = Phase::Answer;
                    return Ok(Looked::at(self.after(), 0..all));
                }
                let rest = open[begun.len()..].to_owned();
                self.phase = Phase::Opening(begun);
                self.pause = (!self.holds_back()).then_some(Pause::Tag(rest));
                Ok(Looked::untold(Seen::Refused))
            }
            Phase::Gap(count) => {
                self.phase = Phase::Gap(count);
                let rest = &text[blanks(text)..];
                if rest.is_empty() && count < GAP {
                    self.phase = Phase::Gap(count + 1);
                    return fits;
                }
                if !rest.is_empty() && self.follower.take(rest)? == rest.len() {
                    self.phase = Phase::Answer;
                    return Ok(Looked::at(self.after(), 0..all));
                }
                self.answer(id, text)
            }
            other => {
                self.phase = other;
                fits
            }
        }
    }

    fn opening(&mut self, begun: &str, open: &str) {
        self.phase = match begun.strip_prefix(open) {
            Some(rest) => Phase::Thinking(rest.to_owned()),
            None => Phase::Opening(begun.to_owned()),
        };
    }
}
