//! Means of a few values, and how far they can be trusted.

use serde::Serialize;

/// What a few values of one quantity come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of n − 1; 0 of a single value.
    pub deviation: f64,
}

impl Estimate {
    /// Of these values; of none, zeros.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (squares / count.saturating_sub(1).max(1) as f64).sqrt();
        Self { count, mean, deviation }
    }

    /// The mean's standard error; infinite of fewer than two values, which say nothing of it.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        if self.count < 2 { f64::INFINITY } else { self.deviation / (self.count as f64).sqrt() }
    }

    /// Half the width of the mean's 95 % interval, by Student's distribution.
    #[must_use]
    pub fn margin(&self) -> f64 {
        match self.count {
            0 | 1 => f64::INFINITY,
            count => self.standard_error() * STUDENT.get(count - 2).unwrap_or(&NORMAL),
        }
    }
}

/// 97.5 % points of Student's distribution for 1, 2, 3… degrees of freedom.
const STUDENT: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
/// For more; 2.23 at ten.
const NORMAL: f64 = 2.23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_the_textbooks() {
        let of = Estimate::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((of.count, of.mean), (8, 5.0));
        assert!((of.deviation - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((of.margin() - 2.365 * of.standard_error()).abs() < 1e-12);
        let one = Estimate::of(&[3.0]);
        assert_eq!((one.mean, one.deviation, one.margin()), (3.0, 0.0, f64::INFINITY));
    }
}
