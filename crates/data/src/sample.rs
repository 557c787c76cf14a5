//! Where one image lies: in a file of its own, or in a part of a larger one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::{io, mem};

use crate::decode::{DecodeError, check_size, decode_into, read_file};
use crate::error::DataError;
use crate::image::Image;
use crate::parquet::Cell;

/// One image and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where its pixels come from.
    pub content: Content,
    /// Index of its class.
    pub label: u32,
}

/// Where an image's pixels come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file of its own, JPEG or PNG.
    File(PathBuf),
    /// Some bytes of a larger file.
    Part(Part),
    /// A value of a table whose pages are compressed: a JPEG or PNG file.
    Cell(Cell),
}

/// Some bytes of an archive, a table or a packed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where the bytes are.
    pub store: Arc<Store>,
    /// What the archive calls it.
    pub name: Box<str>,
    /// The first byte's position in the store.
    pub start: u64,
    /// How many bytes it is long.
    pub len: u64,
    /// What the bytes are.
    pub form: Form,
    /// CRC-32 of the bytes, where whoever wrote them kept one.
    pub crc32: Option<u32>,
}

/// What the bytes of a [`Part`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JPEG or PNG file.
    Encoded,
    /// Bare pixels, 0 to 255, rows from the top.
    Pixels {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Their order.
        layout: Layout,
    },
}

/// The order of bare pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// (height, width, 3): red, green, blue of one pixel after another.
    Interleaved,
    /// (3, height, width): all of red, all of green, all of blue.
    Planar,
    /// (height, width): one grey level a pixel.
    Grey,
}

/// A file that holds many images, or what was unpacked of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Store {
    path: PathBuf,
    bytes: Bytes,
}

/// Where a store's bytes are.
#[derive(Debug)]
enum Bytes {
    /// In the file, which is opened at the first read and stays open if not too many do.
    File(OnceLock<Kept>),
    /// Here, since they cannot be read from the file as they are needed.
    Unpacked(Vec<u8>),
}

/// So many stores keep their files open: a set may have more than a process may hold open, which is
/// 1024 on most systems and 256 on some.
const STORES_OPEN_MAX: usize = 128;
/// How many do.
static STORES_OPEN: AtomicUsize = AtomicUsize::new(0);

/// An open file, counted in [`STORES_OPEN`].
#[derive(Debug)]
struct Kept(File);

impl Kept {
    /// `file`, if it may stay open; else it is given back.
    fn new(file: File) -> Result<Self, File> {
        if STORES_OPEN.fetch_add(1, Ordering::Relaxed) < STORES_OPEN_MAX {
            return Ok(Self(file));
        }
        STORES_OPEN.fetch_sub(1, Ordering::Relaxed);
        Err(file)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        STORES_OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same bytes: of the same file, or the same ones.
impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(_), Self::File(_)) => true,
            (Self::Unpacked(own), Self::Unpacked(others)) => own == others,
            _ => false,
        }
    }
}

impl Eq for Bytes {}

impl Store {
    /// The file at `path`.
    #[must_use]
    pub fn file(path: &Path) -> Arc<Store> {
        Arc::new(Store { path: path.to_path_buf(), bytes: Bytes::File(OnceLock::new()) })
    }

    /// What was unpacked of the file at `path`.
    #[must_use]
    pub fn unpacked(path: &Path, bytes: Vec<u8>) -> Arc<Store> {
        Arc::new(Store { path: path.to_path_buf(), bytes: Bytes::Unpacked(bytes) })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `out` with the bytes from `start` on.
    fn read(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.bytes {
            Bytes::Unpacked(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let end = start.saturating_add(out.len());
                let part = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(part);
                Ok(())
            }
            Bytes::File(kept) => match kept.get() {
                Some(Kept(file)) => read_at(file, start, out),
                None => match Kept::new(File::open(&self.path)?) {
                    // Another thread may have been first: this one is then closed.
                    Ok(opened) => read_at(&kept.get_or_init(|| opened).0, start, out),
                    Err(file) => read_at(&file, start, out),
                },
            },
        }
    }
}

/// Fills `out` with a file's bytes from `start` on, whoever else reads it.
///
/// # Errors
/// When the system refuses, or the file ends before.
#[cfg(unix)]
pub fn read_at(file: &File, start: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, start)
}

/// Fills `out` with a file's bytes from `start` on, whoever else reads it.
///
/// # Errors
/// When the system refuses, or the file ends before.
#[cfg(windows)]
pub fn read_at(file: &File, mut start: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (start, out) = (start + read as u64, &mut out[read..]),
        }
    }
    Ok(())
}

