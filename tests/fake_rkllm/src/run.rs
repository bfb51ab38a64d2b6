//! `rkllm_run` and `rkllm_run_async`: takes the call apart, then lets a [`Player`] do it.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::decode::View;
use crate::digest;
use crate::engine::note_handle;
use crate::ffi::shared::{LLMHandle, call_state, infer_mode};
use crate::input::Input;
use crate::instance::{Instance, find, lock};
use crate::output;
use crate::player::{End, Player};
use crate::script::{Matrices, Rows, Run};
use crate::state;

/// A run that was accepted; owns what it needs, so that it can outlive the call.
pub(crate) struct Session {
    pub(crate) instance: Arc<Instance>,
    index: Option<usize>,
    /// One for each batch row.
    pub(crate) inputs: Vec<Input>,
    /// Where the prompt cache is to be saved.
    cache: Option<Vec<u8>>,
    mode: c_int,
    pub(crate) user: usize,
    /// Tokens after which a run that obeys the limit ends.
    pub(crate) limit: i32,
    /// The call has returned already.
    behind: bool,
}

/// `rkllm_run`.
///
/// # Safety
///
/// The contract of the vendor's function: `input` and `infer` are NULL or filled structs of the
/// layout, and the callback given to init is still valid.
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
    let abi = instance.abi;
    // SAFETY: by the caller's promise; with a batch there is one input for each row.
    let view = |row: usize| unsafe {
        View::new(
            abi,
            "RKLLMInput",
            input.wrapping_add(row * abi.size_of("RKLLMInput")),
        )
    };
    let views: Vec<View<'_>> = if input.is_null() {
        Vec::new()
    } else {
        (0..instance.n_batch).filter_map(view).collect()
    };
    // SAFETY: by the caller's promise.
    let infer = unsafe { View::new(abi, "RKLLMInferParam", infer) };
    instance.recorder.write(function, |fields| {
        note_handle(fields, handle);
        let json = |view: Option<View<'_>>| view.map_or(Value::Null, |view| view.json(true));
        fields.insert("input".to_owned(), json(views.first().copied()));
        if views.len() > 1 {
            let all: Vec<Value> = views.iter().map(|view| view.json(true)).collect();
            fields.insert("inputs".to_owned(), all.into());
        }
        fields.insert("infer".to_owned(), json(infer));
        fields.insert("userdata".to_owned(), (!user.is_null()).into());
        fields.insert("paused".to_owned(), instance.paused.load(SeqCst).into());
    });
    let Some(infer) = infer.filter(|_| !views.is_empty()) else {
        output::error("rkllm_input or rkllm_infer_params is NULL");
        return Err(-1);
    };
    if !instance.begin_run() {
        instance.recorder.broken("overlap", function, |_| ());
        output::error("another run is under way on this handle");
        return Err(-1);
    }
    if let Err(reason) = knows_adapter(&instance, infer) {
        instance.end_run();
        output::error(&reason);
        return Err(-1);
    }
    instance.paused.store(false, SeqCst);
    let limit = infer.int("max_new_tokens").filter(|limit| *limit > 0);
    let user = user.expose_provenance();
    let last = instance.script.runs.len().checked_sub(1);
    let index = last.map(|last| instance.next_run.fetch_add(1, Relaxed).min(last));
    // SAFETY: by the caller's promise; the script says how long the buffers are.
    unsafe { note_buffers(&instance, index, &views) };
    if let Some(count) = instance.script.read_behind {
        let structs = [("input", views.last().copied()), ("infer", Some(infer))];
        instance.recorder.write("behind", |fields| {
            // SAFETY: the script says that there is such room.
            unsafe { digest::behind(&structs, count, fields) };
        });
    }
    Ok(Session {
        index,
        inputs: views.into_iter().map(Input::of).collect(),
        cache: infer
            .to("prompt_cache_params")
            .filter(|cache| cache.int("save_prompt_cache") == Some(1))
            .and_then(|cache| cache.text("prompt_cache_path")),
        mode: infer.int("mode").unwrap_or(infer_mode::GENERATE),
        user: if user == 0 {
            instance.fallback_user
        } else {
            user
        },
        limit: limit.unwrap_or(instance.max_new_tokens),
        behind: false,
        instance,
    })
}

/// Refuses the name of an adapter that is not loaded; no name is the base model.
fn knows_adapter(instance: &Instance, infer: View<'_>) -> Result<(), String> {
    let name = infer
        .to("lora_params")
        .and_then(|lora| lora.text("lora_adapter_name"));
    match name {
        Some(name) if !lock(&instance.state).has_adapter(&name) => {
            let name = String::from_utf8_lossy(&name);
            Err(format!("lora adapter {name} is not loaded"))
        }
        _ => Ok(()),
    }
}

