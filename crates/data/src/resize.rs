//! A window of an image is resized, with Pillow's antialiased bilinear filter.
//!
//! Resizing just the window that a crop will keep gives the same pixels as resizing the whole
//! image and cropping then, but does less and needs no memory for the rest.

use std::cell::RefCell;

use fast_image_resize::images::{Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use crate::image::Image;
use crate::pillow;
use crate::preprocess::PreprocessError;

/// A rectangle in an image, in its pixels; fractions of a pixel are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// How exactly the filter is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// Pillow's very pixels. For what is measured or kept.
    Pillow,
    /// As `fast_image_resize` has it, whose weights have 16 bits: quicker, and up to a quarter of the
    /// pixels one level off. For random crops.
    Quick,
}

/// Memory that is used again, one for each loader thread.
#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    /// Rows resized in their width alone.
    rows: Vec<u8>,
    /// The resized pixels.
    pixels: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `window` of `image` as (height, width, 3) bytes; `size` is the width and the height.
///
/// The filter also sees the pixels next to the window, where there are some.
pub(crate) fn resize(
    image: &Image,
    window: Window,
    size: (u32, u32),
) -> Result<Vec<u8>, PreprocessError> {
    with_resized(image, window, size, Fidelity::Pillow, |pixels| pixels.to_vec())
}

/// What `then` makes of `window` resized as [`resize`] does, this exactly, in memory that is used
/// again.
pub(crate) fn with_resized<T>(
    image: &Image,
    window: Window,
    size: (u32, u32),
    fidelity: Fidelity,
    then: impl FnOnce(&mut [u8]) -> T,
) -> Result<T, PreprocessError> {
    // Rounding may have pushed the far edges past the image by the last bit of a float.
    let width = window.width.min(f64::from(image.width()) - window.left);
    let height = window.height.min(f64::from(image.height()) - window.top);
    let window = Window { width, height, ..window };
    SCRATCH.with_borrow_mut(|scratch| {
        match fidelity {
            Fidelity::Pillow => {
                let sides = (image.width(), image.height());
                let (out, rows) = (room(&mut scratch.pixels, size), &mut scratch.rows);
                pillow::resize(out, rows, image.rgb(), sides, window, size);
            }
            Fidelity::Quick => scratch
                .quickly(image, window, size)
                .map_err(|error| PreprocessError::Library(error.to_string()))?,
        }
        Ok(then(room(&mut scratch.pixels, size)))
    })
}

/// Room for `size` pixels of 3 bytes; both sides are far below 2^31.
fn room(memory: &mut Vec<u8>, size: (u32, u32)) -> &mut [u8] {
    let len = size.0 as usize * size.1 as usize * 3;
    if memory.len() < len {
        memory.resize(len, 0);
    }
    &mut memory[..len]
}

impl Scratch {
    /// The library resizes the height first and then each row, which costs the more. Where that
    /// would be more rows than the window has, they are resized before the height.
    fn quickly(
        &mut self,
        image: &Image,
        window: Window,
        size: (u32, u32),
    ) -> Result<(), ResizeError> {
        let (out, resizer) = (room(&mut self.pixels, size), &mut self.resizer);
        let sides = (image.width(), image.height());
        let top = (window.top - 1.0).floor().max(0.0);
        let bottom = (window.top + window.height + 1.0).ceil().min(f64::from(sides.1));
        let seen = (size.0, (bottom - top) as u32);
        let is_kept = window.width == f64::from(size.0) && window.left.fract() == 0.0;
        if is_kept || seen.1 >= size.1 {
            return step(out, resizer, image.rgb(), sides, window, size);
        }
        let rows = room(&mut self.rows, seen);
        let across = Window { top, height: bottom - top, ..window };
        step(rows, resizer, image.rgb(), sides, across, seen)?;
        let (top, width) = (window.top - top, f64::from(size.0));
        let down = Window { left: 0.0, top, width, height: window.height };
        step(out, resizer, rows, seen, down, size)
    }
}

/// `window` of `pixels`, which have `sides`, resized to `size`.
fn step(
    out: &mut [u8],
    resizer: &mut Resizer,
    pixels: &[u8],
    sides: (u32, u32),
    window: Window,
    size: (u32, u32),
) -> Result<(), ResizeError> {
    let source = ImageRef::new(sides.0, sides.1, pixels, PixelType::U8x3)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let mut target = Target::from_slice_u8(size.0, size.1, out, PixelType::U8x3)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(window.left, window.top, window.width, window.height);
    resizer.resize(&source, &mut target, &options)
}
