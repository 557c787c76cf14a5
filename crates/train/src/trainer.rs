//! The loop.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use alexnet_data::{
    Batch, DataError, Dataset, Epoch, Loader, LoaderConfig, Order, Pictures, Pixels, Unreadable,
    UnreadableImage, View, unreadable_budget,
};
use alexnet_network::{
    Array, LoadError, Model, ModelError, Network, NotFinite, Pass, Plan, Purpose, Scores, StepBatch,
};
use alexnet_ops::Device;
use alexnet_weights::{ModelFile, WeightsError};

use crate::checkpoint::{Checkpoint, Progress, fingerprint};
use crate::config::TrainConfig;
use crate::evaluate::evaluate;
use crate::layer_update::{LayerUpdate, layer_updates};
use crate::limits;
use crate::metrics::Metrics;
use crate::run_folder::{EpochRow, RunFolder};
use crate::saving::{Save, SaveFailure, Saved, Saver, Saving, Shortage, checkpoint_bytes};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The table makes no network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An image cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file was not read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint's arrays are not this network's.
    #[error("the checkpoint does not fit the network: {0}")]
    Load(#[from] LoadError),
    /// `results.csv` could not be kept.
    #[error("cannot keep {}: {reason}", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Nothing was saved several times in a row, or at the run's end.
    #[error(
        "nothing was saved, {in_a_row} times in a row: {reason}. What was saved before is whole: \
         make room, then alexnet train --resume {}",
        alexnet_data::quoted(run)
    )]
    NotSaved {
        /// The run's folder.
        run: PathBuf,
        /// Failures in a row.
        in_a_row: u32,
        /// The last of them.
        reason: Box<TrainError>,
    },
    /// A checkpoint is of another run.
    #[error(
        "{} cannot be resumed with other settings than it began with ({differences}): let its \
         args.toml be as it was",
        run.display()
    )]
    OtherSettings {
        /// The run's folder.
        run: PathBuf,
        /// What was what and is what now.
        differences: String,
    },
    /// A checkpoint is of other images.
    #[error(
        "the {split} images of {} are not those this run began with ({began} then, {now} now): \
         restore them, or start a new run",
        data.display()
    )]
    OtherImages {
        /// The data set's folder.
        data: PathBuf,
        /// Which of its images.
        split: &'static str,
        /// Their fingerprint then.
        began: String,
        /// And now.
        now: String,
    },
    /// A setting is out of its bounds, or does not go with the other settings or with the data.
    #[error("{field} is {value}: it must {must}")]
    Misfit {
        /// The field, of [`TrainConfig`] or of the [`Dataset`].
        field: String,
        /// What it holds.
        value: String,
        /// What would do.
        must: String,
    },
    /// A step would not have the images it was promised.
    #[error(
        "the batch size is {batch_size}, but {} has only {images} training images: \
         choose {images} or less",
        folder.display()
    )]
    BatchTooLarge {
        /// Asked for.
        batch_size: usize,
        /// There.
        images: usize,
        /// Where they are.
        folder: PathBuf,
    },
    /// Something is no number any more. No update was made with it, and nothing was saved.
    #[error("{found}, at epoch {epoch}, step {step}; nothing was saved since{}", cure(found))]
    NotFinite {
        /// What, and in which layer.
        found: NotFinite,
        /// Counted from 1.
        epoch: u64,
        /// Counted from 1, since the run began.
        step: u64,
    },
}

