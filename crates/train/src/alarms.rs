//! Notices from a run's figures what usually takes people days, and says it in words.
//!
//! Each alarm is given once a run. Thresholds are such that healthy runs give none: those under
//! `records/` are tested.

use std::collections::VecDeque;
use std::fmt;
use std::mem::{Discriminant, discriminant};

use crate::layer_update::LayerUpdate;
use crate::observer::StepReport;
use crate::run_folder::EpochRow;

/// A loss this near to that of guessing, as a share of it, is no better.
const FLAT_SHARE: f64 = 0.01;
/// Of so many steps the mean loss is taken.
const FLAT_WINDOW_STEPS: usize = 100;
/// Networks with small initial weights may learn nothing for long: on ImageNet some hundred steps of
/// 256 images. After so many steps, or so many epochs if these are shorter, that is over.
const FLAT_AFTER_STEPS: u64 = 3000;
const FLAT_AFTER_EPOCHS: u64 = 3;

/// Validation accuracy within so many standard deviations of guessing is guessing.
const CHANCE_DEVIATIONS: f64 = 3.0;
/// Training accuracy so many times that of guessing, or so far from there to all, is learning.
const LEARNING_FACTOR: f64 = 10.0;
const LEARNING_SHARE: f64 = 0.5;
/// Epochs in a row: batch normalisation's running statistics may lag at first.
const CHANCE_EPOCHS: u64 = 2;

/// Waiting for images this share of an epoch's time.
const WAIT_SHARE: f64 = 0.2;
/// And at least so long: the first batch of a small set is always waited for.
const WAIT_SECONDS: f64 = 5.0;

/// A layer whose updates are so small a share of the middle layer's does not learn. On the
/// sample set the layers' updates are within a factor of 13 of each other.
const STILL_SHARE: f64 = 1e-4;
/// Epochs in a row: a layer may be slow to start.
const STILL_EPOCHS: u64 = 2;
/// A step that turns a layer's weights by this share of their length leaves little of what they
/// learnt; healthy steps turn them by a hundredth or a thousandth.
const BOLTING: f64 = 0.5;

/// Epochs since the validation loss was lowest.
const OVERFIT_EPOCHS: u64 = 10;
/// So much above its lowest is the validation loss, as a share of it.
const OVERFIT_RISE: f64 = 0.1;
/// So much below what it was then is the training loss, as a share of it.
const OVERFIT_FALL: f64 = 0.1;

/// Something that is probably wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// The loss is that of guessing.
    Flat {
        /// Mean loss of the last steps.
        loss: f64,
        /// That of guessing.
        guess: f64,
        /// Classes guessed among.
        classes: usize,
        /// Steps of the run so far.
        steps: u64,
    },
    /// What is learnt does not carry over at all.
    AtChance {
        /// Validation top-1 accuracy.
        validation: f64,
        /// Training top-1 accuracy.
        training: f64,
        /// Classes guessed among.
        classes: usize,
    },
    /// The processor waits for images.
    Waiting {
        /// Share of the epoch's time.
        share: f64,
        /// The epoch.
        epoch: u64,
    },
    /// A layer's gradients vanish.
    Still {
        /// Its name.
        layer: String,
        /// What a step turns them by, as a share of their length.
        relative: f64,
        /// The same of the middle layer.
        middle: f64,
    },
    /// A layer's gradients explode.
    Bolting {
        /// Its name.
        layer: String,
        /// What a step turns them by, as a share of their length.
        relative: f64,
    },
    /// Training goes on to learn single images.
    Overfitting {
        /// The epoch whose validation loss was lowest.
        best_epoch: u64,
        /// That loss.
        best_loss: f64,
        /// The loss now.
        loss: f64,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat { loss, guess, classes, steps } => write!(
                f,
                "after {steps} steps the loss is {loss:.3}, and guessing among {classes} classes by \
                 how many images each has gives {guess:.3}: nothing is learnt. Try another --lr, \
                 --init he, --batch-norm, or look at what the network sees with alexnet data preview"
            ),
            Self::AtChance { validation, training, classes } => write!(
                f,
                "training images are named right in {:.1} % of cases, validation images in {:.2} %, \
                 which is what guessing among {classes} classes gives: their labels are probably in \
                 another order. Try alexnet data check; for ILSVRC-2012, alexnet data prepare",
                training * 100.0,
                validation * 100.0
            ),
            Self::Waiting { share, epoch } => write!(
                f,
                "{:.0} % of epoch {epoch} was spent waiting for images. Try more --workers, or \
                 alexnet data pack, which brings images to size once",
                share * 100.0
            ),
            Self::Still { layer, relative, middle } => write!(
                f,
                "{layer} does not learn: a step turns it by {relative:.0e} of its length, the middle \
                 layer by {middle:.0e}. Its gradient vanishes: try --init he, --batch-norm, or a \
                 lower --lr if units died"
            ),
            Self::Bolting { layer, relative } => write!(
                f,
                "a step turns {layer} by {relative:.1} times its length: its gradient explodes. Try \
                 a lower --lr or a longer --warmup-epochs"
            ),
            Self::Overfitting { best_epoch, best_loss, loss } => write!(
                f,
                "the validation loss has risen from {best_loss:.3} after epoch {best_epoch} to \
                 {loss:.3}, while the training loss still falls: the network overfits. Try more \
                 images, a stronger --augment, more --weight-decay, or fewer --epochs; \
                 weights/best.safetensors are those of the best epoch"
            ),
        }
    }
}

