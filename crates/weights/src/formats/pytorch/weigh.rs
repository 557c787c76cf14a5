//! What the objects of a pickle would weigh, before any is made.
//!
//! A pickle is a program for a machine with a stack, and its reader makes an object of some hundred
//! bytes of nearly every opcode, which may be one byte; it also copies what is kept and fetched
//! again, so that sixty opcodes can ask for 2^60 objects. Here the program runs with weights in
//! place of objects: the same stack and the same memo, on which an object is a number of bytes.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Most bytes of objects made and copied: those of a checkpoint of this network with its momentum
/// take less than one megabyte.
const OBJECTS_BYTES_MAX: u64 = 8 << 20;
/// An object without what is in it, on the reader's stack.
const OBJECT_BYTES: u64 = 144;
/// Pickles in a file from before 2020: magic, version, system, tensors, keys of storages.
const PICKLES_OLD: usize = 5;

/// Weighs the pickle in an archive.
///
/// # Errors
/// When its objects would take too much memory.
pub(super) fn weigh(mut pickle: impl BufRead) -> Result<(), String> {
    weigh_some(&mut pickle, 1)
}

/// As [`weigh`], of a file from before 2020, or of a pickle alone.
///
/// # Errors
/// As there.
pub(super) fn weigh_old(mut file: impl BufRead) -> Result<(), String> {
    weigh_some(&mut file, PICKLES_OLD)
}

fn weigh_some(file: &mut dyn BufRead, pickles: usize) -> Result<(), String> {
    for _ in 0..pickles {
        let mut machine = Machine::default();
        loop {
            match machine.step(file) {
                Ok(true) => {}
                Ok(false) => break,
                // What is cut off, the reader of pickles says.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
            if machine.made > OBJECTS_BYTES_MAX {
                return Err(format!(
                    "its pickle asks for more than the {OBJECTS_BYTES_MAX} bytes of objects made: \
                     no network's does"
                ));
            }
        }
    }
    Ok(())
}

/// An object on the stack or in the memo.
#[derive(Clone, Copy, Default)]
struct Object {
    bytes: u64,
    /// Where it is kept, if it is.
    kept: Option<u64>,
}

/// The machine that a pickle is a program for. What a sound program never does, such as taking from
/// an empty stack, has no weight here: the reader refuses it.
#[derive(Default)]
struct Machine {
    stack: Vec<Object>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Object>,
    /// Bytes of all objects made and copied so far.
    made: u64,
}

impl Machine {
    /// Runs the next opcode (CPython, `Lib/pickletools.py`); whether there may be another.
    fn step(&mut self, file: &mut dyn BufRead) -> io::Result<bool> {
        let mut opcode = [0];
        file.read_exact(&mut opcode)?;
        let argument = argument(opcode[0], file)?;
        match opcode[0] {
            STOP => return Ok(false),
            // PROTO, FRAME.
            0x80 | 0x95 => {}
            b'(' => {
                self.made += OBJECT_BYTES;
                self.marks.push(self.stack.len());
            }
            // TUPLE, LIST, DICT, FROZENSET, OBJ, INST: of all above the mark.
            b't' | b'l' | b'd' | 0x91 | b'o' | b'i' => {
                let above = self.pop_to_mark();
                self.push(above + argument.bytes);
            }
            // APPENDS, SETITEMS, ADDITEMS: all above the mark go into what is below it.
            b'e' | b'u' | 0x90 => {
                let above = self.pop_to_mark();
                self.grow(above);
            }
            // APPEND; SETITEM.
            b'a' => self.grow_by(1),
            b's' => self.grow_by(2),
            // TUPLE1, BINPERSID; TUPLE2, REDUCE, NEWOBJ, STACK_GLOBAL; TUPLE3, NEWOBJ_EX.
            0x85 | b'Q' => self.join(1),
            0x86 | b'R' | 0x81 | 0x93 => self.join(2),
            0x87 | 0x92 => self.join(3),
            // BUILD: the copy that is kept of an object is made anew with its state.
            b'b' => {
                let state = self.pop();
                let mut object = self.pop();
                object.bytes += state.bytes;
                if let Some(place) = object.kept {
                    self.keep(place, object);
                }
                self.stack.push(object);
            }
            // POP, which takes a mark too; POP_MARK.
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop();
                }
            }
            b'1' => {
                self.pop_to_mark();
            }
            // DUP; GET, BINGET, LONG_BINGET.
            b'2' => {
                let top = self.stack.last().copied().unwrap_or_default();
                self.push_copy(top);
            }
            b'g' | b'h' | b'j' => {
                let kept = self.memo.get(&argument.number).copied().unwrap_or_default();
                self.push_copy(kept);
            }
            // PUT, BINPUT, LONG_BINPUT; MEMOIZE.
            b'p' | b'q' | b'r' => self.keep_top(argument.number),
            0x94 => self.keep_top(self.memo.len() as u64),
            // All others make an object of their argument, or of nothing.
            _ => self.push(argument.bytes),
        }
        Ok(true)
    }

    /// Makes an object, which takes `bytes` beside its own.
    fn push(&mut self, bytes: u64) {
        self.made += OBJECT_BYTES + bytes;
        self.stack.push(Object { bytes: OBJECT_BYTES + bytes, kept: None });
    }

    fn push_copy(&mut self, object: Object) {
        self.made += object.bytes;
        self.stack.push(object);
    }

    fn keep(&mut self, place: u64, object: Object) {
        self.made += object.bytes;
        self.memo.insert(place, object);
    }

    fn keep_top(&mut self, place: u64) {
        let Some(top) = self.stack.last_mut() else { return };
        top.kept = Some(place);
        let top = *top;
        self.keep(place, top);
    }

    fn pop(&mut self) -> Object {
        self.stack.pop().unwrap_or_default()
    }

    /// Takes all above the innermost mark, and the mark; what they weigh.
    fn pop_to_mark(&mut self) -> u64 {
        let mark = self.marks.pop().unwrap_or(0).min(self.stack.len());
        self.stack.drain(mark..).map(|object| object.bytes).sum()
    }

    fn pop_some(&mut self, count: usize) -> u64 {
        (0..count).map(|_| self.pop().bytes).sum()
    }

    /// Makes one object of the last few.
    fn join(&mut self, count: usize) {
        let parts = self.pop_some(count);
        self.made += OBJECT_BYTES;
        self.stack.push(Object { bytes: OBJECT_BYTES + parts, kept: None });
    }

    fn grow(&mut self, bytes: u64) {
        if let Some(top) = self.stack.last_mut() {
            top.bytes += bytes;
        }
    }

    fn grow_by(&mut self, count: usize) {
        let parts = self.pop_some(count);
        self.grow(parts);
    }
}

