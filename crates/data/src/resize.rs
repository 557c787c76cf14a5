//! A window of an image is resized, with Pillow's antialiased bilinear filter.
//!
//! Resizing just the window that a crop will keep gives the same pixels as resizing the whole
//! image and cropping then, but does less and needs no memory for the rest.

use std::cell::RefCell;

use fast_image_resize::images::{Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use crate::image::Image;

/// A rectangle in an image, in its pixels; fractions of a pixel are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

thread_local! {
    // One per loader thread: the tables and rows between the two passes are reused.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// `window` of `image` as (height, width, 3) bytes; `size` is the width and the height.
///
/// The filter also sees the pixels next to the window, where there are some.
pub(crate) fn resize(
    image: &Image,
    window: Window,
    size: (u32, u32),
) -> Result<Vec<u8>, ResizeError> {
    let source = ImageRef::new(image.width(), image.height(), image.rgb(), PixelType::U8x3)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let mut target = Target::new(size.0, size.1, PixelType::U8x3);
    // Rounding may have pushed the far edges past the image by the last bit of a float.
    let width = window.width.min(f64::from(image.width()) - window.left);
    let height = window.height.min(f64::from(image.height()) - window.top);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(window.left, window.top, width, height);
    RESIZER.with_borrow_mut(|resizer| resizer.resize(&source, &mut target, &options))?;
    Ok(target.into_vec())
}
