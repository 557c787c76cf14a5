//! An image becomes the network's input: resized, cropped, normalised.

use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::resize::{Window, resize};

/// The largest shorter side an image may be resized to, in pixels.
pub const MAX_RESIZE_PIXELS: u32 = 4096;

/// How an image becomes the network's input; kept inside weights files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// The shorter side is resized to this, in pixels.
    pub resize: u32,
    /// The side of the square that is cut out, in pixels.
    pub crop: u32,
    /// Subtracted from red, green and blue, in grey levels 0 to 255.
    pub mean: [f32; 3],
    /// What is left is divided by this, in grey levels.
    pub std: [f32; 3],
}

/// Settings that no image could satisfy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    /// The crop does not fit into the resized image.
    #[error("a crop of {crop} pixels does not fit: it must be from 1 to resize, which is {resize}")]
    Crop {
        /// [`Preprocess::crop`]
        crop: u32,
        /// [`Preprocess::resize`]
        resize: u32,
    },
    /// More than memory should be asked for.
    #[error("resize is {resize} pixels, the limit is {MAX_RESIZE_PIXELS}")]
    Resize {
        /// [`Preprocess::resize`]
        resize: u32,
    },
    /// Pixels would become infinite.
    #[error("mean and std must be finite and std positive: mean {mean:?}, std {std:?}")]
    Normalisation {
        /// [`Preprocess::mean`]
        mean: [f32; 3],
        /// [`Preprocess::std`]
        std: [f32; 3],
    },
    /// The caller's buffer is not (crop, crop, 3).
    #[error("the buffer has room for {actual} numbers, an image has {expected}")]
    Buffer {
        /// `crop * crop * 3`
        expected: usize,
        /// The buffer's length.
        actual: usize,
    },
    /// The resizing library refuses.
    #[error("cannot resize the image: {0}")]
    Library(String),
}

impl Preprocess {
    /// How many numbers one image becomes: `crop * crop * 3`.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.crop as usize * self.crop as usize * 3
    }

    /// Whether these settings, which may come from a file, can be used at all.
    ///
    /// # Errors
    /// A crop that does not fit, sizes beyond the limit, or a deviation of zero.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let Preprocess { resize, crop, mean, std } = *self;
        if resize > MAX_RESIZE_PIXELS {
            return Err(PreprocessError::Resize { resize });
        }
        if crop == 0 || crop > resize {
            return Err(PreprocessError::Crop { crop, resize });
        }
        let usable = mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_normal());
        if !usable || std.iter().any(|&s| s < 0.0) {
            return Err(PreprocessError::Normalisation { mean, std });
        }
        Ok(())
    }

    /// The one way from pixels to input wherever a result is measured or shown: the shorter side
    /// to `resize`, the centre `crop`, normalised; as torchvision's `Resize`, `CenterCrop`,
    /// `Normalize` on a Pillow image. `out` is (crop, crop, 3).
    ///
    /// # Errors
    /// As [`Preprocess::check`], or if `out` has another length.
    pub fn evaluate(&self, image: &Image, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.check()?;
        let (width, height) = self.resized(image);
        let centre = |side: u32| (f64::from(side - self.crop) / 2.0).round_ties_even() as u32;
        let window = self.window(image, centre(width), centre(height));
        self.render(image, window, false, out)
    }

    /// Width and height once the shorter side is `resize`; the longer is rounded down.
    pub(crate) fn resized(&self, image: &Image) -> (u32, u32) {
        let (width, height) = (u64::from(image.width()), u64::from(image.height()));
        let longer = u64::from(self.resize) * width.max(height) / width.min(height);
        // At most MAX_RESIZE_PIXELS * MAX_SIDE_PIXELS, which is 2^26.
        let longer = u32::try_from(longer).unwrap_or(u32::MAX);
        if width <= height { (self.resize, longer) } else { (longer, self.resize) }
    }

    /// Where the crop at (`left`, `top`) of the resized image lies in the image itself.
    pub(crate) fn window(&self, image: &Image, left: u32, top: u32) -> Window {
        let (width, height) = self.resized(image);
        let x_scale = f64::from(image.width()) / f64::from(width);
        let y_scale = f64::from(image.height()) / f64::from(height);
        Window {
            left: f64::from(left) * x_scale,
            top: f64::from(top) * y_scale,
            width: f64::from(self.crop) * x_scale,
            height: f64::from(self.crop) * y_scale,
        }
    }

    /// `window` resized to (crop, crop, 3), mirrored if `flip`, normalised into `out`.
    pub(crate) fn render(
        &self,
        image: &Image,
        window: Window,
        flip: bool,
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        let (expected, actual) = (self.image_len(), out.len());
        if expected != actual {
            return Err(PreprocessError::Buffer { expected, actual });
        }
        let mut pixels = resize(image, window, self.crop)
            .map_err(|error| PreprocessError::Library(error.to_string()))?;
        if flip {
            mirror(&mut pixels, self.crop as usize);
        }
        self.normalise(&pixels, out);
        Ok(())
    }

    /// Each of 256 levels is computed once per colour, then looked up.
    fn normalise(&self, pixels: &[u8], out: &mut [f32]) {
        let [red, green, blue] = [0, 1, 2].map(|colour| {
            let (mean, std) = (self.mean[colour], self.std[colour]);
            std::array::from_fn::<f32, 256, _>(|level| (level as f32 - mean) / std)
        });
        let (pixels, _) = pixels.as_chunks::<3>();
        let (out, _) = out.as_chunks_mut::<3>();
        for (out, &[r, g, b]) in out.iter_mut().zip(pixels) {
            *out = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
        }
    }
}

/// Swaps left and right in (rows, width, 3) bytes.
fn mirror(pixels: &mut [u8], width: usize) {
    for row in pixels.chunks_exact_mut(width * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}
