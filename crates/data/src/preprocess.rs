//! An image becomes the network's input: resized, cropped, normalised.

use std::array;

use alexnet_ops::{Normalisation, Picture};
use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::colour::Tint;
use crate::decode::MAX_IMAGE_PIXELS;
use crate::image::Image;
use crate::pictures::Place;
use crate::resize::{Window, each_resized_row};

/// The largest shorter side an image may be resized to, in pixels.
pub const MAX_RESIZE_PIXELS: u32 = 4096;
/// ImageNet's mean in grey levels, as torchvision has it.
pub const IMAGENET_MEAN: [f32; 3] = [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0];
/// ImageNet's deviation in grey levels, as torchvision has it.
pub const IMAGENET_STD: [f32; 3] = [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0];
/// So many levels are normalised at a time: whole pixels and whole vectors.
const RUN: usize = 48;

/// How an image becomes the network's input; kept inside weights files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// What is resized to `resize`, and where crops may lie.
    #[serde(default)]
    pub fit: Fit,
    /// The side that is asked for before the crop, in pixels.
    pub resize: u32,
    /// The side of the square that is cut out, in pixels.
    pub crop: u32,
    /// Subtracted from red, green and blue, in grey levels 0 to 255.
    pub mean: [f32; 3],
    /// What is left is divided by this, in grey levels.
    pub std: [f32; 3],
    /// Subtracted pixel by pixel, in place of `mean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_image: Option<MeanImage>,
}

/// How an image of any shape is brought to size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The shorter side becomes `resize`; crops may lie anywhere (torchvision).
    #[default]
    ShorterSide,
    /// The shorter side becomes `resize`; crops lie in the centre square (the paper, §2).
    CentreSquare,
    /// Both sides become `resize`, whatever the shape (Caffe).
    Warp,
}

/// The mean of all training images, pixel by pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanImage {
    /// Which part of it belongs to a crop.
    pub part: MeanPart,
    /// (resize, resize, 3), red, green and blue, in grey levels.
    pub levels: Vec<f32>,
}

/// Which part of the mean image is subtracted from a crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanPart {
    /// Its centre, wherever the crop lies, and not mirrored with it (the 2012 code).
    Centre,
    /// Where the crop lies, mirrored with it (Caffe).
    Crop,
}

