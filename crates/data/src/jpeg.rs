//! JPEG files to RGB, as Pillow's `convert("RGB")` does.
//!
//! Two things are done here and not by the decoder: a file that ends too early is refused, since
//! the decoder would fill the rest with grey, and four-component files are converted, since it
//! reads YCCK inverted.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::decode::{
    Colours, DecodeError, Format, Header, MAX_SIDE_PIXELS, check_size, orientation,
};
use crate::image::Image;

const END_OF_IMAGE: u8 = 0xd9;

/// Decodes a whole JPEG file: baseline or progressive; grey, YCbCr, RGB, CMYK or YCCK.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    if !has_end_of_image(bytes) {
        return Err(DecodeError::TruncatedJpeg);
    }
    let mut decoder = open(bytes)?;
    let info = decoder.info().ok_or_else(no_header)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(width, height)?;

    let stored = decoder.input_colorspace().ok_or_else(no_header)?;
    let wanted = if stored.num_components() == 4 { stored } else { ColorSpace::RGB };
    let options = *decoder.options();
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(refused)?;
    let rgb = match wanted {
        ColorSpace::CMYK => to_rgb(&pixels, |cmyk| cmyk),
        ColorSpace::YCCK => to_rgb(&pixels, ycck_to_cmyk),
        _ => pixels,
    };
    Image::new(width, height, rgb).ok_or_else(no_header)
}

/// What a JPEG file is.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let decoder = open(bytes).ok()?;
    let colours = match decoder.input_colorspace()? {
        ColorSpace::Luma | ColorSpace::LumaA => Colours::Grey,
        ColorSpace::CMYK => Colours::Cmyk,
        ColorSpace::YCCK => Colours::Ycck,
        _ => Colours::Plain,
    };
    let orientation = orientation(decoder.exif().map(Vec::as_slice));
    Some(Header { format: Format::Jpeg, colours, orientation })
}

/// A decoder that has read the header.
fn open(bytes: &[u8]) -> Result<JpegDecoder<Cursor<&[u8]>>, DecodeError> {
    let side_max = MAX_SIDE_PIXELS as usize;
    let options = DecoderOptions::default().set_max_width(side_max).set_max_height(side_max);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(refused)?;
    Ok(decoder)
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
fn to_rgb(pixels: &[u8], to_cmyk: fn([u8; 4]) -> [u8; 4]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<4>();
    pixels
        .iter()
        .flat_map(|&pixel| {
            let [c, m, y, k] = to_cmyk(pixel);
            [c, m, y].map(|level| k - divide_by_255(u32::from(255 - level) * u32::from(k)))
        })
        .collect()
}

/// JFIF's YCbCr to RGB, which libjpeg then inverts to CMY; black stays as it is.
fn ycck_to_cmyk([y, cb, cr, k]: [u8; 4]) -> [u8; 4] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    // `as` saturates, as libjpeg's range limit does.
    let [c, m, y] = rgb.map(|level| 255 - level.round() as u8);
    [c, m, y, k]
}

/// `x / 255`, rounded to nearest, for the product of two bytes.
fn divide_by_255(x: u32) -> u8 {
    let x = x + 128;
    (((x >> 8) + x) >> 8) as u8
}

fn refused(error: DecodeErrors) -> DecodeError {
    // Some of the decoder's messages end in a line break; ours are one line.
    DecodeError::Jpeg(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn no_header() -> DecodeError {
    DecodeError::Jpeg("no image header".into())
}
