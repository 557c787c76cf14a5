//! How a training image is varied, so that the network never sees quite the same one twice.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::colour::{ColourNoise, Tint};
use crate::image::Image;
use crate::pictures::Place;
use crate::preprocess::{Placement, Preprocess, PreprocessError};
use crate::random::{Purpose, generator};
use crate::resize::Window;

/// How an image is varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Which part of it is shown.
    pub view: View,
    /// So many images that follow each other in an epoch share the place of their crop and their
    /// flip: 1, but 32 in the 2012 code. At least 1.
    pub shared: u64,
    /// How its colours are shifted.
    pub colour: Option<ColourNoise>,
}

/// Which part of an image is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// The centre crop: evaluation.
    Centre,
    /// Four corners, the centre, and all five mirrored: the paper's evaluation (§4.1), whose
    /// probabilities are averaged.
    TenCrops,
    /// A `crop` anywhere, mirrored half of the time: the paper's translations and reflections.
    RandomCrop,
    /// A random part of the image resized to `crop`, mirrored half of the time; as torchvision's
    /// `RandomResizedCrop`, but that the filter may look past the part's edge.
    RandomResizedCrop,
}

/// All that the variation of one image depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleKey {
    /// The run's seed.
    pub seed: u64,
    /// Which pass over the data, from 0.
    pub epoch: u64,
    /// Index of the image in its split.
    pub sample: u64,
    /// Its place in the epoch's order, from 0; seed and epoch decide it.
    pub position: u64,
}

/// The share of the image's area that a random part covers (torchvision's `scale`).
const AREA: std::ops::Range<f64> = 0.08..1.0;
/// Its width over its height lies between 1 / `RATIO_MAX` and this (torchvision's `ratio`).
const RATIO_MAX: f64 = 4.0 / 3.0;
/// So often is a part drawn that may not fit, before the centre is taken (torchvision).
const TRIES_MAX: usize = 10;
/// Groups of images that share a crop draw from other generators than single images.
const GROUP: u64 = 1 << 63;

impl From<View> for Augment {
    /// The view alone, drawn for each image by itself.
    fn from(view: View) -> Self {
        Self { view, shared: 1, colour: None }
    }
}

impl View {
    /// How many pictures one image becomes.
    #[must_use]
    pub fn count(self) -> usize {
        if self == View::TenCrops { 10 } else { 1 }
    }
}

impl Augment {
    /// Whether the view and the settings go together.
    ///
    /// # Errors
    /// As [`Preprocess::check`], or a mean image where the picture's place has none.
    pub fn check(&self, preprocess: &Preprocess) -> Result<(), PreprocessError> {
        preprocess.check()?;
        let is_placed = self.view != View::RandomResizedCrop;
        if is_placed || preprocess.mean_image.is_none() {
            Ok(())
        } else {
            Err(PreprocessError::MeanImageRegion)
        }
    }

    /// `image` varied and normalised into `out`, (views, crop, crop, 3); the same for the same
    /// `key`.
    ///
    /// # Errors
    /// As [`Preprocess::evaluate`].
    pub fn apply(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        key: SampleKey,
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        self.fill(image, preprocess, key, Place::Values(out))
    }

    /// As [`Self::apply`], wherever the pictures go.
    pub(crate) fn fill(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        key: SampleKey,
        place: Place<'_>,
    ) -> Result<(), PreprocessError> {
        self.check(preprocess)?;
        let (placements, tint) = self.draw(image, preprocess, key);
        let side = preprocess.crop as usize;
        let (expected, actual) = (placements.len() * preprocess.image_len(), place.len(side));
        if expected != actual {
            return Err(PreprocessError::Buffer { expected, actual });
        }
        let mut pictures = placements.iter().zip(place.split(1, side));
        pictures
            .try_for_each(|(placement, place)| preprocess.render(image, placement, &tint, place))
    }

    /// Where the pictures of an image lie in it, and what is done to its colours.
    fn draw(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        key: SampleKey,
    ) -> (Vec<Placement>, Tint) {
        let SampleKey { seed, epoch, sample, .. } = key;
        let member = if self.shared > 1 { GROUP | (key.position / self.shared) } else { sample };
        let mut random = generator(seed, Purpose::Augment, epoch, member);
        let tint = self.colour.as_ref().map_or(Tint::NONE, |noise| noise.draw(seed, epoch, sample));
        let flip = random.random::<bool>();
        let placement = match self.view {
            View::Centre => Placement { flip: false, ..preprocess.centre(image) },
            View::TenCrops => return (ten_crops(image, preprocess), tint),
            View::RandomCrop => random_crop(image, preprocess, flip, &mut random),
            View::RandomResizedCrop => {
                let window = random_part(image, &mut random);
                Placement { window, at: None, flip }
            }
        };
        (vec![placement], tint)
    }
}

