//! The outline of a protobuf file: all of it but the long lists of numbers, which stay in the file
//! until they are read into their places.
//!
//! ```text
//! file     graph [ initialiser [ dims, name, raw_data: 151 MB ], node, node ]
//! outline  graph [ initialiser [ dims, name, (at byte 90, 151 MB) ], node, node ]
//! ```
//!
//! An outline is walked as a file's bytes are ([`Slice::fields`]), and faults found in it name the
//! bytes of the file. In place of a list it has a field of a wire type that protobuf does not know;
//! a file that has such a field itself is refused.

use std::fs::File;
use std::io::{self, BufReader, Read};

use alexnet_data::read_at;

use crate::protobuf::{BYTES, Fault, LEFT, OUTLINED, Slice, put_varint, too_long};
use crate::values::{self, Kind, ValuesError};

/// Shortest field left in the file, in bytes, and shortest message looked into: less is sooner
/// copied.
pub(crate) const LEFT_BYTES_MIN: u64 = 1 << 16;
/// Most fields in the messages looked into: a hundred times what a network of this kind has.
const FIELDS_MAX: u32 = 1 << 18;
/// Longest key and length, or number.
const HEAD_BYTES_MAX: u64 = 20;

/// Where fields are that may be left: the numbers of the messages they are in, and theirs.
pub(crate) type Paths = [&'static [u32]];

/// An open file and its outline.
#[derive(Debug)]
pub(crate) struct Outline {
    file: File,
    bytes: Vec<u8>,
    len: u64,
}

impl Outline {
    /// The outline of a file of `len` bytes, in which fields at `paths` are left if they have at
    /// least `shortest` bytes.
    ///
    /// # Errors
    /// When the file is unreadable or malformed.
    pub(crate) fn read(
        file: File,
        len: u64,
        paths: &Paths,
        shortest: u64,
    ) -> Result<Self, OutlineError> {
        let reader = BufReader::new(&file);
        let (path, bytes) = (Vec::new(), Vec::new());
        let mut walk = Walk { reader, offset: 0, paths, shortest, path, fields: 0, bytes };
        walk.message(len)?;
        let bytes = walk.bytes;
        Ok(Self { file, bytes, len })
    }

    /// It as the file's bytes.
    pub(crate) fn slice(&self) -> Slice<'_> {
        Slice { bytes: &self.bytes, offset: 0, end: self.len, file: Some(&self.file) }
    }
}

/// Why there is no outline.
#[derive(Debug)]
pub(crate) enum OutlineError {
    /// The file is unreadable.
    Io(io::Error),
    /// It is malformed.
    Fault(Fault),
}

impl From<io::Error> for OutlineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for OutlineError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    pub(crate) file: &'a File,
    /// Where it begins.
    pub offset: u64,
    /// Bytes in it.
    pub len: u64,
}

impl Stretch<'_> {
    /// The numbers that it is.
    pub(crate) fn values(self, kind: Kind) -> Result<Vec<f32>, ValuesError> {
        let len = self.len_in_memory()?;
        values::read(&mut Rest(self), kind, len / kind.size())
    }

    /// Its bytes.
    pub(crate) fn bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let len = self.len_in_memory()?;
        bytes.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(len, 0);
        read_at(self.file, self.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn len_in_memory(self) -> io::Result<usize> {
        usize::try_from(self.len).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }
}

/// What of a stretch is still to be read.
struct Rest<'a>(Stretch<'a>);

impl Read for Rest<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let stretch = &mut self.0;
        let len = out.len().min(usize::try_from(stretch.len).unwrap_or(usize::MAX));
        read_at(stretch.file, stretch.offset, &mut out[..len])?;
        stretch.offset += len as u64;
        stretch.len -= len as u64;
        Ok(len)
    }
}

struct Walk<'a> {
    reader: BufReader<&'a File>,
    /// Where it is in the file.
    offset: u64,
    paths: &'a Paths,
    shortest: u64,
    /// Numbers of the messages it is in, and of the field.
    path: Vec<u32>,
    fields: u32,
    /// The outline so far.
    bytes: Vec<u8>,
}

impl Walk<'_> {
    /// Goes through a message that ends at `end`.
    fn message(&mut self, end: u64) -> Result<(), OutlineError> {
        while self.offset < end {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                let (offset, reason) = (self.offset, format!("over {FIELDS_MAX} fields"));
                return Err(Fault { offset, reason }.into());
            }
            self.field(end)?;
        }
        Ok(())
    }

    fn field(&mut self, end: u64) -> Result<(), OutlineError> {
        let mut head = [0; HEAD_BYTES_MAX as usize];
        let there = HEAD_BYTES_MAX.min(end - self.offset);
        let head = &mut head[..there as usize];
        self.reader.read_exact(head)?;
        let start = Slice { bytes: head, offset: self.offset, end, file: None };
        let mut rest = start;
        let (number, wire_type) = rest.take_key()?;
        if wire_type != BYTES {
            // Whole in what was read.
            let mut fields = start.fields();
            fields.next().transpose()?;
            let taken = fields.offset() - self.offset;
            self.bytes.extend(&head[..taken as usize]);
            return self.go_to(self.offset + taken, there);
        }
        let len = rest.take_varint()?;
        if len > rest.file_len() {
            return Err(rest.fault(too_long(len, rest.file_len())).into());
        }
        let payload = rest.offset;
        self.go_to(payload, there)?;
        self.path.push(number);
        self.payload(number, len)?;
        self.path.pop();
        Ok(())
    }

    /// Goes back from behind `there` bytes that were read.
    fn go_to(&mut self, offset: u64, there: u64) -> Result<(), OutlineError> {
        self.reader.seek_relative(offset as i64 - (self.offset + there) as i64)?;
        self.offset = offset;
        Ok(())
    }

    /// Leaves, outlines or copies a field's `len` bytes.
    fn payload(&mut self, number: u32, len: u64) -> Result<(), OutlineError> {
        let is_long = len >= self.shortest;
        let key = |wire_type| u64::from(number) << 3 | wire_type;
        if is_long && self.paths.iter().any(|path| *path == self.path) {
            put_varint(&mut self.bytes, key(LEFT));
            self.bytes.extend([self.offset, len].map(u64::to_le_bytes).concat());
            return self.go_to(self.offset + len, 0);
        }
        if is_long && self.paths.iter().any(|path| path.starts_with(&self.path)) {
            put_varint(&mut self.bytes, key(OUTLINED));
            self.bytes.extend([self.offset, len].map(u64::to_le_bytes).concat());
            let place = self.bytes.len();
            self.bytes.extend([0; 8]);
            self.message(self.offset + len)?;
            let kept = (self.bytes.len() - place - 8) as u64;
            self.bytes[place..place + 8].copy_from_slice(&kept.to_le_bytes());
            return Ok(());
        }
        put_varint(&mut self.bytes, key(BYTES));
        put_varint(&mut self.bytes, len);
        let room = self.bytes.try_reserve(len as usize);
        room.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let copied = self.reader.by_ref().take(len).read_to_end(&mut self.bytes)?;
        self.offset += len;
        if copied as u64 == len {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}
