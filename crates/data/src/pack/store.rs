//! What is stored of one image.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{Encoding, PackSettings, PackSize};
use crate::decode::{decode, is_png};
use crate::error::DataError;
use crate::image::Image;
use crate::preprocess::{Preprocess, PreprocessError};
use crate::resize::resize;
use crate::sample::Sample;

/// Length of the header of our `.npy` files, in bytes.
const NPY_HEADER_BYTES: usize = 128;
/// Ends the name of an image that could not be decoded and resized.
pub(super) const UNREADABLE: &str = ".unreadable";

/// What is written of one image.
pub(super) struct Stored {
    pub(super) extension: &'static str,
    /// Before the bytes that are the image: of bare pixels the array's header.
    pub(super) header: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// Of bare pixels.
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Stored {
    fn file(extension: &'static str, bytes: Vec<u8>) -> Self {
        Self { extension, header: Vec::new(), bytes, width: 0, height: 0 }
    }

    fn pixels(image: Image) -> Self {
        let (width, height) = (image.width(), image.height());
        let (header, bytes) = (npy_header(width, height), image.into_rgb());
        Self { extension: ".npy", header, bytes, width, height }
    }
}

/// What is stored of an image; one that cannot be decoded, or would be too large once resized, is stored
/// as it is.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn store(sample: &Sample, settings: PackSettings) -> Result<Stored, DataError> {
    let (bytes, image) = read(sample)?;
    let image = image.and_then(|image| match settings.size {
        Some(size) => resized(&image, size),
        None => Some(image),
    });
    let Some(image) = image else { return Ok(Stored::file(UNREADABLE, bytes.unwrap_or_default())) };
    Ok(match (settings.encoding, bytes) {
        (Encoding::Original, Some(bytes)) if is_png(&bytes) => Stored::file(".png", bytes),
        (Encoding::Original, Some(bytes)) => Stored::file(".jpg", bytes),
        (Encoding::Jpeg(quality), _) => Stored::file(".jpg", encode(&image, quality)?),
        (Encoding::Original, None) | (Encoding::Raw, _) => Stored::pixels(image),
    })
}

/// An image's bytes, where it is a file, and its pixels, where it can be decoded.
fn read(sample: &Sample) -> Result<(Option<Vec<u8>>, Option<Image>), DataError> {
    let bytes = match sample.content.read_encoded() {
        // Too large, or not what was once packed: nothing of it is worth keeping.
        Err(DataError::Decode { .. }) => return Ok((None, None)),
        read => read?,
    };
    let image = match &bytes {
        Some(bytes) => decode(bytes).ok(),
        None => match sample.content.read_image() {
            Err(DataError::Decode { .. }) => None,
            read => Some(read?),
        },
    };
    Ok((bytes, image))
}

fn resized(image: &Image, size: PackSize) -> Option<Image> {
    let (window, size) = preprocess(size).whole_region(image)?;
    Some(resize(image, window, size))
}

/// The part of preprocessing that is done once.
pub(super) fn preprocess(PackSize { fit, side }: PackSize) -> Preprocess {
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    Preprocess { fit, resize: side, crop: side, mean, std, mean_image: None }
}

fn encode(image: &Image, quality: u8) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let (width, height) = (image.width(), image.height());
    encoder
        .write_image(image.rgb(), width, height, ExtendedColorType::Rgb8)
        .map_err(|error| PreprocessError::Encode(error.to_string()))?;
    Ok(bytes)
}

/// A `.npy` header of unsigned bytes (height, width, 3), version 1.0, as NumPy's format page has it.
fn npy_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((NPY_HEADER_BYTES - 10) as u16).to_le_bytes());
    let array =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}");
    header.extend(array.as_bytes());
    header.resize(NPY_HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    header
}
