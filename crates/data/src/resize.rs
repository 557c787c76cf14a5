//! A window of an image is resized, with Pillow's antialiased bilinear filter.
//!
//! Resizing just the window that a crop will keep gives the same pixels as resizing the whole
//! image and cropping then, but does less and needs no memory for the rest.

use std::cell::RefCell;

use fast_image_resize::images::{Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use crate::image::Image;
use crate::preprocess::PreprocessError;

/// A rectangle in an image, in its pixels; fractions of a pixel are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

thread_local! {
    // One per loader thread: the rows between the two passes and the resized pixels are reused.
    static RESIZER: RefCell<(Resizer, Vec<u8>)> = RefCell::new((Resizer::new(), Vec::new()));
}

/// `window` of `image` as (height, width, 3) bytes; `size` is the width and the height.
///
/// The filter also sees the pixels next to the window, where there are some.
pub(crate) fn resize(
    image: &Image,
    window: Window,
    size: (u32, u32),
) -> Result<Vec<u8>, PreprocessError> {
    with_resized(image, window, size, <[u8]>::to_vec)
}

/// What `then` makes of the bytes that [`resize`] would return, in memory that is used again.
pub(crate) fn with_resized<T>(
    image: &Image,
    window: Window,
    size: (u32, u32),
    then: impl FnOnce(&[u8]) -> T,
) -> Result<T, PreprocessError> {
    RESIZER.with_borrow_mut(|(resizer, pixels)| {
        // 3 bytes a pixel; both sides are far below 2^31.
        let len = size.0 as usize * size.1 as usize * 3;
        if pixels.len() < len {
            pixels.resize(len, 0);
        }
        let resized = resize_into(&mut pixels[..len], resizer, image, window, size);
        resized.map_err(|error| PreprocessError::Library(error.to_string()))?;
        Ok(then(&pixels[..len]))
    })
}

fn resize_into(
    out: &mut [u8],
    resizer: &mut Resizer,
    image: &Image,
    window: Window,
    size: (u32, u32),
) -> Result<(), ResizeError> {
    let source = ImageRef::new(image.width(), image.height(), image.rgb(), PixelType::U8x3)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let mut target = Target::from_slice_u8(size.0, size.1, out, PixelType::U8x3)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    // Rounding may have pushed the far edges past the image by the last bit of a float.
    let width = window.width.min(f64::from(image.width()) - window.left);
    let height = window.height.min(f64::from(image.height()) - window.top);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(window.left, window.top, width, height);
    resizer.resize(&source, &mut target, &options)
}
