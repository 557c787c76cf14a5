//! Pages: what a column's values are stored in, each behind a header of its own.
//!
//! ```text
//! header | number of nulls' levels, levels, values, all compressed        data page, version 1
//! header | levels | values, compressed                                    data page, version 2
//! header | values, compressed                                             dictionary page
//! ```
//!
//! Values are plain (bytes behind their length, numbers in 4 or 8 bytes, the lowest first), or are
//! numbers of values of the chunk's dictionary, in runs or packed bits, as levels are. A level
//! says of a row whether it is null: it has the highest there is, or it has no value.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::codec::{Codec, unpack_blocks};
use super::footer::{Chunk, Column, Type};
use super::read_at;
use super::snappy::{Blocks, Piece};
use super::thrift::{Fault, Reader};

/// Largest page, compressed or not, in bytes (256 MiB). A page is in memory as a whole.
pub(super) const PAGE_BYTES_MAX: u64 = 256 << 20;
/// Most values of a page.
const PAGE_VALUES_MAX: u64 = 1 << 20;
/// Longest page header, in bytes: statistics in it may show two values of some kilobytes.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// What is read of a page at first, in bytes: most headers are shorter.
const HEADER_BYTES: u64 = 256;
/// From this size on a page is read in pieces, in bytes: it has some blocks.
const PIECES_BYTES_MIN: u64 = 256 << 10;
/// Of the length before levels, and before each value.
const LENGTH_BYTES: usize = 4;

/// A page, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Position of its first byte behind the header, in the file.
    pub(super) start: u64,
    /// How many bytes it takes there.
    pub(super) stored_len: u64,
    /// How many bytes it has once unpacked.
    pub(super) len: u64,
    pub(super) codec: Codec,
    pub(super) kind: PageKind,
    /// Rows, or entries of a dictionary.
    pub(super) values: usize,
    pub(super) encoding: Encoding,
    /// The level of a value that is there; with 0 none is null and no levels are stored.
    nullable: u8,
    /// How many values are null, if the header says so.
    pub(super) nulls: u32,
    crc32: Option<u32>,
}

/// The kinds of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary,
    V1,
    /// With levels of so many bytes before the values.
    V2(u64),
}

/// How values are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Dictionary,
}

/// Why a page is not used.
#[derive(Debug)]
pub(super) enum PageFault {
    /// The system refused to read.
    Io(io::Error),
    /// The page that begins at this byte is not what it should be.
    Page(u64, String),
}

impl From<io::Error> for PageFault {
    fn from(error: io::Error) -> Self {
        PageFault::Io(error)
    }
}

/// The pages of a chunk of `rows` values, found by their headers alone: the dictionary, if there
/// is one, comes first.
pub(super) fn find(
    file: &File,
    chunk: &Chunk,
    column: &Column,
    rows: u64,
) -> Result<Vec<Page>, PageFault> {
    let (mut pages, mut found, mut at) = (Vec::new(), 0, chunk.start);
    while found < rows {
        let here = at;
        let fault = |reason: &str| PageFault::Page(here, reason.to_owned());
        if at >= chunk.end {
            return Err(fault(&format!("there is no page here, of {rows} rows {found} are there")));
        }
        let (header, header_len) = Header::find(file, at, chunk.end)?;
        let start = at + header_len;
        let page = header.page(start, chunk, column).map_err(|reason| fault(&reason))?;
        at = start + header.stored_len as u64;
        let Some(page) = page else { continue };
        match page.kind {
            PageKind::Dictionary if !pages.is_empty() => {
                return Err(fault("a dictionary must come first: restore it"));
            }
            PageKind::Dictionary => {}
            _ => found += page.values as u64,
        }
        pages.push(page);
    }
    match found == rows {
        true => Ok(pages),
        false => Err(PageFault::Page(at, format!("the pages before have {found} of {rows} rows"))),
    }
}

/// What a header says; numbers are not negative.
#[derive(Default)]
struct Header {
    kind: i64,
    len: u32,
    stored_len: u32,
    crc32: Option<u32>,
    values: u32,
    encoding: i64,
    level_encoding: i64,
    nulls: u32,
    definition_len: u32,
    repetition_len: u32,
    is_plain: bool,
}