/// Where one picture lies in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Placement {
    /// In the image's own pixels.
    pub(crate) window: Window,
    /// Left and top in the resized region, if the picture is a crop of it.
    pub(crate) at: Option<(u32, u32)>,
    /// Whether it is mirrored.
    pub(crate) flip: bool,
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
    /// The mean image does not belong to these settings.
    #[error(
        "the mean image has {actual} numbers and needs {expected} (resize, resize, 3): compute it with \
         the same --resize-size"
    )]
    MeanImage {
        /// `resize * resize * 3`
        expected: usize,
        /// Its length.
        actual: usize,
    },
    /// The crops have no fixed place in a square that the mean image would be of.
    #[error(
        "a mean image needs crops of a square of fixed size (fit centre-square or warp), which those \
         of fit shorter-side and parts of random size are not: subtract a mean colour instead"
    )]
    MeanImageRegion,
    /// The mean image holds infinities or NaNs.
    #[error("the mean image holds a value that is no finite number: compute it anew")]
    MeanImageValues,
    /// The caller's buffer is not (crop, crop, 3).
    #[error("the buffer has room for {actual} numbers, an image has {expected}")]
    Buffer {
        /// `crop * crop * 3`
        expected: usize,
        /// The buffer's length.
        actual: usize,
    },
    /// The library that makes a file of pixels refuses.
    #[error("cannot encode the image: {0}")]
    Encode(String),
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
        let Preprocess { resize, crop, mean, std, .. } = *self;
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
        match &self.mean_image {
            Some(image) => self.check_mean_image(image),
            None => Ok(()),
        }
    }

    fn check_mean_image(&self, image: &MeanImage) -> Result<(), PreprocessError> {
        let expected = self.resize as usize * self.resize as usize * 3;
        let actual = image.levels.len();
        if self.fit == Fit::ShorterSide {
            Err(PreprocessError::MeanImageRegion)
        } else if actual != expected {
            Err(PreprocessError::MeanImage { expected, actual })
        } else if !image.levels.iter().all(|level| level.is_finite()) {
            Err(PreprocessError::MeanImageValues)
        } else {
            Ok(())
        }
    }

    /// The one way from pixels to input wherever a result is measured or shown: brought to size,
    /// the centre cut out, normalised; with [`Fit::ShorterSide`] as torchvision's `Resize`,
    /// `CenterCrop`, `Normalize` on a Pillow image. `out` is (crop, crop, 3).
    ///
    /// # Errors
    /// As [`Preprocess::check`], or if `out` has another length.
    pub fn evaluate(&self, image: &Image, out: &mut [f32]) -> Result<(), PreprocessError> {
        self.check()?;
        self.render(image, &self.centre(image), &Tint::NONE, Place::Values(out))
    }

    /// The picture, (crop, crop, 3) bytes, that the numbers of an input are. Of what
    /// [`Preprocess::evaluate`] gives these are the very pixels; colours that noise carried beyond
    /// black or white are clipped. A mean image is put back at its centre, wherever it was taken off.
    #[must_use]
    pub fn denormalise(&self, input: &[f32]) -> Vec<u8> {
        let mean = match &self.mean_image {
            Some(image) => {
                let (side, crop) = (self.resize as usize, self.crop as usize);
                let start = match image.part {
                    MeanPart::Centre => (side - crop) / 2,
                    MeanPart::Crop => half(self.resize - self.crop) as usize,
                };
                let rows = image.levels.chunks_exact(side * 3).skip(start).take(crop);
                rows.flat_map(|row| &row[start * 3..(start + crop) * 3]).copied().collect()
            }
            None => self.mean.repeat(input.len() / 3),
        };
        let levels = input.iter().zip(self.std.iter().cycle()).zip(mean);
        // `as` saturates.
        levels.map(|((value, std), mean)| (value * std + mean).round() as u8).collect()
    }

    /// Width and height of the whole image brought to size; the longer side is rounded down.
    pub(crate) fn resized(&self, image: &Image) -> (u32, u32) {
        if self.fit == Fit::Warp {
            return (self.resize, self.resize);
        }
        let (width, height) = (u64::from(image.width()), u64::from(image.height()));
        let longer = u64::from(self.resize) * width.max(height) / width.min(height);
        // At most MAX_RESIZE_PIXELS * MAX_SIDE_PIXELS, which is 2^26.
        let longer = u32::try_from(longer).unwrap_or(u32::MAX);
        if width <= height { (self.resize, longer) } else { (longer, self.resize) }
    }

    /// Where the region of the crops begins in the resized image, and its sides: (left, top),
    /// (width, height).
    fn region(&self, image: &Image) -> ((u32, u32), (u32, u32)) {
        let (width, height) = self.resized(image);
        match self.fit {
            Fit::ShorterSide | Fit::Warp => ((0, 0), (width, height)),
            Fit::CentreSquare => {
                let start = ((width - self.resize) / 2, (height - self.resize) / 2);
                (start, (self.resize, self.resize))
            }
        }
    }

    /// The largest left and top at which a crop still fits the region.
    pub(crate) fn last_offsets(&self, image: &Image) -> (u32, u32) {
        let (_, (width, height)) = self.region(image);
        (width - self.crop, height - self.crop)
    }

    /// The crop in the middle.
    pub(crate) fn centre(&self, image: &Image) -> Placement {
        let (right, bottom) = self.last_offsets(image);
        self.place(image, half(right), half(bottom), false)
    }

    /// The crop at (`left`, `top`) of the region.
    pub(crate) fn place(&self, image: &Image, left: u32, top: u32, flip: bool) -> Placement {
        let (width, height) = self.resized(image);
        let ((start_left, start_top), _) = self.region(image);
        let x_scale = f64::from(image.width()) / f64::from(width);
        let y_scale = f64::from(image.height()) / f64::from(height);
        let window = Window {
            left: f64::from(start_left + left) * x_scale,
            top: f64::from(start_top + top) * y_scale,
            width: f64::from(self.crop) * x_scale,
            height: f64::from(self.crop) * y_scale,
        };
        Placement { window, at: Some((left, top)), flip }
    }

    /// The region of all crops in the image's own pixels, and its width and height brought to size.
    /// `None` of an image so long that it would have more pixels than any may have.
    pub(crate) fn whole_region(&self, image: &Image) -> Option<(Window, (u32, u32))> {
        let (width, height) = self.resized(image);
        let ((left, top), size) = self.region(image);
        if u64::from(size.0) * u64::from(size.1) > MAX_IMAGE_PIXELS {
            return None;
        }
        let x_scale = f64::from(image.width()) / f64::from(width);
        let y_scale = f64::from(image.height()) / f64::from(height);
        let window = Window {
            left: f64::from(left) * x_scale,
            top: f64::from(top) * y_scale,
            width: f64::from(size.0) * x_scale,
            height: f64::from(size.1) * y_scale,
        };
        Some((window, size))
    }

    /// One picture of `image`, (crop, crop, 3), put into its place: resized, or as levels that are yet
    /// to be. As levels it cannot have a mean image.
    pub(crate) fn render(
        &self,
        image: &Image,
        placement: &Placement,
        tint: &Tint,
        place: Place<'_>,
    ) -> Result<(), PreprocessError> {
        let (expected, actual) = (self.image_len(), place.len(self.crop as usize));
        if expected != actual {
            return Err(PreprocessError::Buffer { expected, actual });
        }
        let normalisation = self.normalisation(tint);
        match place {
            Place::Values(out) => {
                let runs = Runs::new(&normalisation);
                let normalise = |levels: &[u8], out: &mut [f32]| normalise_row(levels, out, &runs);
                self.each_row(image, placement, out, normalise);
                self.subtract_mean_image(placement, tint, out)
            }
            Place::Levels(slot, pictures) => {
                assert!(self.mean_image.is_none(), "a mean image has a mean for each pixel");
                pictures.fill(self.put_levels(image, placement, normalisation, slot));
                Ok(())
            }
        }
    }

    /// Puts what a picture is made of into its slot, and says how it is. Of an image too large for that
    /// it is the picture itself.
    fn put_levels(
        &self,
        image: &Image,
        placement: &Placement,
        normalise: Normalisation,
        slot: &mut [u8],
    ) -> Picture {
        let side = self.crop as usize;
        let [across, down] = placement.window.axes(image);
        let picture = Picture { across, down, flip: placement.flip, normalise };
        let [columns, rows] = picture.cut(side);
        // What becomes of the rows before their heights are resized must not need more room either.
        if rows.len() * columns.len().max(side) * 3 > slot.len() {
            self.each_row(image, placement, slot, |levels, out| out.copy_from_slice(levels));
            return Picture::whole(self.crop, normalise);
        }
        let seen = image.rgb().chunks_exact(image.width() as usize * 3).skip(rows.start);
        let bytes = columns.start * 3..columns.end * 3;
        for (out, row) in slot.chunks_exact_mut(columns.len() * 3).take(rows.len()).zip(seen) {
            out.copy_from_slice(&row[bytes.clone()]);
        }
        picture
    }

    /// How levels become the network's input, but for a mean image:
    /// `(level - (mean - shift)) * (1 / (std * divisor))`.
    fn normalisation(&self, tint: &Tint) -> Normalisation {
        let mean = if self.mean_image.is_some() { [0.0; 3] } else { self.mean };
        Normalisation {
            mean: array::from_fn(|c| mean[c] - tint.shift[c]),
            scale: self.std.map(|std| (std * tint.divisor).recip()),
        }
    }

    /// Has `put` bring each row of a picture, (crop, 3) levels, to its place in `out`.
    fn each_row<T>(
        &self,
        image: &Image,
        placement: &Placement,
        out: &mut [T],
        put: impl Fn(&[u8], &mut [T]),
    ) {
        let size = (self.crop, self.crop);
        let mut rows = out.chunks_exact_mut(self.crop as usize * 3);
        each_resized_row(image, placement.window, size, placement.flip, |levels| {
            if let Some(out) = rows.next() {
                put(levels, out);
            }
        });
    }

    /// Subtracts the part of the mean image that belongs to a picture, if there is one.
    fn subtract_mean_image(
        &self,
        placement: &Placement,
        tint: &Tint,
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        let Some(mean_image) = &self.mean_image else { return Ok(()) };
        let Some(at) = placement.at else {
            return Err(PreprocessError::MeanImageRegion);
        };
        self.subtract(mean_image, at, placement.flip, tint, out);
        Ok(())
    }

    /// Subtracts the part of the mean image that belongs to a crop at `at`.
    fn subtract(
        &self,
        mean_image: &MeanImage,
        at: (u32, u32),
        flip: bool,
        tint: &Tint,
        out: &mut [f32],
    ) {
        let (side, crop) = (self.resize as usize, self.crop as usize);
        let centre = (side - crop) / 2;
        let (left, top, flip) = match mean_image.part {
            MeanPart::Centre => (centre, centre, false),
            MeanPart::Crop => (at.0 as usize, at.1 as usize, flip),
        };
        let scale = self.std.map(|std| (std * tint.divisor).recip());
        let (levels, _) = mean_image.levels.as_chunks::<3>();
        let rows = levels.chunks_exact(side).skip(top);
        for (row, out) in rows.zip(out.chunks_exact_mut(crop * 3)) {
            let row = &row[left..left + crop];
            let (out, _) = out.as_chunks_mut::<3>();
            for (x, out) in out.iter_mut().enumerate() {
                let mean = row[if flip { crop - 1 - x } else { x }];
                (0..3).for_each(|colour| out[colour] -= mean[colour] * scale[colour]);
            }
        }
    }
}

