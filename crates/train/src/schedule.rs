//! How the learning rate moves: a factor on its starting value, from the position in the run.

use std::borrow::Cow;
use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// A schedule. Positions and periods are in epochs since the end of the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Never moves.
    Constant,
    /// Multiplied by `gamma` every `period` epochs. torchvision: 0.1 every 30.
    Step {
        /// Epochs between drops.
        period: f64,
        /// Factor of a drop.
        gamma: f64,
    },
    /// Multiplied by `gamma` at each of these epochs: drops as they were made by hand in 2012.
    Drops {
        /// Where it drops, in rising order.
        at: Cow<'static, [f64]>,
        /// Factor of a drop.
        gamma: f64,
    },
    /// So many equal steps down to `floor` over the run, each by the same factor: cuda-convnet2's
    /// `dexp`.
    ExponentialSteps {
        /// Different rates: 4 for its AlexNet.
        steps: u64,
        /// Last factor: 1/250 for its AlexNet.
        floor: f64,
    },
    /// `(1 − share done)^power` down to `floor` over the run: Caffe's `poly`.
    Polynomial {
        /// 1 is a straight line.
        power: f64,
        /// Last factor.
        floor: f64,
    },
    /// Multiplied by `gamma` when the validation error has not improved for `patience` epochs in a
    /// row: the paper's rule (§5), which its authors applied by hand.
    Plateau {
        /// Epochs to wait.
        patience: u64,
        /// Factor of a drop.
        gamma: f64,
    },
    /// Half a cosine down to `floor` over the run.
    Cosine {
        /// Last factor.
        floor: f64,
    },
    /// Half a cosine down to `floor` over a cycle, then up again at once: SGDR, Loshchilov and
    /// Hutter 2016.
    WarmRestarts {
        /// Epochs of the first cycle.
        period: f64,
        /// Each cycle is so many times as long as the one before.
        growth: f64,
        /// Last factor of a cycle.
        floor: f64,
    },
}

/// What a schedule remembers of the run. Only [`Schedule::Plateau`] changes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleMemory {
    /// Product of the drops so far.
    factor: f64,
    /// Lowest validation error so far.
    best_error: Option<f64>,
    /// Epochs since then or since the last drop.
    waited: u64,
}

impl Default for ScheduleMemory {
    fn default() -> Self {
        Self { factor: 1.0, best_error: None, waited: 0 }
    }
}

impl Schedule {
    /// The factor at `position` of a run of `span` epochs.
    pub fn factor(&self, memory: &ScheduleMemory, position: f64, span: f64) -> f64 {
        let done = (position / span).min(1.0);
        match *self {
            Self::Constant => 1.0,
            Self::Step { period, gamma } => gamma.powf((position / period).floor()),
            Self::Drops { ref at, gamma } => {
                gamma.powi(at.iter().filter(|&&at| at <= position).count() as i32)
            }
            Self::ExponentialSteps { steps, floor } => {
                let step = (done * steps as f64).floor().min(steps as f64 - 1.0);
                floor.powf(step / (steps as f64 - 1.0).max(1.0))
            }
            Self::Polynomial { power, floor } => floor + (1.0 - floor) * (1.0 - done).powf(power),
            Self::Plateau { .. } => memory.factor,
            Self::Cosine { floor } => half_cosine(done, floor),
            Self::WarmRestarts { period, growth, floor } => {
                let (mut begin, mut length) = (0.0, period);
                while position >= begin + length {
                    begin += length;
                    length *= growth;
                }
                half_cosine((position - begin) / length, floor)
            }
        }
    }

    /// The schedule of a run `stretch` times as long.
    #[must_use]
    pub(crate) fn stretched(&self, stretch: f64) -> Self {
        match self {
            Self::Step { period, gamma } => Self::Step { period: period * stretch, gamma: *gamma },
            Self::Drops { at, gamma } => {
                Self::Drops { at: at.iter().map(|at| at * stretch).collect(), gamma: *gamma }
            }
            // The others follow the run's length, or what it does.
            other => other.clone(),
        }
    }

    /// Takes note of an epoch's validation error.
    pub fn end_epoch(&self, memory: &mut ScheduleMemory, validation_error: f64) {
        let Self::Plateau { patience, gamma } = *self else { return };
        if memory.best_error.is_none_or(|best| validation_error < best) {
            memory.best_error = Some(validation_error);
            memory.waited = 0;
            return;
        }
        memory.waited += 1;
        if memory.waited >= patience {
            memory.factor *= gamma;
            memory.waited = 0;
        }
    }
}

/// From 1 at `done` = 0 to `floor` at 1.
fn half_cosine(done: f64, floor: f64) -> f64 {
    floor + (1.0 - floor) * (1.0 + (PI * done.min(1.0)).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, span: f64, positions: &[f64]) -> Vec<f64> {
        let memory = ScheduleMemory::default();
        let rounded = |factor: f64| (factor * 1e6).round() / 1e6;
        positions.iter().map(|&p| rounded(schedule.factor(&memory, p, span))).collect()
    }

    #[test]
    fn each_schedule_passes_through_its_landmarks() {
        let restarts = Schedule::WarmRestarts { period: 2.0, growth: 2.0, floor: 0.0 };
        let cases = [
            (Schedule::Constant, vec![0.0, 9.9], vec![1.0, 1.0]),
            (
                Schedule::Step { period: 3.0, gamma: 0.1 },
                vec![0.0, 2.9, 3.0, 6.0],
                vec![1.0, 1.0, 0.1, 0.01],
            ),
            (
                Schedule::Drops { at: vec![2.0, 5.5].into(), gamma: 0.1 },
                vec![0.0, 1.9, 2.0, 5.4, 5.5],
                vec![1.0, 1.0, 0.1, 0.1, 0.01],
            ),
            // .01, .0015874, .00025198, .00004 of cuda-convnet2's logs.
            (
                Schedule::ExponentialSteps { steps: 4, floor: 1.0 / 250.0 },
                vec![0.0, 2.4, 2.5, 5.0, 7.5, 10.0],
                vec![1.0, 1.0, 0.15874, 0.025198, 0.004, 0.004],
            ),
            (Schedule::Polynomial { power: 1.0, floor: 0.0 }, vec![0.0, 5.0], vec![1.0, 0.5]),
            (Schedule::Polynomial { power: 0.5, floor: 0.1 }, vec![7.5, 10.0], vec![0.55, 0.1]),
            (Schedule::Cosine { floor: 0.0 }, vec![0.0, 5.0, 10.0, 11.0], vec![1.0, 0.5, 0.0, 0.0]),
            (Schedule::Cosine { floor: 0.2 }, vec![0.0, 5.0, 10.0], vec![1.0, 0.6, 0.2]),
            // Cycles of 2, 4, 8 epochs.
            (restarts, vec![0.0, 1.0, 2.0, 4.0, 6.0, 10.0], vec![1.0, 0.5, 1.0, 0.5, 1.0, 0.5]),
        ];
        for (schedule, positions, expected) in cases {
            assert_eq!(factors(schedule.clone(), 10.0, &positions), expected, "{schedule:?}");
        }
    }

    #[test]
    fn a_plateau_drops_the_rate_after_its_patience_and_waits_again() {
        let schedule = Schedule::Plateau { patience: 2, gamma: 0.1 };
        let mut memory = ScheduleMemory::default();
        let errors = [0.9, 0.5, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4];
        let factors: Vec<f64> = errors
            .map(|error| {
                schedule.end_epoch(&mut memory, error);
                (schedule.factor(&memory, 0.0, 1.0) * 1e6).round() / 1e6
            })
            .into();
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001]);
    }
}
