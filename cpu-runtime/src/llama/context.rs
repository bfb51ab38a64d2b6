//! A context: the KV cache of a model, and the computing on it.
#![allow(unsafe_code, reason = "calls llama.cpp")]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::model::{Adapter, Model};
use crate::flag::RunFlag;

/// How a context is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextOptions {
    /// Positions in each lane.
    pub(crate) length: u32,
    /// The most tokens that one decode takes.
    pub(crate) batch: u32,
    pub(crate) threads: i32,
    /// Independent sequences.
    pub(crate) lanes: u32,
}

/// Which positions of a batch give logits and hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outputs {
    None,
    Last,
    All,
}

/// How a decode ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    Done,
    /// No room in the cache.
    Full,
    /// The run flag asked to stop.
    Aborted,
    Failed(i32),
}

impl Decoded {
    fn from_code(code: i32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Full,
            2 => Self::Aborted,
            code => Self::Failed(code),
        }
    }
}

/// A context with its batch arrays.
#[derive(Debug)]
pub(crate) struct Context {
    raw: NonNull<sys::llama_context>,
    model: Arc<Model>,
    // llama.cpp holds a pointer into the flag, so it must live as long as the context.
    _flag: Arc<RunFlag>,
    batch: usize,
    positions: Vec<i32>,
    sequence_counts: Vec<i32>,
    sequences: Vec<i32>,
    outputs: Vec<i8>,
}

// SAFETY: llama.cpp ties a context to no thread; `&mut self` keeps two threads from using it at once.
unsafe impl Send for Context {}

unsafe extern "C" fn asked_to_stop(flag: *mut c_void) -> bool {
    // SAFETY: `Context::new` passed a pointer into an `Arc<RunFlag>` that the context keeps alive.
    unsafe { &*flag.cast::<RunFlag>() }.stopping()
}

impl Context {
    /// Makes a context that stops computing when `flag` says so.
    pub(crate) fn new(
        model: &Arc<Model>,
        options: ContextOptions,
        flag: &Arc<RunFlag>,
    ) -> Option<Self> {
        // SAFETY: takes no arguments, returns a plain struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = options.length.checked_mul(options.lanes)?;
        params.n_batch = options.batch;
        params.n_ubatch = options.batch;
        params.n_seq_max = options.lanes;
        params.n_threads = options.threads;
        params.n_threads_batch = options.threads;
        params.pooling_type = sys::LLAMA_POOLING_TYPE_NONE;
        params.abort_callback = Some(asked_to_stop);
        params.abort_callback_data = Arc::as_ptr(flag).cast_mut().cast::<c_void>();
        // SAFETY: the model is loaded; the callback data points into an `Arc` kept in `Self`.
        let raw = NonNull::new(unsafe { sys::llama_init_from_model(model.raw(), params) })?;
        let context = Self {
            raw,
            model: Arc::clone(model),
            _flag: Arc::clone(flag),
            batch: options.batch as usize,
            positions: Vec::new(),
            sequence_counts: Vec::new(),
            sequences: Vec::new(),
            outputs: Vec::new(),
        };
        (!context.memory().is_null()).then_some(context)
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: the context is alive.
        unsafe { sys::llama_get_memory(self.raw.as_ptr()) }
    }

    fn lay_out(&mut self, lane: i32, start: usize, count: usize, outputs: Outputs) {
        self.positions.clear();
        self.positions
            .extend((start..start + count).map(|position| position as i32));
        self.sequences.clear();
        self.sequences.resize(count, lane);
        self.outputs.clear();
        self.outputs
            .resize(count, i8::from(outputs == Outputs::All));
        if outputs == Outputs::Last {
            if let Some(last) = self.outputs.last_mut() {
                *last = 1;
            }
        }
    }

    fn submit(&mut self, token: *const i32, embd: *const f32) -> Decoded {
        let count = self.positions.len();
        debug_assert!(count <= self.batch);
        self.sequence_counts.clear();
        self.sequence_counts.resize(count, 1);
        let mut lanes: Vec<*mut i32> = self.sequences.iter_mut().map(std::ptr::from_mut).collect();
        let batch = sys::llama_batch {
            n_tokens: count as i32,
            token: token.cast_mut(),
            embd: embd.cast_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: lanes.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        };
        // SAFETY: every array has `count` entries and outlives the call; llama.cpp only reads them.
        // The callers pass `count` tokens, or `count` embeddings of the model's width.
        Decoded::from_code(unsafe { sys::llama_decode(self.raw.as_ptr(), batch) })
    }

    /// Computes tokens of one lane, at most as many as the context was made for.
    pub(crate) fn decode(
        &mut self,
        lane: i32,
        start: usize,
        tokens: &[i32],
        outputs: Outputs,
    ) -> Decoded {
        self.lay_out(lane, start, tokens.len(), outputs);
        self.submit(tokens.as_ptr(), std::ptr::null())
    }

    /// Computes one token in each of several lanes, all with logits: `(lane, position, token)`.
    pub(crate) fn decode_rows(&mut self, steps: &[(i32, usize, i32)]) -> Decoded {
        self.positions.clear();
        self.positions
            .extend(steps.iter().map(|step| step.1 as i32));
        self.sequences.clear();
        self.sequences.extend(steps.iter().map(|step| step.0));
        self.outputs.clear();
        self.outputs.resize(steps.len(), 1);
        let tokens: Vec<i32> = steps.iter().map(|step| step.2).collect();
        self.submit(tokens.as_ptr(), std::ptr::null())
    }

