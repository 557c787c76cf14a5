//! The one loop in which experiments train.

use std::f64::consts::PI;
use std::time::Instant;

use alexnet_data::{
    Fit, Loader, LoaderConfig, Order, Pixels, Preprocess, Sample, Unreadable, View,
    unreadable_budget,
};
use alexnet_network::{
    Initialisation, Model, Network, ParameterRole, ParameterSpec, Plan, Purpose, Scores,
};
use alexnet_ops::{Device, SgdStep, UpdateRule};
use alexnet_train::{Metrics, Totals, evaluate};

use crate::workbench::{LabError, Workbench};

/// How a network is trained.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) model: Model,
    pub(crate) initialisation: Initialisation,
    pub(crate) epochs: u64,
    pub(crate) rate: f64,
    /// Whether the rate falls to nothing, by half a cosine.
    pub(crate) falls: bool,
    pub(crate) decay: f64,
    pub(crate) view: View,
    /// Ends when so small a share of an epoch's images was taken for something else.
    pub(crate) goal: Option<f64>,
    /// What is evaluated after each epoch.
    pub(crate) evaluates: Evaluates,
}

/// Which images are evaluated after each epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evaluates {
    /// None: the error while training is all that is wanted.
    Nothing,
    Validation,
    /// And the training images.
    Both,
}

/// The paper's (§5).
const MOMENTUM: f32 = 0.9;
/// Small, for there are few images: an epoch is to have some steps.
pub(crate) const BATCH: usize = 32;

/// A network after its training.
pub(crate) struct Trained<D: Device> {
    pub(crate) network: Network<D>,
    pub(crate) run: Run,
}

/// How a training went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) epochs: Vec<Epoch>,
    /// Seconds of the training steps, images ready.
    pub(crate) step_s: f64,
    pub(crate) steps: u64,
    /// Whether the loss became infinite, which ended it.
    pub(crate) diverged: bool,
}

/// One epoch. Errors are shares of the images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    /// Over the epoch, while it trained.
    pub(crate) running_error: f64,
    pub(crate) validation: Option<Metrics>,
    /// Of the training images after the epoch, if asked for.
    pub(crate) training: Option<Metrics>,
}

impl Epoch {
    /// 1 where it was not asked for.
    pub(crate) fn validation_error(&self) -> f64 {
        self.validation.map_or(1.0, |validation| 1.0 - validation.top1_accuracy)
    }
    pub(crate) fn validation_loss(&self) -> f64 {
        self.validation.map_or(f64::INFINITY, |validation| validation.loss)
    }
    /// Of the training images, as well as it is known.
    pub(crate) fn training_error(&self) -> f64 {
        self.training.map_or(self.running_error, |training| 1.0 - training.top1_accuracy)
    }
}

impl Run {
    pub(crate) fn last(&self) -> &Epoch {
        self.epochs.last().expect("a run has an epoch at least")
    }

    /// Epochs, with a share of the last one, until the training error was `goal`: on the straight
    /// line between two epochs.
    pub(crate) fn epochs_to(&self, goal: f64) -> Option<f64> {
        let errors: Vec<f64> = self.epochs.iter().map(Epoch::training_error).collect();
        let first = errors.iter().position(|&error| error <= goal)?;
        let before = if first == 0 { 1.0 } else { errors[first - 1] };
        Some(first as f64 + (before - goal) / (before - errors[first]).max(f64::MIN_POSITIVE))
    }
}

/// How images become pixels of this side: the paper's ratio of resize to crop, levels about ±2.
pub(crate) fn preprocess(pixels: usize) -> Preprocess {
    let crop = pixels as u32;
    Preprocess {
        fit: Fit::ShorterSide,
        resize: (crop * 256).div_ceil(224),
        crop,
        mean: [127.5; 3],
        std: [LEVELS_PER_UNIT; 3],
        mean_image: None,
    }
}

/// Grey levels that make an input of 1.
pub(crate) const LEVELS_PER_UNIT: f32 = 64.0;

