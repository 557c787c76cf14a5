//! Parquet files, as far as tables of images need them: where each value lies, without reading
//! what images hold, and single values in any order.
//!
//! ```text
//! file  --Reader::open-->  footer  --images-->  a byte range of the file, where pages are plain
//!                                               a page of a Table and a row in it, where packed
//! ```
//!
//! A packed page is unpacked as a whole when an image in it is asked for first; a [`Table`] keeps
//! those it used last, and where the blocks of the others begin if Snappy packed them. Sizes and positions are checked before anything is made of them
//! (`docs/decisions/010-parquet-pages.md`).

mod codec;
mod footer;
mod page;
mod snappy;
mod table;
mod thrift;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::codec::Codec;
use self::footer::{Chunk, Column, FOOTER_BYTES_MAX, Footer, MAGIC, MAGIC_ENCRYPTED, TAIL_BYTES};
use self::page::{Encoding, Page, PageFault, PageKind};
use crate::error::DataError;

pub(crate) use self::table::TableBuilder;
pub use self::table::{Cell, Table};

/// Longest text that is kept, in bytes: a class or the name of a file.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// Where an image lies.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// At these bytes of the file.
    Bytes(Range<u64>),
    /// In this page of the table, the how manieth value.
    Packed { page: u32, value: u32 },
}

/// A file's footer, and what is needed to understand it.
pub(crate) struct RawFooter {
    file: File,
    bytes: Vec<u8>,
    start: u64,
}

/// Reads a file's columns.
pub(crate) struct Reader<'a> {
    path: &'a Path,
    file: &'a File,
    footer: Footer<'a>,
}

/// A column that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    at: usize,
    /// For messages.
    name: String,
}

impl Chosen {
    /// Its name, and where it lies in another that one's before it and a dot.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl RawFooter {
    /// Reads the footer of the file at `path`.
    ///
    /// # Errors
    /// [`DataError::Io`], or [`DataError::Malformed`] of what is no whole Parquet file.
    pub(crate) fn read(path: &Path) -> Result<Self, DataError> {
        let io = |error| DataError::io("read", path)(error);
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let fault = |at: u64, reason: &str| malformed(path, format!("byte {at}"), reason);
        let mut head = Vec::new();
        (&file).take(MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
        if head != MAGIC {
            return Err(fault(0, "it does not begin with PAR1: it is no Parquet file, restore it"));
        }
        let tail_start = len.saturating_sub(TAIL_BYTES).max(MAGIC.len() as u64);
        let tail = read_at(&file, tail_start, len - tail_start).map_err(io)?;
        let not_whole = || fault(len, "it does not end with PAR1: it is not whole, restore it");
        let (footer_len, magic) = tail.split_at_checked(4).ok_or_else(not_whole)?;
        if magic == MAGIC_ENCRYPTED {
            return Err(fault(len, "its footer is encrypted: write it plain"));
        }
        if magic != MAGIC {
            return Err(not_whole());
        }
        let footer_len = footer_len.iter().rev().fold(0, |len, &byte| len << 8 | u64::from(byte));
        if footer_len > FOOTER_BYTES_MAX || footer_len > tail_start - MAGIC.len() as u64 {
            let reason = format!("a footer of {footer_len} bytes has no place in it: restore it");
            return Err(fault(tail_start, &reason));
        }
        let start = tail_start - footer_len;
        let bytes = read_at(&file, start, footer_len).map_err(io)?;
        Ok(Self { file, bytes, start })
    }
}

impl<'a> Reader<'a> {
    /// Understands the footer of the file at `path`.
    ///
    /// # Errors
    /// [`DataError::Malformed`], if it says what cannot be.
    pub(crate) fn new(path: &'a Path, raw: &'a RawFooter) -> Result<Self, DataError> {
        let footer = Footer::read(&raw.bytes, raw.start)
            .map_err(|refusal| malformed(path, refusal.place, refusal.reason))?;
        Ok(Self { path, file: &raw.file, footer })
    }

    /// What another program wrote under this key.
    pub(crate) fn metadata(&self, key: &str) -> Option<&'a [u8]> {
        let found = self.footer.metadata.iter().find(|(found, _)| *found == key.as_bytes());
        found.map(|&(_, value)| value)
    }

