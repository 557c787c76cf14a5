//! The footer: which columns a file has, and where each row group keeps them.
//!
//! ```text
//! PAR1 | pages of column 0 | pages of column 1 | ... | footer | length of the footer | PAR1
//! ```
//!
//! <https://github.com/apache/parquet-format>. Field numbers are those of its `parquet.thrift`.

use super::codec::Codec;
use super::thrift::{Fault, Kind, Reader};

/// Longest footer, in bytes: Hugging Face's have some kilobytes.
pub(super) const FOOTER_BYTES_MAX: u64 = 16 << 20;
/// Of the footer's length and the magic number, behind it.
pub(super) const TAIL_BYTES: u64 = 8;
pub(super) const MAGIC: [u8; 4] = *b"PAR1";
/// Where the footer is encrypted.
pub(super) const MAGIC_ENCRYPTED: [u8; 4] = *b"PARE";
/// Most rows of a file.
pub(super) const ROWS_MAX: u64 = 1 << 22;
/// Deepest schema.
const SCHEMA_DEPTH_MAX: usize = 32;

/// A footer, as it stands there.
#[derive(Debug)]
pub(super) struct Footer<'a> {
    pub(super) columns: Vec<Column<'a>>,
    pub(super) groups: Vec<RowGroup>,
    /// Keys and values of other programs.
    pub(super) metadata: Vec<(&'a [u8], &'a [u8])>,
}

/// A column that holds values; groups and lists hold other columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    /// The names of the outermost column it belongs to, and of the one in that.
    pub(super) path: [&'a [u8]; 2],
    /// How deep it lies: 1 is outermost.
    pub(super) depth: usize,
    pub(super) kind: Type,
    /// How many of the columns it lies in, itself among them, may be null.
    pub(super) nullable: u8,
    /// Whether it lies in a list.
    pub(super) repeated: bool,
}

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Int32,
    Int64,
    Bytes,
    Other,
}

/// Some rows, column by column.
#[derive(Debug)]
pub(super) struct RowGroup {
    pub(super) rows: u64,
    /// One for each column.
    pub(super) chunks: Vec<Chunk>,
}

/// One column of a row group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) codec: Result<Codec, &'static str>,
    /// Of the first page, in the file.
    pub(super) start: u64,
    /// Behind the last page.
    pub(super) end: u64,
    /// How many values are null, if the writer says so.
    pub(super) nulls: Option<i64>,
}

/// Why a footer is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// "row group 3, column 1", or "footer, byte 20".
    pub(super) place: String,
    pub(super) reason: String,
}

fn refusal(place: impl Into<String>, reason: impl Into<String>) -> Refusal {
    Refusal { place: place.into(), reason: reason.into() }
}

impl<'a> Footer<'a> {
    /// Reads the footer that lies in a file at `footer_start`: pages lie before it.
    pub(super) fn read(bytes: &'a [u8], footer_start: u64) -> Result<Self, Refusal> {
        let raw = RawFooter::read(bytes).map_err(|fault| {
            let at = if let Fault::At(at) = fault { at } else { bytes.len() };
            refusal(format!("footer, byte {at}"), "no Parquet metadata: restore it")
        })?;
        let columns = columns(&raw.schema)?;
        let mut groups = Vec::with_capacity(raw.groups.len());
        let mut rows = 0_u64;
        for (number, group) in raw.groups.iter().enumerate() {
            let group = row_group(number, group, &columns, footer_start)?;
            rows = rows.saturating_add(group.rows);
            groups.push(group);
        }
        if i64::try_from(rows) != Ok(raw.rows) {
            let reason = format!("the row groups have {rows} rows, the file {}", raw.rows);
            return Err(refusal("footer", reason));
        }
        if rows > ROWS_MAX {
            let reason = format!("it has {rows} rows, the limit is {ROWS_MAX}: split the file");
            return Err(refusal("footer", reason));
        }
        Ok(Self { columns, groups, metadata: raw.metadata })
    }
}

/// What the footer says, unchecked.
#[derive(Default)]
struct RawFooter<'a> {
    schema: Vec<Element<'a>>,
    rows: i64,
    groups: Vec<RawGroup>,
    metadata: Vec<(&'a [u8], &'a [u8])>,
}

