//! What the fuzz targets have learned, without libFuzzer.

#[path = "../../../../tests/fuzz/kept.rs"]
mod kept;

kept::replay! {
    answer, calls, json_schema, lark, messages, regex, response_template, stop, template, tokenizer_json, tools, utf8
}
