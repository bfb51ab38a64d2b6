//! The engine by itself, without a dynamic loader: defaults, runs, and what a token costs.

#![allow(
    unsafe_code,
    reason = "the tests speak the C ABI from the caller's side"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail and tell"
)]

use std::ffi::{CString, c_int, c_void};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use fake_rkllm::engine::{self, Callback, Callbacks};
use fake_rkllm::ffi::shared::{LLMHandle, RKLLMResult, input_type};
use fake_rkllm::ffi::v1_3_0::{RKLLMInferParam, RKLLMInput, RKLLMParam};
use fake_rkllm::ffi::{v1_1_0, v1_2_0};
use fake_rkllm::script::Script;
use fake_rkllm::{ABI_VERSIONS, V1_1_0, V1_2_0, V1_3_0, defaults, guard};

static COUNTED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn count(_: *mut RKLLMResult, user: *mut c_void, _: c_int) -> c_int {
    // SAFETY: the tests pass a counter as userdata.
    let counter = unsafe { user.cast::<AtomicU64>().as_ref() };
    counter.unwrap_or(&COUNTED).fetch_add(1, Ordering::Relaxed);
    0
}

unsafe extern "C" fn read_1_1_0(result: *mut v1_1_0::RKLLMResult, user: *mut c_void, state: c_int) {
    // SAFETY: the fake passes a result of this layout, and the test a list as userdata.
    let (result, seen) = unsafe { (result.as_ref(), user.cast::<Vec<(i32, c_int)>>().as_mut()) };
    if let (Some(result), Some(seen)) = (result, seen) {
        seen.push((result.token_id, state));
    }
}

unsafe extern "C" fn read_1_2_0(result: *mut v1_2_0::RKLLMResult, user: *mut c_void, state: c_int) {
    // SAFETY: as above.
    let (result, seen) = unsafe { (result.as_ref(), user.cast::<Vec<(i32, c_int)>>().as_mut()) };
    if let (Some(result), Some(seen)) = (result, seen) {
        seen.push((result.logits.num_tokens, state));
    }
}

fn model(name: &str, script: &str) -> CString {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{name}.rkllm"));
    std::fs::write(&path, script).unwrap();
    CString::new(path.to_str().unwrap()).unwrap()
}

/// Room for the parameters of any layout, aligned as they are.
#[repr(C, align(16))]
struct Room([u8; 1024]);

fn open(
    abi: &'static fake_rkllm::AbiVersion,
    path: &CString,
    callbacks: Callbacks,
) -> (LLMHandle, c_int) {
    let mut room = Room([0; 1024]);
    let mut handle = null_mut();
    // SAFETY: the room is larger than any struct, and `model_path` comes first in all of them.
    let returned = unsafe {
        defaults::create(abi, room.0.as_mut_ptr());
        (&raw mut room)
            .cast::<*const std::ffi::c_char>()
            .write(path.as_ptr());
        engine::init(abi, &raw mut handle, room.0.as_ptr(), callbacks)
    };
    (handle, returned)
}

fn newest() -> Callbacks {
    Some(Callback::V121(count)).into()
}

/// Runs a text.
fn run_1_3_0(handle: LLMHandle, user: *mut c_void) -> c_int {
    // SAFETY: zeros are valid in both structs.
    let (mut input, infer) = unsafe {
        (
            std::mem::zeroed::<RKLLMInput>(),
            std::mem::zeroed::<RKLLMInferParam>(),
        )
    };
    input.input_type = input_type::PROMPT;
    input.input.prompt_input = c"hello".as_ptr();
    // SAFETY: both structs are filled; the counter outlives the run.
    unsafe {
        engine::run(
            handle,
            (&raw const input).cast(),
            (&raw const infer).cast(),
            user,
        )
    }
}

#[test]
fn defaults_are_written_into_the_struct_and_nowhere_else() {
    for abi in ABI_VERSIONS {
        let size = abi.layout("RKLLMParam").unwrap().size;
        let mut room = Room([0xA5; 1024]);
        // SAFETY: the room is larger than any struct.
        unsafe { defaults::create(abi, room.0.as_mut_ptr()) };
        assert!(
            room.0[size..].iter().all(|byte| *byte == 0xA5),
            "{}",
            abi.name
        );
    }
    let mut param = std::mem::MaybeUninit::<RKLLMParam>::zeroed();
    // SAFETY: the struct is that of the layout, and zeros are valid where nothing is written.
    let param = unsafe {
        defaults::create(&V1_3_0, param.as_mut_ptr().cast());
        param.assume_init()
    };
    assert!((param.temperature - 0.8).abs() < f32::EPSILON);
    assert_eq!(
        (param.max_context_len, param.max_new_tokens, param.top_k),
        (512, -1, 40)
    );
    assert_eq!(
        (
            param.extend_param.enabled_cpus_num,
            param.extend_param.n_batch
        ),
        (4, 1)
    );
}

