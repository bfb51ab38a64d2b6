//! With the feature `variants`, links what `scripts/cpu_variants.sh` has built in place of ggml's own
//! CPU code, which the environment leaves out (`GGML_CPU=OFF`).

use std::env;

const FOLDER: &str = "RKLLM_RS_CPU_VARIANTS";

fn main() {
    println!("cargo::rerun-if-env-changed={FOLDER}");
    if env::var_os("CARGO_FEATURE_VARIANTS").is_none() {
        println!("cargo::rerun-if-changed=build.rs");
        return;
    }
    match env::var(FOLDER) {
        Ok(folder) => {
            println!("cargo::rerun-if-changed={folder}/librkllm_variants.a");
            println!("cargo::rustc-link-search=native={folder}");
            println!("cargo::rustc-link-lib=static=rkllm_variants");
        }
        Err(_) => println!("cargo::error={FOLDER} must name the folder of librkllm_variants.a"),
    }
}