/// A node of the schema, before its children.
#[derive(Clone, Copy, Default)]
struct Element<'a> {
    kind: Option<i64>,
    repetition: i64,
    name: &'a [u8],
    children: i64,
}

#[derive(Default)]
struct RawGroup {
    rows: i64,
    chunks: Vec<RawChunk>,
}

#[derive(Clone, Copy, Default)]
struct RawChunk {
    elsewhere: bool,
    encrypted: bool,
    kind: i64,
    codec: i64,
    values: i64,
    bytes: i64,
    data_start: i64,
    dictionary_start: Option<i64>,
    nulls: Option<i64>,
}

impl<'a> RawFooter<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut footer = Self::default();
        let mut reader = Reader::new(bytes);
        reader.structure(|reader, field, kind| match field {
            2 => reader.list(kind, |reader, kind| {
                footer.schema.push(Element::read(reader, kind)?);
                Ok(())
            }),
            3 => reader.int(kind).map(|rows| footer.rows = rows),
            4 => reader.list(kind, |reader, kind| {
                footer.groups.push(RawGroup::read(reader, kind)?);
                Ok(())
            }),
            5 => reader.list(kind, |reader, kind| {
                let (mut key, mut value) = (&[][..], &[][..]);
                reader.inner(kind, |reader, field, kind| match field {
                    1 => reader.binary(kind).map(|bytes| key = bytes),
                    2 => reader.binary(kind).map(|bytes| value = bytes),
                    _ => reader.skip(kind),
                })?;
                footer.metadata.push((key, value));
                Ok(())
            }),
            _ => reader.skip(kind),
        })?;
        Ok(footer)
    }
}

impl<'a> Element<'a> {
    fn read(reader: &mut Reader<'a>, kind: Kind) -> Result<Self, Fault> {
        let mut element = Self::default();
        reader.inner(kind, |reader, field, kind| match field {
            1 => reader.int(kind).map(|kind| element.kind = Some(kind)),
            3 => reader.int(kind).map(|repetition| element.repetition = repetition),
            4 => reader.binary(kind).map(|name| element.name = name),
            5 => reader.int(kind).map(|children| element.children = children),
            _ => reader.skip(kind),
        })?;
        Ok(element)
    }
}

impl RawGroup {
    fn read(reader: &mut Reader, kind: Kind) -> Result<Self, Fault> {
        let mut group = Self::default();
        reader.inner(kind, |reader, field, kind| match field {
            1 => reader.list(kind, |reader, kind| {
                group.chunks.push(RawChunk::read(reader, kind)?);
                Ok(())
            }),
            3 => reader.int(kind).map(|rows| group.rows = rows),
            _ => reader.skip(kind),
        })?;
        Ok(group)
    }
}

impl RawChunk {
    fn read(reader: &mut Reader, kind: Kind) -> Result<Self, Fault> {
        let (mut chunk, mut described) = (Self::default(), false);
        reader.inner(kind, |reader, field, kind| match field {
            1 => reader.binary(kind).map(|_| chunk.elsewhere = true),
            3 => {
                described = true;
                reader.inner(kind, |reader, field, kind| chunk.read_field(reader, field, kind))
            }
            8 | 9 => {
                chunk.encrypted = true;
                reader.skip(kind)
            }
            _ => reader.skip(kind),
        })?;
        match described || chunk.encrypted {
            true => Ok(chunk),
            false => Err(reader.fault()),
        }
    }

