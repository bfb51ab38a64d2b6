//! Files that are no library for this machine, each with its own message, and damaged ones.

use object::elf::{EM_386, EM_AARCH64, EM_ARM, EM_X86_64};
use proptest::prelude::*;

use super::*;

const BOARD: Host = Host {
    is_64: true,
    little_endian: true,
    machine: EM_AARCH64,
};
const BOARD_32: Host = Host {
    is_64: false,
    little_endian: true,
    machine: EM_ARM,
};

/// The smallest file that passes: header, two program headers, 64 bytes of content, no sections.
fn sample(host: Host) -> Vec<u8> {
    let mut file = b"\x7fELF".to_vec();
    file.extend([
        if host.is_64 { 2 } else { 1 },
        if host.little_endian { 1 } else { 2 },
        1,
    ]);
    file.resize(16, 0);
    let short = |value: u16| {
        if host.little_endian {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    };
    let word = |value: u64| {
        let (width, little) = (if host.is_64 { 8 } else { 4 }, value.to_le_bytes());
        let mut bytes = little[..width].to_vec();
        if !host.little_endian {
            bytes.reverse();
        }
        bytes
    };
    let int = |value: u32| {
        if host.little_endian {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    };
    let (header, each) = if host.is_64 { (64, 56) } else { (52, 32) };
    let content = u64::from(header + 2 * each);
    file.extend(short(3));
    file.extend(short(host.machine));
    file.extend(int(1));
    file.extend(word(0));
    file.extend(word(u64::from(header)));
    file.extend(word(0));
    file.extend(int(0));
    for value in [header, each, 2, 0, 0, 0] {
        file.extend(short(value));
    }
    for (kind, offset, length) in [(1, 0, content + 64), (2, content, 64)] {
        file.extend(int(kind));
        if host.is_64 {
            file.extend(int(4));
        }
        for value in [offset, offset, offset, length, length] {
            file.extend(word(value));
        }
        if !host.is_64 {
            file.extend(int(4));
        }
        file.extend(word(8));
    }
    file.resize(file.len() + 64, 0);
    file
}

fn verdict(file: &[u8], host: Host) -> Result<(), LoadProblem> {
    check(file, host)
}

#[test]
fn whole_libraries_pass() {
    for host in [
        BOARD,
        BOARD_32,
        Host {
            little_endian: false,
            ..BOARD
        },
    ] {
        assert_eq!(verdict(&sample(host), host), Ok(()));
    }
    let own = std::fs::read("/proc/self/exe").unwrap();
    match verdict(&own, Host::this()) {
        Ok(()) | Err(LoadProblem::NotShared(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_library_is_named() {
    for (bytes, expected) in [
        (&b""[..], LoadProblem::Empty),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            LoadProblem::LfsPointer,
        ),
        (b"\xEF\xBB\xBF\n  <!DOCTYPE html><html>", LoadProblem::Html),
        (b"<HTML>", LoadProblem::Html),
        (b"not a library", LoadProblem::NotElf),
        (b"\x7fEL", LoadProblem::NotElf),
        (
            b"\x7fELF",
            LoadProblem::Truncated {
                what: "the ELF header",
                needed: 64,
                size: 4,
            },
        ),
        (
            b"\x7fELF\x02\x01\x01",
            LoadProblem::Truncated {
                what: "the ELF header",
                needed: 64,
                size: 7,
            },
        ),
        (
            b"\x7fELF\x09\x01\x01",
            LoadProblem::Damaged("neither 32-bit nor 64-bit"),
        ),
    ] {
        assert_eq!(verdict(bytes, BOARD), Err(expected));
    }
}

#[test]
fn the_wrong_architecture_names_both() {
    let x86_64 = Host {
        machine: EM_X86_64,
        ..BOARD
    };
    let problem = verdict(&sample(BOARD), x86_64).unwrap_err();
    assert!(
        matches!(&problem, LoadProblem::WrongMachine { file, process } if (file.as_str(), process.as_str()) == ("AArch64", "x86-64"))
    );
    let problem = verdict(&sample(BOARD_32), BOARD).unwrap_err();
    assert!(
        matches!(&problem, LoadProblem::WrongClass { file, process } if (file.as_str(), process.as_str()) == ("32-bit (ARM)", "64-bit (AArch64)"))
    );
    let x86 = Host {
        machine: EM_386,
        ..BOARD_32
    };
    assert!(matches!(
        verdict(&sample(x86), BOARD_32),
        Err(LoadProblem::WrongMachine { .. })
    ));
    let big = Host {
        little_endian: false,
        ..BOARD
    };
    assert_eq!(
        verdict(&sample(big), BOARD),
        Err(LoadProblem::WrongByteOrder("big"))
    );
}

#[test]
fn other_types_are_named() {
    for (kind, name) in [(1, "an object file"), (2, "a program"), (4, "a core dump")] {
        let mut file = sample(BOARD);
        file[16] = kind;
        assert_eq!(verdict(&file, BOARD), Err(LoadProblem::NotShared(name)));
    }
}

#[test]
fn every_truncation_is_seen() {
    for host in [BOARD, BOARD_32] {
        let file = sample(host);
        for length in 4..file.len() {
            let problem = verdict(&file[..length], host).unwrap_err();
            assert!(
                matches!(problem, LoadProblem::Truncated { .. }),
                "{length}: {problem:?}"
            );
        }
    }
}

#[test]
fn every_damaged_byte_is_survived() {
    for host in [BOARD, BOARD_32] {
        let file = sample(host);
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let _ = verdict(&damaged, host);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(rest: Vec<u8>, class in 0u8..4, order in 0u8..4) {
        let mut file = b"\x7fELF".to_vec();
        file.extend([class, order]);
        file.extend(rest);
        let _ = verdict(&file, BOARD);
        let _ = verdict(&file, BOARD_32);
    }
}
