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

/// How exactly the filter is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// Widths first, and weights of as many bits as Pillow's: its very pixels. For what is measured
    /// or kept.
    Pillow,
    /// Weights of 16 bits, so that vectors hold twice as many: a third of the time, and a quarter of
    /// the pixels one level off. For random crops, which no two runs share.
    Quick,
}

/// Memory that is used again, one for each loader thread.
#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    /// The rows that the filter sees, in 16 bits a level; and these resized in their width.
    seen: Vec<u16>,
    across: Vec<u16>,
    down: Vec<u16>,
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

/// What `then` makes of the bytes that [`resize`] would return, in memory that is used again.
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
        let resized = match fidelity {
            Fidelity::Pillow => scratch.as_pillow(image, window, size),
            Fidelity::Quick => scratch.quickly(image, window, size),
        };
        resized.map_err(|error| PreprocessError::Library(error.to_string()))?;
        Ok(then(room(&mut scratch.pixels, size)))
    })
}

/// Room for `size` pixels of three levels; both sides are far below 2^31.
fn room<T: Clone + Default>(memory: &mut Vec<T>, size: (u32, u32)) -> &mut [T] {
    let len = size.0 as usize * size.1 as usize * 3;
    if memory.len() < len {
        memory.resize(len, T::default());
    }
    &mut memory[..len]
}

/// The first and behind the last of the rows that the filter sees: it reaches a row beyond the
/// window where it enlarges, and half an output's height where it makes smaller.
fn rows_seen(window: Window, image_height: u32, out_height: u32) -> (u32, u32) {
    let reach = (window.height / f64::from(out_height)).max(1.0).ceil();
    let top = (window.top - reach).floor().max(0.0);
    let bottom = (window.top + window.height + reach).ceil().min(f64::from(image_height));
    (top as u32, bottom as u32)
}

impl Scratch {
    /// Widths first, then heights, each rounded to whole levels: the order and the roundings are
    /// Pillow's (`src/libImaging/Resample.c`). In 16 bits a level the library's weights have some
    /// thirty, where for bytes it takes fewer than Pillow.
    fn as_pillow(
        &mut self,
        image: &Image,
        window: Window,
        size: (u32, u32),
    ) -> Result<(), ResizeError> {
        let (top, bottom) = rows_seen(window, image.height(), size.1);
        let sides = (image.width(), bottom - top);
        let row = sides.0 as usize * 3;
        let levels = &image.rgb()[top as usize * row..bottom as usize * row];
        let seen = room(&mut self.seen, sides);
        seen.iter_mut().zip(levels).for_each(|(wide, &level)| *wide = level.into());
        let between = (size.0, sides.1);
        let across = room(&mut self.across, between);
        let whole = Window { top: 0.0, height: f64::from(sides.1), ..window };
        let wide = PixelType::U16x3;
        step(bytes_mut(across), &mut self.resizer, bytes(seen), wide, sides, whole, between)?;
        let down = room(&mut self.down, size);
        let top = window.top - f64::from(top);
        let whole = Window { left: 0.0, top, width: f64::from(size.0), height: window.height };
        step(bytes_mut(down), &mut self.resizer, bytes(across), wide, between, whole, size)?;
        let pixels = room(&mut self.pixels, size);
        pixels.iter_mut().zip(&*down).for_each(|(level, &wide)| *level = wide as u8);
        Ok(())
    }

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
        let narrow = PixelType::U8x3;
        if is_kept || seen.1 >= size.1 {
            return step(out, resizer, image.rgb(), narrow, sides, window, size);
        }
        let rows = room(&mut self.rows, seen);
        let across = Window { top, height: bottom - top, ..window };
        step(rows, resizer, image.rgb(), narrow, sides, across, seen)?;
        let (top, width) = (window.top - top, f64::from(size.0));
        let down = Window { left: 0.0, top, width, height: window.height };
        step(out, resizer, rows, narrow, seen, down, size)
    }
}

fn bytes(levels: &[u16]) -> &[u8] {
    bytemuck::cast_slice(levels)
}

fn bytes_mut(levels: &mut [u16]) -> &mut [u8] {
    bytemuck::cast_slice_mut(levels)
}

/// `window` of `pixels`, which have `sides`, resized to `size`.
fn step(
    out: &mut [u8],
    resizer: &mut Resizer,
    pixels: &[u8],
    pixel: PixelType,
    sides: (u32, u32),
    window: Window,
    size: (u32, u32),
) -> Result<(), ResizeError> {
    let source = ImageRef::new(sides.0, sides.1, pixels, pixel)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let mut target = Target::from_slice_u8(size.0, size.1, out, pixel)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(window.left, window.top, window.width, window.height);
    resizer.resize(&source, &mut target, &options)
}
