//! JPEG files to RGB, as Pillow's `convert("RGB")` does, to the last bit (docs/decisions/009).
//!
//! Two things are done here and not by the decoder: a file that ends too early is refused, since
//! the decoder would make up the rest, and CMYK becomes RGB by Pillow's arithmetic.

use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat};

use crate::decode::{
    Colours, DecodeError, Format, Header, MAX_IMAGE_PIXELS, MAX_SIDE_PIXELS, check_size,
    orientation,
};
use crate::image::Image;

const END_OF_IMAGE: u8 = 0xd9;
/// Most scans of a file: progressive ones have about ten. Each may cost a pass over all pixels.
const SCANS_MAX: usize = 100;
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
    let has_black = header.components.len() == 4;
    decoder.set_output_format(if has_black { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    // As long as the size says that was just checked.
    pixels.resize(decoder.output_buffer_size().map_err(refused)?, 0);
    if decoder.decode_image_into(&mut pixels).is_err() {
        // Damage in the data makes wrong pixels, as in Pillow; in a header it is an error.
        decoder.set_lenient(true);
        decoder.decode_image_into(&mut pixels).map_err(refused)?;
    }
    let rgb = if has_black { to_rgb(&pixels) } else { pixels };
    Image::new(width, height, rgb).ok_or_else(|| DecodeError::Jpeg("no pixels".into()))
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
        let Some(at) = rest.iter().position(|&byte| byte == 0xff) else { return false };
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

/// (n, 4) to (n, 3). Every CMYK JPEG is taken for Adobe's, where 255 means no ink, as Pillow does;
/// the arithmetic is Pillow's too.
fn to_rgb(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<4>();
    let rgb = |&[c, m, y, k]: &[u8; 4]| {
        [c, m, y].map(|level| k - divide_by_255(u32::from(255 - level) * u32::from(k)))
    };
    pixels.iter().flat_map(rgb).collect()
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
