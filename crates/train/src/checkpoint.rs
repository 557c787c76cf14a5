//! A run's whole state in one file: continued from it, a run ends with the bits it would have ended
//! with.

use std::path::Path;

use alexnet_data::{FileSystem, Split};
use alexnet_network::Array;
use alexnet_weights::WeightsError;
use alexnet_weights::container::{self, Written};
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::metrics::Totals;
use crate::schedule::ScheduleMemory;

const WEIGHTS: &str = "weights/";
const MOMENTUM: &str = "momentum/";

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
    /// Which images it learns from, by name, in which order, in which classes: a number and a
    /// checksum.
    pub dataset: String,
    /// Which images it is measured with, likewise; `None` in files of before this was kept.
    pub validation: Option<String>,
    /// Where it stands.
    pub progress: Progress,
    /// Weights and running statistics.
    pub weights: Vec<Array>,
    /// Velocities.
    pub momentum: Vec<Array>,
}

/// The part that is not arrays, as it is written and as it is read.
#[derive(Serialize)]
struct Description<'a> {
    config: &'a TrainConfig,
    dataset: &'a str,
    validation: Option<&'a str>,
    progress: &'a Progress,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    config: TrainConfig,
    dataset: String,
    #[serde(default)]
    validation: Option<String>,
    progress: Progress,
}

impl Checkpoint {
    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses or a value is no number; what was at `path` is then as it was.
    pub fn write(&self, disk: &dyn FileSystem, path: &Path) -> Result<Written, WeightsError> {
        let arrays = named(WEIGHTS, &self.weights).chain(named(MOMENTUM, &self.momentum));
        let Self { config, dataset, progress, .. } = self;
        let validation = self.validation.as_deref();
        container::write(disk, path, arrays, &Description { config, dataset, validation, progress })
    }

    /// Reads one checkpoint.
    ///
    /// # Errors
    /// When it is unreadable, malformed, damaged, or of another version.
    pub fn read(disk: &dyn FileSystem, path: &Path) -> Result<Self, WeightsError> {
        let (arrays, description): (_, Described) = container::read(disk, path)?;
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
        let Described { config, dataset, validation, progress } = description;
        Ok(Self { config, dataset, validation, progress, weights, momentum })
    }
}

/// Arrays by the names they have in the file.
fn named<'a>(
    prefix: &'static str,
    arrays: &'a [Array],
) -> impl Iterator<Item = (String, &'a Array)> {
    arrays.iter().map(move |array| (format!("{prefix}{}", array.name), array))
}

/// A split's images in a few characters. Resumed on other images, a run would be another; measured
/// with others, its best epoch would mean nothing.
pub(crate) fn fingerprint(split: &Split, classes: &[String]) -> String {
    format!("{} images, {:08x}", split.samples.len(), split.fingerprint(classes))
}
