//! A picture in memory.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::FigureError;

/// Pixels, row by row from the top: (height, width, 3), red, green and blue, 0 to 255 each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of these pixels; `None` if `rgb` is not `width * height * 3` bytes long.
    #[must_use]
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Option<Self> {
        let bytes = width.checked_mul(height)?.checked_mul(3)?;
        (bytes == rgb.len()).then_some(Self { width, height, rgb })
    }

    /// A picture of one colour.
    pub(crate) fn blank(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, (height, width, 3).
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Each pixel as a square of `factor` pixels a side.
    pub(crate) fn enlarged(&self, factor: usize) -> Self {
        let (pixels, _) = self.rgb.as_chunks::<3>();
        let mut rgb = Vec::with_capacity(self.rgb.len() * factor * factor);
        for row in pixels.chunks_exact(self.width.max(1)) {
            let row: Vec<u8> = row.iter().flat_map(|pixel| pixel.repeat(factor)).collect();
            (0..factor).for_each(|_| rgb.extend_from_slice(&row));
        }
        Self { width: self.width * factor, height: self.height * factor, rgb }
    }

    /// Puts `other` here with its corner at (`left`, `top`); what lies outside is cut off.
    pub(crate) fn paste(&mut self, other: &Picture, left: usize, top: usize) {
        let width = other.width.min(self.width.saturating_sub(left));
        for y in 0..other.height.min(self.height.saturating_sub(top)) {
            let (from, to) = (y * other.width * 3, ((top + y) * self.width + left) * 3);
            self.rgb[to..to + width * 3].copy_from_slice(&other.rgb[from..from + width * 3]);
        }
    }

    /// Gives a rectangle one colour; what lies outside is cut off.
    pub(crate) fn fill(
        &mut self,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
        colour: [u8; 3],
    ) {
        let (right, bottom) = ((left + width).min(self.width), (top + height).min(self.height));
        for y in top..bottom {
            for x in left..right {
                let at = (y * self.width + x) * 3;
                self.rgb[at..at + 3].copy_from_slice(&colour);
            }
        }
    }

    /// Covers the pixel at (`x`, `y`), if there is one, with so much of `colour`: 255 hides it.
    pub(crate) fn cover(&mut self, x: usize, y: usize, colour: [u8; 3], opacity: u8) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y * self.width + x) * 3;
        for (level, new) in self.rgb[at..at + 3].iter_mut().zip(colour) {
            let opacity = u32::from(opacity);
            let mixed = u32::from(*level) * (255 - opacity) + u32::from(new) * opacity;
            *level = ((mixed + 127) / 255) as u8;
        }
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// More than PNG can hold, or no pixel at all.
    pub fn to_png(&self) -> Result<Vec<u8>, FigureError> {
        let refused = |reason: String| FigureError::Png(reason);
        let [width, height] =
            [self.width, self.height].map(|side| u32::try_from(side).unwrap_or(0));
        if width == 0 || height == 0 {
            return Err(refused(format!("it has {} x {} pixels", self.width, self.height)));
        }
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .map_err(|error| refused(error.to_string()))?;
        Ok(bytes)
    }
}
