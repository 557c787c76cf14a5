//! Images on their way to a device: as numbers, or as bytes that become numbers there.

use std::borrow::Cow;
use std::ops::Range;

use crate::device::Device;

/// Red, green and blue.
const COLOURS: usize = 3;

/// How one image's levels become a network's input: `(level − mean) · scale` for each colour, the
/// difference and the product each rounded to `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Subtracted from red, green and blue, in levels 0 to 255.
    pub mean: [f32; COLOURS],
    /// Factors of what is left.
    pub scale: [f32; COLOURS],
}

impl Normalisation {
    /// Levels as they are.
    pub const NONE: Self = Self { mean: [0.0; COLOURS], scale: [1.0; COLOURS] };

    /// Normalises the pixels `levels` (…, 3) of one image into `values`, as long.
    fn apply(&self, values: &mut [f32], levels: &[u8]) {
        let (pixels, _) = levels.as_chunks::<COLOURS>();
        let (values, _) = values.as_chunks_mut::<COLOURS>();
        for (value, pixel) in values.iter_mut().zip(pixels) {
            for c in 0..COLOURS {
                value[c] = (f32::from(pixel[c]) - self.mean[c]) * self.scale[c];
            }
        }
    }
}

/// Normalises N images of equal size on the host: what [`Device::upload_levels`] means.
///
/// # Panics
/// If `levels` are not as many whole pixels for each of `normalise`.
pub(crate) fn normalised(levels: &[u8], normalise: &[Normalisation]) -> Vec<f32> {
    let images = normalise.len();
    let image = levels.len().checked_div(images).unwrap_or(0);
    let whole = image * images == levels.len() && image.is_multiple_of(COLOURS);
    assert!(whole, "{} levels are not {images} images of whole pixels", levels.len());
    let mut values = vec![0.0; levels.len()];
    if image > 0 {
        let rows = values.chunks_exact_mut(image).zip(levels.chunks_exact(image));
        rows.zip(normalise).for_each(|((values, levels), each)| each.apply(values, levels));
    }
    values
}

/// N images (N, H, W, 3) of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Images<'i> {
    /// Normalised.
    Values(&'i [f32]),
    /// To be normalised by the device: a quarter of the bytes.
    Levels {
        /// (N, H, W, 3)
        levels: &'i [u8],
        /// (N)
        normalise: &'i [Normalisation],
    },
}

impl<'i> Images<'i> {
    /// N, where an image has `image_len` numbers.
    ///
    /// # Panics
    /// If it is not a whole number, or there is not one normalisation for each.
    pub fn count(self, image_len: usize) -> usize {
        let (numbers, normalised) = match self {
            Self::Values(values) => (values.len(), None),
            Self::Levels { levels, normalise } => (levels.len(), Some(normalise.len())),
        };
        let count = numbers / image_len;
        assert_eq!(numbers, count * image_len, "whole images");
        assert!(normalised.is_none_or(|all| all == count), "a normalisation for each image");
        count
    }

    /// Some of the images, where each has `image_len` numbers.
    ///
    /// # Panics
    /// If they are not there.
    pub fn part(self, images: Range<usize>, image_len: usize) -> Self {
        let numbers = images.start * image_len..images.end * image_len;
        match self {
            Self::Values(values) => Self::Values(&values[numbers]),
            Self::Levels { levels, normalise } => {
                Self::Levels { levels: &levels[numbers], normalise: &normalise[images] }
            }
        }
    }

    /// Copies them to the beginning of `dst`, normalised.
    pub fn upload<D: Device>(self, device: &D, dst: &mut D::Floats) {
        match self {
            Self::Values(values) => device.upload(dst, values),
            Self::Levels { levels, normalise } => device.upload_levels(dst, levels, normalise),
        }
    }

    /// The numbers that [`Self::upload`] brings to a device, (N, H, W, 3).
    pub fn values(self) -> Cow<'i, [f32]> {
        match self {
            Self::Values(values) => Cow::Borrowed(values),
            Self::Levels { levels, normalise } => Cow::Owned(normalised(levels, normalise)),
        }
    }
}

impl<'i> From<&'i [f32]> for Images<'i> {
    fn from(values: &'i [f32]) -> Self {
        Self::Values(values)
    }
}

impl<'i> From<&'i Vec<f32>> for Images<'i> {
    fn from(values: &'i Vec<f32>) -> Self {
        Self::Values(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Normalisation = Normalisation { mean: [1.0, 2.0, 3.0], scale: [2.0, 1.0, 0.5] };
    const LEVELS: [u8; 12] = [0, 1, 2, 3, 4, 5, 255, 0, 7, 8, 9, 10];
    const VALUES: [f32; 12] = [-2.0, -1.0, -0.5, 4.0, 2.0, 1.0, 255.0, 0.0, 7.0, 8.0, 9.0, 10.0];

    #[test]
    fn each_image_is_normalised_by_its_own_figures_whole_or_in_parts() {
        let images = Images::Levels { levels: &LEVELS, normalise: &[FIRST, Normalisation::NONE] };
        assert_eq!(images.count(6), 2);
        assert_eq!(images.values(), &VALUES[..]);
        for part in [0..1, 1..2, 0..2, 1..1] {
            let expected = Images::Values(&VALUES).part(part.clone(), 6);
            assert_eq!(images.part(part, 6).values(), expected.values());
        }
    }

    #[test]
    #[should_panic(expected = "12 levels are not 5 images")]
    fn levels_that_are_no_whole_images_are_refused() {
        normalised(&LEVELS, &[FIRST; 5]);
    }

    #[test]
    #[should_panic(expected = "a normalisation for each image")]
    fn images_without_a_normalisation_are_refused() {
        Images::Levels { levels: &LEVELS, normalise: &[FIRST] }.count(6);
    }
}
