//! What the programs in Rust have in common: words of the command line, text for a terminal, and errors.

use std::io::Write as _;
use std::process::ExitCode;

use rkllm_rs::error::Error;

/// What an example does with a library, a model and a question; what it says goes to the last.
type Example = fn(&str, &str, &str, &mut dyn FnMut(&str)) -> Result<(), Error>;

/// Runs `example` with `LIBRARY MODEL [QUESTION]`, the words of the command line.
pub(crate) fn main(name: &str, question: &str, example: Example) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, model, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: {name} LIBRARY MODEL [QUESTION]");
        return ExitCode::from(2);
    };
    let question = if rest.is_empty() {
        question.to_owned()
    } else {
        rest.join(" ")
    };
    let mut say = |text: &str| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is no reason to stop the model in the middle.
        let _ = write!(out, "{text}").and_then(|()| out.flush());
    };
    match example(library, model, &question, &mut say) {
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
