//! Every image read and decoded once, and what is kept of it.

use twox_hash::XxHash3_128;

use super::report::{ImageReference, Sizes, SplitReport};
use crate::decode::{DecodeError, Header, decode, header};
use crate::error::DataError;
use crate::parallel::{Progress, Tell, try_map};
use crate::sample::{Content, Sample};
use crate::survey::Survey;

/// What is kept of one image.
pub(super) enum Facts {
    Read(Read),
    /// In place, for a set may be of nothing else.
    Undecodable(DecodeError),
    /// Its bytes are not to be had.
    Unreadable(String),
}

/// Of an image that can be read.
pub(super) struct Read {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Of its pixels: copies with other metadata, or in another lossless format, are copies.
    pub(super) hash: u128,
    /// None of bare pixels.
    pub(super) header: Option<Header>,
}

/// All images of a set and what was found out about each.
pub(super) struct Scan<'s> {
    survey: &'s Survey,
    /// The images of all splits in their order.
    pub(super) images: Vec<Listed<'s>>,
    /// Of the image of the same index.
    facts: Vec<Facts>,
}

/// One image of a split.
#[derive(Clone, Copy)]
pub(super) struct Listed<'s> {
    /// Index of its split.
    pub(super) split: usize,
    pub(super) sample: &'s Sample,
}

/// Reads all images.
pub(super) fn scan<'s>(
    survey: &'s Survey,
    workers: usize,
    progress: Progress,
) -> Result<Scan<'s>, DataError> {
    let mut images = Vec::new();
    for (split, named) in survey.splits.iter().enumerate() {
        images.extend(named.split.samples.iter().map(|sample| Listed { split, sample }));
    }
    let work = |image: &Listed, _: Tell| examine(&image.sample.content);
    let facts = try_map(&images, workers, work, progress)?;
    Ok(Scan { survey, images, facts })
}

/// What is to be said of an image.
///
/// # Errors
/// When this machine can read none.
fn examine(content: &Content) -> Result<Facts, DataError> {
    Ok(match read(content) {
        Ok(read) => Facts::Read(read),
        Err(DataError::Decode { reason, .. }) => Facts::Undecodable(reason),
        Err(error) if error.is_of_the_machine() => return Err(error),
        Err(error) => Facts::Unreadable(error.to_string()),
    })
}

fn read(content: &Content) -> Result<Read, DataError> {
    let (image, header) = match content.read_encoded()? {
        Some(bytes) => {
            let named = |reason| DataError::Decode { path: content.path(), reason };
            (decode(&bytes).map_err(named)?, header(&bytes))
        }
        None => (content.read_image()?, None),
    };
    let (width, height) = (image.width(), image.height());
    // The same bytes in another shape are another picture.
    let shape = u64::from(width) << 32 | u64::from(height);
    let hash = XxHash3_128::oneshot_with_seed(shape, image.rgb());
    Ok(Read { width, height, hash, header })
}

impl<'s> Scan<'s> {
    /// Each image with what was found out about it.
    pub(super) fn all(&self) -> impl Iterator<Item = (Listed<'s>, &Facts)> {
        self.images.iter().copied().zip(&self.facts)
    }

    /// Each image that can be read, with its index.
    pub(super) fn readable(&self) -> impl Iterator<Item = (usize, Listed<'s>, &Read)> {
        self.all().enumerate().filter_map(|(index, (image, facts))| match facts {
            Facts::Read(read) => Some((index, image, read)),
            Facts::Undecodable(_) | Facts::Unreadable(_) => None,
        })
    }

    pub(super) fn split_name(&self, image: Listed) -> &'static str {
        self.survey.splits[image.split].name
    }

    /// The image as a report names it.
    pub(super) fn reference(&self, image: Listed<'s>) -> ImageReference<'s> {
        ImageReference {
            content: &image.sample.content,
            split: self.split_name(image),
            class: &self.survey.classes[image.sample.label as usize],
        }
    }

    pub(super) fn split_reports(&self, crop: u32) -> Vec<SplitReport> {
        let mut sizes = vec![Vec::new(); self.survey.splits.len()];
        for (_, image, read) in self.readable() {
            sizes[image.split].push([read.width, read.height]);
        }
        let report = |(named, sizes): (&crate::NamedSplit, Vec<[u32; 2]>)| SplitReport {
            name: named.name,
            place: named.split.folder.display().to_string(),
            images: named.split.samples.len(),
            readable: sizes.len(),
            sizes: Sizes::of(sizes, crop),
        };
        self.survey.splits.iter().zip(sizes).map(report).collect()
    }
}

impl Sizes {
    fn of(mut sizes: Vec<[u32; 2]>, crop: u32) -> Option<Self> {
        let area = |[width, height]: [u32; 2]| u64::from(width) * u64::from(height);
        sizes.sort_unstable_by_key(|&size| (area(size), size));
        Some(Self {
            smallest: *sizes.first()?,
            median: sizes[(sizes.len() - 1) / 2],
            largest: *sizes.last()?,
            smaller_than_crop: sizes.iter().filter(|size| size[0].min(size[1]) < crop).count(),
        })
    }
}
