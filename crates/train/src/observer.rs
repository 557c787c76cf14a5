//! What a run tells while it goes on, and what it asks.
//!
//! A run prints nothing: it tells whoever watches of its steps, epochs, unreadable images and failed
//! saves, and asks between them whether to stop.

use alexnet_data::UnreadableImage;

use crate::layer_update::LayerUpdate;
use crate::metrics::Metrics;
use crate::run_folder::EpochRow;
use crate::saving::SaveFailure;

/// One step, told to the observer.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Its number within the epoch, from 1.
    pub step_in_epoch: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Images in the step.
    pub images: usize,
    /// Mean loss of the step.
    pub loss: f64,
    /// Training counts of the epoch so far.
    pub epoch_metrics: Metrics,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Seconds of the step, waiting included.
    pub step_s: f64,
    /// Seconds waited for its images.
    pub data_s: f64,
}

/// Hears what happens and may ask to stop.
pub trait Observer {
    /// An image could not be read; what was shown in its place, `image` says.
    fn unreadable(&mut self, image: &UnreadableImage);
    /// A step is done.
    fn step(&mut self, report: &StepReport);
    /// So many of all validation images are done.
    fn validated(&mut self, images: u64, of: u64);
    /// What an epoch's last steps did to each layer; told before the epoch itself.
    fn layers(&mut self, _: &[LayerUpdate]) {}
    /// An epoch is done and validated, and is being saved. `best` says whether no earlier one was as
    /// accurate.
    fn epoch(&mut self, row: &EpochRow, best: bool);
    /// A save failed.
    fn not_saved(&mut self, failure: &SaveFailure);
    /// Asked before the first step, after every step, and between batches of validation images:
    /// whether to save and leave.
    fn stop(&mut self) -> bool;
}
