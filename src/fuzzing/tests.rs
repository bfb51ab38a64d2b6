//! What the fuzz targets have learned, without libFuzzer.

#[path = "../../tests/fuzz/kept.rs"]
mod kept;

kept::replay! {
    banner, digest, elf, frames, gguf, inspect, ld_cache, npu_record, vendor_lines
}
