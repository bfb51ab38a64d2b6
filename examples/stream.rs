//! The core without Python: `cargo run --example stream -- LIBRARY MODEL [QUESTION]`.

#![allow(
    clippy::print_stderr,
    reason = "a program tells its user what went wrong"
)]

mod program;

use std::process::ExitCode;

use rkllm_rs::{Error, GenerateOptions, Input, LoadOptions, Model, ModelConfig, Runtime};

fn run(library: &str, model: &str, prompt: &str, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let options = LoadOptions {
        library: Some(library.into()),
        ..LoadOptions::default()
    };
    let runtime = Runtime::load(&options)?;
    let model = Model::open(&runtime, model, ModelConfig::default())?;
    for chunk in model.stream(Input::prompt(prompt)?, &GenerateOptions::default())? {
        say(&chunk?.text);
    }
    say("\n");
    Ok(())
}

fn main() -> ExitCode {
    program::main("stream", "Hello!", run)
}
