//! Loss and accuracy of one network or of several together.

use alexnet_data::{DataError, Loader};
use alexnet_network::{Network, Pass};
use alexnet_ops::{Device, softmax};

use crate::metrics::{Metrics, Totals};

/// Evaluates `networks` over all of `loader`'s images. Several are an ensemble: their probabilities
/// are averaged, as the paper does (§6). `counted` is told how many images are done.
///
/// # Errors
/// When an image cannot be read.
pub fn evaluate<D: Device>(
    networks: &mut [Network<D>],
    loader: &Loader,
    mut counted: impl FnMut(u64),
) -> Result<Metrics, DataError> {
    let mut totals = Totals::default();
    let mut epoch = loader.epoch(0, 0);
    while let Some(batch) = epoch.next_batch() {
        let batch = batch?;
        let probabilities = mean_probabilities(networks, &batch.images);
        let classes = probabilities.len() / batch.len();
        for (row, &label) in probabilities.chunks_exact(classes).zip(&batch.labels) {
            let outputs: Vec<f32> = row.iter().map(|&p| p.ln() as f32).collect();
            totals.add(&outputs, label, loss(row[label as usize]));
        }
        counted(totals.images);
        epoch.recycle(batch);
    }
    Ok(totals.metrics())
}

/// `−ln probability`. One too small for `f64` counts as the smallest there is, not as an infinite
/// loss; one that is no number makes a loss that is none.
fn loss(probability: f64) -> f64 {
    if probability < f64::MIN_POSITIVE { -f64::MIN_POSITIVE.ln() } else { -probability.ln() }
}

/// (N, classes)
fn mean_probabilities<D: Device>(networks: &mut [Network<D>], images: &[f32]) -> Vec<f64> {
    let share = 1.0 / networks.len() as f64;
    let mut mean = Vec::new();
    for network in networks {
        let logits = network.forward(images, Pass::Evaluate);
        mean.resize(logits.len(), 0.0);
        let rows = logits.chunks_exact(network.classes()).flat_map(softmax);
        mean.iter_mut().zip(rows).for_each(|(mean, p)| *mean += p * share);
    }
    mean
}