/// What helps against values that are no numbers: nothing that one sets, where they do not repeat.
fn cure(found: &NotFinite) -> &'static str {
    if found.repeats { ". A lower learning rate or a longer warm-up is the usual cure" } else { "" }
}

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

    /// Continues from a checkpoint of the same run. More or fewer epochs than first asked for, or
    /// another patience, are welcome; any other difference would make it another run.
    ///
    /// # Errors
    /// When it is of other settings or images, or `results.csv` cannot be brought to its state.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        self.check_images(&checkpoint)?;
        let TrainConfig { epochs, patience, .. } = self.config;
        let begun = TrainConfig { epochs, patience, ..checkpoint.config };
        if begun != self.config {
            let differences = self.config.differences_from(&begun);
            return Err(TrainError::OtherSettings { run: self.folder.root().into(), differences });
        }
        self.network.set_weights(&checkpoint.weights)?;
        self.network.set_velocities(&checkpoint.momentum)?;
        let path = self.folder.results();
        let trimmed = self.folder.keep_rows_until(checkpoint.progress.epoch);
        trimmed.map_err(|reason| TrainError::Results { path, reason })?;
        self.best_saved = checkpoint.progress.best;
        self.progress = checkpoint.progress;
        Ok(())
    }

    /// Whether a checkpoint is of these images. One of before validation images were kept is.
    fn check_images(&self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let [train, val] = &self.fingerprints;
        let splits = [
            ("training", Some(&checkpoint.dataset), train),
            ("validation", checkpoint.validation.as_ref(), val),
        ];
        for (split, began, now) in splits {
            if let Some(began) = began.filter(|&began| began != now) {
                let (data, began, now) = (self.data.clone(), began.clone(), now.clone());
                return Err(TrainError::OtherImages { data, split, began, now });
            }
        }
        Ok(())
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

    /// Validates, moves the schedule, and saves: results, weights, checkpoint.
    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
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

    /// Begins to save the run as it is.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let checkpoint = self.next_checkpoint(observer)?;
        self.begin_save(None, checkpoint, observer)
    }

    /// The run as it is, when the one that was saved before is no longer in memory.
    fn next_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<Checkpoint, TrainError> {
        let before = self.saver.wait();
        self.hear(before, false, observer)?;
        Ok(self.checkpoint())
    }

    fn begin_save(
        &mut self,
        model: Option<(ModelFile, bool)>,
        checkpoint: Checkpoint,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let rows = self.unsaved_rows.clone();
        match self.saver.begin(Save { rows, model, checkpoint }) {
            Ok(()) => Ok(()),
            failed => self.hear(Some(Saved { result: failed, best: false }), false, observer),
        }
    }

    /// Takes note of what came of a save, which may be the last.
    fn hear(
        &mut self,
        saved: Option<Saved>,
        is_last: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(Saved { result, best }) = saved else { return Ok(()) };
        if result.is_ok() {
            self.unsaved_rows.clear();
        }
        if best {
            self.best_saved = self.progress.best;
        }
        // Weights that were not saved are not the best that there are.
        self.progress.best = self.best_saved;
        let bytes = checkpoint_bytes(self.network.plan());
        self.saver.judge(result, bytes, is_last, &mut |failure| observer.not_saved(failure))
    }

    /// How far the last steps of the epoch that ended moved each layer, at their learning rate.
    fn layer_updates(&self, checkpoint: &Checkpoint, rate: f64) -> Vec<LayerUpdate> {
        let arrays = (&checkpoint.weights[..], &checkpoint.momentum[..]);
        let (specs, epochs) = (&self.network.plan().parameters, self.progress.epoch as f64);
        // The middle of its last step: a layer that is frozen from here on was not yet.
        let position = epochs - 0.5 / self.train.batches() as f64;
        layer_updates(specs, arrays, &self.config, rate, position)
    }

    /// The network as it is, ready to predict.
    pub fn model_file(&self) -> ModelFile {
        ModelFile { weights: self.network.weights(), ..self.model_without_weights() }
    }

    fn model_without_weights(&self) -> ModelFile {
        ModelFile {
            config: self.config.model,
            classes: self.classes.clone(),
            preprocess: self.config.preprocess.clone(),
            weights: Vec::new(),
        }
    }

    /// The run as it is.
    pub fn checkpoint(&self) -> Checkpoint {
        let [dataset, validation] = self.fingerprints.clone();
        Checkpoint {
            config: self.config.clone(),
            dataset,
            validation: Some(validation),
            progress: self.progress.clone(),
            weights: self.network.weights(),
            momentum: self.network.velocities(),
        }
    }
}
