//! The end of an epoch: what lies between its last step and the next one's first.
//!
//! The validation images are measured, the schedule moves by what was found, the epoch becomes a row
//! of `results.csv`, and the observer hears of it when its save has begun.

use std::time::Instant;

use alexnet_data::DataError;
use alexnet_network::NotFinite;
use alexnet_ops::Device;

use super::Trainer;
use crate::checkpoint::{Checkpoint, Progress};
use crate::error::TrainError;
use crate::evaluate::evaluate;
use crate::layer_update::{LayerUpdate, layer_updates};
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::run_folder::EpochRow;

impl<D: Device> Trainer<D> {
    /// Validates, moves the schedule, and saves: results, weights, checkpoint.
    pub(super) fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let found = self.validate(observer)?;
        let steps = self.train.batches() as u64;
        let (memory, epoch) = (self.progress.schedule, self.progress.epoch);
        let lr = self.config.learning_rate(&memory, epoch, steps.saturating_sub(1), steps);
        self.config.schedule.end_epoch(&mut self.progress.schedule, 1.0 - found.top1_accuracy);
        let best = self.progress.best.is_none_or(|(top1, _)| found.top1_accuracy > top1);
        let progress = &mut self.progress;
        if best {
            progress.best = Some((found.top1_accuracy, epoch + 1));
        }
        let (epoch_s, data_s) = std::mem::take(&mut progress.epoch_s);
        let trained = std::mem::take(&mut progress.totals).metrics();
        progress.epoch += 1;
        progress.step_in_epoch = 0;
        let row = EpochRow {
            epoch: progress.epoch,
            step: progress.step,
            time_s: progress.time_s,
            train_loss: trained.loss,
            val_loss: found.loss,
            top1_accuracy: found.top1_accuracy,
            top5_accuracy: found.top5_accuracy,
            lr,
            images_per_s: trained.images as f64 / epoch_s,
            data_wait: data_s / epoch_s,
        };
        self.unsaved_rows.push(row.clone());
        let checkpoint = self.next_checkpoint(observer)?;
        let updates = self.layer_updates(&checkpoint, row.lr);
        let model = Some((self.model_without_weights(), best));
        self.begin_save(model, checkpoint, observer)?;
        observer.layers(&updates);
        observer.epoch(&row, best);
        Ok(())
    }

    /// What the network makes of the validation images. A loss that is no number ends the run.
    fn validate(&mut self, observer: &mut dyn Observer) -> Result<Metrics, TrainError> {
        let begin = Instant::now();
        let of = self.validation_images;
        let networks = std::slice::from_mut(&mut self.network);
        let found = evaluate(networks, &self.validation, |batch, images| {
            batch.unreadable.iter().for_each(|image| observer.unreadable(image));
            observer.validated(images, of);
            if images < of && observer.stop() { Err(DataError::StoppedReading) } else { Ok(()) }
        })?;
        // Whether the best so far was saved decides what is the best from now on.
        let saved = self.saver.wait();
        self.hear(saved, false, observer)?;
        if !found.loss.is_finite() {
            let (what, value) = ("validation loss".to_owned(), found.loss as f32);
            let found = NotFinite { layer: "loss".to_owned(), what, value, repeats: true };
            let Progress { epoch, step, .. } = self.progress;
            return Err(TrainError::NotFinite { found, epoch: epoch + 1, step });
        }
        self.progress.time_s += begin.elapsed().as_secs_f64();
        Ok(found)
    }

    /// How far the last steps of the epoch that ended moved each layer, at their learning rate.
    fn layer_updates(&self, checkpoint: &Checkpoint, rate: f64) -> Vec<LayerUpdate> {
        let arrays = (&checkpoint.weights[..], &checkpoint.momentum[..]);
        let (specs, epochs) = (&self.network.plan().parameters, self.progress.epoch as f64);
        // The middle of its last step: a layer that is frozen from here on was not yet.
        let position = epochs - 0.5 / self.train.batches() as f64;
        layer_updates(specs, arrays, &self.config, rate, position)
    }
}
