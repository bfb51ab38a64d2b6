//! What is done with text on its way to a model's tokens and back: pure, and without unsafe code.
//!
//! [`utf8`] joins characters that come in pieces, [`stop`] finds stop strings in them, [`template`] renders
//! chat templates with the engine in [`jinja`], [`families`] says how models talk, [`answer`] takes apart
//! what they answer, [`schema`] checks tools' arguments, [`sampler`] chooses tokens. Both the bindings and
//! the CPU runtime use it.

#![forbid(unsafe_code)]

pub mod answer;
#[cfg(feature = "constraint")]
pub mod constraint;
pub mod families;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod jinja;
pub mod sampler;
pub mod schema;
mod stack;
pub mod stop;
pub mod template;
pub mod utf8;