    /// How many row groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.footer.groups.len()
    }

    /// How many rows a group has.
    pub(crate) fn rows(&self, group: usize) -> u64 {
        self.footer.groups[group].rows
    }

    /// The outermost column of this name, or with `inner` the one in it. Not one in a list.
    pub(crate) fn column(&self, name: &str, inner: Option<&str>) -> Option<Chosen> {
        let is_it = |column: &Column| {
            let [outer, second] = column.path;
            let inner = inner.unwrap_or_default().as_bytes();
            let depth = if inner.is_empty() { 1 } else { 2 };
            outer == name.as_bytes() && second == inner && column.depth == depth && !column.repeated
        };
        let at = self.footer.columns.iter().position(is_it)?;
        let name = [Some(name), inner].into_iter().flatten().collect::<Vec<_>>().join(".");
        Some(Chosen { at, name: name.escape_debug().to_string() })
    }

    /// Whether a column holds numbers.
    pub(crate) fn is_numbers(&self, column: &Chosen) -> bool {
        matches!(self.kind(column), footer::Type::Int32 | footer::Type::Int64)
    }

    /// Whether a column holds bytes or text.
    pub(crate) fn is_bytes(&self, column: &Chosen) -> bool {
        self.kind(column) == footer::Type::Bytes
    }

    fn kind(&self, column: &Chosen) -> footer::Type {
        self.footer.columns[column.at].kind
    }

    /// A row group's numbers in a column that [`Reader::is_numbers`].
    ///
    /// # Errors
    /// Pages that cannot be read.
    pub(crate) fn numbers(
        &self,
        group: usize,
        column: &Chosen,
    ) -> Result<Vec<Option<i64>>, DataError> {
        let kind = self.kind(column);
        self.values(group, column, |page, body| page.numbers(body, kind))
    }

    /// A row group's texts in a column that [`Reader::is_bytes`]; none of what is longer than
    /// [`TEXT_BYTES_MAX`] or no plain text.
    ///
    /// # Errors
    /// Pages that cannot be read.
    pub(crate) fn texts(
        &self,
        group: usize,
        column: &Chosen,
    ) -> Result<Vec<Option<Rc<str>>>, DataError> {
        self.values(group, column, |page, body| {
            let text = |place: Option<Range<u32>>| {
                let place = place.filter(|place| place.len() <= TEXT_BYTES_MAX)?;
                let bytes = &body.bytes[place.start as usize..place.end as usize];
                let text = str::from_utf8(bytes).ok()?;
                (!text.contains(char::is_control)).then(|| Rc::from(text))
            };
            Ok(page.strings(body)?.into_iter().map(text).collect())
        })
    }

    fn values<T: Clone>(
        &self,
        group: usize,
        column: &Chosen,
        plain: impl Fn(&Page, &page::Body) -> Result<Vec<Option<T>>, PageFault>,
    ) -> Result<Vec<Option<T>>, DataError> {
        let pages = self.pages(group, column)?;
        let file = self.file;
        let (mut dictionary, mut values) = (Vec::new(), Vec::new());
        let mut add = |page: &Page| {
            let body = page.read(file)?;
            match (page.kind, page.encoding) {
                (PageKind::Dictionary, _) => dictionary = plain(page, &body)?,
                (_, Encoding::Plain) => values.extend(plain(page, &body)?),
                (_, Encoding::Dictionary) => {
                    let entries = page.entries(&body, dictionary.len())?;
                    let value = |entry: Option<usize>| dictionary[entry?].clone();
                    values.extend(entries.into_iter().map(value));
                }
            }
            Ok(())
        };
        let added = pages.iter().try_for_each(&mut add);
        added.map_err(|fault| page_fault(self.path, group, &column.name, fault))?;
        Ok(values)
    }

    /// Where a row group's images lie, in a column that [`Reader::is_bytes`]. Packed pages are
    /// added to `table`.
    ///
    /// # Errors
    /// Pages that cannot be read, a row without an image.
    pub(crate) fn images(
        &self,
        group: usize,
        column: &Chosen,
        table: &mut TableBuilder,
    ) -> Result<Vec<Place>, DataError> {
        let pages = self.pages(group, column)?;
        let known_nulls = pages.iter().any(|page| page.nulls > 0);
        if known_nulls || self.chunk(group, column).nulls.is_some_and(|nulls| nulls != 0) {
            return Err(self.null_image(group, column, None));
        }
        let (mut dictionary, mut places) = (Vec::new(), Vec::new());
        for page in &pages {
            let found = match page.encoding {
                Encoding::Plain if page.codec == Codec::Plain => {
                    let ranges = page.places(self.file);
                    ranges.map(|ranges| ranges.into_iter().map(|it| it.map(Place::Bytes)).collect())
                }
                Encoding::Plain => Ok(table.add(self.path, group, &column.name, page)),
                Encoding::Dictionary => self.entries(page, &dictionary),
            };
            let found = found.map_err(|fault| page_fault(self.path, group, &column.name, fault))?;
            match page.kind {
                PageKind::Dictionary => dictionary = found,
                _ => places.extend(found),
            }
        }
        let whole = |(row, place): (usize, Option<Place>)| {
            place.ok_or_else(|| self.null_image(group, column, Some(row)))
        };
        places.into_iter().enumerate().map(whole).collect()
    }

    fn entries(
        &self,
        page: &Page,
        dictionary: &[Option<Place>],
    ) -> Result<Vec<Option<Place>>, PageFault> {
        let body = page.read(self.file)?;
        let entries = page.entries(&body, dictionary.len())?;
        Ok(entries.into_iter().map(|entry| dictionary[entry?].clone()).collect())
    }

    fn null_image(&self, group: usize, column: &Chosen, row: Option<usize>) -> DataError {
        let row = row.map_or(String::new(), |row| format!(", row {row}"));
        let place = format!("row group {group}{row}, column {}", column.name);
        malformed(self.path, place, "a row has no image in it: embed all, or leave the row out")
    }

    fn chunk(&self, group: usize, column: &Chosen) -> &Chunk {
        &self.footer.groups[group].chunks[column.at]
    }

    fn pages(&self, group: usize, column: &Chosen) -> Result<Vec<Page>, DataError> {
        let chunk = self.chunk(group, column);
        page::find(self.file, chunk, &self.footer.columns[column.at], self.rows(group))
            .map_err(|fault| page_fault(self.path, group, &column.name, fault))
    }
}

fn page_fault(path: &Path, group: usize, column: &str, fault: PageFault) -> DataError {
    match fault {
        PageFault::Io(error) => DataError::io("read", path)(error),
        PageFault::Page(at, reason) => {
            malformed(path, format!("row group {group}, column {column}, byte {at}"), reason)
        }
    }
}

fn malformed(path: &Path, place: impl Into<String>, reason: impl Into<String>) -> DataError {
    let (path, place, reason): (PathBuf, _, _) = (path.into(), place.into(), reason.into());
    DataError::Malformed { path, place, reason }
}

/// `len` bytes from `start` on.
fn read_at(mut file: &File, start: u64, len: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
