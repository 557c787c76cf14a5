//! The pixels of a batch: the network's input, or the bytes it is made of.

use std::borrow::Cow;

use alexnet_ops::{Device, Images, Normalisation};

/// As what a batch holds its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// Normalised, four bytes a number.
    #[default]
    Values,
    /// As levels, a byte each, that whoever has the batch normalises: to the bit the same values.
    Levels,
}

impl Pixels {
    /// As what they reach `device` fastest.
    #[must_use]
    pub fn preferred_by<D: Device>(device: &D) -> Self {
        if device.prefers_levels() { Self::Levels } else { Self::Values }
    }
}

/// The N pictures of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Pictures {
    /// (N, crop, crop, 3)
    Values(Vec<f32>),
    /// With [`Pixels::Levels`].
    Levels {
        /// (N, crop, crop, 3)
        levels: Vec<u8>,
        /// (N), what makes values of them: colour noise gives each image its own.
        normalise: Vec<Normalisation>,
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
            Pictures::Levels { levels, normalise } => Images::Levels { levels, normalise },
        }
    }
}

impl Pictures {
    /// So many pictures of `picture_len` numbers, all of which are or become 0.
    #[must_use]
    pub fn blank(pixels: Pixels, count: usize, picture_len: usize) -> Self {
        let len = count * picture_len;
        match pixels {
            Pixels::Values => Self::Values(vec![0.0; len]),
            Pixels::Levels => {
                Self::Levels { levels: vec![0; len], normalise: vec![Normalisation::NONE; count] }
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
    pub(crate) fn make_room(&mut self, pixels: Pixels, count: usize, picture_len: usize) {
        let len = count * picture_len;
        match (self, pixels) {
            (Self::Values(values), Pixels::Values) => values.resize(len, 0.0),
            (Self::Levels { levels, normalise }, Pixels::Levels) => {
                levels.resize(len, 0);
                normalise.resize(count, Normalisation::NONE);
            }
            (other, _) => *other = Self::blank(pixels, count, picture_len),
        }
    }

    /// The places of images of which each becomes `views` pictures, one after another.
    pub(crate) fn places(
        &mut self,
        views: usize,
        picture_len: usize,
    ) -> Box<dyn Iterator<Item = Place<'_>> + Send + '_> {
        let whole = match self {
            Self::Values(values) => Place::Values(values),
            Self::Levels { levels, normalise } => Place::Levels(levels, normalise),
        };
        whole.split(views, picture_len)
    }
}

/// Where pictures are put.
pub(crate) enum Place<'p> {
    /// Normalised.
    Values(&'p mut [f32]),
    /// As levels, and what makes values of each picture's.
    Levels(&'p mut [u8], &'p mut [Normalisation]),
}

impl<'p> Place<'p> {
    /// Numbers it has room for.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Levels(levels, _) => levels.len(),
        }
    }

    /// The same place, to be filled by another.
    pub(crate) fn lend(&mut self) -> Place<'_> {
        match self {
            Self::Values(values) => Place::Values(values),
            Self::Levels(levels, normalise) => Place::Levels(levels, normalise),
        }
    }

    /// Places of `pictures` pictures each.
    pub(crate) fn split(
        self,
        pictures: usize,
        picture_len: usize,
    ) -> Box<dyn Iterator<Item = Place<'p>> + Send + 'p> {
        let len = pictures * picture_len;
        match self {
            Self::Values(values) => Box::new(values.chunks_exact_mut(len).map(Place::Values)),
            Self::Levels(levels, normalise) => {
                let each = normalise.chunks_exact_mut(pictures);
                let places = levels.chunks_exact_mut(len).zip(each);
                Box::new(places.map(|(levels, normalise)| Place::Levels(levels, normalise)))
            }
        }
    }

    /// Has every value be 0.
    pub(crate) fn blank(self) {
        match self {
            Self::Values(values) => values.fill(0.0),
            Self::Levels(levels, normalise) => {
                levels.fill(0);
                normalise.fill(Normalisation::NONE);
            }
        }
    }
}