/// Records the buffers whose sizes only the script knows, as far as it tells them.
///
/// # Safety
///
/// They are as long as the script says, those of cross attention since they were set.
unsafe fn note_buffers(instance: &Instance, index: Option<usize>, inputs: &[View<'_>]) {
    let script = &instance.script;
    let cross = lock(&instance.state).cross;
    if let (Some(cross), Some(sizes)) = (cross, script.cross) {
        instance.recorder.write("cross_attention", |fields| {
            // SAFETY: passed on to the caller.
            unsafe { cross.note(sizes, fields) };
        });
    }
    let run = index.and_then(|index| script.runs.get(index));
    let sizes = run.and_then(|run| run.read_embed.as_ref());
    let Some(sizes) = sizes.or(script.read_embed.as_ref()) else {
        return;
    };
    for (row, input) in inputs.iter().enumerate() {
        instance.recorder.write("embeddings", |fields| {
            fields.insert("row".to_owned(), row.into());
            // SAFETY: passed on to the caller.
            unsafe { digest::embeddings(*input, sizes.of_row(row), fields) };
        });
    }
}

impl Session {
    /// The run's script; None when the model has none, which is a run of no tokens.
    fn script(&self) -> Option<&Run> {
        self.instance.script.runs.get(self.index?)
    }

    fn play_behind(mut self) -> c_int {
        self.behind = true;
        let returns = self.script().map_or(0, |run| run.returns);
        thread::spawn(move || self.play());
        returns
    }

    /// The matrices that the run's mode asks for; None when it is to generate.
    fn matrices(&self, run: &Run) -> Option<Vec<Rows>> {
        let script = &self.instance.script;
        let matrices = match self.mode {
            infer_mode::LAST_HIDDEN_LAYER => run.hidden.as_ref().or(script.hidden.as_ref()),
            infer_mode::LOGITS if self.instance.abi.rank >= 120 => {
                run.logits.as_ref().or(script.logits.as_ref())
            }
            _ => return None,
        };
        let usual = Rows {
            rows: None,
            width: 4,
            start: 0.0,
        };
        Some(matrices.map_or_else(|| vec![usual], |Matrices(list)| list.clone()))
    }

    /// Makes the callbacks between prefill and the last one.
    fn show(&self, run: &Run, player: &mut Player<'_>) -> End {
        if let Some(matrices) = self.matrices(run) {
            let first = self.instance.script.normal_first;
            let first = run.normal_first.unwrap_or(first);
            return player.matrices(&matrices, self.mode, first);
        }
        if self.instance.n_batch > 1 {
            player.batch()
        } else {
            player.steps()
        }
    }

    /// Writes the prompt cache, if the run is to.
    fn save_cache(&self, run: &Run) {
        let Some(name) = &self.cache else { return };
        if run.no_cache_file || self.instance.script.no_cache_file {
            return;
        }
        let prompt = self.inputs.first().map_or(&[][..], Input::text);
        let content = [b"cache:", self.instance.model_path.as_slice(), prompt].concat();
        if let Err(error) = std::fs::write(state::path(name), content) {
            let name = String::from_utf8_lossy(name);
            output::error(&format!("failed to save prompt cache to {name}: {error}"));
        }
    }

    /// Plays the run to its end and frees the claim on the model; gives what run returns.
    fn play(self) -> c_int {
        let instance = Arc::clone(&self.instance);
        let _claim = Claim(&instance);
        let _entered = instance.enter("rkllm_run");
        let silent = Run::default();
        let run = self.script().unwrap_or(&silent);
        output::lines(&run.log);
        let mut player = Player::new(&self, run);
        let mut end = match self.instance.asked.all(&run.ask, &self.instance.recorder) {
            Ok(()) => player.prefill(),
            Err(reason) => {
                output::error(&reason);
                End::Failed
            }
        };
        if end == End::Played {
            self.save_cache(run);
            end = self.show(run, &mut player);
        }
        run.death().happen();
        let returns = match end {
            End::Played => run.returns,
            End::Aborted | End::Paused => 0,
            End::Failed => -1,
        };
        self.instance.paused.store(end == End::Paused, SeqCst);
        // A failing run calls back only if the script asks for it, or a callback was at fault.
        let tells = run.error || run.finish.is_some() || returns == 0 || end == End::Failed;
        let ends = end != End::Paused || run.finish_paused;
        if ends && !run.no_finish && tells {
            let failed = end == End::Failed || (run.error && end == End::Played);
            if self.behind {
                self.instance.tell();
            }
            player.finish(if failed {
                call_state::ERROR
            } else {
                call_state::FINISH
            });
        }
        self.instance.script.take(run.end_ms);
        output::lines(&run.log_end);
        self.instance.recorder.write("run_end", |fields| {
            fields.insert("end".to_owned(), end.name().into());
            fields.insert("return".to_owned(), returns.into());
            fields.insert("tokens".to_owned(), player.tokens().into());
            if !player.row_tokens().is_empty() {
                fields.insert("row_tokens".to_owned(), player.row_tokens().into());
            }
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
struct Claim<'a>(&'a Instance);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.end_run();
    }
}
