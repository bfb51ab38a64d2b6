//! Tells the compiler which files the build depends on. The vendor's library is never needed here:
//! it is opened at run time.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=data/known-libraries.json");
    println!("cargo:rerun-if-changed=data/vendor-lines.json");
}
