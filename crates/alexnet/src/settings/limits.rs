//! What settings may be: the bounds of each, and what one needs of another.

use alexnet_cpu::THREADS_MAX;
use alexnet_data::MAX_RESIZE_PIXELS;
use alexnet_network::{BATCH_MAX, Model, Plan, Purpose};
use alexnet_train::limits::{EPOCHS_MAX, PERIOD_MIN_EPOCHS, RATE_MAX, SMOOTHING_MAX};

use super::{Settings, UsageError};
use crate::arguments::VAL_FRACTION_MAX;
use crate::flags::{AugmentName, FitName};
use crate::normalisation::{Levels, Mean};

/// Longest time between two saves: a year.
const MINUTES_MAX: f64 = 366.0 * 24.0 * 60.0;
/// Fewest classes there are anything to learn of.
const CLASSES_MIN: usize = 2;
/// Characters of the longest number of full precision, `-0.30000000000000004`: of longer ones most are
/// zeros.
const DIGITS_MAX: usize = 20;
/// Largest grey level.
const LEVEL_MAX: f32 = 255.0;

impl Settings {
    pub(super) fn check(&self) -> Result<(), UsageError> {
        let rules = [
            ("epochs", self.epochs as f64, 1.0, EPOCHS_MAX),
            ("val-fraction", self.val_fraction, 0.0, VAL_FRACTION_MAX),
            ("lr", self.lr, 0.0, RATE_MAX),
            ("shared-crops", self.shared_crops as f64, 1.0, EPOCHS_MAX),
            ("colour-noise", self.colour_noise.into(), 0.0, RATE_MAX),
            ("momentum", self.momentum, 0.0, 1.0),
            ("weight-decay", self.weight_decay, 0.0, RATE_MAX),
            ("bias-lr-factor", self.bias_lr_factor, 0.0, RATE_MAX),
            ("bias-decay-factor", self.bias_decay_factor, 0.0, RATE_MAX),
            ("lr-step-size", self.lr_step_size, PERIOD_MIN_EPOCHS, EPOCHS_MAX),
            ("label-smoothing", self.label_smoothing.into(), 0.0, SMOOTHING_MAX),
            ("lars", self.lars, 0.0, RATE_MAX),
            ("lr-gamma", self.lr_gamma, 0.0, 1.0),
            ("lr-steps", self.lr_steps as f64, 1.0, EPOCHS_MAX),
            ("lr-power", self.lr_power, 0.0, RATE_MAX),
            ("lr-cycle-growth", self.lr_cycle_growth, 1.0, EPOCHS_MAX),
            ("lr-min", self.lr_min, 0.0, self.lr),
            ("warmup-epochs", self.warmup_epochs, 0.0, EPOCHS_MAX),
            ("batch-size", self.batch_size as f64, 1.0, BATCH_MAX as f64),
            ("micro-batch", self.micro_batch.unwrap_or(1) as f64, 1.0, BATCH_MAX as f64),
            ("save-every-minutes", self.save_every_minutes, 0.0, MINUTES_MAX),
            ("checkpoint-hist", self.checkpoint_hist as f64, 1.0, f64::INFINITY),
            ("print-freq", self.print_freq as f64, 1.0, f64::INFINITY),
            ("threads", self.threads as f64, 0.0, THREADS_MAX as f64),
            ("workers", self.workers as f64, 0.0, THREADS_MAX as f64),
        ];
        for (flag, value, least, most) in rules {
            if !(least..=most).contains(&value) {
                let must = match most {
                    f64::INFINITY => format!("be at least {least}"),
                    _ => format!("lie between {least} and {most}"),
                };
                return Err(UsageError(format!("--{flag} is {}: it must {must}", short(value))));
            }
        }
        if !(self.image_size..=MAX_RESIZE_PIXELS as usize).contains(&self.resize_size) {
            return Err(UsageError(format!(
                "--resize-size is {}: it must be at least the image size, {}, and at most \
                 {MAX_RESIZE_PIXELS}",
                self.resize_size, self.image_size
            )));
        }
        self.check_levels()?;
        if matches!(self.mean, Mean::Image(_)) && !has_mean_image(self.fit, self.augment) {
            return Err(UsageError(format!(
                "--mean is {}: it needs --fit centre-square or warp, and --augment random-crop or \
                 none",
                self.mean
            )));
        }
        let of_weights = [
            ("mean", self.mean == Mean::Levels(Levels::Weights)),
            ("std", self.std == Levels::Weights),
        ];
        if let Some((flag, _)) = of_weights.iter().find(|of| of.1 && self.weights.is_none()) {
            return Err(UsageError(format!("--{flag} is weights, but there are no --weights")));
        }
        self.check_network()
    }

