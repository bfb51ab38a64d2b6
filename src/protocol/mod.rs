//! What crosses between a program and the engine that runs its model: plain data.
//!
//! No lock, no pointer, no closure: the same messages go through a channel or to a child process.

pub mod config;
pub mod info;
pub mod input;
pub mod output;
pub mod question;
pub mod sampling;
