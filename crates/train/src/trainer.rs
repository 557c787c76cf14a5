//! The loop: epochs of steps, to the last one, to the end of patience, or to a request to stop.
//!
//! [`Trainer::run`] is the loop and `step` what it repeats. `epoch_end` does what follows an epoch's
//! last step, `state` saves the run and takes it up again.

mod epoch_end;
mod state;

use std::path::PathBuf;
use std::time::Instant;

use alexnet_data::{
    Batch, DataError, Dataset, Epoch, Loader, LoaderConfig, Order, Pictures, Pixels, Unreadable,
    View, unreadable_budget,
};
use alexnet_network::{Array, LoadError, Model, Network, Pass, Plan, Purpose, Scores, StepBatch};
use alexnet_ops::Device;

use crate::checkpoint::{Progress, fingerprint};
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::limits;
use crate::observer::{Observer, StepReport};
use crate::run_folder::{EpochRow, RunFolder};
use crate::saving::{Saver, Saving, Shortage, checkpoint_bytes};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// No epoch of the last [`TrainConfig::patience`] was better than the best before them.
    OutOfPatience,
    /// The observer asked to stop; a checkpoint holds the state.
    Stopped,
}

/// The plan of a run, if its settings and its data go together. Asks without making anything.
///
/// # Errors
/// When the configuration makes no network or asks for batches larger than the set; when a setting is
/// out of its bounds or does not fit the data.
pub fn training_plan(config: &TrainConfig, dataset: &Dataset) -> Result<Plan, TrainError> {
    let (batch_size, images) = (config.batch_size, dataset.train.samples.len());
    let model = Model::new(config.model)?;
    limits::check(config, &model, dataset)?;
    let (at_a_time, purpose) = match (config.micro_batch, config.layer_wise_trust) {
        (Some(part), _) if part < batch_size => (part, Purpose::Accumulate),
        (_, Some(_)) => (batch_size, Purpose::Gradients),
        _ => (batch_size, Purpose::Training),
    };
    let plan = Plan::new(&model, at_a_time, purpose, config.initialisation)?;
    let mut frozen = model.learned_layers();
    frozen.retain(|layer| config.is_frozen(layer));
    let plan = plan.freeze(&frozen)?;
    config.preprocess.check().map_err(DataError::from)?;
    if batch_size > images {
        let folder = dataset.train.folder.clone();
        return Err(TrainError::BatchTooLarge { batch_size, images, folder });
    }
    Ok(plan)
}

/// A run in progress.
pub struct Trainer<D: Device> {
    config: TrainConfig,
    classes: Vec<String>,
    data: PathBuf,
    /// Of the training and of the validation images.
    fingerprints: [String; 2],
    network: Network<D>,
    train: Loader,
    validation: Loader,
    validation_images: u64,
    folder: RunFolder,
    progress: Progress,
    saver: Saver,
    /// Lines of `results.csv` that are not known to be there.
    unsaved_rows: Vec<EpochRow>,
    /// Of which epoch the weights in the file of the best are.
    best_saved: Option<(f64, u64)>,
}

impl<D: Device> Trainer<D> {
    /// A run at its beginning. `workers` threads load images.
    ///
    /// # Errors
    /// As [`training_plan`].
    pub fn new(
        device: D,
        config: TrainConfig,
        dataset: &Dataset,
        folder: RunFolder,
        workers: usize,
    ) -> Result<Self, TrainError> {
        let plan = training_plan(&config, dataset)?;
        let train_config = LoaderConfig {
            batch_size: config.batch_size,
            workers,
            seed: config.seed,
            augment: config.augment.clone(),
            unreadable: Unreadable::Replace {
                budget: unreadable_budget(dataset.train.samples.len()),
            },
            preprocess: config.preprocess.clone(),
            order: Order::Shuffled,
        };
        let validation_config = LoaderConfig {
            augment: View::Centre.into(),
            unreadable: Unreadable::Blank,
            order: Order::Sequential,
            ..train_config.clone()
        };
        let train = Loader::new(dataset.train.samples.to_vec(), train_config)?;
        let train = train.with_pixels(Pixels::preferred_by(&device));
        let validation = Loader::new(dataset.val.samples.to_vec(), validation_config)?;
        let validation = validation.sharing_memory(&train);
        let mut network = Network::new(device, plan, config.seed);
        network.set_label_smoothing(config.label_smoothing);
        network.set_layer_wise_rates(config.layer_wise_trust.map(|trust| trust as f32));
        Ok(Self {
            classes: dataset.classes.clone(),
            data: dataset.root.clone(),
            fingerprints: [&dataset.train, &dataset.val]
                .map(|split| fingerprint(split, &dataset.classes)),
            network,
            train,
            validation,
            validation_images: dataset.val.samples.len() as u64,
            saver: Saver::new(folder.clone()),
            folder,
            progress: Progress::default(),
            unsaved_rows: Vec::new(),
            best_saved: None,
            config,
        })
    }

    /// Saves at these times as well as after every epoch, in place of [`Saving::default`].
    pub fn save_when(&mut self, saving: Saving) {
        self.saver.saving = saving;
    }

    /// Whether the disk has less room than this run's checkpoints should have.
    pub fn shortage(&self) -> Option<Shortage> {
        self.saver.shortage(checkpoint_bytes(self.network.plan()))
    }

    /// Allows so many unreadable training images an epoch, in place of [`unreadable_budget`].
    pub fn allow_unreadable(&mut self, budget: u64) {
        self.train = self.train.clone().with_unreadable(Unreadable::Replace { budget });
    }

    /// Begins from these weights instead of the table's initial values.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or unknown.
    pub fn begin_with(&mut self, weights: &[Array]) -> Result<(), LoadError> {
        self.network.set_weights(weights)
    }

