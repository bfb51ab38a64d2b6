//! Private parts that read what strangers write, for the crate in `fuzz/`.

pub use crate::files::fuzzing::{gguf, vendor_lines};
pub use crate::library::fuzzing::{banner, elf, ld_cache};
pub use crate::link::npu::fuzzing::npu_record;
pub use crate::link::worker::fuzzing::{frames_from_program, frames_from_worker};