impl Header {
    /// The header at `at`, and its length. It ends before `end`.
    fn find(file: &File, at: u64, end: u64) -> Result<(Self, u64), PageFault> {
        let fault = || PageFault::Page(at, "no page header: restore the file".to_owned());
        for most in [HEADER_BYTES, HEADER_BYTES_MAX] {
            let bytes = read_at(file, at, most.min(end - at))?;
            let mut reader = Reader::new(&bytes);
            match Self::read(&mut reader) {
                Ok(header) => return Ok((header, reader.at() as u64)),
                Err(Fault::Ends) => {}
                Err(Fault::At(_)) => return Err(fault()),
            }
        }
        Err(fault())
    }

    fn read(reader: &mut Reader) -> Result<Self, Fault> {
        let mut header = Self::default();
        let size = |reader: &mut Reader, kind| {
            let number = reader.int(kind)?;
            u32::try_from(number).map_err(|_| reader.fault())
        };
        reader.structure(|reader, field, kind| {
            match field {
                1 => header.kind = reader.int(kind)?,
                2 => header.len = size(reader, kind)?,
                3 => header.stored_len = size(reader, kind)?,
                4 => header.crc32 = Some(reader.int(kind)? as u32),
                5 | 7 => reader.inner(kind, |reader, inner, kind| {
                    match inner {
                        1 => header.values = size(reader, kind)?,
                        2 => header.encoding = reader.int(kind)?,
                        3 if field == 5 => header.level_encoding = reader.int(kind)?,
                        _ => reader.skip(kind)?,
                    }
                    Ok(())
                })?,
                8 => reader.inner(kind, |reader, field, kind| {
                    match field {
                        1 => header.values = size(reader, kind)?,
                        2 => header.nulls = size(reader, kind)?,
                        4 => header.encoding = reader.int(kind)?,
                        5 => header.definition_len = size(reader, kind)?,
                        6 => header.repetition_len = size(reader, kind)?,
                        7 => header.is_plain = !reader.bool(kind)?,
                        _ => reader.skip(kind)?,
                    }
                    Ok(())
                })?,
                _ => reader.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(header)
    }

    /// The page behind the header; `None` of an index.
    fn page(&self, start: u64, chunk: &Chunk, column: &Column) -> Result<Option<Page>, String> {
        let (stored_len, len) = (u64::from(self.stored_len), u64::from(self.len));
        if start + stored_len > chunk.end {
            return Err(format!("it should take {stored_len} bytes, its column ends before"));
        }
        if stored_len.max(len) > PAGE_BYTES_MAX {
            let most = stored_len.max(len);
            return Err(format!(
                "a page of {most} bytes, the limit is {PAGE_BYTES_MAX}: write smaller row groups"
            ));
        }
        if u64::from(self.values) > PAGE_VALUES_MAX {
            return Err(format!(
                "{} values in a page, the limit is {PAGE_VALUES_MAX}",
                self.values
            ));
        }
        let levels_len = u64::from(self.definition_len) + u64::from(self.repetition_len);
        let kind = match self.kind {
            0 => PageKind::V1,
            1 => return Ok(None),
            2 => PageKind::Dictionary,
            3 if levels_len > stored_len.min(len) || self.repetition_len > 0 => {
                return Err("its levels have no place in it".into());
            }
            3 => PageKind::V2(levels_len),
            other => return Err(format!("a page of unknown kind {other}")),
        };
        let codec = chunk.codec.map_err(|name| {
            format!("it is compressed with {name}: write it with snappy, zstd, gzip or none")
        })?;
        let codec = if self.is_plain { Codec::Plain } else { codec };
        if codec == Codec::Plain && len != stored_len {
            return Err(format!("it takes {stored_len} bytes, but should have {len}"));
        }
        let nullable = if kind == PageKind::Dictionary { 0 } else { column.nullable };
        // Runs and packed bits; another form was given up before there were images in tables.
        if kind == PageKind::V1 && nullable > 0 && self.level_encoding != 3 {
            return Err(format!("levels in encoding {}, not in runs", self.level_encoding));
        }
        let encoding = match self.encoding {
            0 => Encoding::Plain,
            // Of a dictionary's own entries, as early writers put it.
            2 if kind == PageKind::Dictionary => Encoding::Plain,
            2 | 8 => Encoding::Dictionary,
            other => return Err(format!("values in encoding {other}: write them plain")),
        };
        let (values, nulls, crc32) = (self.values as usize, self.nulls, self.crc32);
        Ok(Some(Page {
            start,
            stored_len,
            len,
            codec,
            kind,
            values,
            encoding,
            nullable,
            nulls,
            crc32,
        }))
    }
}

/// A page's bytes, unpacked.
pub(super) struct Body {
    levels: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// Where the values begin in `bytes`.
    values_start: usize,
    /// Of `bytes`, where they can be unpacked in pieces.
    pub(super) blocks: Option<Blocks>,
}

impl Page {
    /// How much memory it takes once unpacked, with the places of its values.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.len + (self.values * size_of::<Option<Range<u32>>>()) as u64
    }

    /// Reads and unpacks all of it.
    pub(super) fn read(&self, file: &File) -> Result<Body, PageFault> {
        let fault = |reason: String| PageFault::Page(self.start, reason);
        let stored = read_at(file, self.start, self.stored_len)?;
        if self.crc32.is_some_and(|crc32| crc32 != crc32fast::hash(&stored)) {
            return Err(fault("it is damaged (its CRC-32 is not the one kept of it)".into()));
        }
        let (head, packed) = stored.split_at(self.levels_len() as usize);
        let len = self.len - self.levels_len();
        let bytes = match self.kind {
            // Without a value there is nothing to unpack, not even an empty stream.
            PageKind::V2(_) if len == 0 => Vec::new(),
            _ => self.codec.unpack(packed, len as usize).map_err(fault)?,
        };
        let (levels, values_start) = match self.kind {
            PageKind::V1 => {
                let levels = self.v1_levels(&bytes).ok_or_else(|| fault(VALUES.into()))?;
                (bytes[levels.clone()].to_vec(), levels.end)
            }
            _ => (head.to_vec(), 0),
        };
        let is_worth_it = self.codec == Codec::Snappy && len >= PIECES_BYTES_MIN;
        let blocks = if is_worth_it { Blocks::find(packed) } else { None };
        Ok(Body { levels, bytes, values_start, blocks })
    }

    /// Reads and unpacks some blocks of [`Body::bytes`].
    pub(super) fn read_piece(&self, file: &File, piece: &Piece) -> Result<Vec<u8>, PageFault> {
        let start = self.start + self.levels_len() + piece.packed.start;
        let packed = read_at(file, start, piece.packed.end - piece.packed.start)?;
        unpack_blocks(&packed, piece.len).map_err(|reason| PageFault::Page(start, reason))
    }

    /// Of the levels that stand before what is packed.
    fn levels_len(&self) -> u64 {
        if let PageKind::V2(len) = self.kind { len } else { 0 }
    }

    /// Where the levels lie at the head of a page of version 1.
    fn v1_levels(&self, head: &[u8]) -> Option<Range<usize>> {
        if self.nullable == 0 {
            return Some(0..0);
        }
        let len = length(head)?;
        let end = LENGTH_BYTES.checked_add(len)?;
        (end as u64 <= self.len).then_some(LENGTH_BYTES..end)
    }

    /// Of each row whether it is there.
    fn present(&self, levels: &[u8]) -> Result<Vec<bool>, PageFault> {
        if self.nullable == 0 {
            return Ok(vec![true; self.values]);
        }
        let width = u8::BITS - self.nullable.leading_zeros();
        let levels = runs(levels, width, self.values)
            .ok_or_else(|| PageFault::Page(self.start, LEVELS.into()))?;
        Ok(levels.into_iter().map(|level| level == u32::from(self.nullable)).collect())
    }

    /// The places of byte strings in a page that is plain and not compressed, in the file; `None`
    /// of a null. Only their lengths are read.
    pub(super) fn places(&self, file: &File) -> Result<Vec<Option<Range<u64>>>, PageFault> {
        let fault = || PageFault::Page(self.start, VALUES.into());
        let (levels, mut at) = match self.kind {
            PageKind::V2(len) => (read_at(file, self.start, len)?, self.start + len),
            _ => {
                let head = read_at(file, self.start, self.len.min(LENGTH_BYTES as u64))?;
                let levels = self.v1_levels(&head).ok_or_else(fault)?;
                let (start, len) = (self.start + levels.start as u64, levels.len() as u64);
                (read_at(file, start, len)?, start + len)
            }
        };
        let end = self.start + self.len;
        let mut places = Vec::with_capacity(self.values);
        for present in self.present(&levels)? {
            let place = if present {
                let head = read_at(file, at, (end - at).min(LENGTH_BYTES as u64))?;
                let start = at + LENGTH_BYTES as u64;
                at = start + length(&head).ok_or_else(fault)? as u64;
                if at > end {
                    return Err(fault());
                }
                Some(start..at)
            } else {
                None
            };
            places.push(place);
        }
        Ok(places)
    }

    /// The places of byte strings in the bytes of a plain page; `None` of a null.
    pub(super) fn strings(&self, body: &Body) -> Result<Vec<Option<Range<u32>>>, PageFault> {
        let fault = || PageFault::Page(self.start, VALUES.into());
        let mut at = body.values_start;
        let string = |present: bool| {
            if !present {
                return Ok(None);
            }
            let start = at + LENGTH_BYTES;
            let len = body.bytes.get(at..).and_then(length).ok_or_else(fault)?;
            at = start.checked_add(len).filter(|&end| end <= body.bytes.len()).ok_or_else(fault)?;
            // No page is as long as 4 GiB.
            Ok(Some(start as u32..at as u32))
        };
        self.present(&body.levels)?.into_iter().map(string).collect()
    }

    /// The numbers of a plain page; `None` of a null.
    pub(super) fn numbers(&self, body: &Body, kind: Type) -> Result<Vec<Option<i64>>, PageFault> {
        let width = if kind == Type::Int32 { 4 } else { 8 };
        let mut values = body.bytes[body.values_start..].chunks_exact(width);
        let number = |present: bool| {
            if !present {
                return Ok(None);
            }
            let fault = || PageFault::Page(self.start, VALUES.into());
            let bytes = values.next().ok_or_else(fault)?;
            let bits = bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
            Ok(Some(if width == 4 { i64::from(bits as i32) } else { bits as i64 }))
        };
        self.present(&body.levels)?.into_iter().map(number).collect()
    }

    /// The numbers of entries of a dictionary that has so many; `None` of a null.
    pub(super) fn entries(
        &self,
        body: &Body,
        dictionary: usize,
    ) -> Result<Vec<Option<usize>>, PageFault> {
        let fault = || PageFault::Page(self.start, "it points outside of its dictionary".into());
        let present = self.present(&body.levels)?;
        let values = present.iter().filter(|&&present| present).count();
        let entries = match body.bytes[body.values_start..].split_first() {
            _ if values == 0 => Vec::new(),
            Some((&width, packed)) => runs(packed, width.into(), values).ok_or_else(fault)?,
            None => return Err(fault()),
        };
        let mut entries = entries.into_iter();
        let entry = |present: bool| {
            let entry = if present { entries.next().map(|entry| entry as usize) } else { None };
            if entry.is_some_and(|entry| entry >= dictionary) { Err(fault()) } else { Ok(entry) }
        };
        present.into_iter().map(entry).collect()
    }
}

const LEVELS: &str = "it does not say of each row whether it is null: restore the file";
const VALUES: &str = "it ends within its values: restore the file";

/// The length before levels and byte strings.
fn length(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.first_chunk::<LENGTH_BYTES>()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

/// `count` numbers of `width` bits, in runs of one number and stretches of packed ones.
/// `None` if `bytes` hold fewer.
fn runs(bytes: &[u8], width: u32, count: usize) -> Option<Vec<u32>> {
    if width > u32::BITS {
        return None;
    }
    let mut numbers = Vec::with_capacity(count);
    let mut rest = bytes;
    while numbers.len() < count {
        let left = count - numbers.len();
        let (head, behind) = varint(rest)?;
        rest = behind;
        if head & 1 == 0 {
            let (number, behind) = rest.split_at_checked(width.div_ceil(8) as usize)?;
            rest = behind;
            let number = number.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte));
            let len = usize::try_from(head >> 1).ok().filter(|&len| len > 0)?;
            numbers.resize(numbers.len() + len.min(left), number);
        } else {
            // In eights, of which the last may be cut short.
            let len = usize::try_from(head >> 1).ok()?.checked_mul(8).filter(|&len| len > 0)?;
            let len = len.min(left);
            let packed_len = (len * width as usize).div_ceil(8);
            let whole_len = len.div_ceil(8).checked_mul(width as usize)?;
            let packed = rest.get(..packed_len)?;
            rest = rest.get(whole_len..).unwrap_or_default();
            numbers.extend((0..len).map(|at| bits(packed, at * width as usize, width)));
        }
    }
    Some(numbers)
}

/// `width` bits from bit `at` on, the lowest first.
fn bits(bytes: &[u8], at: usize, width: u32) -> u32 {
    let mut window = [0; 8];
    let from = &bytes[(at / 8).min(bytes.len())..];
    let len = from.len().min(8);
    window[..len].copy_from_slice(&from[..len]);
    let mask = (1_u64 << width) - 1;
    ((u64::from_le_bytes(window) >> (at % 8)) & mask) as u32
}

/// A number in as many bytes as it needs, seven bits each, and what is behind it.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, shift) in (0..63).step_by(7).enumerate() {
        let byte = *bytes.get(at)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}
