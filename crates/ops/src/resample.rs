//! How a window of an image becomes a picture: Pillow's antialiased bilinear filter, to the bit
//! (`src/libImaging/Resample.c`).
//!
//! Every place of the picture is a weighted sum of a few pixels of an axis, which stand next to each
//! other. Weights are formed in `f64`, each operation rounded, in the order that stands here, and
//! rounded to whole 2⁻²²; sums of levels are whole numbers then, and the same wherever they are formed.
//! Widths go first, then heights; each is rounded to whole levels.

use std::ops::Range;

/// Bits of a weight behind the point: two below what sums of bytes leave in 32 bits.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Where the sum of a place begins: half a level.
pub const HALF_LEVEL: i32 = 1 << (PRECISION_BITS - 1);

/// The level that a sum of weighted ones is. Weights are positive and add up to one but for the last
/// bits, so that no sum leaves a byte.
#[inline]
pub fn level_of(sum: i32) -> u8 {
    (sum >> PRECISION_BITS) as u8
}

/// A window along one axis of an image, in the image's pixels; fractions of a pixel are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Pixels of the image.
    pub len: u32,
    /// Where the window begins.
    pub start: f64,
    /// How long it is.
    pub extent: f64,
}

/// How the places of a picture lie along an axis, and what each sees of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Where the window begins, in pixels.
    pub start: f64,
    /// Pixels from a place to the next.
    pub scale: f64,
    /// How far a place sees to either side, in pixels.
    pub support: f64,
    /// How many pixels a place sees.
    pub taps: usize,
    /// The last of the axis from which on there are as many.
    pub first_max: usize,
    /// Places.
    pub places: usize,
}

impl Axis {
    /// All of an axis, which becomes as many places: the very levels.
    pub fn whole(len: u32) -> Self {
        Self { len, start: 0.0, extent: f64::from(len) }
    }

    /// The window as so many `places`.
    pub fn grid(&self, places: usize) -> Grid {
        let Self { len, start, extent } = *self;
        // Rounding may have pushed the far edge past the image by the last bit of a float.
        let scale = extent.min(f64::from(len) - start) / places as f64;
        // A place sees one pixel to either side, or as many as it replaces.
        let support = scale.max(1.0);
        let taps = ((2.0 * support).ceil() as usize).min(len as usize);
        Grid { start, scale, support, taps, first_max: len as usize - taps, places }
    }
}

impl Grid {
    /// The middle of a place.
    fn centre(&self, at: usize) -> f64 {
        self.start + (at as f64 + 0.5) * self.scale
    }

    /// The first pixel that a place sees.
    fn first(&self, at: usize) -> usize {
        ((self.centre(at) - self.support + 0.5).max(0.0) as usize).min(self.first_max)
    }

    /// Whether each place is a pixel of the axis as it is, the first that of `start`: then its filter
    /// leaves nothing of the others.
    pub fn is_of_pixels(&self) -> bool {
        self.scale.to_bits() == 1.0_f64.to_bits() && self.start.fract() == 0.0
    }

    /// The pixels that the places see, none of which lies before what the place before it sees.
    pub fn seen(&self) -> Range<usize> {
        let Some(last) = self.places.checked_sub(1) else { return 0..0 };
        self.first(0)..self.first(last) + self.taps
    }

    /// The weights of what a place sees from its `first` pixel on.
    fn weights(&self, at: usize, first: usize) -> impl Iterator<Item = i32> {
        let (centre, support, taps) = (self.centre(at), self.support, self.taps);
        let weight = move |tap: usize| {
            let distance = ((first + tap) as f64 - centre + 0.5) * (1.0 / support);
            (1.0 - distance.abs()).max(0.0)
        };
        let sum: f64 = (0..taps).map(weight).sum();
        let whole = f64::from(1 << PRECISION_BITS);
        (0..taps).map(move |tap| (weight(tap) / sum * whole + 0.5) as i32)
    }
}

/// What of an axis makes each place of a picture.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The first pixel that each place sees.
    first: Vec<usize>,
    /// The weights of it and those behind it, `taps` for each place.
    weights: Vec<i32>,
    taps: usize,
}

impl Filter {
    /// That of a grid; mirrored, if told to `flip`: the last place comes first.
    pub fn new(grid: &Grid, flip: bool) -> Self {
        let mut filter = Self::default();
        filter.set(grid, flip);
        filter
    }

    /// The same in the memory of this one.
    pub fn set(&mut self, grid: &Grid, flip: bool) {
        self.taps = grid.taps;
        self.first.clear();
        self.weights.clear();
        for place in 0..grid.places {
            let at = if flip { grid.places - 1 - place } else { place };
            let first = grid.first(at);
            self.first.push(first);
            self.weights.extend(grid.weights(at, first));
        }
    }

    /// For each place the first pixel that it sees, and the weights of it and those behind it.
    #[inline]
    pub fn places(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.taps.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_axis_is_seen_whole_and_becomes_itself() {
        for len in [1, 2, 3, 224] {
            let grid = Axis::whole(len).grid(len as usize);
            assert_eq!(grid.seen(), 0..len as usize);
            for (at, (first, weights)) in Filter::new(&grid, false).places().enumerate() {
                for (tap, &weight) in weights.iter().enumerate() {
                    let own = i32::from(first + tap == at);
                    assert_eq!(weight, own << PRECISION_BITS, "{len}: {at} from {first}, {tap}");
                }
            }
        }
    }

    #[test]
    fn places_that_are_pixels_are_seen_alone() {
        for (len, start, extent) in [(1, 0.0, 1.0), (7, 0.0, 7.0), (9, 2.0, 5.0), (9, 8.0, 1.0)] {
            let grid = Axis { len, start, extent }.grid(extent as usize);
            assert!(grid.is_of_pixels(), "{grid:?}");
            for (at, (first, weights)) in Filter::new(&grid, false).places().enumerate() {
                for (pixel, &weight) in (first..).zip(weights) {
                    let own = i32::from(pixel == start as usize + at);
                    assert_eq!(weight, own << PRECISION_BITS, "{grid:?}, {at}");
                }
            }
        }
        for (len, start, extent) in [(9, 2.5, 5.0), (9, 2.0, 5.5), (9, 0.0, 9.0)] {
            let grid = Axis { len, start, extent }.grid(5);
            assert!(!grid.is_of_pixels(), "{grid:?}");
        }
    }

    #[test]
    fn what_is_seen_is_all_that_any_place_sees_and_no_pixel_more() {
        for (len, start, extent) in [(9, 2.0, 4.0), (9, 2.3, 1.5), (90, 0.0, 90.0), (2, 0.5, 1.5)] {
            for places in [1, 2, 7, 20] {
                let grid = Axis { len, start, extent }.grid(places);
                for flip in [false, true] {
                    let filter = Filter::new(&grid, flip);
                    let (firsts, taps): (Vec<_>, Vec<_>) =
                        filter.places().map(|(first, weights)| (first, weights.len())).unzip();
                    let begin = *firsts.iter().min().expect("a place");
                    let end = firsts.iter().zip(&taps).map(|(first, taps)| first + taps).max();
                    assert_eq!(grid.seen(), begin..end.expect("a place"));
                }
            }
        }
    }
}