#[test]
fn a_million_tokens_are_all_given() {
    let path = model(
        "bench",
        r#"{"quiet": true, "runs": [{"steps": ["x"], "repeat": 1000000}]}"#,
    );
    let (handle, returned) = open(&V1_3_0, &path, newest());
    assert_eq!(returned, 0);
    let counter = AtomicU64::new(0);
    assert_eq!(run_1_3_0(handle, (&raw const counter).cast_mut().cast()), 0);
    assert_eq!(counter.load(Ordering::Relaxed), 1_000_001);
    assert_eq!(engine::destroy(handle), 0);
}

#[test]
fn older_results_have_their_own_layouts() {
    let path = model(
        "old",
        r#"{"quiet": true, "hidden": {"rows": 1, "width": 2}, "logits": {"rows": 3, "width": 2},
        "runs": [{"steps": ["a", "b"]}]}"#,
    );
    let mut seen: Vec<(i32, c_int)> = Vec::new();
    let user: *mut c_void = (&raw mut seen).cast();
    let text = c"hello".as_ptr();

    let (handle, returned) = open(&V1_1_0, &path, Some(Callback::V110(read_1_1_0)).into());
    assert_eq!(returned, 0);
    // SAFETY: zeros are valid in the structs, and the filled member is the one that is named.
    unsafe {
        let mut input: v1_1_0::RKLLMInput = std::mem::zeroed();
        input.input.prompt_input = text;
        let mut infer: v1_1_0::RKLLMInferParam = std::mem::zeroed();
        let arguments = ((&raw const input).cast(), (&raw const infer).cast());
        assert_eq!(engine::run(handle, arguments.0, arguments.1, user), 0);
        infer.mode = 1;
        assert_eq!(
            engine::run(handle, arguments.0, (&raw const infer).cast(), user),
            0
        );
    }
    assert_eq!(seen, [(1, 0), (2, 0), (0, 2), (0, 4), (0, 2)]);

    seen.clear();
    let user: *mut c_void = (&raw mut seen).cast();
    let (handle, returned) = open(&V1_2_0, &path, Some(Callback::V120(read_1_2_0)).into());
    assert_eq!(returned, 0);
    // SAFETY: as above.
    unsafe {
        let mut input: v1_2_0::RKLLMInput = std::mem::zeroed();
        input.input.prompt_input = text;
        let mut infer: v1_2_0::RKLLMInferParam = std::mem::zeroed();
        infer.mode = 2;
        let arguments = ((&raw const input).cast(), (&raw const infer).cast());
        assert_eq!(engine::run(handle, arguments.0, arguments.1, user), 0);
    }
    assert_eq!(seen, [(3, 0), (0, 2)]);
}

