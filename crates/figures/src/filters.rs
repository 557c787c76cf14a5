//! First-layer filters, as the paper's figure 3 shows them.

use crate::picture::Picture;

/// Filters in a row, as in the paper.
const PER_ROW: usize = 16;
/// Between filters and around them, in pixels of the filters.
const GAP: usize = 1;
/// A row of filters becomes at least so wide, in pixels, by making each weight a square.
const WIDTH_MIN: usize = 700;
/// Between filters: black, as in the paper.
const GROUND: [u8; 3] = [0; 3];

/// The filters of a convolution that sees colours, ready to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// Pixels of each filter's side.
    side: usize,
    /// One after the other, row by row; red, green, blue, 0 to 255.
    rgb: Vec<u8>,
}

impl Filters {
    /// Filters from `weights` (K, 3, side, side). The smallest of all becomes black and the largest
    /// white, so that filters compare with each other. `None` if they are not that many.
    #[must_use]
    pub fn new(side: usize, weights: &[f32]) -> Option<Self> {
        let plane = side.checked_mul(side)?;
        if plane == 0 || weights.is_empty() || !weights.len().is_multiple_of(3 * plane) {
            return None;
        }
        let finite = || weights.iter().copied().filter(|weight| weight.is_finite());
        let low = finite().fold(f32::INFINITY, f32::min);
        let high = finite().fold(f32::NEG_INFINITY, f32::max);
        let range = if high > low { high - low } else { 1.0 };
        // `as` saturates, and takes what is no number for zero.
        let level = |weight: f32| ((weight - low) / range * 255.0).round() as u8;
        let pixel = |filter: usize, at: usize| {
            [0, 1, 2].map(|colour| level(weights[(filter * 3 + colour) * plane + at]))
        };
        let count = weights.len() / (3 * plane);
        let places = (0..count).flat_map(|filter| (0..plane).map(move |at| (filter, at)));
        Some(Self { side, rgb: places.flat_map(|(filter, at)| pixel(filter, at)).collect() })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rgb.len() / self.bytes()
    }

    /// Bytes of one.
    fn bytes(&self) -> usize {
        self.side * self.side * 3
    }

    /// How colourful some of the filters are, 0 to 1: the mean saturation of their pixels as drawn,
    /// the difference of the strongest and the weakest colour as a share of the strongest.
    #[must_use]
    pub fn saturation(&self, filters: std::ops::Range<usize>) -> f64 {
        let range = filters.start * self.bytes()..filters.end * self.bytes();
        let (pixels, _) = self.rgb.get(range).unwrap_or_default().as_chunks::<3>();
        let of = |pixel: &[u8; 3]| {
            let high = f64::from(*pixel.iter().max().unwrap_or(&0));
            let low = f64::from(*pixel.iter().min().unwrap_or(&0));
            if high > 0.0 { (high - low) / high } else { 0.0 }
        };
        pixels.iter().map(of).sum::<f64>() / pixels.len().max(1) as f64
    }

    /// Draws them in rows of 16 with a pixel between, enlarged without smoothing.
    #[must_use]
    pub fn draw(&self) -> Picture {
        let (columns, rows) = (self.count().min(PER_ROW), self.count().div_ceil(PER_ROW));
        let size = |filters: usize| filters * (self.side + GAP) + GAP;
        let mut picture = Picture::blank(size(columns), size(rows), GROUND);
        for (index, rgb) in self.rgb.chunks_exact(self.bytes()).enumerate() {
            if let Some(filter) = Picture::new(self.side, self.side, rgb.to_vec()) {
                let (column, row) = (index % PER_ROW, index / PER_ROW);
                picture.paste(&filter, size(column), size(row));
            }
        }
        picture.enlarged(WIDTH_MIN.div_ceil(size(PER_ROW)))
    }
}
