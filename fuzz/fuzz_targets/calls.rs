//! The grammar of a stranger's tools in a family's spelling: what keeps to it is read as calls.

#![no_main]

use std::sync::Arc;

use rkllm_text::answer::{Options, Parser};
use rkllm_text::constraint::{Calls, Follower, Grammar};
use rkllm_text::families;
use rkllm_text::schema::Tools;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [family, many, bytes @ ..] = bytes else {
        return;
    };
    let all = families::all();
    let format = &all[usize::from(*family) % all.len()].format;
    let text = String::from_utf8_lossy(bytes);
    let (tools, walk) = text.split_once('\0').unwrap_or((&text, ""));
    let Ok(value) = serde_json::from_str(tools) else {
        return;
    };
    let Ok(tools) = Tools::new(&value) else {
        return;
    };
    let Ok(calls) = Calls::new(format, &tools, None, many % 2 == 1) else {
        return;
    };
    let Ok(mut follower) = Follower::new(&Grammar::Calls(calls)) else {
        return;
    };
    // Whatever is forced, and of the walk what may come.
    let mut answer = Vec::new();
    let mut buffer = [0; 4];
    for letter in walk.chars().take(200) {
        let forced = follower.forced().to_vec();
        if !matches!(follower.take(&forced), Ok(taken) if taken == forced.len()) {
            return;
        }
        answer.extend(forced);
        let letter = letter.encode_utf8(&mut buffer).as_bytes();
        match follower.take(letter) {
            Ok(taken) if taken == letter.len() => answer.extend_from_slice(letter),
            Ok(_) => {}
            Err(_) => return,
        }
    }
    let Some(ending) = follower.ending(4000) else {
        return;
    };
    answer.extend(ending);
    let answer = String::from_utf8(answer).expect("a grammar of characters");
    let options = Options {
        tools: Arc::new(tools),
        ..Options::default()
    };
    let mut parser = Parser::new(Arc::clone(format), options);
    let mut events = Vec::new();
    parser.push(&answer, &mut events);
    let read = parser.finish(&mut events);
    assert!(!read.tool_calls.is_empty(), "{answer:?} {read:?}");
    assert_eq!(read.content.trim(), "", "{answer:?} {read:?}");
});