/// Watches one run.
#[derive(Clone, Debug)]
pub struct Alarms {
    classes: usize,
    /// The loss of guessing.
    guess: f64,
    validation_images: u64,
    given: Vec<Discriminant<Alarm>>,
    /// Losses of the last steps.
    losses: VecDeque<f64>,
    /// Of the epoch that runs, as far as it was watched.
    waited_s: f64,
    training_top1: Option<f64>,
    /// Epochs in a row whose validation was at chance.
    at_chance: u64,
    /// Epochs in a row in which a layer was still, the same one.
    still: Option<(String, u64)>,
    /// The epoch with the lowest validation loss.
    lowest: Option<EpochRow>,
}

impl Alarms {
    /// A watch over a run with so many training images of each class and so many validation images;
    /// `label_smoothing` as in [`crate::TrainConfig`].
    pub fn new(class_images: &[u64], label_smoothing: f32, validation_images: u64) -> Self {
        Self {
            classes: class_images.len(),
            guess: loss_of_guessing(class_images, label_smoothing.into()),
            validation_images,
            given: Vec::new(),
            losses: VecDeque::new(),
            waited_s: 0.0,
            training_top1: None,
            at_chance: 0,
            still: None,
            lowest: None,
        }
    }

    /// Takes note of the epochs a resumed run has behind it. What they gave cause for is not said
    /// again.
    pub fn recall(&mut self, rows: &[EpochRow]) {
        for row in rows {
            let (overfitting, waiting) = (self.overfitting(row), waiting(row, f64::INFINITY));
            overfitting.into_iter().chain(waiting).for_each(|alarm| drop(self.once(alarm)));
        }
    }

    /// A step is done.
    pub fn step(&mut self, report: &StepReport) -> Option<Alarm> {
        self.waited_s += report.data_s;
        self.training_top1 = Some(report.epoch_metrics.top1_accuracy);
        self.losses.push_back(report.loss);
        if self.losses.len() <= FLAT_WINDOW_STEPS {
            return None;
        }
        self.losses.pop_front();
        let steps = (report.epoch - 1) * report.steps_per_epoch + report.step_in_epoch;
        if steps < FLAT_AFTER_STEPS && report.epoch <= FLAT_AFTER_EPOCHS {
            return None;
        }
        let loss = self.losses.iter().sum::<f64>() / FLAT_WINDOW_STEPS as f64;
        let Self { guess, classes, .. } = *self;
        let flat = (loss / guess - 1.0).abs() < FLAT_SHARE;
        flat.then_some(Alarm::Flat { loss, guess, classes, steps })
            .and_then(|alarm| self.once(alarm))
    }

