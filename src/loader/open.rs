//! Stub.
pub(crate) fn dlopen_hint(_text: &str) -> Option<String> { None }
