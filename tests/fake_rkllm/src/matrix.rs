//! The callbacks of modes 1 and 2: hidden states and logits.

use std::ffi::c_int;

use crate::ffi::shared::{
    RKLLMResultLastHiddenLayer, RKLLMResultLogits, call_state, callback_return, infer_mode,
};
use crate::instance::lock;
use crate::player::{End, NO_HIDDEN, NO_LOGITS, Player};
use crate::script::Rows;

/// The distance of the first floats of neighbouring batch rows, which tells the rows apart.
const ROW_OFFSET: f32 = 1000.0;

impl Player<'_> {
    /// Shows matrices, one callback for each.
    pub(crate) fn matrices(&mut self, shapes: &[Rows], mode: c_int, normal_first: bool) -> End {
        if self.abort_obeyed() {
            return End::Aborted;
        }
        if normal_first && self.blank(mode) {
            return End::Paused;
        }
        for (at, shape) in shapes.iter().enumerate() {
            if at > 0 {
                self.session.instance.script.take(self.run.delay_ms);
                if self.abort_obeyed() {
                    return End::Aborted;
                }
            }
            if self.matrix(*shape, mode) {
                return End::Paused;
            }
        }
        End::Played
    }

    /// A call of empty text, without a matrix; true when it pauses the run.
    fn blank(&mut self, mode: c_int) -> bool {
        for row in &mut self.rows {
            row.text = c"".as_ptr();
        }
        self.show(mode, call_state::NORMAL, &[])
    }

    /// One matrix for each batch row; true when the callback pauses the run.
    fn matrix(&mut self, shape: Rows, mode: c_int) -> bool {
        let counts: Vec<usize> = self
            .session
            .inputs
            .iter()
            .map(|input| shape.rows.unwrap_or(input.n_tokens))
            .collect();
        let floats: Vec<Vec<f32>> = counts
            .iter()
            .enumerate()
            .map(|(row, count)| {
                let start = shape.start + ROW_OFFSET * row as f32;
                (0..count * shape.width)
                    .map(|at| start + at as f32)
                    .collect()
            })
            .collect();
        for ((row, floats), count) in self.rows.iter_mut().zip(&floats).zip(&counts) {
            row.text = std::ptr::null();
            let (width, num_tokens) = (shape.width as c_int, *count as c_int);
            if mode == infer_mode::LAST_HIDDEN_LAYER {
                row.last_hidden_layer = RKLLMResultLastHiddenLayer {
                    hidden_states: floats.as_ptr(),
                    embd_size: width,
                    num_tokens,
                };
            } else {
                row.logits = RKLLMResultLogits {
                    logits: floats.as_ptr(),
                    vocab_size: width,
                    num_tokens,
                };
            }
        }
        // 1.1.x has a state of its own for this.
        let state = if self.session.instance.abi.rank < 120 {
            call_state::LAST_HIDDEN_LAYER
        } else {
            call_state::NORMAL
        };
        let paused = self.show(mode, state, &counts);
        for row in &mut self.rows {
            row.last_hidden_layer = NO_HIDDEN;
            row.logits = NO_LOGITS;
        }
        // A reader that comes too late finds NaN; the memory itself goes with the next matrix.
        let mut floats = floats;
        for floats in &mut floats {
            floats.fill(f32::NAN);
        }
        *lock(&self.session.instance.stale_rows) = floats;
        paused
    }

    /// Calls back and records it; true when the run is to pause.
    fn show(&mut self, mode: c_int, state: c_int, counts: &[usize]) -> bool {
        let returned = self.call(false, state, false);
        let instance = &self.session.instance;
        instance.recorder.write("callback", |fields| {
            fields.insert("mode".to_owned(), mode.into());
            fields.insert("state".to_owned(), state.into());
            fields.insert("return".to_owned(), returned.into());
            fields.insert("rows".to_owned(), counts.into());
        });
        returned == callback_return::PAUSE && instance.abi.rank >= 121
    }
}