/// Any offset, all equally likely. Images that share a group draw the same where their regions have
/// the same size.
fn random_crop(
    image: &Image,
    preprocess: &Preprocess,
    flip: bool,
    random: &mut ChaCha8Rng,
) -> Placement {
    let (right, bottom) = preprocess.last_offsets(image);
    let left = random.random_range(0..=right);
    let top = random.random_range(0..=bottom);
    preprocess.place(image, left, top, flip)
}

fn ten_crops(image: &Image, preprocess: &Preprocess) -> Vec<Placement> {
    let (right, bottom) = preprocess.last_offsets(image);
    let centre = preprocess.centre(image);
    let corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)];
    let corners = corners.map(|(left, top)| preprocess.place(image, left, top, false));
    let [first, second, third, fourth] = corners;
    let five = [first, second, centre, third, fourth];
    let mirrored = five.map(|placement| Placement { flip: true, ..placement });
    [five, mirrored].concat()
}

/// A whole number of pixels of random area and shape, as torchvision draws it.
fn random_part(image: &Image, random: &mut ChaCha8Rng) -> Window {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let ratio_log_max = RATIO_MAX.ln();
    for _ in 0..TRIES_MAX {
        let area = width * height * random.random_range(AREA);
        let ratio = random.random_range(-ratio_log_max..ratio_log_max).exp();
        let part_width = (area * ratio).sqrt().round_ties_even();
        let part_height = (area / ratio).sqrt().round_ties_even();
        if (1.0..=width).contains(&part_width) && (1.0..=height).contains(&part_height) {
            let left = random.random_range(0..=(width - part_width) as u32);
            let top = random.random_range(0..=(height - part_height) as u32);
            return Window {
                left: f64::from(left),
                top: f64::from(top),
                width: part_width,
                height: part_height,
            };
        }
    }
    centre_part(width, height)
}

/// As much of the centre as the ratio allows, for an image too long to fit a random part.
fn centre_part(image_width: f64, image_height: f64) -> Window {
    let width = image_width.min((image_height * RATIO_MAX).round_ties_even());
    let height = image_height.min((image_width * RATIO_MAX).round_ties_even());
    Window {
        left: ((image_width - width) / 2.0).floor(),
        top: ((image_height - height) / 2.0).floor(),
        width,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> Image {
        Image::new(width, height, vec![128; (width * height * 3) as usize]).unwrap()
    }

    #[test]
    fn random_parts_lie_inside_the_image_and_keep_their_ratio() {
        let mut random = generator(0, Purpose::Augment, 0, 0);
        for (width, height) in [(1, 1), (64, 48), (500, 3), (3, 500), (2, 3)] {
            let image = grey(width, height);
            for _ in 0..200 {
                let part = random_part(&image, &mut random);
                assert!(part.left >= 0.0 && part.left + part.width <= f64::from(width));
                assert!(part.top >= 0.0 && part.top + part.height <= f64::from(height));
                assert!(part.width >= 1.0 && part.height >= 1.0);
                if width * height > 3000 {
                    let ratio = part.width / part.height;
                    assert!((0.7..1.43).contains(&ratio), "{width} x {height}: {part:?}");
                }
            }
        }
    }

    #[test]
    fn random_parts_cover_all_areas_evenly() {
        let (image, mut random) = (grey(100, 100), generator(1, Purpose::Augment, 0, 0));
        let areas: Vec<f64> = (0..2000)
            .map(|_| random_part(&image, &mut random))
            .map(|part| part.width * part.height / 10_000.0)
            .collect();
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        // A little under the middle of 0.08..1, since the largest parts often do not fit.
        assert!((0.45..0.54).contains(&mean), "{mean}");
        assert!(areas.iter().all(|area| (0.07..=1.0).contains(area)));
    }

    #[test]
    fn the_centre_is_torchvisions_when_nothing_fits() {
        let wide = Window { left: 18.0, top: 0.0, width: 4.0, height: 3.0 };
        let high = Window { left: 0.0, top: 18.0, width: 3.0, height: 4.0 };
        let square = Window { left: 0.0, top: 0.0, width: 9.0, height: 9.0 };
        let cases = [((40.0, 3.0), wide), ((3.0, 40.0), high), ((9.0, 9.0), square)];
        for ((width, height), expected) in cases {
            assert_eq!(centre_part(width, height), expected);
        }
    }
}
