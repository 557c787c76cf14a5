//! PNG files to RGB, as Pillow's `convert("RGB")` does, and back.
//!
//! Palettes are looked up, fewer than 8 bits are stretched, alpha is dropped.
//! Of 16-bit colours the high byte is kept.
//! 16-bit grey is *clipped* at 255, not scaled: that is Pillow's rule, and so torchvision's.

use std::io::Cursor;

use image::codecs::png::{PngDecoder, PngEncoder};
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError,
    ImageResult, Limits,
};

use crate::decode::{
    Colours, DecodeError, Format, Header, MAX_SIDE_PIXELS, check_size, orientation,
};
use crate::image::Image;

/// Decodes a whole PNG file.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PIXELS);
    limits.max_image_height = Some(MAX_SIDE_PIXELS);
    // The size is checked before the limits are set, so that its message is ours.
    let mut decoder = PngDecoder::new(Cursor::new(bytes)).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    decoder.set_limits(limits).map_err(refused)?;
    let pixels = DynamicImage::from_decoder(decoder).map_err(refused)?;
    Image::new(width, height, to_rgb(pixels)).ok_or_else(|| DecodeError::Png("no pixels".into()))
}

/// What a PNG file is.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let mut decoder = PngDecoder::new(Cursor::new(bytes)).ok()?;
    let colours = match decoder.color_type() {
        ColorType::L8 => Colours::Grey,
        ColorType::L16 => Colours::DeepGrey,
        kind if kind.has_alpha() => Colours::Alpha,
        _ => Colours::Plain,
    };
    let exif = decoder.exif_metadata().ok().flatten();
    Some(Header { format: Format::Png, colours, orientation: orientation(exif.as_deref()) })
}

/// A PNG file of these pixels.
pub(crate) fn encode(image: &Image) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let (width, height) = (image.width(), image.height());
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(image.rgb(), width, height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

fn to_rgb(pixels: DynamicImage) -> Vec<u8> {
    let clipped = |level: u16| level.min(255) as u8;
    let high_byte = |level: u16| (level >> 8) as u8;
    match pixels {
        DynamicImage::ImageRgb8(rgb) => rgb.into_raw(),
        DynamicImage::ImageLuma16(grey) => {
            grey.into_raw().into_iter().flat_map(|level| [clipped(level); 3]).collect()
        }
        DynamicImage::ImageLumaA16(grey) => {
            grey.pixels().flat_map(|p| [high_byte(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(rgb) => rgb.into_raw().into_iter().map(high_byte).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(high_byte)).collect()
        }
        other => other.into_rgb8().into_raw(),
    }
}

fn refused(error: ImageError) -> DecodeError {
    DecodeError::Png(error.to_string())
}
