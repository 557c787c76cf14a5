//! Images on their way to a device: as numbers, or as bytes of which pictures are made there.

use std::borrow::Cow;
use std::ops::Range;

use crate::device::Device;
use crate::resample::{Axis, Filter, HALF_LEVEL, level_of};

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

/// A picture yet to be made of an image: a window of it, resized to a square of some side, mirrored
/// perhaps, then normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    /// The window from left to right.
    pub across: Axis,
    /// The window from top to bottom.
    pub down: Axis,
    /// Whether the picture is mirrored.
    pub flip: bool,
    /// What makes numbers of its levels.
    pub normalise: Normalisation,
}

impl Picture {
    /// That of an image of this `side` which is the picture already.
    pub fn whole(side: u32, normalise: Normalisation) -> Self {
        let axis = Axis::whole(side);
        Self { across: axis, down: axis, flip: false, normalise }
    }

    /// What a picture of this side is made of: columns and rows of the image. It is the window, the
    /// pixels next to it that the filter sees too, and no other.
    pub fn cut(&self, side: usize) -> [Range<usize>; 2] {
        [self.across, self.down].map(|axis| axis.grid(side).seen())
    }

    /// Makes the numbers (side, side, 3) of its `cut`, (rows, columns, 3).
    fn make(&self, values: &mut [f32], cut: &[u8], side: usize) {
        let [columns, rows] = self.cut(side);
        let across = Filter::new(&self.across.grid(side), self.flip);
        let down = Filter::new(&self.down.grid(side), false);
        let cut = cut[..rows.len() * columns.len() * COLOURS].chunks_exact(columns.len() * COLOURS);
        // (rows, side, 3)
        let mut narrow = Vec::new();
        for row in cut {
            for (first, weights) in across.places() {
                let seen = &row[(first - columns.start) * COLOURS..];
                narrow.extend((0..COLOURS).map(|c| weighed(&seen[c..], COLOURS, weights)));
            }
        }
        let row = side * COLOURS;
        for (values, (first, weights)) in values.chunks_exact_mut(row).zip(down.places()) {
            let seen = &narrow[(first - rows.start) * row..];
            let levels: Vec<u8> = (0..row).map(|at| weighed(&seen[at..], row, weights)).collect();
            self.normalise.apply(values, &levels);
        }
    }
}

/// The level that those `step` apart are together.
fn weighed(levels: &[u8], step: usize, weights: &[i32]) -> u8 {
    let pairs = levels.iter().step_by(step).zip(weights);
    level_of(pairs.fold(HALF_LEVEL, |sum, (&level, weight)| sum + i32::from(level) * weight))
}

/// N pictures as bytes of the images that they are to be made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels<'i> {
    /// (N, slot): each slot begins with the (rows, columns, 3) that [`Picture::cut`] says. Slots are
    /// as long as each other, so that several threads can fill them.
    pub slots: &'i [u8],
    /// (N)
    pub pictures: &'i [Picture],
    /// Width and height of what they become.
    pub side: usize,
}

impl<'i> Levels<'i> {
    /// Each picture and what it is made of, (rows, columns, 3).
    ///
    /// # Panics
    /// If slots are not as many as pictures, or too short for what a picture is made of.
    pub fn cuts(self) -> impl Iterator<Item = (&'i Picture, &'i [u8])> {
        let slot = self.slot();
        self.pictures.iter().enumerate().map(move |(n, picture)| {
            let [columns, rows] = picture.cut(self.side);
            let bytes = columns.len() * rows.len() * COLOURS;
            assert!(bytes <= slot, "a slot of {slot} bytes for {rows:?} by {columns:?} pixels");
            (picture, &self.slots[n * slot..][..bytes])
        })
    }

    /// Makes the pictures on the host, (N, side, side, 3): what [`Device::upload_levels`] means.
    pub(crate) fn values(self) -> Vec<f32> {
        let len = self.side * self.side * COLOURS;
        let mut values = vec![0.0; self.pictures.len() * len];
        for (values, (picture, cut)) in values.chunks_exact_mut(len.max(1)).zip(self.cuts()) {
            picture.make(values, cut, self.side);
        }
        values
    }

    /// Bytes of a slot.
    fn slot(&self) -> usize {
        let (bytes, pictures) = (self.slots.len(), self.pictures.len());
        let slot = bytes.checked_div(pictures).unwrap_or(0);
        assert_eq!(slot * pictures, bytes, "a slot for each picture");
        slot
    }

    fn part(self, pictures: Range<usize>) -> Self {
        let slot = self.slot();
        let slots = &self.slots[pictures.start * slot..pictures.end * slot];
        Self { slots, pictures: &self.pictures[pictures], ..self }
    }
}