#[test]
fn a_misspelt_key_is_an_error() {
    let path = model("misspelt", r#"{"quiet": true, "runs": [{"step": ["a"]}]}"#);
    assert_eq!(open(&V1_3_0, &path, newest()).1, -1);
    let (handle, returned) = open(&V1_3_0, &model("none", "{}"), None.into());
    assert_eq!((handle.is_null(), returned), (true, -1));
}

#[test]
fn calls_without_a_handle_fail() {
    assert_eq!(engine::abort(null_mut()), -1);
    assert_eq!(engine::destroy(null_mut()), -1);
    assert_eq!(run_1_3_0(null_mut(), null_mut()), -1);
}

#[test]
fn a_run_that_has_told_its_end_is_waited_for() {
    let script = r#"{"quiet": true, "runs": [{"steps": ["a"], "return_before_callbacks": true, "end_ms": 30}]}"#;
    let path = model("behind", script);
    let (handle, returned) = open(&V1_3_0, &path, newest());
    assert_eq!(returned, 0);
    let counter = AtomicU64::new(0);
    let user: *mut c_void = (&raw const counter).cast_mut().cast();
    for calls in [2, 4] {
        assert_eq!(run_1_3_0(handle, user), 0);
        // For the caller the run is over with its last callback, whatever its thread still does.
        while counter.load(Ordering::Relaxed) < calls {
            std::thread::yield_now();
        }
    }
    assert_eq!(engine::destroy(handle), 0);
}

#[test]
fn broken_promises_are_told_and_end_no_process() {
    let record = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("broken.jsonl");
    let _ = std::fs::remove_file(&record);
    let shown = record.to_str().unwrap();
    let script = format!(
        r#"{{"quiet": true, "record": "{shown}", "runs": [
            {{"steps": ["a"], "return_before_callbacks": true, "prefill_ms": 100}}]}}"#
    );
    let (handle, returned) = open(&V1_3_0, &model("broken", &script), newest());
    assert_eq!(returned, 0);
    let counter = AtomicU64::new(0);
    let user: *mut c_void = (&raw const counter).cast_mut().cast();
    assert_eq!(run_1_3_0(handle, user), 0);
    assert_eq!(run_1_3_0(handle, user), -1);
    assert_eq!(engine::destroy(handle), -1);
    while counter.load(Ordering::Relaxed) < 2 {
        std::thread::yield_now();
    }
    assert_eq!(engine::destroy(handle), 0);
    assert_eq!(engine::destroy(handle), -1);
    let told = std::fs::read_to_string(&record).unwrap();
    for event in ["overlap", "destroy_during_run", "use_after_destroy"] {
        assert!(
            told.contains(&format!(r#""fn":"{event}""#)),
            "{event}: {told}"
        );
    }
}

#[test]
fn a_panic_becomes_a_failure() {
    assert_eq!(guard("rkllm_run", || panic!("on purpose")), -1);
}

/// Notes the ids of two batch rows.
unsafe extern "C" fn read_two(result: *mut RKLLMResult, user: *mut c_void, _: c_int) -> c_int {
    // SAFETY: the model has two batch rows, and the test passes a list as userdata.
    let (rows, seen) = unsafe {
        (
            std::slice::from_raw_parts(result, 2),
            user.cast::<Vec<[i32; 2]>>().as_mut(),
        )
    };
    seen.unwrap().push([rows[0].token_id, rows[1].token_id]);
    0
}

#[test]
fn batch_rows_end_at_their_own_time() {
    let script = r#"{"quiet": true, "runs": [{"rows": [["a"]], "steps": ["b", {"id": 9}]}]}"#;
    let path = model("batch", script);
    let mut param = std::mem::MaybeUninit::<RKLLMParam>::zeroed();
    // SAFETY: the struct is that of the layout, and zeros are valid where nothing is written.
    let mut param = unsafe {
        defaults::create(&V1_3_0, param.as_mut_ptr().cast());
        param.assume_init()
    };
    param.model_path = path.as_ptr();
    param.extend_param.n_batch = 2;
    let mut handle = null_mut();
    let mut seen: Vec<[i32; 2]> = Vec::new();
    // SAFETY: all structs are filled or zero, which is valid in them; there are two inputs.
    unsafe {
        let callbacks = Some(Callback::V121(read_two)).into();
        let param = (&raw const param).cast();
        assert_eq!(engine::init(&V1_3_0, &raw mut handle, param, callbacks), 0);
        let mut inputs: [RKLLMInput; 2] = std::mem::zeroed();
        for input in &mut inputs {
            input.input.prompt_input = c"hello".as_ptr();
        }
        let infer: RKLLMInferParam = std::mem::zeroed();
        let user = (&raw mut seen).cast();
        let returned = engine::run(
            handle,
            inputs.as_ptr().cast(),
            (&raw const infer).cast(),
            user,
        );
        assert_eq!(returned, 0);
    }
    assert_eq!(seen, [[1, 1], [-1, 9], [-1, -1]]);
    assert_eq!(engine::destroy(handle), 0);
}

#[test]
fn scripts_write_one_or_many() {
    let script: Script = serde_json::from_str(
        r#"{"hidden": {"width": 2}, "logits": [{"width": 1}, {"rows": 2, "width": 3}],
        "read_embed": [4, {"image": 5}], "init": {"ask": [{"embed": [1], "width": 2}]}}"#,
    )
    .unwrap();
    assert_eq!(script.hidden.unwrap().0.len(), 1);
    assert_eq!(script.logits.unwrap().0[1].rows, Some(2));
    for wrong in [
        r#"{"init": {"ask": [{"tokenize": "x"}]}}"#,
        r#"{"init": {"ask": [{"tokenize": "x", "capacity": -1}]}}"#,
        r#"{"init": {"ask": [{"embed": [1], "width": 2, "capacity": 3}]}}"#,
        r#"{"read_embed": [{"images": 5}]}"#,
        r#"{"hidden": [{"rows": 1}]}"#,
    ] {
        assert!(serde_json::from_str::<Script>(wrong).is_err(), "{wrong}");
    }
}
