//! The core without Python: `cargo run --example stream -- LIBRARY MODEL [PROMPT]`.

#![allow(
    clippy::print_stderr,
    reason = "a program tells its user what went wrong"
)]

use std::io::Write as _;
use std::process::ExitCode;

use rkllm_rs::{Error, GenerateOptions, Input, LoadOptions, Model, ModelConfig, Runtime};

fn run(library: &str, model: &str, prompt: &str, mut say: impl FnMut(&str)) -> Result<(), Error> {
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, model, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: stream LIBRARY MODEL [PROMPT]");
        return ExitCode::from(2);
    };
    let prompt = if rest.is_empty() {
        "Hello!".to_owned()
    } else {
        rest.join(" ")
    };
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is no reason to stop the model in the middle.
        let _ = write!(out, "{text}").and_then(|()| out.flush());
    };
    match run(library, model, &prompt, say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