/// A [`Normalisation`] where each place of a run has a colour of its own, so that runs are vectors'
/// work.
struct Runs {
    mean: [f32; RUN],
    scale: [f32; RUN],
}

impl Runs {
    fn new(normalisation: &Normalisation) -> Self {
        Self {
            mean: array::from_fn(|at| normalisation.mean[at % 3]),
            scale: array::from_fn(|at| normalisation.scale[at % 3]),
        }
    }
}

/// Whole pixels of (width, 3) `levels`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn normalise_row(levels: &[u8], out: &mut [f32], runs: &Runs) {
    let Runs { mean, scale } = runs;
    let (runs, rest) = levels.as_chunks::<RUN>();
    let (out_runs, out_rest) = out.as_chunks_mut::<RUN>();
    for (out, run) in out_runs.iter_mut().zip(runs) {
        for at in 0..RUN {
            out[at] = (f32::from(run[at]) - mean[at]) * scale[at];
        }
    }
    for (at, (out, &level)) in out_rest.iter_mut().zip(rest).enumerate() {
        *out = (f32::from(level) - mean[at]) * scale[at];
    }
}

/// Where the centre crop begins, as torchvision rounds it.
fn half(offset: u32) -> u32 {
    (f64::from(offset) / 2.0).round_ties_even() as u32
}
