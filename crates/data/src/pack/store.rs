//! What is stored of one image.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{Encoding, PackSettings, PackSize};
use crate::error::DataError;
use crate::image::Image;
use crate::preprocess::{Preprocess, PreprocessError};
use crate::resize::resize;
use crate::sample::Sample;

/// Length of the header of our `.npy` files, in bytes.
const NPY_HEADER_BYTES: usize = 128;
/// Ends the name of an image that could not be decoded.
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
    pub(super) is_unreadable: bool,
}

impl Stored {
    fn file(extension: &'static str, bytes: Vec<u8>) -> Self {
        let is_unreadable = extension == UNREADABLE;
        Self { extension, header: Vec::new(), bytes, width: 0, height: 0, is_unreadable }
    }

    fn pixels(image: Image) -> Self {
        let (width, height) = (image.width(), image.height());
        let (header, bytes) = (npy_header(width, height), image.into_rgb());
        Self { extension: ".npy", header, bytes, width, height, is_unreadable: false }
    }
}

/// # Errors
/// A file that cannot be read; one that cannot be decoded is stored as it is.
pub(super) fn store(sample: &Sample, settings: PackSettings) -> Result<Stored, DataError> {
    let content = &sample.content;
    let image = match content.read_image() {
        Ok(image) => image,
        Err(DataError::Decode { .. }) => {
            let bytes = content.read_encoded()?.unwrap_or_default();
            return Ok(Stored::file(UNREADABLE, bytes));
        }
        Err(error) => return Err(error),
    };
    if settings.encoding == Encoding::Original {
        return Ok(match content.read_encoded()? {
            Some(bytes) if bytes.starts_with(b"\x89PNG") => Stored::file(".png", bytes),
            Some(bytes) => Stored::file(".jpg", bytes),
            None => Stored::pixels(image),
        });
    }
    let image = match settings.size {
        Some(size) => resized(&image, size)?,
        None => image,
    };
    match settings.encoding {
        Encoding::Jpeg(quality) => Ok(Stored::file(".jpg", encode(&image, quality)?)),
        Encoding::Raw | Encoding::Original => Ok(Stored::pixels(image)),
    }
}

fn resized(image: &Image, size: PackSize) -> Result<Image, PreprocessError> {
    let (window, (width, height)) = preprocess(size).whole_region(image);
    let library = |error: String| PreprocessError::Library(error);
    let rgb = resize(image, window, (width, height)).map_err(|error| library(error.to_string()))?;
    Image::new(width, height, rgb).ok_or_else(|| library("no pixels".into()))
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
        .map_err(|error| PreprocessError::Library(error.to_string()))?;
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