const STOP: u8 = b'.';

/// What follows an opcode.
#[derive(Default)]
struct Argument {
    /// Its length where it becomes an object.
    bytes: u64,
    /// The number that it is, of opcodes that keep and fetch.
    number: u64,
}

fn argument(opcode: u8, file: &mut dyn BufRead) -> io::Result<Argument> {
    let of_number = |number| Argument { bytes: 0, number };
    let of_bytes = |bytes| Argument { bytes, number: 0 };
    Ok(match opcode {
        // BININT1, BINGET, BINPUT, PROTO, EXT1; BININT2, EXT2; BININT, LONG_BINGET, LONG_BINPUT,
        // EXT4; BINFLOAT, FRAME.
        b'K' | b'h' | b'q' | 0x80 | 0x82 => of_number(number(file, 1)?),
        b'M' | 0x83 => of_number(number(file, 2)?),
        b'J' | b'j' | b'r' | 0x84 => of_number(number(file, 4)?),
        b'G' | 0x95 => of_number(number(file, 8)?),
        // Texts, bytes and long integers, of short lengths and long ones.
        b'U' | b'C' | 0x8a | 0x8c => of_bytes(counted(file, 1)?),
        b'T' | b'X' | b'B' | 0x8b => of_bytes(counted(file, 4)?),
        0x8d | 0x8e | 0x96 => of_bytes(counted(file, 8)?),
        // GET, PUT.
        b'g' | b'p' => of_number(line(file)?.1),
        // INT, LONG, STRING, UNICODE, FLOAT, PERSID; GLOBAL, INST.
        b'I' | b'L' | b'S' | b'V' | b'F' | b'P' => of_bytes(line(file)?.0),
        b'c' | b'i' => of_bytes(line(file)?.0 + line(file)?.0),
        _ => Argument::default(),
    })
}