    /// Whether there is such a network. No data set is needed to know: what depends on the number of
    /// classes can be refused later only.
    fn check_network(&self) -> Result<(), UsageError> {
        let config = self.train_config(CLASSES_MIN)?;
        let plan = Model::new(config.model)
            .and_then(|model| Plan::new(&model, 1, Purpose::Inference, config.initialisation));
        plan.map(drop).map_err(|error| UsageError(error.to_string()))
    }

    /// Levels that were typed.
    fn check_levels(&self) -> Result<(), UsageError> {
        if let Mean::Levels(levels @ Levels::Given(given)) = self.mean
            && !given.iter().all(|level| (0.0..=LEVEL_MAX).contains(level))
        {
            let problem = format!("--mean is {levels}: grey levels lie between 0 and {LEVEL_MAX}");
            return Err(UsageError(problem));
        }
        if let Levels::Given(given) = self.std
            && !given.iter().all(|level| level.is_normal() && *level > 0.0)
        {
            let problem =
                format!("--std is {}: pixels are divided by it, so it must lie above 0", self.std);
            return Err(UsageError(problem));
        }
        Ok(())
    }
}

/// A number as it is read most easily: `0.9`, but `1e300`, which has 301 digits.
fn short(value: f64) -> String {
    let digits = value.to_string();
    if digits.len() <= DIGITS_MAX { digits } else { format!("{value:e}") }
}

/// Whether images and crops are such that each pixel of a crop has a mean.
pub(super) fn has_mean_image(fit: FitName, augment: AugmentName) -> bool {
    fit != FitName::ShorterSide && augment != AugmentName::RandomResizedCrop
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::TrainFlags;
    use crate::settings::tests::decide;

    #[test]
    fn values_out_of_range_are_refused_by_flag() {
        let none = TrainFlags::default;
        let mean = |levels| Mean::Levels(Levels::Given(levels));
        let cases = [
            (TrainFlags { momentum: Some(1.5), ..none() }, "--momentum"),
            (TrainFlags { lr: Some(-1.0), ..none() }, "--lr"),
            (TrainFlags { lr: Some(f64::NAN), ..none() }, "--lr"),
            (TrainFlags { resize_size: Some(100), ..none() }, "--resize-size"),
            (TrainFlags { resize_size: Some(5000), ..none() }, "--resize-size is 5000:"),
            (TrainFlags { resize_size: Some(1 << 32), ..none() }, "--resize-size is 4294967296:"),
            (TrainFlags { mean: Some(mean([1.0, 2.0, f32::NAN])), ..none() }, "--mean is 1,2,NaN:"),
            (TrainFlags { mean: Some(mean([1.0, 2.0, 300.0])), ..none() }, "--mean is 1,2,300:"),
            (TrainFlags { mean: Some(mean([-1.0, 2.0, 3.0])), ..none() }, "--mean is -1,2,3:"),
            (TrainFlags { std: Some(Levels::Given([0.0; 3])), ..none() }, "--std is 0,0,0:"),
            (
                TrainFlags { std: Some(Levels::Given([1.0, 2.0, -3.0])), ..none() },
                "--std is 1,2,-3:",
            ),
            (TrainFlags { epochs: Some(0), ..none() }, "--epochs"),
            (TrainFlags { threads: Some(1 << 20), ..none() }, "--threads"),
            (TrainFlags { lr: Some(1e300), ..none() }, "--lr is 1e300: it must lie between 0 and"),
            (
                TrainFlags { print_freq: Some(0), ..none() },
                "--print-freq is 0: it must be at least 1",
            ),
            (TrainFlags { lr_steps: Some(0), ..none() }, "--lr-steps"),
            (TrainFlags { mean: Some(Mean::Levels(Levels::Weights)), ..none() }, "--mean"),
            (TrainFlags { lr_step_size: Some(1e-300), ..none() }, "--lr-step-size is 1e-300:"),
            (TrainFlags { micro_batch: Some(0), ..none() }, "--micro-batch"),
        ];
        for (flags, named) in cases {
            let error = decide(&flags).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
