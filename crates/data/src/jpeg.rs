//! JPEG files to RGB, as Pillow's `convert("RGB")` does, to the last bit (docs/decisions/009).
//!
//! Three things are done here and not by the decoder: a file that ends too early is refused, since
//! the decoder would make up the rest; CMYK becomes RGB by Pillow's arithmetic; and large
//! progressive files become baseline ones first, which take less memory.

use libjpeg_turbo_rs::common::types::{ComponentInfo, FrameHeader};
use libjpeg_turbo_rs::{
    ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat, read_coefficients,
    write_coefficients,
};
use memchr::memchr;

use crate::decode::{
    Colours, DecodeError, Format, Header, MAX_IMAGE_PIXELS, MAX_SIDE_PIXELS, check_size,
    orientation,
};
use crate::image::Image;

const END_OF_IMAGE: u8 = 0xd9;
/// Most scans of a file: progressive ones have about ten. Each may cost a pass over all pixels.
const SCANS_MAX: usize = 100;
/// A progressive file with more samples becomes a baseline one first. Of a progressive one the
/// decoder holds 3 bytes a sample, a coefficient and a level, so that this is 240 MB.
const PROGRESSIVE_SAMPLES_MAX: u64 = 80_000_000;
/// Bits of a colour's sample, the only number read.
const SAMPLE_BITS: u8 = 8;

/// Decodes a whole JPEG file: baseline or progressive; grey, YCbCr, RGB, CMYK or YCCK. The pixels
/// take the memory of `pixels`, where they can.
pub(crate) fn decode(mut pixels: Vec<u8>, bytes: &[u8]) -> Result<Image, DecodeError> {
    if !has_end_of_image(bytes) {
        return Err(DecodeError::TruncatedJpeg);
    }
    let mut decoder = open(bytes)?;
    let header = decoder.header();
    let (width, height) = (u32::from(header.width), u32::from(header.height));
    check_size(width, height)?;
    if header.precision != SAMPLE_BITS {
        return Err(DecodeError::Jpeg(format!("{} bits a sample", header.precision)));
    }
    let (has_black, is_progressive) = (header.components.len() == 4, header.is_progressive);
    if is_progressive && samples(header) > PROGRESSIVE_SAMPLES_MAX {
        pixels = Vec::new();
        if let Some(baseline) = as_baseline(bytes) {
            return decode(pixels, &baseline);
        }
    }
    decoder.set_output_format(if has_black { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let rgb = if has_black || is_progressive {
        // Pixels are not made before the coefficients are gone, so as not to hold both.
        drop(pixels);
        let decoded = leniently(&mut decoder, |decoder| decoder.decode_image())?.into_vec();
        if has_black { to_rgb(decoded) } else { decoded }
    } else {
        // As long as the size says that was just checked.
        pixels.resize(decoder.output_buffer_size().map_err(refused)?, 0);
        leniently(&mut decoder, |decoder| decoder.decode_image_into(&mut pixels))?;
        pixels
    };
    Image::new(width, height, rgb).ok_or_else(|| DecodeError::Jpeg("no pixels".into()))
}

/// Levels of all colours that a file stores, about: subsampled colours have fewer.
fn samples(header: &FrameHeader) -> u64 {
    let shares = |colour: &ComponentInfo| {
        u64::from(colour.horizontal_sampling) * u64::from(colour.vertical_sampling)
    };
    let pixels = u64::from(header.width) * u64::from(header.height);
    let most = header.components.iter().map(shares).max().unwrap_or(1).max(1);
    pixels * header.components.iter().map(shares).sum::<u64>() / most
}

/// The same coefficients as a baseline file, of which the decoder holds no more than a row of them;
/// `None` if that is not possible.
fn as_baseline(bytes: &[u8]) -> Option<Vec<u8>> {
    write_coefficients(&read_coefficients(bytes).ok()?).ok()
}

/// Damage in the data makes wrong pixels, as in Pillow; in a header it is an error.
fn leniently<'a, T>(
    decoder: &mut Decoder<'a>,
    mut decode: impl FnMut(&Decoder<'a>) -> Result<T, JpegError>,
) -> Result<T, DecodeError> {
    if let Ok(decoded) = decode(decoder) {
        return Ok(decoded);
    }
    decoder.set_lenient(true);
    decode(decoder).map_err(refused)
}

fn limits() -> DecodeLimits {
    DecodeLimits {
        max_width: MAX_SIDE_PIXELS as usize,
        max_height: MAX_SIDE_PIXELS as usize,
        max_pixels: MAX_IMAGE_PIXELS,
        max_scans: SCANS_MAX,
        max_memory: None,
    }
}

/// What a JPEG file is.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let decoder = open(bytes).ok()?;
    let colours = match decoder.jpeg_color_space() {
        ColorSpace::Grayscale => Colours::Grey,
        ColorSpace::Cmyk => Colours::Cmyk,
        ColorSpace::Ycck => Colours::Ycck,
        _ => Colours::Plain,
    };
    Some(Header { format: Format::Jpeg, colours, orientation: orientation(decoder.exif_data()) })
}

/// A decoder that has read the header.
fn open(bytes: &[u8]) -> Result<Decoder<'_>, DecodeError> {
    Decoder::new_with_limits(bytes, limits()).map_err(refused)
}

