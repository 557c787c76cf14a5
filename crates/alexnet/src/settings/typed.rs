//! What was typed and would have no effect.

use clap::ValueEnum;

use super::{Settings, UsageError};
use crate::flags::{SchedulerName, TrainFlags};

impl Settings {
    /// Whether what was typed for a schedule is for the one that is used, and what was typed for colour
    /// noise for some.
    ///
    /// # Errors
    /// When a flag would have no effect; the message names it.
    pub(crate) fn check_typed(&self, typed: &TrainFlags) -> Result<(), UsageError> {
        self.check_schedule(typed)?;
        let of_noise = [
            ("colour-noise-from", typed.colour_noise_from.is_some()),
            ("colour-noise-epochs", typed.colour_noise_epochs.is_some()),
        ];
        match of_noise.iter().find(|(_, is_typed)| *is_typed && self.colour_noise == 0.0) {
            Some((flag, _)) => Err(UsageError(format!(
                "--{flag} has no effect with --colour-noise 0: pass another --colour-noise, or leave \
                 it out"
            ))),
            None => Ok(()),
        }
    }

    fn check_schedule(&self, typed: &TrainFlags) -> Result<(), UsageError> {
        use SchedulerName::{
            Cosine, Drops, ExponentialSteps, Plateau, Polynomial, Step, WarmRestarts,
        };
        let of_schedules: [(_, _, &[SchedulerName]); 8] = [
            ("lr-step-size", typed.lr_step_size.is_some(), &[Step, WarmRestarts]),
            ("lr-drops", typed.lr_drops.is_some(), &[Drops]),
            ("lr-gamma", typed.lr_gamma.is_some(), &[Step, Drops, Plateau]),
            ("lr-patience", typed.lr_patience.is_some(), &[Plateau]),
            ("lr-cycle-growth", typed.lr_cycle_growth.is_some(), &[WarmRestarts]),
            ("lr-steps", typed.lr_steps.is_some(), &[ExponentialSteps]),
            ("lr-power", typed.lr_power.is_some(), &[Polynomial]),
            (
                "lr-min",
                typed.lr_min.is_some(),
                &[Cosine, WarmRestarts, Polynomial, ExponentialSteps],
            ),
        ];
        let is_idle =
            |of: &&(_, bool, &[SchedulerName])| of.1 && !of.2.contains(&self.lr_scheduler);
        match of_schedules.iter().find(is_idle) {
            Some((flag, _, schedules)) => Err(UsageError(format!(
                "--{flag} has no effect with --lr-scheduler {}: it is for {}",
                name(self.lr_scheduler),
                schedules.iter().map(|&of| name(of)).collect::<Vec<_>>().join(", ")
            ))),
            None => Ok(()),
        }
    }
}

/// A schedule's name as it is typed.
fn name(scheduler: SchedulerName) -> String {
    scheduler.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalisation::ColoursOf;
    use crate::settings::tests::decide;

    #[test]
    fn what_is_typed_for_another_schedule_is_refused_and_what_a_file_says_of_it_is_not() {
        let typed = TrainFlags {
            lr_scheduler: Some(SchedulerName::Step),
            lr_drops: Some("3,5".parse().expect("epochs")),
            ..TrainFlags::default()
        };
        let settings = decide(&typed).expect("decided");
        let refused = settings.check_typed(&typed).expect_err("refused").to_string();
        assert!(
            refused.starts_with("--lr-drops has no effect with --lr-scheduler step"),
            "{refused}"
        );
        assert!(settings.check_typed(&TrainFlags::default()).is_ok());
        let drops = TrainFlags { lr_scheduler: Some(SchedulerName::Drops), ..typed };
        assert!(decide(&drops).expect("decided").check_typed(&drops).is_ok());
    }

    #[test]
    fn what_is_typed_for_colour_noise_is_refused_where_there_is_none() {
        let none = TrainFlags::default;
        let from = TrainFlags { colour_noise_from: Some(ColoursOf::Imagenet), ..none() };
        let epochs = TrainFlags { colour_noise_epochs: Some(3), ..none() };
        for (typed, flag) in [(from, "--colour-noise-from"), (epochs, "--colour-noise-epochs")] {
            let refused = decide(&typed).expect("decided").check_typed(&typed).expect_err(flag);
            let says = format!("{flag} has no effect with --colour-noise 0");
            assert!(refused.0.starts_with(&says), "{refused}");
            let noisy = TrainFlags { colour_noise: Some(0.1), ..typed };
            assert!(decide(&noisy).expect("decided").check_typed(&noisy).is_ok(), "{flag}");
        }
    }
}