    /// Computes embeddings in place of tokens; `values` holds whole rows of the model's width.
    pub(crate) fn decode_embeddings(
        &mut self,
        lane: i32,
        start: usize,
        values: &[f32],
        outputs: Outputs,
    ) -> Decoded {
        let width = self.model.embedding_width();
        debug_assert_eq!(values.len() % width, 0);
        self.lay_out(lane, start, values.len() / width, outputs);
        self.submit(std::ptr::null(), values.as_ptr())
    }

    /// The logits of a position of the last batch; negative numbers count from its end.
    pub(crate) fn logits(&mut self, at: i32) -> Option<&mut [f32]> {
        // SAFETY: the context is alive; an index without logits gives NULL.
        let row = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), at) };
        let length = self.model.vocabulary_size();
        // SAFETY: a row holds one float for each token of the vocabulary and is valid until the
        // next decode, which `&mut self` keeps away.
        NonNull::new(row).map(|row| unsafe { std::slice::from_raw_parts_mut(row.as_ptr(), length) })
    }

    /// The hidden state of a position of the last batch.
    pub(crate) fn hidden_state(&mut self, at: i32) -> Option<&[f32]> {
        // SAFETY: the context is alive; an index without output gives NULL.
        let row = unsafe { sys::llama_get_embeddings_ith(self.raw.as_ptr(), at) };
        let length = self.model.hidden_width();
        // SAFETY: without pooling a row holds one hidden state, valid until the next decode.
        NonNull::new(row).map(|row| unsafe { std::slice::from_raw_parts(row.as_ptr(), length) })
    }

    /// Whether decodes also give hidden states.
    pub(crate) fn want_hidden_states(&mut self, wanted: bool) {
        // SAFETY: the context is alive.
        unsafe { sys::llama_set_embeddings(self.raw.as_ptr(), wanted) };
    }

    /// Positions in the cache of a lane.
    pub(crate) fn used(&self, lane: i32) -> usize {
        // SAFETY: the memory belongs to the living context; −1 means empty.
        (unsafe { sys::llama_memory_seq_pos_max(self.memory(), lane) } + 1).max(0) as usize
    }

    /// Drops positions from `from` on; false if this kind of model can only drop all.
    pub(crate) fn truncate(&mut self, lane: i32, from: usize) -> bool {
        // Models with a state, or with a window that has left the start behind, have not kept all that is
        // to stay.
        // SAFETY: the memory belongs to the living context, here and below.
        let whole = unsafe { sys::llama_memory_seq_pos_min(self.memory(), lane) } <= 0;
        // SAFETY: as above.
        whole && unsafe { sys::llama_memory_seq_rm(self.memory(), lane, from as i32, -1) }
    }

    /// Drops all positions of a lane.
    pub(crate) fn clear(&mut self, lane: i32) {
        // SAFETY: the memory belongs to the living context; dropping a whole lane never fails.
        unsafe { sys::llama_memory_seq_rm(self.memory(), lane, -1, -1) };
    }

    /// Whether positions can be moved to close a gap.
    pub(crate) fn can_shift(&self) -> bool {
        // SAFETY: the memory belongs to the living context.
        unsafe { sys::llama_memory_can_shift(self.memory()) }
    }

    /// Drops the positions `start..end` of a lane and moves what follows down.
    pub(crate) fn cut(&mut self, lane: i32, start: usize, end: usize) -> bool {
        let (start, end) = (start as i32, end as i32);
        // SAFETY: the memory belongs to the living context.
        unsafe {
            if !sys::llama_memory_seq_rm(self.memory(), lane, start, end) {
                return false;
            }
            sys::llama_memory_seq_add(self.memory(), lane, end, -1, start - end);
        }
        true
    }

    /// Sets the adapter that the following decodes use.
    pub(crate) fn use_adapter(&mut self, adapter: Option<(&Adapter, f32)>) -> bool {
        let mut raw: Vec<_> = adapter.iter().map(|(adapter, _)| adapter.raw()).collect();
        let mut scales: Vec<f32> = adapter.iter().map(|(_, scale)| *scale).collect();
        // SAFETY: both arrays have the length given; the adapters belong to this context's model and
        // are kept by the session that owns the context.
        let code = unsafe {
            sys::llama_set_adapters_lora(
                self.raw.as_ptr(),
                raw.as_mut_ptr(),
                raw.len(),
                scales.as_mut_ptr(),
            )
        };
        code == 0
    }

    /// The cache of a lane as bytes.
    pub(crate) fn state(&mut self, lane: i32) -> Option<Vec<u8>> {
        // SAFETY: the context is alive.
        let size = unsafe { sys::llama_state_seq_get_size(self.raw.as_ptr(), lane) };
        let mut bytes = vec![0_u8; size];
        // SAFETY: the buffer is writable for the size given.
        let written = unsafe {
            sys::llama_state_seq_get_data(self.raw.as_ptr(), bytes.as_mut_ptr(), size, lane)
        };
        bytes.truncate(written);
        (written > 0).then_some(bytes)
    }

    /// Replaces the cache of a lane by what [`Self::state`] gave; false if it does not fit.
    pub(crate) fn restore(&mut self, lane: i32, bytes: &[u8]) -> bool {
        // SAFETY: the buffer is readable for the size given; llama.cpp reads no further.
        let read = unsafe {
            sys::llama_state_seq_set_data(self.raw.as_ptr(), bytes.as_ptr(), bytes.len(), lane)
        };
        read > 0
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `llama_init_from_model` and freed once; model and flag are dropped after.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}
