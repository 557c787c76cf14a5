//! Where one image lies: in a file of its own, or in a part of a larger one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{DecodeError, check_size, decode, read_image};
use crate::error::DataError;
use crate::image::Image;

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
    /// Its bytes, where they cannot be read from the file as they are needed.
    unpacked: Option<Vec<u8>>,
}

impl Store {
    /// The file at `path`. It is opened for each read: a set may have more files than a process may
    /// hold open.
    #[must_use]
    pub fn file(path: &Path) -> Arc<Store> {
        Arc::new(Store { path: path.to_path_buf(), unpacked: None })
    }

    /// What was unpacked of the file at `path`.
    #[must_use]
    pub fn unpacked(path: &Path, bytes: Vec<u8>) -> Arc<Store> {
        Arc::new(Store { path: path.to_path_buf(), unpacked: Some(bytes) })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `out` with the bytes from `start` on.
    fn read(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.unpacked {
            Some(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let end = start.saturating_add(out.len());
                let part = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(part);
                Ok(())
            }
            None => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(out)
            }
        }
    }
}

impl Content {
    /// The image as messages name it: `photos/cat/1.jpg`, `shard.tar/cat/1.jpg`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Content::File(path) => path.clone(),
            Content::Part(part) => part.store.path.join(&*part.name),
        }
    }

    /// Reads and decodes the image.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be read, [`DataError::Decode`] if it is no image within the
    /// limits or not the one that was written; both name it.
    pub fn read_image(&self) -> Result<Image, DataError> {
        match self {
            Content::File(path) => read_image(path),
            Content::Part(part) => part.read_image(),
        }
    }

    /// How many bytes it takes where it is stored; `None` of a file that the system does not show.
    #[must_use]
    pub fn stored_bytes(&self) -> Option<u64> {
        match self {
            Content::File(path) => fs::metadata(path).ok().map(|file| file.len()),
            Content::Part(part) => Some(part.len),
        }
    }

    /// The file's bytes as they are stored, or `None` of bare pixels.
    ///
    /// # Errors
    /// As [`Content::read_image`], but that nothing is decoded.
    pub fn read_encoded(&self) -> Result<Option<Vec<u8>>, DataError> {
        match self {
            Content::File(path) => crate::decode::read_file(path).map(Some),
            Content::Part(part) if part.form == Form::Encoded => part.read_bytes().map(Some),
            Content::Part(_) => Ok(None),
        }
    }
}

impl Part {
    fn read_image(&self) -> Result<Image, DataError> {
        let bytes = self.read_bytes()?;
        match self.form {
            Form::Encoded => decode(&bytes),
            Form::Pixels { width, height, layout } => interleaved(width, height, layout, bytes),
        }
        .map_err(self.named())
    }

    fn read_bytes(&self) -> Result<Vec<u8>, DataError> {
        // Before anything is allocated by what an index says.
        match self.form {
            Form::Pixels { width, height, .. } => check_size(width, height),
            Form::Encoded if self.len > crate::MAX_FILE_BYTES => Err(DecodeError::FileTooLarge),
            Form::Encoded => Ok(()),
        }
        .map_err(self.named())?;
        let mut bytes = vec![0; self.len as usize];
        let cut = |reason: io::Error| match reason.kind() {
            io::ErrorKind::UnexpectedEof => {
                let path = self.store.path.clone();
                let (name, end) = (self.name.to_string(), self.start.saturating_add(self.len));
                DataError::Cut { path, name, end }
            }
            _ => DataError::io("read", &self.store.path)(reason),
        };
        self.store.read(self.start, &mut bytes).map_err(cut)?;
        match self.crc32 {
            Some(expected) if crc32fast::hash(&bytes) != expected => {
                Err(self.named()(DecodeError::Checksum))
            }
            _ => Ok(bytes),
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
    bytes: Vec<u8>,
) -> Result<Image, DecodeError> {
    let plane = width as usize * height as usize;
    let rgb = match layout {
        Layout::Interleaved => bytes,
        Layout::Grey => bytes.iter().flat_map(|&level| [level; 3]).collect(),
        Layout::Planar if bytes.len() == 3 * plane => (0..plane)
            .flat_map(|at| [bytes[at], bytes[plane + at], bytes[2 * plane + at]])
            .collect(),
        Layout::Planar => Vec::new(),
    };
    Image::new(width, height, rgb).ok_or(DecodeError::PixelBytes { width, height })
}
