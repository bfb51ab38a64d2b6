//! `rkllm_run` and `rkllm_run_async`: takes the call apart, then lets a [`Player`] do it.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::decode::View;
use crate::engine::note_handle;
use crate::ffi::shared::{LLMHandle, call_state, infer_mode};
use crate::instance::{Instance, find, lock};
use crate::output;
use crate::player::{End, Player};
use crate::script::{Rows, Run, terminated};

/// A run that was accepted; owns what it needs, so that it can outlive the call.
pub(crate) struct Session {
    pub(crate) instance: Arc<Instance>,
    index: Option<usize>,
    /// The prompt or the ids joined by spaces, NUL-terminated.
    pub(crate) prompt: Vec<u8>,
    pub(crate) n_tokens: usize,
    mode: c_int,
    pub(crate) user: usize,
    /// Tokens after which a run that obeys the limit ends.
    pub(crate) limit: i32,
}

/// `rkllm_run`.
///
/// # Safety
///
/// The contract of the vendor's function: `input` and `infer` are NULL or filled structs of the
/// generation, and the callback given to init is still valid.
pub unsafe fn run(
    handle: LLMHandle,
    input: *const u8,
    infer: *const u8,
    user: *mut c_void,
) -> c_int {
    // SAFETY: passed on to the caller.
    let session = match unsafe { begin(handle, "rkllm_run", input, infer, user) } {
        Ok(session) => session,
        Err(returns) => return returns,
    };
    if session
        .script()
        .is_some_and(|run| run.return_before_callbacks)
    {
        return session.play_behind();
    }
    let instance = Arc::clone(&session.instance);
    let _entered = instance.enter("rkllm_run");
    session.play()
}

/// `rkllm_run_async`: always from a thread of the library's own.
///
/// # Safety
///
/// As for [`run`].
pub unsafe fn run_async(
    handle: LLMHandle,
    input: *const u8,
    infer: *const u8,
    user: *mut c_void,
) -> c_int {
    // SAFETY: passed on to the caller.
    match unsafe { begin(handle, "rkllm_run_async", input, infer, user) } {
        Ok(session) => session.play_behind(),
        Err(returns) => returns,
    }
}

/// Records and checks the call, and claims the run.
///
/// # Safety
///
/// As for [`run`].
unsafe fn begin(
    handle: LLMHandle,
    function: &'static str,
    input: *const u8,
    infer: *const u8,
    user: *mut c_void,
) -> Result<Session, c_int> {
    let instance = find(handle, function).ok_or(-1)?;
    let generation = instance.generation;
    // SAFETY: by the caller's promise; with a batch there is one input for each row.
    let view = |row: usize| unsafe {
        View::new(
            generation,
            "RKLLMInput",
            input.wrapping_add(row * generation.size_of("RKLLMInput")),
        )
    };
    let first = if input.is_null() { None } else { view(0) };
    // SAFETY: by the caller's promise.
    let infer = unsafe { View::new(generation, "RKLLMInferParam", infer) };
    instance.recorder.write(function, |fields| {
        note_handle(fields, handle);
        let json = |view: Option<View<'_>>| view.map_or(Value::Null, |view| view.json(true));
        fields.insert("input".to_owned(), json(first));
        if instance.n_batch > 1 && first.is_some() {
            let all: Vec<Value> = (0..instance.n_batch).map(|row| json(view(row))).collect();
            fields.insert("inputs".to_owned(), all.into());
        }
        fields.insert("infer".to_owned(), json(infer));
        fields.insert("userdata".to_owned(), (!user.is_null()).into());
    });
    let (Some(first), Some(infer)) = (first, infer) else {
        output::error("rkllm_input or rkllm_infer_params is NULL");
        return Err(-1);
    };
    if !instance.begin_run() {
        instance.recorder.event("overlap", function);
        output::error("another run is under way on this handle");
        return Err(-1);
    }
    let ids = first
        .inside("token_input")
        .filter(|_| first.int("input_type") == Some(1));
    let ids = ids.and_then(|view| view.ids("input_ids"));
    let prompt = match &ids {
        Some(ids) => ids
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
            .into_bytes(),
        None if first.int("input_type") == Some(0) => {
            first.text("prompt_input").unwrap_or_default()
        }
        None => multimodal_prompt(first).unwrap_or_default(),
    };
    let limit = infer.int("max_new_tokens").filter(|limit| *limit > 0);
    let user = user.expose_provenance();
    let last = instance.script.runs.len().checked_sub(1);
    let index = last.map(|last| instance.next_run.fetch_add(1, Ordering::Relaxed).min(last));
    Ok(Session {
        index,
        prompt: terminated(prompt),
        n_tokens: ids.map_or(1, |ids| ids.len()),
        mode: infer.int("mode").unwrap_or(infer_mode::GENERATE),
        user: if user == 0 {
            instance.fallback_user
        } else {
            user
        },
        limit: limit.unwrap_or(instance.max_new_tokens),
        instance,
    })
}

