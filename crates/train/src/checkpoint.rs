//! A run's whole state in one file: continued from it, a run ends with the bits it would have ended
//! with.

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::Dataset;
use alexnet_network::Array;
use alexnet_weights::{WeightsError, container};
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::metrics::Totals;
use crate::schedule::ScheduleMemory;

/// Newest checkpoints kept; older ones are deleted once a newer one is whole.
pub const CHECKPOINTS_KEPT: usize = 2;

const WEIGHTS: &str = "weights/";
const MOMENTUM: &str = "momentum/";
const EXTENSION: &str = "checkpoint";

/// Where a run stands. Everything random is a function of seed, epoch, step and sample, so this is
/// all there is to it beside weights and momentum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Epochs finished.
    pub epoch: u64,
    /// Steps done of the next one.
    pub step_in_epoch: u64,
    /// Steps done since the run began.
    pub step: u64,
    /// Training counts of the epoch begun.
    pub totals: Totals,
    /// What the schedule remembers.
    pub schedule: ScheduleMemory,
    /// Best validation top-1 accuracy so far, and its epoch.
    pub best: Option<(f64, u64)>,
    /// Seconds trained.
    pub time_s: f64,
    /// Seconds of the epoch begun: all, and those spent waiting for images.
    pub epoch_s: (f64, f64),
}

/// A run at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What the run computes.
    pub config: TrainConfig,
    /// Which images, in which order, in which classes: a number and a checksum.
    pub dataset: String,
    /// Where it stands.
    pub progress: Progress,
    /// Weights and running statistics.
    pub weights: Vec<Array>,
    /// Velocities.
    pub momentum: Vec<Array>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    config: TrainConfig,
    dataset: String,
    progress: Progress,
}

impl Checkpoint {
    /// Writes the checkpoint into `folder` under its step's name, then deletes all but the newest
    /// [`CHECKPOINTS_KEPT`].
    ///
    /// # Errors
    /// When the system refuses; the older checkpoints are then untouched.
    pub fn save(self, folder: &Path) -> Result<PathBuf, WeightsError> {
        let path = folder.join(format!("step-{:010}.{EXTENSION}", self.progress.step));
        let prefixed = |prefix: &'static str| {
            move |array: Array| Array { name: format!("{prefix}{}", array.name), ..array }
        };
        let weights = self.weights.into_iter().map(prefixed(WEIGHTS));
        let momentum = self.momentum.into_iter().map(prefixed(MOMENTUM));
        let arrays: Vec<Array> = weights.chain(momentum).collect();
        let Self { config, dataset, progress, .. } = self;
        let description = Description { config, dataset, progress };
        container::write(&path, &arrays, &description)?;
        for old in list(folder).iter().rev().skip(CHECKPOINTS_KEPT) {
            if let Err(error) = fs::remove_file(old) {
                tracing::warn!("cannot delete the old checkpoint {}: {error}", old.display());
            }
        }
        Ok(path)
    }

    /// Reads one checkpoint.
    ///
    /// # Errors
    /// When it is unreadable, malformed or damaged.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let (arrays, description): (_, Description) = container::read(path)?;
        let (mut weights, mut momentum) = (Vec::new(), Vec::new());
        for array in arrays {
            let Array { name, shape, values } = array;
            if let Some(name) = name.strip_prefix(WEIGHTS) {
                weights.push(Array { name: name.to_owned(), shape, values });
            } else if let Some(name) = name.strip_prefix(MOMENTUM) {
                momentum.push(Array { name: name.to_owned(), shape, values });
            } else {
                let reason = format!("tensor {name} is neither weights nor momentum");
                return Err(WeightsError::Malformed { path: path.into(), reason });
            }
        }
        let Description { config, dataset, progress } = description;
        Ok(Self { config, dataset, progress, weights, momentum })
    }

    /// The newest checkpoint of `folder` that is whole. Damaged ones are reported and passed over.
    pub fn newest(folder: &Path) -> Option<Self> {
        list(folder).iter().rev().find_map(|path| {
            Self::load(path).inspect_err(|error| tracing::warn!("passed over: {error}")).ok()
        })
    }
}

/// A data set's training images in a few characters. Resumed on other images, a run would be
/// another.
pub(crate) fn fingerprint(dataset: &Dataset) -> String {
    let crc = dataset.train.fingerprint(&dataset.classes);
    format!("{} images, {crc:08x}", dataset.train.samples.len())
}

/// Checkpoints of a folder, oldest first: the names sort by step.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == EXTENSION)).collect();
    paths.sort();
    paths
}
