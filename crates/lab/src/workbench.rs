//! What all experiments share: a device, data, how large they are, and somebody who watches.

use alexnet_data::{DataError, Dataset, PreprocessError, Sample, SampleSet};
use alexnet_figures::FigureError;
use alexnet_network::{LoadError, ModelError};
use alexnet_ops::Device;

/// Why an experiment found nothing.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Whoever watches said so.
    #[error("the experiment was stopped")]
    Stopped,
    /// An image cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A table makes no network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A drawing cannot be made.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// Weights do not fit a network that was cut.
    #[error("a trained network's weights do not fit a part of it: {0}")]
    Load(#[from] LoadError),
    /// A network's loss became infinite.
    #[error("{run}: the loss is no number any more at epoch {epoch}: this data needs another rate")]
    Diverged {
        /// Which network.
        run: String,
        /// Counted from 1.
        epoch: u64,
    },
    /// There is too little to measure with.
    #[error("{needed} images are needed and {found} are there: give a larger data set")]
    TooFewImages {
        /// Least number.
        needed: usize,
        /// In the data set.
        found: usize,
    },
}

impl From<PreprocessError> for LabError {
    fn from(error: PreprocessError) -> Self {
        Self::Data(error.into())
    }
}

/// How much an experiment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Minutes on two cores, for figures with a spread.
    Whole,
    /// Seconds, to see that it works: its figures mean nothing.
    Quick,
}

impl Size {
    /// One of two figures.
    pub(crate) fn or(self, whole: u64, quick: u64) -> u64 {
        match self {
            Self::Whole => whole,
            Self::Quick => quick,
        }
    }

    /// Training and validation images at most. More are thinned out evenly.
    fn images(self) -> [usize; 2] {
        match self {
            Self::Whole => [1200, 1200],
            Self::Quick => [96, 48],
        }
    }

    /// The built-in sample set, for whom no data is given: as many images as are used, so that half
    /// of them are there to measure with.
    #[must_use]
    pub fn sample_set(self) -> SampleSet {
        let classes = SampleSet::classes().len();
        let [train_per_class, val_per_class] = self.images().map(|all| (all / classes) as u32);
        SampleSet { seed: 0, train_per_class, val_per_class, side: SAMPLE_SIDE }
    }
}

/// Pixels of the sample set's shorter side: enough for the largest input here.
const SAMPLE_SIDE: u32 = 48;

/// Where an experiment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'p> {
    /// Which network is trained, or what else is done.
    pub what: &'p str,
    /// Epochs or other parts done.
    pub done: u64,
    /// Of so many, at most.
    pub of: u64,
}

/// Told of progress; says whether to go on.
type Watcher<'w> = &'w mut dyn FnMut(&Progress<'_>) -> bool;

/// A device, data, and sizes.
pub struct Workbench<'w, D> {
    pub(crate) device: D,
    pub(crate) size: Size,
    /// Seeds asked for; else each experiment's own number of them.
    pub(crate) seeds: Option<u64>,
    pub(crate) workers: usize,
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Sample>,
    pub(crate) val: Vec<Sample>,
    data: String,
    watch: Watcher<'w>,
}

impl<'w, D: Device + Clone> Workbench<'w, D> {
    /// A workbench with some of `dataset`'s images. `watch` is told of each epoch and says whether
    /// to go on.
    ///
    /// # Errors
    /// A data set of too few images.
    pub fn new(
        device: D,
        dataset: &Dataset,
        data: &str,
        size: Size,
        watch: Watcher<'w>,
    ) -> Result<Self, LabError> {
        let [train, val] = size.images();
        let (train, val) =
            (thinned(&dataset.train.samples, train)?, thinned(&dataset.val.samples, val)?);
        let (classes, data) = (dataset.classes.clone(), data.to_owned());
        Ok(Self { device, size, seeds: None, workers: 1, classes, train, val, data, watch })
    }

    /// With so many seeds, in place of each experiment's own number.
    #[must_use]
    pub fn with_seeds(self, seeds: Option<u64>) -> Self {
        Self { seeds, ..self }
    }

    /// The seeds to use, where an experiment would use `whole` of them.
    pub(crate) fn seeds(&self, whole: u64) -> std::ops::Range<u64> {
        0..self.seeds.unwrap_or(self.size.or(whole, 2)).max(1)
    }

    /// The data in words.
    pub(crate) fn data(&self) -> String {
        format!(
            "{}: {} classes, {} training and {} validation images",
            self.data,
            self.classes.len(),
            self.train.len(),
            self.val.len()
        )
    }

    /// Tells the watcher, who may stop everything.
    pub(crate) fn tell(&mut self, what: &str, done: u64, of: u64) -> Result<(), LabError> {
        if (self.watch)(&Progress { what, done, of }) { Ok(()) } else { Err(LabError::Stopped) }
    }
}

/// Least images of a split.
const IMAGES_MIN: usize = 12;

/// `most` of `samples`, evenly spread: they are in the order of classes, or in none.
fn thinned(samples: &[Sample], most: usize) -> Result<Vec<Sample>, LabError> {
    if samples.len() < IMAGES_MIN {
        return Err(LabError::TooFewImages { needed: IMAGES_MIN, found: samples.len() });
    }
    let count = samples.len().min(most);
    Ok((0..count).map(|index| samples[index * samples.len() / count].clone()).collect())
}