fn multimodal_prompt(input: View<'_>) -> Option<Vec<u8>> {
    (input.int("input_type") == Some(3))
        .then(|| input.inside("multimodal_input")?.text("prompt"))?
}

impl Session {
    /// The run's script; None when the model has none, which is a run of no tokens.
    fn script(&self) -> Option<&Run> {
        self.instance.script.runs.get(self.index?)
    }

    fn play_behind(self) -> c_int {
        let returns = self.script().map_or(0, |run| run.returns);
        thread::spawn(move || {
            let instance = Arc::clone(&self.instance);
            let _entered = instance.enter("rkllm_run");
            self.play()
        });
        returns
    }

    /// The rows that the run's mode asks for; None when it is to generate.
    fn matrix(&self, run: &Run) -> Option<(Rows, c_int)> {
        let script = &self.instance.script;
        let rows = match self.mode {
            infer_mode::LAST_HIDDEN_LAYER => run.hidden.or(script.hidden),
            infer_mode::LOGITS if self.instance.generation.rank >= 120 => {
                run.logits.or(script.logits)
            }
            _ => return None,
        };
        Some((
            rows.unwrap_or(Rows {
                rows: None,
                width: 4,
                start: 0.0,
            }),
            self.mode,
        ))
    }

    /// Plays the run to its end and frees the claim on the model; gives what run returns.
    fn play(self) -> c_int {
        let _claim = Claim(Arc::clone(&self.instance));
        let silent = Run::default();
        let run = self.script().unwrap_or(&silent);
        output::lines(&run.log);
        let mut player = Player::new(&self, run);
        let mut end = player.prefill();
        if end == End::Played {
            end = match self.matrix(run) {
                Some((rows, mode)) => player.matrix(rows, mode),
                None => player.steps(),
            };
        }
        run.death().happen();
        let returns = match end {
            End::Played => run.returns,
            End::Aborted | End::Paused => 0,
        };
        // A failing run calls back only if the script asks for it.
        let tells = run.error || run.finish.is_some() || returns == 0;
        if end != End::Paused && !run.no_finish && tells {
            let failed = run.error && end == End::Played;
            player.finish(if failed {
                call_state::ERROR
            } else {
                call_state::FINISH
            });
        }
        output::lines(&run.log_end);
        self.instance.recorder.write("run_end", |fields| {
            fields.insert("end".to_owned(), end.name().into());
            fields.insert("return".to_owned(), returns.into());
            fields.insert("tokens".to_owned(), player.tokens().into());
            fields.insert("callback_returns".to_owned(), player.returns().into());
        });
        drop(player);
        if !run.late.is_empty() {
            self.call_late();
        }
        returns
    }

    /// Makes the late calls from a thread of its own, unless destroy comes first.
    fn call_late(self) {
        thread::spawn(move || {
            let Some(run) = self.script() else { return };
            thread::sleep(Duration::from_millis(run.late_ms));
            let mut player = Player::new(&self, run);
            for step in &run.late {
                let destroyed = lock(&self.instance.destroyed);
                if *destroyed {
                    return;
                }
                for _ in 0..step.repeat {
                    player.token(step);
                }
            }
        });
    }
}

/// The claim of a run on its model.
struct Claim(Arc<Instance>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.end_run();
    }
}
