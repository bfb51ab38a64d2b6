//! Default parameters of each release, told apart by their bytes.

use super::*;

/// Addresses inside the library of these tests.
const OWN: std::ops::Range<usize> = 0x7000_0000..0x7100_0000;

fn own(address: usize) -> bool {
    OWN.contains(&address)
}

#[derive(Clone)]
struct Answer {
    bytes: Vec<u8>,
    is_64: bool,
}

impl Answer {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_pointer(&mut self, at: usize, address: usize) {
        let bytes = address.to_ne_bytes();
        let width = if self.is_64 { 8 } else { 4 };
        let from = if cfg!(target_endian = "big") {
            bytes.len() - width
        } else {
            0
        };
        self.put(at, &bytes[from..from + width]);
    }

    fn classify(&self) -> Probe {
        classify(&self.bytes, self.is_64, own)
    }
}

/// What a library of that family returns, by the documented defaults.
fn answer(markers: &Markers, is_64: bool) -> Answer {
    let mut answer = Answer {
        bytes: vec![0; 1024],
        is_64,
    };
    for (at, value) in markers.floats.into_iter().zip(FLOATS) {
        answer.put(at, &value.to_ne_bytes());
    }
    for (index, at) in markers.words.into_iter().flatten().enumerate() {
        answer.put_pointer(at, OWN.start + 0x404 + index);
    }
    if let Some(at) = markers.cpus {
        // embed_flash, enabled_cpus_num, enabled_cpus_mask
        answer.put(at - 1, &[1, 4]);
        answer.put(at + 3, &0xf0u32.to_ne_bytes());
    }
    if let Some(at) = markers.batch {
        answer.put(at, &[1]);
    }
    answer
}

fn all() -> [(Probe, Answer); 6] {
    [
        (Probe::V1_1, answer(&V1_1_64, true)),
        (Probe::V1_2, answer(&V1_2_64, true)),
        (Probe::V1_3, answer(&V1_3_64, true)),
        (Probe::V1_1, answer(&V1_1_32, false)),
        (Probe::V1_2, answer(&V1_2_32, false)),
        (Probe::V1_3, answer(&V1_3_32, false)),
    ]
}

#[test]
fn each_family_is_told() {
    for (family, answer) in all() {
        assert_eq!(answer.classify(), family, "64-bit: {}", answer.is_64);
    }
    // 1.2.1 and later write n_batch.
    let mut answer = answer(&V1_2_64, true);
    answer.put(100, &[1]);
    assert_eq!(answer.classify(), Probe::V1_2);
}

#[test]
fn a_changed_sampling_default_does_no_harm() {
    for (family, mut answer) in all() {
        let first = if family == Probe::V1_1 { 20 } else { 24 } - if answer.is_64 { 0 } else { 4 };
        answer.put(first, &0.95f32.to_ne_bytes());
        answer.put(first + 4, &0.7f32.to_ne_bytes());
        assert_eq!(answer.classify(), family);
        answer.put(first + 8, &1.2f32.to_ne_bytes());
        assert_eq!(answer.classify(), Probe::Unclear);
    }
}

#[test]
fn half_an_answer_is_unclear() {
    for (is_64, markers) in [(true, V1_2_64), (false, V1_2_32)] {
        for at in markers.words.unwrap() {
            for address in [0, 1, OWN.end] {
                let mut answer = answer(&markers, is_64);
                answer.put_pointer(at, address);
                assert_eq!(answer.classify(), Probe::Unclear, "{at}");
            }
        }
    }
    for (is_64, markers) in [
        (true, V1_2_64),
        (true, V1_3_64),
        (false, V1_2_32),
        (false, V1_3_32),
    ] {
        for at in [markers.cpus, markers.batch].into_iter().flatten() {
            let mut answer = answer(&markers, is_64);
            answer.put(at, &[0]);
            assert_eq!(answer.classify(), Probe::Unclear);
        }
    }
}

#[test]
fn marks_of_two_families_are_unclear() {
    let mut answer = answer(&V1_3_64, true);
    answer.put_pointer(80, OWN.start);
    assert_eq!(answer.classify(), Probe::Unclear);
}

#[test]
fn old_layouts_are_no_family() {
    // 1.0.0 has the floats elsewhere; 1.0.1 where 1.2.x has them, with nothing behind.
    for first in [32, 24] {
        let mut answer = Answer {
            bytes: vec![0; 1024],
            is_64: true,
        };
        for (at, value) in floats(first).into_iter().zip(FLOATS) {
            answer.put(at, &value.to_ne_bytes());
        }
        assert_eq!(answer.classify(), Probe::Unclear);
    }
}

#[test]
fn short_or_empty_answers_are_unclear() {
    for length in [0, 1, 24, 60, 90] {
        for (_, mut answer) in all() {
            answer.bytes.truncate(length);
            let _ = answer.classify();
        }
    }
    assert_eq!(classify(&[0; 1024], true, own), Probe::Unclear);
    assert_eq!(classify(&[0xff; 1024], true, |_| true), Probe::Unclear);
}

#[test]
fn markers_lie_where_the_layouts_say() {
    use rkllm_ffi::{v1_1_0, v1_2_0, v1_2_1, v1_3_0};
    use std::mem::offset_of;
    let (v1_1, v1_2, v1_3) = if cfg!(target_pointer_width = "64") {
        (V1_1_64, V1_2_64, V1_3_64)
    } else {
        (V1_1_32, V1_2_32, V1_3_32)
    };
    macro_rules! same {
        ($markers:expr, $layout:ident) => {
            let floats = [
                offset_of!($layout::RKLLMParam, top_p),
                offset_of!($layout::RKLLMParam, temperature),
                offset_of!($layout::RKLLMParam, repeat_penalty),
                offset_of!($layout::RKLLMParam, mirostat_tau),
                offset_of!($layout::RKLLMParam, mirostat_eta),
            ];
            assert_eq!($markers.floats, floats);
        };
    }
    same!(v1_1, v1_1_0);
    same!(v1_2, v1_2_0);
    same!(v1_2, v1_2_1);
    same!(v1_3, v1_3_0);
    assert_eq!(
        v1_2.words.unwrap()[0],
        offset_of!(v1_2_1::RKLLMParam, img_start)
    );
    assert_eq!(
        v1_1.words.unwrap()[2],
        offset_of!(v1_1_0::RKLLMParam, img_content)
    );
    assert_eq!(
        v1_2.cpus.unwrap(),
        offset_of!(v1_2_1::RKLLMParam, extend_param.enabled_cpus_num)
    );
    assert_eq!(
        v1_3.cpus.unwrap(),
        offset_of!(v1_3_0::RKLLMParam, extend_param.enabled_cpus_num)
    );
    assert_eq!(
        v1_3.batch.unwrap(),
        offset_of!(v1_3_0::RKLLMParam, extend_param.n_batch)
    );
}

extern "C" fn fill(target: *mut ParamBuffer) -> *mut c_void {
    // SAFETY: the probe hands over its own buffer, of more than 208 bytes.
    unsafe { target.cast::<u8>().write_bytes(7, 208) };
    target.cast()
}

#[test]
#[cfg(not(target_arch = "aarch64"))]
fn the_hidden_pointer_arrives() {
    let function = NonNull::new(fill as *mut c_void).unwrap();
    // SAFETY: `fill` takes the hidden pointer like a function that returns a large struct.
    let buffer = unsafe { default_params(function) };
    assert!(buffer.0[..208].iter().all(|byte| *byte == 7));
    assert!(buffer.0[208..].iter().all(|byte| *byte == 0));
}
