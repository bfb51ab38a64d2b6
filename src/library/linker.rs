//! The dynamic linker's messages.

/// What to do about the dynamic linker's words.
pub(super) fn dlopen_hint(text: &str) -> Option<String> {
    let has = |part: &str| text.contains(part);
    if has("static TLS block") {
        return Some(
            "Import rkllm_rs before other libraries that use OpenMP (NumPy, PyTorch, OpenCV), or \
             start with LD_PRELOAD=libgomp.so.1."
                .to_owned(),
        );
    }
    if has("libgomp.so") && has("cannot open") {
        return Some("Install the OpenMP runtime: `sudo apt install libgomp1`.".to_owned());
    }
    if has("libomp.so") && has("cannot open") {
        return Some(
            "Copy libomp.so of the same RKLLM release into the folder of the library.".to_owned(),
        );
    }
    if (has("GLIBC_") || has("GLIBCXX_") || has("CXXABI_")) && has("not found") {
        return Some(
            "Update the system to Debian 12, Ubuntu 22.04 or newer, or use an older RKLLM release: the \
             system's C or C++ library is too old for this one."
                .to_owned(),
        );
    }
    if has("failed to map segment") || has("Operation not permitted") {
        return Some("Move the file to a file system that is not mounted noexec.".to_owned());
    }
    if has("undefined symbol") {
        return Some(
            "Install the library and the libraries that it needs from the same release.".to_owned(),
        );
    }
    // "libfoo.so.1: cannot open shared object file: No such file or directory"
    let (missing, _) = text.split_once(": cannot open shared object file")?;
    let missing = missing.rsplit(' ').next().unwrap_or(missing);
    Some(format!(
        "Install the package that provides {missing}, or add the folder that contains it to \
         LD_LIBRARY_PATH."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // hazard: L2, L3
    #[test]
    fn linker_messages_have_fixes() {
        for (text, part) in [
            (
                "libgomp.so.1: cannot open shared object file: No such file or directory",
                "libgomp1",
            ),
            (
                "/lib/libgomp.so.1: cannot allocate memory in static TLS block",
                "LD_PRELOAD",
            ),
            (
                "/lib/libc.so.6: version `GLIBC_2.34' not found (required by x.so)",
                "Debian 12",
            ),
            (
                "libfoo.so.1: cannot open shared object file: No such file",
                "libfoo.so.1",
            ),
            ("x.so: failed to map segment from shared object", "noexec"),
            ("x.so: undefined symbol: rknn_init", "release"),
            (
                "libomp.so: cannot open shared object file: No such file",
                "libomp.so",
            ),
        ] {
            let hint = dlopen_hint(text).unwrap();
            assert!(hint.contains(part), "{text}: {hint}");
        }
        assert_eq!(dlopen_hint("something else"), None);
    }
}
