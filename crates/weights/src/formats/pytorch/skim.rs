//! How much a pickle asks for, before anything is made of it.
//!
//! The reader of pickles makes an object of 138 bytes of every opcode, and an opcode is one byte: a
//! file of 16 MB would take 2 GB. So the opcodes are counted first, their arguments passed over.

use std::io::{self, BufRead};

/// Most opcodes in a file's pickles: a checkpoint of this network with its momentum has some 3,000.
const OPCODES_MAX: u32 = 100_000;
/// Pickles in a file from before 2020: magic, version, system, tensors, keys of storages.
const PICKLES_OLD: usize = 5;

const STOP: u8 = b'.';

/// What follows an opcode (CPython, `Lib/pickletools.py`).
enum Argument {
    /// So many bytes.
    Bytes(u64),
    /// A length of so many bytes, and as many bytes as that says.
    Counted(usize),
    /// So many lines.
    Lines(usize),
}

/// Looks at the pickle in an archive.
///
/// # Errors
/// When it has too many opcodes.
pub(super) fn skim(mut pickle: impl BufRead) -> Result<(), String> {
    skim_some(&mut pickle, 1)
}

/// As [`skim`], of a file from before 2020, or of a pickle alone.
///
/// # Errors
/// As there.
pub(super) fn skim_old(mut file: impl BufRead) -> Result<(), String> {
    skim_some(&mut file, PICKLES_OLD)
}

fn skim_some(file: &mut dyn BufRead, pickles: usize) -> Result<(), String> {
    let mut stops = 0;
    for _ in 0..OPCODES_MAX {
        match opcode(file) {
            Ok(STOP) if stops + 1 == pickles => return Ok(()),
            Ok(STOP) => stops += 1,
            Ok(_) => {}
            // What is cut off, the reader of pickles says.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("its pickle has more than the {OPCODES_MAX} opcodes read: no network's has"))
}

/// Takes the next opcode and its argument.
fn opcode(file: &mut dyn BufRead) -> io::Result<u8> {
    let mut opcode = [0];
    file.read_exact(&mut opcode)?;
    match argument(opcode[0]) {
        Argument::Bytes(len) => pass(file, len)?,
        Argument::Counted(bytes) => {
            let mut len = [0; 8];
            file.read_exact(&mut len[..bytes])?;
            pass(file, u64::from_le_bytes(len))?;
        }
        Argument::Lines(lines) => {
            for _ in 0..lines {
                file.skip_until(b'\n')?;
            }
        }
    }
    Ok(opcode[0])
}

fn argument(opcode: u8) -> Argument {
    match opcode {
        // BININT1, BINGET, BINPUT, PROTO, EXT1; BININT2, EXT2; BININT, LONG_BINGET, LONG_BINPUT, EXT4;
        // BINFLOAT, FRAME.
        b'K' | b'h' | b'q' | 0x80 | 0x82 => Argument::Bytes(1),
        b'M' | 0x83 => Argument::Bytes(2),
        b'J' | b'j' | b'r' | 0x84 => Argument::Bytes(4),
        b'G' | 0x95 => Argument::Bytes(8),
        // Texts, bytes and long integers, of short lengths and long ones.
        b'U' | b'C' | 0x8a | 0x8c => Argument::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Argument::Counted(4),
        0x8d | 0x8e | 0x96 => Argument::Counted(8),
        // INT, LONG, STRING, UNICODE, FLOAT, GET, PUT, PERSID; GLOBAL, INST.
        b'I' | b'L' | b'S' | b'V' | b'F' | b'g' | b'p' | b'P' => Argument::Lines(1),
        b'c' | b'i' => Argument::Lines(2),
        _ => Argument::Bytes(0),
    }
}

/// Passes over bytes.
fn pass(file: &mut dyn BufRead, mut len: u64) -> io::Result<()> {
    while len > 0 {
        let there = file.fill_buf()?.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.consume(there);
        len -= there as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_counted_and_arguments_are_not() {
        let text = |len: u32| [b"X", &len.to_le_bytes()[..], &vec![b']'; len as usize]].concat();
        let old = [b"\x80\x02K\x01.".repeat(4), b"\x80\x02].".to_vec(), b"]".repeat(200_000)];
        for (pickle, is_old, passes) in [
            ([b"\x80\x02", &text(200_000)[..], b"."].concat(), false, true),
            (b"\x80\x02cmodule\nname\n)R.".to_vec(), false, true),
            ([b"\x80\x02", &b"]".repeat(200_000)[..], b"."].concat(), false, false),
            ([b"\x80\x02", &b"K.".repeat(200_000)[..], b"."].concat(), false, false),
            (b"\x80\x02X\xff\xff\xff\xff".to_vec(), false, true),
            // Values lie behind the pickles.
            (old.concat(), true, true),
            ([&old[0][..], &old[2]].concat(), true, false),
        ] {
            let found = if is_old { skim_old(&pickle[..]) } else { skim(&pickle[..]) };
            assert_eq!(found.is_ok(), passes, "{:?}", &pickle[..pickle.len().min(40)]);
        }
    }
}
