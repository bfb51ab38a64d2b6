//! Tools of a stranger, and arguments of a model.

#![no_main]

use rkllm_text::answer;
use rkllm_text::schema::Tools;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (tools, arguments) = text.split_once('\0').unwrap_or((&text, "{}"));
    let Ok(value) = serde_json::from_str(tools) else {
        return;
    };
    let Ok(tools) = Tools::new(&value) else {
        return;
    };
    let names: Vec<String> = tools.names().map(str::to_owned).collect();
    for name in names {
        drop(answer::check(&name, arguments, &tools));
        drop(tools.types(&name, "a"));
        drop(tools.spell(&name, "a", arguments));
    }
});