impl Content {
    /// The image as messages name it: `photos/cat/1.jpg`, `shard.tar/cat/1.jpg`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Content::File(path) => path.clone(),
            Content::Part(part) => part.store.path.join(&*part.name),
            Content::Cell(cell) => cell.path(),
        }
    }

    /// Reads and decodes the image.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be read, [`DataError::Decode`] if it is no image within the
    /// limits or not the one that was written; both name it.
    pub fn read_image(&self) -> Result<Image, DataError> {
        Reader::default().read(self)
    }

    /// How many bytes it takes where it is stored: its share, if it lies in a compressed page. `None`
    /// of a file that the system does not show.
    #[must_use]
    pub fn stored_bytes(&self) -> Option<u64> {
        match self {
            Content::File(path) => fs::metadata(path).ok().map(|file| file.len()),
            Content::Part(part) => Some(part.len),
            Content::Cell(cell) => Some(cell.stored_bytes()),
        }
    }

    /// The file's bytes as they are stored, or `None` of bare pixels.
    ///
    /// # Errors
    /// As [`Content::read_image`], but that nothing is decoded.
    pub fn read_encoded(&self) -> Result<Option<Vec<u8>>, DataError> {
        let mut bytes = Vec::new();
        match self {
            Content::File(path) => read_file(&mut bytes, path)?,
            Content::Part(part) if part.form == Form::Encoded => part.read_bytes(&mut bytes)?,
            Content::Part(_) => return Ok(None),
            Content::Cell(cell) => bytes = cell.read()?,
        }
        Ok(Some(bytes))
    }
}

/// Memory to read images with, one after another.
#[derive(Default)]
pub(crate) struct Reader {
    /// What is not decoded yet.
    stored: Vec<u8>,
    /// What the next image's pixels may take.
    pixels: Vec<u8>,
}

impl Reader {
    /// As [`Content::read_image`].
    pub(crate) fn read(&mut self, content: &Content) -> Result<Image, DataError> {
        match content {
            Content::File(path) => self.read_file(path),
            Content::Part(part) => self.read_part(part),
            Content::Cell(cell) => decode_into(mem::take(&mut self.pixels), &cell.read()?)
                .map_err(|reason| DataError::Decode { path: cell.path(), reason }),
        }
    }

    /// As [`crate::read_image`].
    pub(crate) fn read_file(&mut self, path: &Path) -> Result<Image, DataError> {
        read_file(&mut self.stored, path)?;
        decode_into(mem::take(&mut self.pixels), &self.stored)
            .map_err(|reason| DataError::Decode { path: path.to_path_buf(), reason })
    }

    fn read_part(&mut self, part: &Part) -> Result<Image, DataError> {
        let mut pixels = mem::take(&mut self.pixels);
        match part.form {
            Form::Encoded => {
                part.read_bytes(&mut self.stored)?;
                decode_into(pixels, &self.stored)
            }
            Form::Pixels { width, height, layout: Layout::Interleaved } => {
                part.read_bytes(&mut pixels)?;
                Image::new(width, height, pixels).ok_or(DecodeError::PixelBytes { width, height })
            }
            Form::Pixels { width, height, layout } => {
                part.read_bytes(&mut self.stored)?;
                interleaved(width, height, layout, &self.stored)
            }
        }
        .map_err(part.named())
    }

    /// Takes an image's memory for the next one.
    pub(crate) fn recycle(&mut self, image: Image) {
        self.pixels = image.into_rgb();
    }
}

impl Part {
    /// Its bytes, in place of what `bytes` held.
    fn read_bytes(&self, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        // Before anything is allocated by what an index says.
        match self.form {
            Form::Pixels { width, height, .. } => check_size(width, height),
            Form::Encoded if self.len > crate::MAX_FILE_BYTES => Err(DecodeError::FileTooLarge),
            Form::Encoded => Ok(()),
        }
        .map_err(self.named())?;
        bytes.resize(self.len as usize, 0);
        let cut = |reason: io::Error| match reason.kind() {
            io::ErrorKind::UnexpectedEof => {
                let path = self.store.path.clone();
                let (name, end) = (self.name.to_string(), self.start.saturating_add(self.len));
                DataError::Cut { path, name, end }
            }
            _ => DataError::io("read", &self.store.path)(reason),
        };
        self.store.read(self.start, bytes).map_err(cut)?;
        match self.crc32 {
            Some(expected) if crc32fast::hash(bytes) != expected => {
                Err(self.named()(DecodeError::Checksum))
            }
            _ => Ok(()),
        }
    }

    fn named(&self) -> impl FnOnce(DecodeError) -> DataError {
        let path = self.store.path.join(&*self.name);
        move |reason| DataError::Decode { path, reason }
    }
}

/// Bare pixels in any layout to (height, width, 3).
fn interleaved(
    width: u32,
    height: u32,
    layout: Layout,
    bytes: &[u8],
) -> Result<Image, DecodeError> {
    let plane = width as usize * height as usize;
    let rgb = match layout {
        Layout::Interleaved => bytes.to_vec(),
        Layout::Grey => bytes.iter().flat_map(|&level| [level; 3]).collect(),
        Layout::Planar if bytes.len() == 3 * plane => (0..plane)
            .flat_map(|at| [bytes[at], bytes[plane + at], bytes[2 * plane + at]])
            .collect(),
        Layout::Planar => Vec::new(),
    };
    Image::new(width, height, rgb).ok_or(DecodeError::PixelBytes { width, height })
}
