//! A thin safe layer over llama.cpp: a model, a context, its batches and its memory.

#[cfg(test)]
mod chain;
mod context;
mod model;
#[cfg(feature = "variants")]
mod variants;

pub(crate) use context::{Context, ContextOptions, Decoded, Outputs};
pub(crate) use model::{Adapter, Model};

/// The build of llama.cpp, in its own words.
pub(crate) fn version() -> String {
    model::version()
}

/// Starts llama.cpp's global state once in the life of the process.
pub(crate) fn start() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        crate::log::forward_llama();
        // Before llama.cpp starts: where it finds nothing registered, it loads libraries from the
        // working folder, and the one that GGML_BACKEND_PATH names.
        #[cfg(feature = "variants")]
        if !variants::register() {
            return;
        }
        model::start_backend();
    });
}
