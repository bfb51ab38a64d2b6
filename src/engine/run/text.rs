//! Text on its way to the reader: whole characters, less what might begin a stop string.

use std::borrow::Cow;

use rkllm_text::stop::Found;
use rkllm_text::utf8::Utf8Joiner;

use super::{Inner, RunLane};
use crate::host::wake::Side;
use crate::protocol::message::Event;

impl RunLane {
    /// Hands on all characters that are whole after `bytes`, less what might begin a stop string; true
    /// when one is complete. Without text, and without a token, there is nothing to hand on.
    #[inline(always)]
    pub(super) fn hand_on(&self, inner: &mut Inner, bytes: &[u8], token_id: i32) -> bool {
        let put = |text: &str| self.put(text, token_id, Side::Vendor);
        let Some(stop) = &self.plan.stop else {
            // Nearly all tokens are whole characters, and need not be copied here.
            match std::str::from_utf8(bytes) {
                Ok(text) if !inner.joiner.is_inside_character() => {
                    self.put(text, token_id, Side::Vendor);
                }
                _ => {
                    let mut text = String::new();
                    inner.joiner.push(bytes, &mut text);
                    put(&text);
                }
            }
            return false;
        };
        let before = inner.held.len();
        inner.joiner.push(bytes, &mut inner.held);
        let (free, stopped) = match stop.read(&mut inner.stop_state, &inner.held[before..]) {
            Found::Held(held) => (inner.held.len() - held, false),
            Found::Stop { end, length } => (before + end - length, true),
        };
        let own = inner.held.len() - before;
        if self.plan.by_token {
            inner.held_tokens.push_back((own, token_id));
            self.release(inner, free, Side::Vendor);
        } else {
            put(&inner.held[..free]);
            inner.held.drain(..free);
        }
        if stopped {
            // What the stop string is of has no text.
            inner.held.clear();
            for (_, id) in inner.held_tokens.drain(..) {
                self.put("", id, Side::Vendor);
            }
            inner.joiner = Utf8Joiner::default();
            if let Some(guide) = &mut inner.guide {
                guide.cut();
            }
        }
        stopped
    }

    #[inline(always)]
    fn put(&self, text: &str, token_id: i32, side: Side) {
        if token_id >= 0 || !text.is_empty() {
            let text = Cow::Borrowed(text);
            self.out.put(Event::Piece { text, token_id }, side);
        }
    }

    /// Hands on the first `free` bytes of the held text, each token's with that token.
    pub(super) fn release(&self, inner: &mut Inner, free: usize, side: Side) {
        let mut at = 0;
        while let Some(&(length, id)) = inner.held_tokens.front() {
            let end = at + length;
            if end > free {
                if at < free {
                    self.put(&inner.held[at..free], id, side);
                    inner.held_tokens[0] = (end - free, -1);
                }
                break;
            }
            self.put(&inner.held[at..end], id, side);
            inner.held_tokens.pop_front();
            at = end;
        }
        inner.held.drain(..free);
    }
}
