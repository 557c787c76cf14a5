//! Thrift's compact protocol, in which Parquet writes its headers: a pull reader that keeps nothing.
//!
//! A structure is its fields, each a byte of type and distance to the field before, then a value,
//! and a zero at the end; numbers are zigzag varints:
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.
//! What is not asked for is skipped. Nothing is allocated, so a length that lies costs nothing.

/// Deepest nesting that is skipped.
const DEPTH_MAX: u32 = 32;

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCTURE: u8 = 12;

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They end before it does.
    Ends,
    /// What stands at this byte cannot be.
    At(usize),
}

/// A value's type, still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u8);

/// Reads from the first byte on.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Here something cannot be.
    pub(super) fn fault(&self) -> Fault {
        Fault::At(self.at)
    }

    /// Reads a structure; `field` is given each field's number and must read or skip its value.
    pub(super) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, Kind) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut number = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.zigzag()?,
                distance => number.checked_add(distance.into()).ok_or(self.fault())?,
            };
            field(self, number, Kind(head & 15))?;
        }
    }

    /// Reads a list; `element` must read or skip a value each time.
    pub(super) fn list(
        &mut self,
        kind: Kind,
        mut element: impl FnMut(&mut Self, Kind) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if ![LIST, SET].contains(&kind.0) {
            return Err(self.fault());
        }
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => count.into(),
        };
        // Every element takes a byte at least, so the bytes end a list that lies.
        for _ in 0..count {
            element(self, Kind(head & 15))?;
        }
        Ok(())
    }

    /// Reads a structure where one should be.
    pub(super) fn inner(
        &mut self,
        kind: Kind,
        field: impl FnMut(&mut Self, i64, Kind) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if kind.0 != STRUCTURE {
            return Err(self.fault());
        }
        self.structure(field)
    }

    /// Reads a number.
    pub(super) fn int(&mut self, kind: Kind) -> Result<i64, Fault> {
        match kind.0 {
            BYTE => Ok(i64::from(self.byte()? as i8)),
            I16 | I32 | I64 => self.zigzag(),
            _ => Err(self.fault()),
        }
    }

    /// Reads a truth value that is a field.
    pub(super) fn bool(&mut self, kind: Kind) -> Result<bool, Fault> {
        match kind.0 {
            TRUE => Ok(true),
            FALSE => Ok(false),
            _ => Err(self.fault()),
        }
    }

    /// Reads bytes or text.
    pub(super) fn binary(&mut self, kind: Kind) -> Result<&'a [u8], Fault> {
        if kind.0 != BINARY {
            return Err(self.fault());
        }
        let len = self.varint()?;
        self.take(len)
    }

    /// Passes over a value that is a field.
    pub(super) fn skip(&mut self, kind: Kind) -> Result<(), Fault> {
        match kind.0 {
            TRUE | FALSE => Ok(()),
            _ => self.skip_value(kind, DEPTH_MAX),
        }
    }

    /// Passes over a value that is an element, where a truth value takes a byte.
    fn skip_value(&mut self, kind: Kind, depth: u32) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(self.fault())?;
        match kind.0 {
            TRUE | FALSE | BYTE => self.byte().map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => self.binary(kind).map(drop),
            LIST | SET => self.list(kind, |reader, kind| reader.skip_value(kind, depth)),
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                for _ in 0..count {
                    self.skip_value(Kind(kinds >> 4), depth)?;
                    self.skip_value(Kind(kinds & 15), depth)?;
                }
                Ok(())
            }
            STRUCTURE => self.structure(|reader, _, kind| match kind.0 {
                TRUE | FALSE => Ok(()),
                _ => reader.skip_value(kind, depth),
            }),
            _ => Err(self.fault()),
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Ends)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let len = usize::try_from(len).ok().filter(|&len| len <= rest.len()).ok_or(Fault::Ends)?;
        self.at += len;
        Ok(&rest[..len])
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault())
    }

    fn zigzag(&mut self) -> Result<i64, Fault> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}