/// Whether the end-of-image marker is reached when the file is walked marker by marker, which is
/// when Pillow accepts it. Bytes after that marker are ignored, as everywhere.
fn has_end_of_image(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // Entropy-coded data, and stray bytes, run up to the next 0xff that starts a marker.
        let Some(at) = memchr(0xff, rest) else { return false };
        rest = &rest[at + 1..];
        match rest.first() {
            Some(&END_OF_IMAGE) => return true,
            // A stuffed zero, a restart, a fill byte: the data goes on.
            Some(0x00 | 0x01 | 0xd0..=0xd8 | 0xff) => {}
            // Segments carry their length, so an EXIF thumbnail's own marker is stepped over.
            Some(_) => match rest.get(1..3) {
                Some(length) => {
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    rest = rest.get(1 + length..).unwrap_or_default();
                }
                None => return false,
            },
            None => return false,
        }
    }
}

/// (n, 4) to (n, 3), in place. Every CMYK JPEG is taken for Adobe's, where 255 means no ink, as
/// Pillow does; the arithmetic is Pillow's too.
fn to_rgb(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for at in 0..count {
        let [c, m, y, k] = [0, 1, 2, 3].map(|colour| pixels[4 * at + colour]);
        let rgb = [c, m, y].map(|level| k - divide_by_255(u32::from(255 - level) * u32::from(k)));
        pixels[3 * at..3 * at + 3].copy_from_slice(&rgb);
    }
    pixels.truncate(3 * count);
    pixels
}

/// `x / 255`, rounded to nearest, for the product of two bytes.
fn divide_by_255(x: u32) -> u8 {
    let x = x + 128;
    (((x >> 8) + x) >> 8) as u8
}

fn refused(error: JpegError) -> DecodeError {
    // Should a message end in a line break: ours are one line.
    DecodeError::Jpeg(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn made_a_baseline_file_a_file_keeps_its_pixels() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/pixels");
        for name in ["progressive.jpg", "subsampled.jpg", "grey.jpg", "cmyk.jpg", "ycck.jpg"] {
            let bytes = fs::read(goldens.join(name)).unwrap();
            let baseline = as_baseline(&bytes).unwrap();
            assert!(!open(&baseline).unwrap().header().is_progressive, "{name}");
            let same = decode(Vec::new(), &baseline) == decode(Vec::new(), &bytes);
            assert!(same, "{name}");
        }
    }

    #[test]
    fn subsampled_colours_have_fewer_samples() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/pixels");
        for (name, halves) in [("grey.jpg", 2), ("subsampled.jpg", 3), ("cmyk.jpg", 8)] {
            let bytes = fs::read(goldens.join(name)).unwrap();
            let decoder = open(&bytes).unwrap();
            let header = decoder.header();
            let pixels = u64::from(header.width) * u64::from(header.height);
            assert_eq!(samples(header), pixels * halves / 2, "{name}");
        }
    }
}
