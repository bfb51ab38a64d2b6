//! Checks before a file is handed to the dynamic linker, each with its own message.
//!
//! The linker's own words ("invalid ELF header", "cannot open shared object file") hide the usual
//! causes: a Git LFS pointer, a saved web page, a download cut short, the other architecture's file.

use object::elf::{self, FileHeader32, FileHeader64};
use object::endian::Endianness;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader};

use super::problem::LoadProblem;

/// What libraries this process can load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) is_64: bool,
    pub(super) little_endian: bool,
    pub(super) machine: u16,
}

impl Host {
    /// This process.
    pub(super) const fn this() -> Self {
        Self {
            is_64: cfg!(target_pointer_width = "64"),
            little_endian: cfg!(target_endian = "little"),
            machine: if cfg!(target_arch = "aarch64") {
                elf::EM_AARCH64
            } else if cfg!(target_arch = "arm") {
                elf::EM_ARM
            } else if cfg!(target_arch = "x86_64") {
                elf::EM_X86_64
            } else if cfg!(target_arch = "x86") {
                elf::EM_386
            } else if cfg!(any(target_arch = "riscv64", target_arch = "riscv32")) {
                elf::EM_RISCV
            } else {
                elf::EM_NONE
            },
        }
    }
}

/// Checks that `data` is a whole shared library for `host`.
///
/// # Errors
///
/// The first problem met. Any bytes are survived.
pub(super) fn check<'data, R: ReadRef<'data>>(data: R, host: Host) -> Result<(), LoadProblem> {
    let size = data
        .len()
        .map_err(|()| LoadProblem::Damaged("the file size is unknown"))?;
    if size == 0 {
        return Err(LoadProblem::Empty);
    }
    let head = data
        .read_bytes_at(0, size.min(512))
        .map_err(|()| LoadProblem::Damaged("the header cannot be read"))?;
    if let Some(problem) = known_text(head) {
        return Err(problem);
    }
    if !head.starts_with(&elf::ELFMAG) {
        return Err(LoadProblem::NotElf);
    }
    let (Some(&class), Some(&order)) = (head.get(4), head.get(5)) else {
        return Err(truncated("the ELF header", 64, size));
    };
    match class {
        elf::ELFCLASS64 => check_class::<FileHeader64<Endianness>, _>(data, size, order, host),
        elf::ELFCLASS32 => check_class::<FileHeader32<Endianness>, _>(data, size, order, host),
        _ => Err(LoadProblem::Damaged("neither 32-bit nor 64-bit")),
    }
}

/// Recognises what downloads and checkouts leave in place of the real file.
pub(crate) fn known_text(head: &[u8]) -> Option<LoadProblem> {
    if head.starts_with(b"version https://git-lfs") {
        return Some(LoadProblem::LfsPointer);
    }
    let head = head
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(head)
        .trim_ascii_start();
    let starts = |tag: &[u8]| {
        head.get(..tag.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(tag))
    };
    let html = starts(b"<!doctype html") || starts(b"<html") || starts(b"<head");
    html.then_some(LoadProblem::Html)
}

fn truncated(what: &'static str, needed: u64, size: u64) -> LoadProblem {
    LoadProblem::Truncated { what, needed, size }
}

fn check_class<'data, E, R>(data: R, size: u64, order: u8, host: Host) -> Result<(), LoadProblem>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = data
        .read_at::<E>(0)
        .map_err(|()| truncated("the ELF header", size_of::<E>() as u64, size))?;
    let endian = match order {
        elf::ELFDATA2LSB => Endianness::Little,
        elf::ELFDATA2MSB => Endianness::Big,
        _ => return Err(LoadProblem::Damaged("neither little-endian nor big-endian")),
    };
    let machine = header.e_machine(endian);
    if header.is_type_64() != host.is_64 {
        return Err(LoadProblem::WrongClass {
            file: described(header.is_type_64(), machine),
            process: described(host.is_64, host.machine),
        });
    }
    if (endian == Endianness::Little) != host.little_endian {
        let name = if endian == Endianness::Little {
            "little"
        } else {
            "big"
        };
        return Err(LoadProblem::WrongByteOrder(name));
    }
    if machine != host.machine {
        return Err(LoadProblem::WrongMachine {
            file: machine_name(machine),
            process: machine_name(host.machine),
        });
    }
    match header.e_type(endian) {
        elf::ET_DYN => {}
        elf::ET_EXEC => return Err(LoadProblem::NotShared("a program")),
        elf::ET_REL => return Err(LoadProblem::NotShared("an object file")),
        elf::ET_CORE => return Err(LoadProblem::NotShared("a core dump")),
        _ => return Err(LoadProblem::NotShared("an ELF file of unknown type")),
    }
    check_extent(header, endian, data, size)
}

/// Checks that everything the headers point to lies inside the file.
fn check_extent<'data, E, R>(
    header: &E,
    endian: Endianness,
    data: R,
    size: u64,
) -> Result<(), LoadProblem>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let within = |what, start: u64, length: u64| {
        let needed = start.saturating_add(length);
        if needed > size {
            Err(truncated(what, needed, size))
        } else {
            Ok(())
        }
    };
    let start: u64 = header.e_phoff(endian).into();
    let (count, each) = (header.e_phnum(endian), header.e_phentsize(endian));
    if start == 0 || count == 0 {
        return Err(LoadProblem::Damaged("no program headers"));
    }
    if usize::from(each) != size_of::<E::ProgramHeader>() {
        return Err(LoadProblem::Damaged("program headers have the wrong size"));
    }
    within(
        "the program header table",
        start,
        u64::from(count) * u64::from(each),
    )?;
    let segments = data
        .read_slice_at::<E::ProgramHeader>(start, usize::from(count))
        .map_err(|()| LoadProblem::Damaged("program headers cannot be read"))?;
    let (mut dynamic, mut interpreter) = (false, false);
    for segment in segments {
        let kind = segment.p_type(endian);
        if kind == elf::PT_LOAD || kind == elf::PT_DYNAMIC {
            within(
                "a segment",
                segment.p_offset(endian).into(),
                segment.p_filesz(endian).into(),
            )?;
        }
        dynamic |= kind == elf::PT_DYNAMIC;
        interpreter |= kind == elf::PT_INTERP;
    }
    if interpreter {
        // Programs are shared objects too, nowadays; only they name the linker that starts them.
        return Err(LoadProblem::NotShared("a program"));
    }
    if !dynamic {
        return Err(LoadProblem::Damaged("no dynamic section"));
    }
    let start: u64 = header.e_shoff(endian).into();
    let length = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    if start != 0 {
        within("the section header table", start, length)?;
    }
    Ok(())
}

fn described(is_64: bool, machine: u16) -> String {
    let bits = if is_64 { "64-bit" } else { "32-bit" };
    format!("{bits} ({})", machine_name(machine))
}

fn machine_name(machine: u16) -> String {
    let name = match machine {
        elf::EM_AARCH64 => "AArch64",
        elf::EM_ARM => "ARM",
        elf::EM_X86_64 => "x86-64",
        elf::EM_386 => "x86",
        elf::EM_RISCV => "RISC-V",
        elf::EM_MIPS => "MIPS",
        elf::EM_PPC64 => "PowerPC64",
        elf::EM_S390 => "S/390",
        elf::EM_LOONGARCH => "LoongArch",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