    /// A field of the chunk's metadata.
    fn read_field(&mut self, reader: &mut Reader, field: i64, kind: Kind) -> Result<(), Fault> {
        match field {
            1 => self.kind = reader.int(kind)?,
            4 => self.codec = reader.int(kind)?,
            5 => self.values = reader.int(kind)?,
            7 => self.bytes = reader.int(kind)?,
            9 => self.data_start = reader.int(kind)?,
            11 => self.dictionary_start = Some(reader.int(kind)?),
            12 => reader.inner(kind, |reader, field, kind| match field {
                3 => reader.int(kind).map(|nulls| self.nulls = Some(nulls)),
                _ => reader.skip(kind),
            })?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    }
}

/// The columns that hold values, in the schema's order: each node stands before its children.
fn columns<'a>(schema: &[Element<'a>]) -> Result<Vec<Column<'a>>, Refusal> {
    let fault = |number: usize, reason: &str| refusal(format!("schema element {number}"), reason);
    let (root, elements) =
        schema.split_first().ok_or_else(|| fault(0, "there is none: restore it"))?;
    let mut columns = Vec::new();
    // The nodes above: how many children each still lacks, and what they hand down.
    let top = Column { path: [b""; 2], depth: 0, kind: Type::Other, nullable: 0, repeated: false };
    let mut above = vec![(root.children, top)];
    for (number, element) in (1..).zip(elements) {
        let Some((left, parent)) = above.last_mut().filter(|(left, _)| *left > 0) else {
            return Err(fault(number, "it belongs to no other: restore it"));
        };
        *left -= 1;
        let mut column = *parent;
        if let Some(name) = column.path.get_mut(column.depth) {
            *name = element.name;
        }
        column.depth += 1;
        column.nullable += u8::from(element.repetition != 0);
        column.repeated |= element.repetition == 2;
        match element.kind {
            Some(kind) => {
                column.kind = Type::of(kind);
                columns.push(column);
            }
            None if above.len() < SCHEMA_DEPTH_MAX && element.children > 0 => {
                above.push((element.children, column));
            }
            None => return Err(fault(number, "it has no type: restore it")),
        }
        while above.last().is_some_and(|(left, _)| *left == 0) {
            above.pop();
        }
    }
    match above.is_empty() {
        true => Ok(columns),
        false => Err(fault(schema.len(), "it should be there: restore it")),
    }
}

impl Type {
    fn of(number: i64) -> Self {
        match number {
            1 => Type::Int32,
            2 => Type::Int64,
            6 => Type::Bytes,
            _ => Type::Other,
        }
    }
}

fn row_group(
    number: usize,
    raw: &RawGroup,
    columns: &[Column],
    footer_start: u64,
) -> Result<RowGroup, Refusal> {
    let fault = |reason: String| refusal(format!("row group {number}"), reason);
    let rows = u64::try_from(raw.rows).map_err(|_| fault(format!("{} rows", raw.rows)))?;
    if raw.chunks.len() != columns.len() {
        let (chunks, columns) = (raw.chunks.len(), columns.len());
        return Err(fault(format!("it has {chunks} columns, the schema {columns}: restore it")));
    }
    let chunk = |(at, (raw, column)): (usize, (&RawChunk, &Column))| {
        let fault = |reason: &str| refusal(format!("row group {number}, column {at}"), reason);
        if raw.encrypted {
            return Err(fault("it is encrypted: write it plain"));
        }
        if raw.elsewhere {
            return Err(fault("it lies in another file: write it into this one"));
        }
        if Type::of(raw.kind) != column.kind {
            return Err(fault("it is of another type than in the schema: restore it"));
        }
        if !column.repeated && u64::try_from(raw.values) != Ok(rows) {
            return Err(fault("it has other than the group's number of rows: restore it"));
        }
        match raw.place(footer_start) {
            Some(chunk) => Ok(chunk),
            // Of no rows nothing is written, nor where.
            None if rows == 0 => {
                Ok(Chunk { codec: Codec::of(raw.codec), start: 0, end: 0, nulls: None })
            }
            None => Err(fault("it lies outside of the file: restore it")),
        }
    };
    let chunks = raw.chunks.iter().zip(columns).enumerate().map(chunk).collect::<Result<_, _>>()?;
    Ok(RowGroup { rows, chunks })
}

impl RawChunk {
    fn place(&self, footer_start: u64) -> Option<Chunk> {
        // Some writers put 0 where there is no dictionary.
        let dictionary = self.dictionary_start.filter(|&start| start != 0);
        let start = dictionary.map_or(self.data_start, |start| start.min(self.data_start));
        let start = u64::try_from(start).ok().filter(|&start| start >= MAGIC.len() as u64)?;
        let end = start.checked_add(u64::try_from(self.bytes).ok()?)?;
        let chunk = Chunk { codec: Codec::of(self.codec), start, end, nulls: self.nulls };
        (end <= footer_start).then_some(chunk)
    }
}
