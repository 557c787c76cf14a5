//! The pixels of a batch: the network's input, or the bytes of images that it is made of.

use std::borrow::Cow;

use alexnet_ops::{Device, Images, Levels, Normalisation, Picture};

/// As what a batch holds its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// Normalised, four bytes a number.
    #[default]
    Values,
    /// As levels of the images, a byte each, that whoever has the batch resizes and normalises: to the
    /// bit the same values.
    Levels,
}

impl Pixels {
    /// As what they reach `device` fastest.
    #[must_use]
    pub fn preferred_by<D: Device>(device: &D) -> Self {
        if device.prefers_levels() { Self::Levels } else { Self::Values }
    }
}

/// A slot has room for so many crops. With that, what a picture is made of nearly always fits where
/// images were packed for their crop: their shorter side is 8/7 of it, as torchvision's is, and whole
/// images of 3 by 2 are 1.96 crops then.
const SLOT_CROPS: usize = 2;

/// Bytes of a slot for pictures of this side.
fn slot_len(side: usize) -> usize {
    SLOT_CROPS * picture_len(side)
}

/// Numbers of a picture.
fn picture_len(side: usize) -> usize {
    side * side * 3
}

/// The N pictures of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Pictures {
    /// (N, crop, crop, 3)
    Values(Vec<f32>),
    /// With [`Pixels::Levels`]: see [`Levels`].
    Levels {
        /// (N, slot): what each picture is made of, and room.
        slots: Vec<u8>,
        /// (N): how. Windows are images' own, colour noise gives each image its own normalisation.
        pictures: Vec<Picture>,
        /// The crop.
        side: usize,
    },
}

impl Default for Pictures {
    fn default() -> Self {
        Self::Values(Vec::new())
    }
}

impl<'p> From<&'p Pictures> for Images<'p> {
    fn from(pictures: &'p Pictures) -> Self {
        match pictures {
            Pictures::Values(values) => Images::Values(values),
            Pictures::Levels { slots, pictures, side } => {
                Images::Levels(Levels { slots, pictures, side: *side })
            }
        }
    }
}

impl Pictures {
    /// So many pictures of this `side`, all of whose numbers are or become 0.
    #[must_use]
    pub fn blank(pixels: Pixels, count: usize, side: usize) -> Self {
        match pixels {
            Pixels::Values => Self::Values(vec![0.0; count * picture_len(side)]),
            Pixels::Levels => {
                let slots = vec![0; count * slot_len(side)];
                Self::Levels { slots, pictures: vec![blank(side); count], side }
            }
        }
    }

    /// The network's input, (N, crop, crop, 3).
    #[must_use]
    pub fn values(&self) -> Cow<'_, [f32]> {
        Images::from(self).values()
    }

    /// Makes room for so many pictures, in the memory there is if that is of the same kind. What
    /// they show is yet to be said.
    pub(crate) fn make_room(&mut self, pixels: Pixels, count: usize, side: usize) {
        match (self, pixels) {
            (Self::Values(values), Pixels::Values) => {
                values.resize(count * picture_len(side), 0.0);
            }
            (Self::Levels { slots, pictures, side: own }, Pixels::Levels) => {
                slots.resize(count * slot_len(side), 0);
                pictures.resize(count, blank(side));
                *own = side;
            }
            (other, _) => *other = Self::blank(pixels, count, side),
        }
    }

    /// The places of images of which each becomes `views` pictures of this `side`, one after another.
    pub(crate) fn places(
        &mut self,
        views: usize,
        side: usize,
    ) -> Box<dyn Iterator<Item = Place<'_>> + Send + '_> {
        let whole = match self {
            Self::Values(values) => Place::Values(values),
            Self::Levels { slots, pictures, .. } => Place::Levels(slots, pictures),
        };
        whole.split(views, side)
    }
}

/// The picture whose levels are there already, and its numbers.
fn blank(side: usize) -> Picture {
    Picture::whole(side as u32, Normalisation::NONE)
}

/// Where pictures are put.
pub(crate) enum Place<'p> {
    /// Normalised.
    Values(&'p mut [f32]),
    /// A slot each for levels of their image, and how a picture is made of them.
    Levels(&'p mut [u8], &'p mut [Picture]),
}

impl<'p> Place<'p> {
    /// Numbers it has room for, where pictures have this `side`.
    pub(crate) fn len(&self, side: usize) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Levels(_, pictures) => pictures.len() * picture_len(side),
        }
    }

    /// The same place, to be filled by another.
    pub(crate) fn lend(&mut self) -> Place<'_> {
        match self {
            Self::Values(values) => Place::Values(values),
            Self::Levels(slots, pictures) => Place::Levels(slots, pictures),
        }
    }

    /// Places of `pictures` pictures each.
    pub(crate) fn split(
        self,
        pictures: usize,
        side: usize,
    ) -> Box<dyn Iterator<Item = Place<'p>> + Send + 'p> {
        match self {
            Self::Values(values) => {
                let len = pictures * picture_len(side);
                Box::new(values.chunks_exact_mut(len).map(Place::Values))
            }
            Self::Levels(slots, all) => {
                let slots = slots.chunks_exact_mut(pictures * slot_len(side));
                let places = slots.zip(all.chunks_exact_mut(pictures));
                Box::new(places.map(|(slots, pictures)| Place::Levels(slots, pictures)))
            }
        }
    }

    /// Has every number of pictures of this `side` be 0.
    pub(crate) fn blank(self, side: usize) {
        match self {
            Self::Values(values) => values.fill(0.0),
            Self::Levels(slots, pictures) => {
                slots.fill(0);
                pictures.fill(blank(side));
            }
        }
    }
}
