//! Arguments that must be one of a few values.

/// What the values of an argument mean that must be one of a few.
pub(crate) fn meaning(name: &str) -> Option<&'static str> {
    let argument = name.split('[').next().unwrap_or(name);
    Some(match argument {
        "abi" => "Omit abi: it is detected. Only a library of your own build may need it.",
        "backend" => {
            "Omit backend to choose by the file: .rkllm runs on the NPU, .gguf on the CPU."
        }
        "overflow" => {
            "\"error\" raises ContextLengthError; \"drop_oldest\" leaves out the oldest messages."
        }
        "pooling" => {
            "\"last\" takes the hidden state of the last position, \"mean\" the mean of all positions."
        }
        "reuse" => {
            "\"auto\" reuses what cannot change the answer, \"fast\" all that matches, False nothing."
        }
        "RKLLM_RS_BACKEND" => {
            "Correct RKLLM_RS_BACKEND, or unset it to choose by the model's file."
        }
        "role" => "\"user\" is for a question, \"tool\" for the result of a function.",
        "sampler" => {
            "\"library\" lets the library choose the tokens; \"own\" chooses them in this package."
        }
        "template" => {
            "\"model\" applies the model's own template, \"raw\" none; three texts replace it."
        }
        "tool_choice" => {
            "\"auto\" lets the model decide, \"none\" hides the tools, \"required\" has one called; so has \
             {\"type\": \"function\", \"function\": {\"name\": \"its name\"}}."
        }
        "vendor_log" => {
            "\"warnings\" prints errors and warnings, \"all\" every line, \"quiet\" none; \"direct\" leaves \
             the library's output alone."
        }
        _ => return None,
    })
}