/// N images (N, H, W, 3) of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Images<'i> {
    /// Normalised.
    Values(&'i [f32]),
    /// To be resized and normalised by the device: less work for the host, and fewer bytes.
    Levels(Levels<'i>),
}

impl<'i> Images<'i> {
    /// N, where an image has `image_len` numbers.
    ///
    /// # Panics
    /// If it is not a whole number, or pictures have another size.
    pub fn count(self, image_len: usize) -> usize {
        match self {
            Self::Values(values) => {
                let count = values.len() / image_len;
                assert_eq!(values.len(), count * image_len, "whole images");
                count
            }
            Self::Levels(levels) => {
                let len = levels.side * levels.side * COLOURS;
                assert_eq!(len, image_len, "pictures of another size");
                levels.pictures.len()
            }
        }
    }

    /// Some of the images, where each has `image_len` numbers.
    ///
    /// # Panics
    /// If they are not there.
    pub fn part(self, images: Range<usize>, image_len: usize) -> Self {
        match self {
            Self::Values(values) => {
                Self::Values(&values[images.start * image_len..images.end * image_len])
            }
            Self::Levels(levels) => Self::Levels(levels.part(images)),
        }
    }

    /// Copies them to the beginning of `dst`, normalised.
    pub fn upload<D: Device>(self, device: &D, dst: &mut D::Floats) {
        match self {
            Self::Values(values) => device.upload(dst, values),
            Self::Levels(levels) => device.upload_levels(dst, levels, None),
        }
    }

    /// The numbers that [`Self::upload`] brings to a device, (N, H, W, 3).
    pub fn values(self) -> Cow<'i, [f32]> {
        match self {
            Self::Values(values) => Cow::Borrowed(values),
            Self::Levels(levels) => Cow::Owned(levels.values()),
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
    /// A picture of one pixel, one of 1 and 4 pixels above each other, and what is in no picture.
    const SLOTS: [u8; 20] = [0, 1, 2, 9, 9, 9, 9, 9, 9, 9, 255, 0, 7, 9, 0, 5, 9, 9, 9, 9];
    const VALUES: [f32; 6] = [-2.0, -1.0, -0.5, 132.0, 0.0, 6.0];

    fn pictures() -> [Picture; 2] {
        let first = Picture::whole(1, FIRST);
        let second = Picture::whole(1, Normalisation::NONE);
        [first, Picture { down: Axis::whole(2), ..second }]
    }

    fn levels<'i>(slots: &'i [u8], pictures: &'i [Picture]) -> Levels<'i> {
        Levels { slots, pictures, side: 1 }
    }

    #[test]
    fn each_picture_is_made_of_its_own_slot_by_its_own_figures_whole_or_in_parts() {
        let pictures = pictures();
        let images = Images::Levels(levels(&SLOTS, &pictures));
        assert_eq!(images.count(3), 2);
        assert_eq!(images.values(), &VALUES[..]);
        for part in [0..1, 1..2, 0..2, 1..1] {
            let expected = Images::Values(&VALUES).part(part.clone(), 3);
            assert_eq!(images.part(part, 3).values(), expected.values());
        }
    }

    #[test]
    fn a_whole_picture_is_the_very_levels() {
        let slots: Vec<u8> = (0..7 * 7 * 3).map(|at| (at * 37 % 256) as u8).collect();
        let picture = [Picture::whole(7, Normalisation::NONE)];
        let levels = Levels { slots: &slots, pictures: &picture, side: 7 };
        assert!(levels.values().into_iter().eq(slots.iter().map(|&level| f32::from(level))));
        let flipped = [Picture { flip: true, ..picture[0] }];
        let levels = Levels { pictures: &flipped, ..levels }.values();
        let rows = slots.chunks_exact(7 * 3).flat_map(|row| row.chunks_exact(3).rev().flatten());
        assert!(levels.into_iter().eq(rows.map(|&level| f32::from(level))));
    }

    #[test]
    #[should_panic(expected = "a slot for each picture")]
    fn levels_that_are_no_whole_slots_are_refused() {
        levels(&SLOTS[1..], &pictures()).values();
    }

    #[test]
    #[should_panic(expected = "a slot of 5 bytes for 0..2 by 0..1 pixels")]
    fn slots_that_do_not_hold_what_a_picture_is_made_of_are_refused() {
        levels(&SLOTS[..10], &pictures()).values();
    }

    #[test]
    #[should_panic(expected = "pictures of another size")]
    fn pictures_of_another_size_are_refused() {
        Images::Levels(levels(&SLOTS, &pictures())).count(12);
    }
}