    /// Seconds of a forward pass over a batch, measured: a training step takes about three. Changes
    /// nothing.
    pub fn forward_seconds(&mut self) -> f64 {
        let side = self.network.plan().model.config.image_size;
        let blank = Pictures::blank(self.train.pixels(), self.config.batch_size, side);
        // The first pass also pays for memory that was never touched.
        self.network.forward(&blank, Pass::Evaluate);
        let begin = Instant::now();
        self.network.forward(&blank, Pass::Evaluate);
        begin.elapsed().as_secs_f64()
    }

    /// Seconds in which one thread loads the images of a training step, measured. Changes nothing.
    pub fn loading_seconds(&self) -> f64 {
        self.train.batch_seconds()
    }

    /// What the run computes.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The network.
    pub fn network(&self) -> &Network<D> {
        &self.network
    }

    /// Trains to the end, or until the observer asks to stop. What is to be saved is saved when this
    /// returns.
    ///
    /// # Errors
    /// When an image cannot be read, the loss is no number, or nothing can be saved.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        self.saver.start_clock();
        let outcome = self.run_epochs(observer)?;
        let saved = self.saver.wait();
        self.hear(saved, true, observer)?;
        Ok(outcome)
    }

    fn run_epochs(&mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        if observer.stop() {
            return Ok(Outcome::Stopped); // What was saved before, if anything, is all there is.
        }
        while self.progress.epoch < self.config.epochs && !self.is_out_of_patience() {
            let first = self.progress.step_in_epoch as usize;
            let mut batches = self.train.epoch(self.progress.epoch, first);
            let mut upcoming = None;
            self.network.forget_brought();
            while self.progress.step_in_epoch < self.train.batches() as u64 {
                let step = self.step(&mut batches, &mut upcoming, observer)?;
                let Some(report) = step else { break };
                observer.step(&report);
                let saved = self.saver.poll();
                self.hear(saved, false, observer)?;
                let stop = observer.stop();
                if stop || self.saver.is_due(self.progress.step) {
                    self.save(observer)?;
                }
                if stop {
                    return Ok(Outcome::Stopped);
                }
            }
            match self.end_epoch(observer) {
                // Resumed from here, the run begins with the validation.
                Err(TrainError::Data(DataError::StoppedReading)) => {
                    self.save(observer)?;
                    return Ok(Outcome::Stopped);
                }
                ended => ended?,
            }
            if self.progress.epoch < self.config.epochs && observer.stop() {
                return Ok(Outcome::Stopped);
            }
        }
        Ok(if self.is_out_of_patience() { Outcome::OutOfPatience } else { Outcome::Finished })
    }

    /// Whether validation has not improved for as long as the run is to wait.
    fn is_out_of_patience(&self) -> bool {
        let Progress { epoch, best, .. } = self.progress;
        let since_best = best.map_or(0, |(_, best)| epoch - best);
        self.config.patience.is_some_and(|patience| since_best >= patience)
    }

    /// One step: images, forward, loss, backward, update. `None` when the epoch has no images left.
    /// `upcoming` are those of the next step, if they were fetched already.
    fn step(
        &mut self,
        batches: &mut Epoch,
        upcoming: &mut Option<Result<Batch, DataError>>,
        observer: &mut dyn Observer,
    ) -> Result<Option<StepReport>, TrainError> {
        let begin = Instant::now();
        let next = upcoming.take().or_else(|| batches.next_batch());
        let Some(batch) = next.transpose()? else { return Ok(None) };
        batch.unreadable.iter().for_each(|image| observer.unreadable(image));
        let mut data_s = begin.elapsed().as_secs_f64();
        let steps = self.train.batches() as u64;
        let Progress { epoch, step_in_epoch, step, .. } = self.progress;
        let rate = self.config.learning_rate(&self.progress.schedule, epoch, step_in_epoch, steps);
        let position = epoch as f64 + step_in_epoch as f64 / steps as f64;
        let config = &self.config;
        let (images, labels) = ((&batch.images).into(), &batch.labels[..]);
        let update = |of: &_| config.update(of, rate, position);
        let begun = StepBatch { images, labels, seed: config.seed, step };
        self.network.begin_step(&begun, update);
        if self.network.device().prefers_levels() {
            // The next step's images are fetched and cross while the device computes this one.
            let waits = Instant::now();
            *upcoming = batches.next_batch();
            // Where the device has work left, waiting cost nothing.
            if !self.network.device().is_busy() {
                data_s += waits.elapsed().as_secs_f64();
            }
            if let Some(Ok(next)) = upcoming {
                self.network.bring(&next.images);
            }
        }
        let stepped = self.network.finish_step(&begun);
        let Scores { losses, ranks } = stepped.map_err(|found| TrainError::NotFinite {
            found,
            epoch: epoch + 1,
            step: step + 1,
        })?;

        let progress = &mut self.progress;
        let found = ranks.iter().zip(losses);
        found.for_each(|(&rank, &loss)| progress.totals.add(rank as usize, loss.into()));
        progress.step_in_epoch += 1;
        progress.step += 1;
        let step_s = begin.elapsed().as_secs_f64();
        progress.time_s += step_s;
        progress.epoch_s = (progress.epoch_s.0 + step_s, progress.epoch_s.1 + data_s);
        let images = batch.len();
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / images as f64;
        batches.recycle(batch);
        Ok(Some(StepReport {
            epoch: epoch + 1,
            step_in_epoch: step_in_epoch + 1,
            steps_per_epoch: steps,
            images,
            loss,
            epoch_metrics: progress.totals.metrics(),
            learning_rate: rate,
            step_s,
            data_s,
        }))
    }
}