/// A number of so many bytes.
fn number(file: &mut dyn BufRead, bytes: usize) -> io::Result<u64> {
    let mut number = [0; 8];
    file.read_exact(&mut number[..bytes])?;
    Ok(u64::from_le_bytes(number))
}

/// Passes over what has its length before it, in so many bytes; the length. A text from Python 2 may
/// take twice as much in memory.
fn counted(file: &mut dyn BufRead, bytes: usize) -> io::Result<u64> {
    let len = number(file, bytes)?;
    let passed = io::copy(&mut file.take(len), &mut io::sink())?;
    if passed == len { Ok(2 * len) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A line's length, in memory as [`counted`] says, and the number on it.
fn line(file: &mut dyn BufRead) -> io::Result<(u64, u64)> {
    let (mut len, mut number) = (0, 0_u64);
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        for digit in part.iter().filter(|byte| byte.is_ascii_digit()) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        }
        len += part.len() as u64;
        let taken = part.len() + usize::from(end.is_some());
        file.consume(taken);
        if end.is_some() {
            return Ok((2 * len, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_weighed_as_they_are_made_kept_and_fetched() {
        let text = |len: u32| [b"X", &len.to_le_bytes()[..], &vec![b']'; len as usize]].concat();
        let framed = |program: &[u8]| [b"\x80\x02", program, b"."].concat();
        let fetched: Vec<u8> =
            (0..60).flat_map(|n| [b'h', n, b'h', n, 0x86, b'q', n + 1]).collect();
        let doubled: Vec<u8> = (0..60).flat_map(|_| [b'2', 0x86]).collect();
        // A state that is fetched, made the object's, and fetched with it again.
        let built: Vec<u8> = (0..60).flat_map(|_| *b"h\0h\0bq\0").collect();
        for (name, pickle, passes) in [
            ("a long text", framed(&text(3 << 20)), true),
            ("too long a text", framed(&text(5 << 20)), false),
            ("a call", b"\x80\x02cmodule\nname\n)R.".to_vec(), true),
            ("empty lists", framed(&b"]".repeat(50_000)), true),
            ("too many empty lists", framed(&b"]".repeat(60_000)), false),
            ("too many marks", framed(&b"(".repeat(60_000)), false),
            ("objects thrown away", framed(&b"K.0".repeat(60_000)), false),
            (
                "a text kept and fetched",
                framed(&[&text(1 << 10)[..], b"q\x01", &b"h\x01".repeat(3000)].concat()),
                true,
            ),
            (
                "a text fetched too often",
                framed(&[&text(1 << 10)[..], b"q\x01", &b"h\x01".repeat(5000)].concat()),
                false,
            ),
            (
                "the same by lines",
                framed(&[&text(1 << 10)[..], b"p17\n", &b"g17\n".repeat(5000)].concat()),
                false,
            ),
            ("pairs of what was fetched", framed(&[b")q\0", &fetched[..]].concat()), false),
            ("pairs of what was doubled", framed(&[b")", &doubled[..]].concat()), false),
            ("an object that is its own state", framed(&[b"}q\0", &built[..]].concat()), false),
            ("a length beyond the end", b"\x80\x02X\xff\xff\xff\xff".to_vec(), true),
            ("an empty stack", framed(b"0101tuaessRbQ\x85\x86\x87"), true),
        ] {
            assert_eq!(weigh(&pickle[..]).is_ok(), passes, "{name}");
        }
    }

    #[test]
    fn values_behind_the_pickles_of_an_old_file_are_not_weighed() {
        let pickles = |count| b"\x80\x02K\x01.".repeat(count);
        let objects = b"]".repeat(100_000);
        assert!(weigh_old(&[pickles(5), objects.clone()].concat()[..]).is_ok());
        assert!(weigh_old(&[pickles(4), objects].concat()[..]).is_err());
    }
}
