//! Packed pages and the images in them, for several threads.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::page::{Page, PageFault};
use super::snappy::Blocks;
use super::{Place, malformed, page_fault};
use crate::decode::{DecodeError, MAX_FILE_BYTES};
use crate::error::DataError;

/// Pages that were used last are kept up to so many bytes in all (128 MiB), the last in any case.
const RECENT_BYTES_MAX: u64 = 128 << 20;
/// And up to so many pages.
const RECENT_PAGES_MAX: usize = 256;

/// An image in a packed page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The pages.
    pub(crate) table: Arc<Table>,
    pub(crate) page: u32,
    /// Which value of the page.
    pub(crate) value: u32,
    /// What the table calls it.
    pub(crate) name: Box<str>,
}

/// The packed pages of a split's files. A page is unpacked as a whole when an image in it is asked
/// for first. If Snappy packed it, where its blocks begin is kept, and other images cost the blocks
/// they lie in; of the others those used last are kept, so that images in their order cost each
/// page once.
pub struct Table {
    files: Vec<PathBuf>,
    pages: Vec<Stored>,
    recent: Mutex<Recent>,
    /// Of each page of such blocks that was unpacked once.
    indices: Box<[OnceLock<Index>]>,
}

/// How to unpack single values of a page.
struct Index {
    blocks: Blocks,
    values: Vec<Option<Range<u32>>>,
}

/// A page, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    file: u32,
    group: u32,
    column: Arc<str>,
    page: Page,
}

/// A page, unpacked.
struct Unpacked {
    bytes: Vec<u8>,
    /// Where each value lies; `None` of a null.
    values: Vec<Option<Range<u32>>>,
    /// Of `bytes`, if they can be unpacked in pieces.
    blocks: Option<Blocks>,
}

/// A page that someone unpacks or has unpacked. Who comes meanwhile waits for it.
type Slot = Arc<Mutex<Option<Unpacked>>>;

/// The pages used last, the latest first.
#[derive(Default)]
struct Recent(VecDeque<(u32, Slot)>);

/// Gathers pages.
#[derive(Default)]
pub(crate) struct TableBuilder {
    files: Vec<PathBuf>,
    pages: Vec<Stored>,
}

impl TableBuilder {
    /// Adds a plain but packed page of the file at `path`; its values are not looked at.
    pub(super) fn add(
        &mut self,
        path: &Path,
        group: usize,
        column: &str,
        page: &Page,
    ) -> Vec<Option<Place>> {
        if self.files.last().is_none_or(|last| last != path) {
            self.files.push(path.to_path_buf());
        }
        let column = match self.pages.last() {
            Some(last) if *last.column == *column => Arc::clone(&last.column),
            _ => Arc::from(column),
        };
        let number = self.pages.len() as u32;
        let (file, group) = (self.files.len() as u32 - 1, group as u32);
        self.pages.push(Stored { file, group, column, page: *page });
        (0..page.values as u32).map(|value| Some(Place::Packed { page: number, value })).collect()
    }

    pub(crate) fn build(self) -> Table {
        let indices = self.pages.iter().map(|_| OnceLock::new()).collect();
        Table { files: self.files, pages: self.pages, recent: Mutex::default(), indices }
    }
}

impl Cell {
    /// The image as messages name it.
    pub(crate) fn path(&self) -> PathBuf {
        self.table.path(self.page).join(&*self.name)
    }

    /// An equal share of the bytes that its page takes in the file.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let page = &self.table.pages[self.page as usize].page;
        page.stored_len / (page.values.max(1) as u64)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// A page that cannot be read or is damaged, a row without an image, an image beyond the limit.
    pub(crate) fn read(&self) -> Result<Vec<u8>, DataError> {
        let Stored { group, column, page, .. } = &self.table.pages[self.page as usize];
        let path = self.table.path(self.page);
        match self.table.value(self.page, self.value) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                let (start, value) = (page.start, self.value);
                let place = format!(
                    "row group {group}, column {column}, page at byte {start}, value {value}"
                );
                Err(malformed(path, place, "the row has no image in it: leave it out"))
            }
            Err(ValueFault::TooLarge) => {
                Err(DataError::Decode { path: self.path(), reason: DecodeError::FileTooLarge })
            }
            Err(ValueFault::Page(fault)) => Err(page_fault(path, *group as usize, column, fault)),
        }
    }
}

