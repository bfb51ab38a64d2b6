//! What features are called in errors.

/// What a feature is for the reader of an error, where its name is not an argument of theirs.
pub(super) fn wording(feature: &str) -> &str {
    match feature {
        "token_input" => "token input",
        "embedding_input" => "embedding input",
        "multimodal_input" => "multimodal input",
        "hidden_states" => "computing hidden states",
        "lora" => "a LoRA adapter",
        "prompt_cache" => "a prompt cache",
        "logits" => "computing logits",
        "chat_template" => "replacing the chat template",
        "clear_kv_cache" => "clearing the KV cache",
        "kv_cache_range" => "clearing ranges of the KV cache",
        "kv_cache_size" => "kv_cache_size()",
        "prefix_reuse" => "reuse=\"fast\"",
        "cpu_mask" => "setting enabled_cpus_num or enabled_cpus_mask",
        "multi_image" => "several images, or an image size, in one prompt",
        "function_tools" => "set_function_tools()",
        "pause" => "steps()",
        "batch" => "n_batch greater than 1",
        "cross_attention" => "cross attention",
        "per_run_sampling" => "changing sampling parameters per call",
        "per_run_max_new_tokens" => "raising max_new_tokens per call",
        "per_run_image_markers" => "setting image markers per prompt",
        "ignore_eos" => "ignore_eos_token",
        "tokenizer_callback" => "a tokenizer function",
        "embedding_callback" => "an embedder function",
        "structured_output" => "structured output",
        "video" => "video input",
        "audio" => "audio input",
        name => name,
    }
}