    /// An epoch is done; `updates` are those of its last steps.
    pub fn epoch(&mut self, row: &EpochRow, updates: &[LayerUpdate]) -> Vec<Alarm> {
        let seen = [
            waiting(row, std::mem::take(&mut self.waited_s)),
            self.at_chance(row),
            self.still(updates),
            bolting(updates),
            self.overfitting(row),
        ];
        seen.into_iter().flatten().filter_map(|alarm| self.once(alarm)).collect()
    }

    /// The alarm, if none of its kind was given before.
    fn once(&mut self, alarm: Alarm) -> Option<Alarm> {
        let kind = discriminant(&alarm);
        if self.given.contains(&kind) {
            return None;
        }
        self.given.push(kind);
        Some(alarm)
    }

    fn at_chance(&mut self, row: &EpochRow) -> Option<Alarm> {
        let training = self.training_top1.take()?;
        let chance = 1.0 / self.classes as f64;
        let deviation = (chance * (1.0 - chance) / self.validation_images.max(1) as f64).sqrt();
        let learnt = (LEARNING_FACTOR * chance).min(chance + LEARNING_SHARE * (1.0 - chance));
        let guessed = row.top1_accuracy <= chance + CHANCE_DEVIATIONS * deviation;
        self.at_chance = if guessed && training >= learnt { self.at_chance + 1 } else { 0 };
        (self.at_chance >= CHANCE_EPOCHS).then_some(Alarm::AtChance {
            validation: row.top1_accuracy,
            training,
            classes: self.classes,
        })
    }

    fn still(&mut self, updates: &[LayerUpdate]) -> Option<Alarm> {
        let mut sizes: Vec<f64> = updates.iter().map(|update| update.relative).collect();
        sizes.sort_by(f64::total_cmp);
        let middle = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
        let stillest = updates.iter().min_by(|a, b| a.relative.total_cmp(&b.relative));
        let stillest = stillest.filter(|update| update.relative < STILL_SHARE * middle);
        let epochs = match (stillest, self.still.take()) {
            (Some(update), Some((layer, epochs))) if layer == update.layer => epochs + 1,
            _ => 1,
        };
        let LayerUpdate { layer, relative } = stillest?;
        self.still = Some((layer.clone(), epochs));
        let alarm = Alarm::Still { layer: layer.clone(), relative: *relative, middle };
        (epochs >= STILL_EPOCHS).then_some(alarm)
    }

    fn overfitting(&mut self, row: &EpochRow) -> Option<Alarm> {
        let lowest = match &self.lowest {
            Some(lowest) if lowest.val_loss <= row.val_loss => lowest,
            _ => {
                self.lowest = Some(row.clone());
                return None;
            }
        };
        let overfits = row.epoch - lowest.epoch >= OVERFIT_EPOCHS
            && row.val_loss > lowest.val_loss * (1.0 + OVERFIT_RISE)
            && row.train_loss < lowest.train_loss * (1.0 - OVERFIT_FALL);
        overfits.then_some(Alarm::Overfitting {
            best_epoch: lowest.epoch,
            best_loss: lowest.val_loss,
            loss: row.val_loss,
        })
    }
}

/// The least loss of one answer to all images: the entropy of the targets, ln(classes) where all
/// classes are equally large.
fn loss_of_guessing(class_images: &[u64], label_smoothing: f64) -> f64 {
    let all = class_images.iter().sum::<u64>().max(1) as f64;
    let spread = label_smoothing / class_images.len() as f64;
    let targets =
        class_images.iter().map(|&images| (1.0 - label_smoothing) * images as f64 / all + spread);
    targets.filter(|&target| target > 0.0).map(|target| -target * target.ln()).sum()
}

fn waiting(row: &EpochRow, waited_s: f64) -> Option<Alarm> {
    let waits = row.data_wait > WAIT_SHARE && waited_s > WAIT_SECONDS;
    waits.then_some(Alarm::Waiting { share: row.data_wait, epoch: row.epoch })
}

fn bolting(updates: &[LayerUpdate]) -> Option<Alarm> {
    let fastest = updates.iter().max_by(|a, b| a.relative.total_cmp(&b.relative))?;
    let LayerUpdate { layer, relative } = fastest;
    (*relative > BOLTING).then_some(Alarm::Bolting { layer: layer.clone(), relative: *relative })
}
