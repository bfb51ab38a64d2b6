//! Evidence D: which parameters the library returns as its defaults, and where they lie.

#![allow(
    unsafe_code,
    reason = "calls rkllm_createDefaultParam without knowing its struct"
)]

use std::ffi::c_void;
use std::ptr::NonNull;

use crate::abi::Probe;
use rkllm_ffi::ParamBuffer;

/// Calls `rkllm_createDefaultParam` at `function` into a zeroed buffer larger than any known struct.
///
/// # Safety
///
/// `function` must be the address of that function in a library that stays loaded.
pub(super) unsafe fn default_params(function: NonNull<c_void>) -> ParamBuffer {
    let mut buffer = ParamBuffer::zeroed();
    let target: *mut ParamBuffer = &raw mut buffer;
    // AArch64 hands the hidden pointer over in x8, which no plain function type does for a struct
    // whose size is not known.
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the function takes no arguments and writes its struct (at most 208 bytes in all known
    // releases, of 1024) to the address in x8; everything that the C ABI lets it change is declared.
    unsafe {
        std::arch::asm!(
            "blr {function}",
            function = in(reg) function.as_ptr(),
            in("x8") target,
            clobber_abi("C"),
        );
    }
    // On x86-64 and 32-bit ARM the hidden pointer is the first argument.
    #[cfg(not(target_arch = "aarch64"))]
    // SAFETY: the function takes no arguments and writes its struct (at most 208 bytes in all known
    // releases, of 1024) to the hidden pointer, which these ABIs pass like a first argument; the
    // caller vouches for the address.
    unsafe {
        type Hidden = unsafe extern "C-unwind" fn(*mut ParamBuffer) -> *mut c_void;
        let call: Hidden = std::mem::transmute::<*mut c_void, Hidden>(function.as_ptr());
        call(target);
    }
    buffer
}

/// Where a layout keeps the markers.
struct Markers {
    /// top_p, temperature, repeat_penalty, mirostat_tau, mirostat_eta.
    floats: [usize; 5],
    /// The image marker pointers.
    words: Option<[usize; 3]>,
    /// enabled_cpus_num, which is 4.
    cpus: Option<usize>,
    /// n_batch, which is 1.
    batch: Option<usize>,
}

const FLOATS: [f32; 5] = [0.9, 0.8, 1.1, 5.0, 0.1];

const fn floats(first: usize) -> [usize; 5] {
    [first, first + 4, first + 8, first + 24, first + 28]
}

const V1_1_64: Markers = Markers {
    floats: floats(20),
    words: Some([56, 64, 72]),
    cpus: None,
    batch: None,
};
const V1_2_64: Markers = Markers {
    floats: floats(24),
    words: Some([64, 72, 80]),
    cpus: Some(93),
    batch: None,
};
const V1_3_64: Markers = Markers {
    floats: floats(24),
    words: None,
    cpus: Some(65),
    batch: Some(72),
};
const V1_1_32: Markers = Markers {
    floats: floats(16),
    words: Some([52, 56, 60]),
    cpus: None,
    batch: None,
};
const V1_2_32: Markers = Markers {
    floats: floats(20),
    words: Some([56, 60, 64]),
    cpus: Some(73),
    batch: None,
};
const V1_3_32: Markers = Markers {
    floats: floats(20),
    words: None,
    cpus: Some(61),
    batch: Some(68),
};

/// Tells the family from the bytes; `own` says whether an address lies in the library's mapping.
///
/// All markers of one family must be there and those of the others not: anything else is unclear.
/// Of the floats a majority is enough, since a release may have changed a sampling default.
pub(super) fn classify(bytes: &[u8], is_64: bool, own: impl Fn(usize) -> bool) -> Probe {
    let families = if is_64 {
        [
            (Probe::V1_1, V1_1_64),
            (Probe::V1_2, V1_2_64),
            (Probe::V1_3, V1_3_64),
        ]
    } else {
        [
            (Probe::V1_1, V1_1_32),
            (Probe::V1_2, V1_2_32),
            (Probe::V1_3, V1_3_32),
        ]
    };
    let pointer =
        |at: usize| word(bytes, at, is_64).is_some_and(|address| address != 0 && own(address));
    // The words of 1.2.x and 1.1.x overlap; where none of them is a pointer, it is neither.
    let any_pointer = families
        .iter()
        .filter_map(|(_, markers)| markers.words)
        .flatten()
        .any(&pointer);
    let fits = |markers: &Markers| {
        let floats = markers.floats.iter().zip(FLOATS);
        let near = floats
            .filter(|(at, expected)| float(bytes, **at) == Some(*expected))
            .count();
        near >= 3
            && markers
                .words
                .map_or(!any_pointer, |words| words.into_iter().all(&pointer))
            && markers.cpus.is_none_or(|at| bytes.get(at) == Some(&4))
            && markers.batch.is_none_or(|at| bytes.get(at) == Some(&1))
    };
    let mut fitting = families.iter().filter(|(_, markers)| fits(markers));
    match (fitting.next(), fitting.next()) {
        (Some((family, _)), None) => *family,
        _ => Probe::Unclear,
    }
}

fn float(bytes: &[u8], at: usize) -> Option<f32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(f32::from_ne_bytes(four.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize, is_64: bool) -> Option<usize> {
    if is_64 {
        let eight = bytes.get(at..at.checked_add(8)?)?;
        usize::try_from(u64::from_ne_bytes(eight.try_into().ok()?)).ok()
    } else {
        let four = bytes.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_ne_bytes(four.try_into().ok()?)).ok()
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
