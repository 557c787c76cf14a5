//! Bytes become pixels: what a file is, is told by its first bytes, never by its name.
//!
//! The result is that of Pillow's `Image.open(...).convert("RGB")`, which is what torchvision
//! reads: EXIF orientation is not applied, alpha is dropped, grey is repeated.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use image::metadata::Orientation;

use crate::contain::contain;
use crate::error::DataError;
use crate::image::Image;
use crate::sample::Reader;
use crate::{jpeg, png};

/// No image file may be longer, in bytes (64 MiB).
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// No image may be wider or higher, in pixels. With [`MAX_IMAGE_PIXELS`] this bounds what each of many
/// loader threads takes: up to 427 MiB of a JPEG (records/2026-11-24-hostile-files).
pub const MAX_SIDE_PIXELS: u32 = 16_384;
/// No image may have more pixels: 150 MB once decoded.
pub const MAX_IMAGE_PIXELS: u64 = 50_000_000;

const JPEG_START: [u8; 3] = [0xff, 0xd8, 0xff];
const PNG_START: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// How many bytes of an unknown file are shown.
const SHOWN_BYTES: usize = 4;

/// What is wrong with an image file's bytes. Each message continues "`<path>` ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("is empty (0 bytes): restore or remove it")]
    Empty,
    /// Neither magic number.
    #[error("is not a JPEG or PNG image (it starts with {start}): convert or remove it")]
    UnknownFormat {
        /// The first bytes, in hexadecimal.
        start: String,
    },
    /// More bytes than [`MAX_FILE_BYTES`].
    #[error(
        "is larger than {} MiB, the limit for an image file: scale it down, for networks see a few \
         hundred pixels a side",
        MAX_FILE_BYTES >> 20
    )]
    FileTooLarge,
    /// More pixels than [`MAX_SIDE_PIXELS`] or [`MAX_IMAGE_PIXELS`].
    #[error(
        "is {width} x {height} pixels, the limit is {MAX_SIDE_PIXELS} a side and \
         {MAX_IMAGE_PIXELS} in all: scale it down, for networks see a few hundred pixels a side"
    )]
    TooManyPixels {
        /// Pixels in a row, as the header says.
        width: u32,
        /// Rows, as the header says.
        height: u32,
    },
    /// The data ends before the end-of-image marker.
    #[error("is a truncated JPEG (it ends before its end-of-image marker): restore or remove it")]
    TruncatedJpeg,
    /// A JPEG the decoder refuses.
    #[error("is a damaged or unsupported JPEG ({0}): restore, convert or remove it")]
    Jpeg(String),
    /// A PNG the decoder refuses.
    #[error("is a damaged or unsupported PNG ({0}): restore, convert or remove it")]
    Png(String),
    /// Not the bytes that were written.
    #[error("is damaged (its CRC-32 is not the one kept of it): make the packed set anew")]
    Checksum,
    /// Bare pixels of another size.
    #[error("has not the bytes of {width} x {height} pixels: make the set anew")]
    PixelBytes {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A decoder's own mistake, kept from taking the program down.
    #[error("makes the decoder fail: convert or remove it")]
    Panicked,
}

/// Decodes a JPEG or PNG file's bytes.
///
/// # Errors
/// Anything but a whole, supported image within the limits.
pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    decode_into(Vec::new(), bytes)
}

/// As [`decode`]; the pixels take the memory of `pixels`, where they can.
pub(crate) fn decode_into(pixels: Vec<u8>, bytes: &[u8]) -> Result<Image, DecodeError> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(DecodeError::FileTooLarge);
    }
    let decoded = contain(|| {
        if bytes.starts_with(&JPEG_START) {
            jpeg::decode(pixels, bytes)
        } else if is_png(bytes) {
            png::decode(bytes)
        } else {
            Err(unknown_format(bytes))
        }
    });
    decoded.unwrap_or(Err(DecodeError::Panicked))
}

/// Whether a file's bytes begin as a PNG's do.
pub(crate) fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(&PNG_START)
}

/// Whether they begin as those of an image file that is read, whatever follows.
pub(crate) fn begins_as_image(bytes: &[u8]) -> bool {
    bytes.starts_with(&JPEG_START) || is_png(bytes)
}

/// What an image file is, beside its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) format: Format,
    pub(crate) colours: Colours,
    /// EXIF's, 1 to 8: 1 is upright. [`decode`] does not apply it.
    pub(crate) orientation: u8,
}

/// A format of image files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jpeg,
    Png,
}

/// How colours are stored, as far as it may surprise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    Plain,
    Grey,
    /// 16 bits, of which [`decode`] clips what is above 255.
    DeepGrey,
    /// With an alpha channel, which [`decode`] drops.
    Alpha,
    Cmyk,
    Ycck,
}

/// What a file that [`decode`] takes is; `None` of others.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let header = if is_png(bytes) { png::header } else { jpeg::header };
    contain(|| header(bytes)).flatten()
}

/// The orientation in a block of EXIF.
pub(crate) fn orientation(exif: Option<&[u8]>) -> u8 {
    exif.and_then(Orientation::from_exif_chunk).map_or(1, Orientation::to_exif)
}

/// Reads and decodes an image file.
///
/// # Errors
/// [`DataError::Io`] if it cannot be read, [`DataError::Decode`] as [`decode`] says; both name it.
pub fn read_image(path: &Path) -> Result<Image, DataError> {
    Reader::default().read_file(path)
}

/// An image file's bytes in place of what `bytes` held, if they are no more than
/// [`MAX_FILE_BYTES`].
pub(crate) fn read_file(bytes: &mut Vec<u8>, path: &Path) -> Result<(), DataError> {
    let too_large =
        || DataError::Decode { path: path.to_path_buf(), reason: DecodeError::FileTooLarge };
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let size_hint = file.metadata().map_err(DataError::io("read", path))?.len();
    if size_hint > MAX_FILE_BYTES {
        return Err(too_large());
    }
    bytes.clear();
    bytes.reserve(size_hint as usize + 1);
    // One byte past the limit is enough to see that a growing file, or a pipe, is beyond it.
    file.take(MAX_FILE_BYTES + 1).read_to_end(bytes).map_err(DataError::io("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(()) }
}

/// Asked with the header's sizes, before any pixel is allocated.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), DecodeError> {
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > MAX_SIDE_PIXELS || pixels > MAX_IMAGE_PIXELS {
        return Err(DecodeError::TooManyPixels { width, height });
    }
    Ok(())
}

fn unknown_format(bytes: &[u8]) -> DecodeError {
    if bytes.is_empty() {
        return DecodeError::Empty;
    }
    let start: Vec<_> = bytes.iter().take(SHOWN_BYTES).map(|b| format!("{b:02x}")).collect();
    DecodeError::UnknownFormat { start: start.join(" ") }
}
