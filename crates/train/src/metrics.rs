//! Loss and accuracy, counted.

use serde::{Deserialize, Serialize};

/// Labels among the first so many count as found.
pub const TOP: usize = 5;

/// Running counts over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Images counted.
    pub images: u64,
    /// Sum of their losses.
    pub loss_sum: f64,
    /// Images whose label is the largest output.
    pub top1: u64,
    /// Images whose label is among the five largest.
    pub top5: u64,
}

/// What the counts come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Images counted.
    pub images: u64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose label is the largest output.
    pub top1_accuracy: f64,
    /// Share of images whose label is among the five largest.
    pub top5_accuracy: f64,
}

impl Totals {
    /// Counts one image by how many classes come before its label.
    pub fn add(&mut self, rank: usize, loss: f64) {
        self.images += 1;
        self.loss_sum += loss;
        self.top1 += u64::from(rank < 1);
        self.top5 += u64::from(rank < TOP);
    }

    /// Counts one image that could not be read.
    pub fn add_wrong(&mut self, loss: f64) {
        self.images += 1;
        self.loss_sum += loss;
    }

    /// Means of the counts; of nothing, zeros.
    pub fn metrics(&self) -> Metrics {
        let images = self.images.max(1) as f64;
        Metrics {
            images: self.images,
            loss: self.loss_sum / images,
            top1_accuracy: self.top1 as f64 / images,
            top5_accuracy: self.top5 as f64 / images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_the_images_counted() {
        let mut totals = Totals::default();
        [(0, 0.5), (1, 1.5), (4, 0.25), (5, 1.75)]
            .into_iter()
            .for_each(|(rank, loss)| totals.add(rank, loss));
        let expected = Metrics { images: 4, loss: 1.0, top1_accuracy: 0.25, top5_accuracy: 0.75 };
        assert_eq!(totals.metrics(), expected);
    }
}