/// Why a value is not to be had.
enum ValueFault {
    TooLarge,
    Page(PageFault),
}

impl From<PageFault> for ValueFault {
    fn from(fault: PageFault) -> Self {
        ValueFault::Page(fault)
    }
}

impl Table {
    fn path(&self, page: u32) -> &Path {
        &self.files[self.pages[page as usize].file as usize]
    }

    /// A value of a page; `None` of a null.
    fn value(&self, number: u32, value: u32) -> Result<Option<Vec<u8>>, ValueFault> {
        let index = &self.indices[number as usize];
        if let Some(index) = index.get() {
            return self.piece(number, index, value);
        }
        let slot = lock(&self.recent).slot(number, &self.pages);
        let mut slot = lock(&slot);
        // Someone else may have been first.
        if let Some(index) = index.get() {
            return self.piece(number, index, value);
        }
        let unpacked = match slot.take() {
            Some(unpacked) => unpacked,
            None => self.unpack(number)?,
        };
        let bytes = match place(&unpacked.values, value)? {
            Some(place) => unpacked.bytes.get(place.start as usize..place.end as usize),
            None => None,
        };
        let bytes = bytes.map(<[u8]>::to_vec);
        match unpacked.blocks {
            // From now on its values are unpacked singly.
            Some(blocks) => drop(index.set(Index { blocks, values: unpacked.values })),
            None => *slot = Some(unpacked),
        }
        Ok(bytes)
    }

    fn unpack(&self, number: u32) -> Result<Unpacked, PageFault> {
        let page = &self.pages[number as usize].page;
        let body = page.read(&File::open(self.path(number))?)?;
        let values = page.strings(&body)?;
        Ok(Unpacked { bytes: body.bytes, values, blocks: body.blocks })
    }

    fn piece(&self, number: u32, index: &Index, value: u32) -> Result<Option<Vec<u8>>, ValueFault> {
        let Some(place) = place(&index.values, value)? else { return Ok(None) };
        if place.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let piece = index.blocks.piece(&place);
        let file = File::open(self.path(number)).map_err(PageFault::Io)?;
        let mut bytes = self.pages[number as usize].page.read_piece(&file, &piece)?;
        bytes.truncate(piece.wanted.end);
        bytes.drain(..piece.wanted.start);
        Ok(Some(bytes))
    }
}

/// Where a value lies, if it is not null nor beyond the limit.
fn place(values: &[Option<Range<u32>>], value: u32) -> Result<Option<Range<u32>>, ValueFault> {
    match values.get(value as usize) {
        Some(Some(place)) if place.len() as u64 > MAX_FILE_BYTES => Err(ValueFault::TooLarge),
        Some(place) => Ok(place.clone()),
        None => Ok(None),
    }
}

impl Recent {
    /// The page's slot, now the latest; the oldest are forgotten.
    fn slot(&mut self, number: u32, pages: &[Stored]) -> Slot {
        let found = self.0.iter().position(|(other, _)| *other == number);
        let entry = found.and_then(|at| self.0.remove(at));
        let (_, slot) = entry.unwrap_or_default();
        self.0.push_front((number, Arc::clone(&slot)));
        let bytes = |number: u32| pages[number as usize].page.memory_bytes();
        let mut total: u64 = self.0.iter().map(|&(number, _)| bytes(number)).sum();
        while self.0.len() > 1 && (total > RECENT_BYTES_MAX || self.0.len() > RECENT_PAGES_MAX) {
            let oldest = self.0.pop_back();
            total -= oldest.map_or(0, |(number, _)| bytes(number));
        }
        slot
    }
}

/// A page is put into its slot whole, so a panic elsewhere leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What was unpacked already makes no difference.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, &self.pages) == (&other.files, &other.pages)
    }
}

impl Eq for Table {}
