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
    let (mut probabilities, mut outputs) = (Vec::new(), Vec::new());
    let mut epoch = loader.epoch(0, 0);
    while let Some(batch) = epoch.next_batch() {
        let batch = batch?;
        mean_probabilities(&mut probabilities, networks, &batch.images);
        let classes = probabilities.len() / batch.len();
        for (row, &label) in probabilities.chunks_exact(classes).zip(&batch.labels) {
            outputs.clear();
            outputs.extend(row.iter().map(|&p| p.ln() as f32));
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

/// The networks' `mean` probabilities of each class: (N, classes).
fn mean_probabilities<D: Device>(mean: &mut Vec<f64>, networks: &mut [Network<D>], images: &[f32]) {
    let share = 1.0 / networks.len() as f64;
    mean.clear();
    for network in networks {
        let classes = network.classes();
        let logits = network.forward(images, Pass::Evaluate);
        mean.resize(logits.len(), 0.0);
        let rows = logits.chunks_exact(classes).flat_map(softmax);
        mean.iter_mut().zip(rows).for_each(|(mean, p)| *mean += p * share);
    }
}