impl<D: Device + Clone> Workbench<'_, D> {
    /// Trains a network.
    ///
    /// # Errors
    /// An image that cannot be read, or the watcher's wish.
    pub(crate) fn train(
        &mut self,
        name: &str,
        recipe: &Recipe,
        seed: u64,
    ) -> Result<Trained<D>, LabError> {
        let plan = Plan::new(&recipe.model, BATCH, Purpose::Training, recipe.initialisation)?;
        let mut network = Network::new(self.device.clone(), plan, seed);
        let pixels = recipe.model.config.image_size;
        let shuffled = self.loader(self.train.clone(), pixels, recipe.view, Some(seed))?;
        let training = self.loader(self.train.clone(), pixels, View::Centre, None)?;
        let validation = self.loader(self.val.clone(), pixels, View::Centre, None)?;
        let mut run = Run::default();
        for epoch in 0..recipe.epochs {
            self.tell(&format!("{name}, seed {seed}"), epoch, recipe.epochs)?;
            let Some(running) =
                train_epoch(&mut network, &shuffled, recipe, seed, epoch, &mut run)?
            else {
                run.diverged = true;
                break;
            };
            let mut evaluated = |wanted: bool, images: &Loader| {
                let networks = std::slice::from_mut(&mut network);
                wanted.then(|| evaluate(networks, images, |_, _| Ok(()))).transpose()
            };
            let validation = evaluated(recipe.evaluates != Evaluates::Nothing, &validation)?;
            let training = evaluated(recipe.evaluates == Evaluates::Both, &training)?;
            let running_error = 1.0 - running.top1_accuracy;
            run.epochs.push(Epoch { running_error, validation, training });
            if recipe.goal.is_some_and(|goal| running_error <= goal) {
                break;
            }
        }
        Ok(Trained { network, run })
    }

    /// The same, for whom a network that diverged is of no use.
    ///
    /// # Errors
    /// As [`Self::train`], and when the loss became infinite.
    pub(crate) fn train_whole(
        &mut self,
        name: &str,
        recipe: &Recipe,
        seed: u64,
    ) -> Result<Trained<D>, LabError> {
        let trained = self.train(name, recipe, seed)?;
        if trained.run.diverged {
            let epoch = trained.run.epochs.len() as u64 + 1;
            return Err(LabError::Diverged { run: format!("{name}, seed {seed}"), epoch });
        }
        Ok(trained)
    }

    /// Loads `samples` as squares of `pixels`, in a seed's order or their own.
    pub(crate) fn loader(
        &self,
        samples: Vec<Sample>,
        pixels: usize,
        view: View,
        shuffled_by: Option<u64>,
    ) -> Result<Loader, LabError> {
        let budget = unreadable_budget(samples.len());
        let config = LoaderConfig {
            batch_size: BATCH,
            workers: self.workers,
            seed: shuffled_by.unwrap_or(0),
            augment: view.into(),
            unreadable: match shuffled_by {
                Some(_) => Unreadable::Replace { budget },
                None => Unreadable::Blank,
            },
            preprocess: preprocess(pixels),
            order: if shuffled_by.is_some() { Order::Shuffled } else { Order::Sequential },
        };
        Ok(Loader::new(samples, config)?.with_pixels(Pixels::preferred_by(&self.device)))
    }
}

/// One pass over the training images; `None` if something in it is no number.
fn train_epoch<D: Device>(
    network: &mut Network<D>,
    images: &Loader,
    recipe: &Recipe,
    seed: u64,
    epoch: u64,
    run: &mut Run,
) -> Result<Option<Metrics>, LabError> {
    let mut totals = Totals::default();
    let steps = images.batches() as u64 * recipe.epochs;
    let mut batches = images.epoch(epoch, 0);
    while let Some(batch) = batches.next_batch() {
        let batch = batch?;
        let begin = Instant::now();
        let done = run.steps as f64 / steps as f64;
        let factor = if recipe.falls { (1.0 + (PI * done).cos()) / 2.0 } else { 1.0 };
        let rate = recipe.rate * factor;
        let sgd = |of: &ParameterSpec| sgd(of.role, rate, recipe.decay);
        let step = network.train_step(&batch.images, &batch.labels, seed, run.steps, sgd);
        let Ok(Scores { losses, ranks }) = step else { return Ok(None) };
        for (&rank, &loss) in ranks.iter().zip(losses) {
            totals.add(rank as usize, loss.into());
        }
        run.steps += 1;
        run.step_s += begin.elapsed().as_secs_f64();
        batches.recycle(batch);
    }
    Ok(Some(totals.metrics()))
}

/// The paper's rule; biases do not decay, as in its code.
pub(crate) fn sgd(role: ParameterRole, rate: f64, decay: f64) -> SgdStep {
    let decays = role == ParameterRole::Weight;
    SgdStep {
        rule: UpdateRule::Paper,
        learning_rate: rate as f32,
        momentum: MOMENTUM,
        weight_decay: if decays { decay as f32 } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_on_the_line_between_two_epochs() {
        let epoch = |running_error| Epoch { running_error, validation: None, training: None };
        let cases = [
            (vec![0.9, 0.5, 0.3, 0.2], 0.25, Some(3.5)),
            (vec![0.9, 0.5], 0.25, None),
            (vec![0.5], 0.75, Some(0.5)),
        ];
        for (errors, goal, expected) in cases {
            let run = Run { epochs: errors.iter().map(|&e| epoch(e)).collect(), ..Run::default() };
            let found = run.epochs_to(goal);
            let close = |expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-9);
            assert!(expected.map_or(found.is_none(), close), "{errors:?}: {found:?}");
        }
    }
}
