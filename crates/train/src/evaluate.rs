//! Loss and accuracy of one network or of several together.

use alexnet_data::{Batch, DataError, Loader, Pixels};
use alexnet_network::{Images, Network, Pass};
use alexnet_ops::{Device, rank, softmax};

use crate::metrics::{Metrics, Totals};

/// What was answered to one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer<'e> {
    /// The image's index among those evaluated.
    pub sample: usize,
    /// What it shows.
    pub label: u32,
    /// Cross-entropy.
    pub loss: f64,
    /// `None` if the image could not be read, which counts as wrong.
    pub answer: Option<Ranked<'e>>,
}

/// An answer to an image that could be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked<'e> {
    /// Of each class, (classes).
    pub probabilities: &'e [f64],
    /// The likeliest class; of equals the first.
    pub predicted: u32,
    /// How many classes come before the label: 0 is right.
    pub rank: usize,
}

/// Evaluates `networks` over all of `loader`'s images. Several are an ensemble: their probabilities
/// are averaged, as the paper does (§6); so are those of several views of an image (§4.1). An image
/// that could not be read counts as wrong, with the loss of a guess. After each batch `counted` is
/// told it, and how many images are done; its error ends the evaluation. Pixels come as the networks'
/// device prefers them.
///
/// # Errors
/// When an image cannot be read, or `counted` says so.
pub fn evaluate<D: Device>(
    networks: &mut [Network<D>],
    loader: &Loader,
    counted: impl FnMut(&Batch, u64) -> Result<(), DataError>,
) -> Result<Metrics, DataError> {
    evaluate_each(networks, loader, |_| (), counted)
}

/// As [`evaluate`]; `answered` is told of every image, in the order of the loader.
///
/// # Errors
/// When an image cannot be read, or `counted` says so.
pub fn evaluate_each<D: Device>(
    networks: &mut [Network<D>],
    loader: &Loader,
    mut answered: impl FnMut(&Answer<'_>),
    mut counted: impl FnMut(&Batch, u64) -> Result<(), DataError>,
) -> Result<Metrics, DataError> {
    let mut totals = Totals::default();
    let (mut probabilities, mut outputs) = (Vec::new(), Vec::new());
    let pixels = networks.first().map(|network| Pixels::preferred_by(network.device()));
    let loader = loader.clone().with_pixels(pixels.unwrap_or_default());
    let mut epoch = loader.epoch(0, 0);
    while let Some(batch) = epoch.next_batch() {
        let batch = batch?;
        mean_probabilities(&mut probabilities, networks, (&batch.images).into(), loader.views());
        let classes = probabilities.len() / batch.len();
        let mut unreadable = batch.unreadable.iter().map(|image| image.slot).peekable();
        for (slot, row) in probabilities.chunks_exact(classes).enumerate() {
            let (sample, label) = (batch.samples[slot], batch.labels[slot]);
            if unreadable.next_if_eq(&slot).is_some() {
                let loss = loss(1.0 / classes as f64);
                totals.add_wrong(loss);
                answered(&Answer { sample, label, loss, answer: None });
                continue;
            }
            outputs.clear();
            outputs.extend(row.iter().map(|&p| p.ln() as f32));
            let loss = loss(row[label as usize]);
            let (rank, predicted) = (rank(&outputs, label as usize), likeliest(&outputs));
            totals.add(rank, loss);
            let answer = Some(Ranked { probabilities: row, predicted, rank });
            answered(&Answer { sample, label, loss, answer });
        }
        counted(&batch, totals.images)?;
        epoch.recycle(batch);
    }
    Ok(totals.metrics())
}

/// The class that no other comes before, as [`rank`] has it.
fn likeliest(outputs: &[f32]) -> u32 {
    let mut best = 0;
    for (class, &output) in outputs.iter().enumerate() {
        if output > outputs[best] {
            best = class;
        }
    }
    best as u32
}

/// `−ln probability`. One too small for `f64` counts as the smallest there is, not as an infinite
/// loss; one that is no number makes a loss that is none.
fn loss(probability: f64) -> f64 {
    if probability < f64::MIN_POSITIVE { -f64::MIN_POSITIVE.ln() } else { -probability.ln() }
}

/// The `mean` probabilities of each class over networks and views: (N, classes).
fn mean_probabilities<D: Device>(
    mean: &mut Vec<f64>,
    networks: &mut [Network<D>],
    images: Images<'_>,
    views: usize,
) {
    let share = 1.0 / (networks.len() * views) as f64;
    mean.clear();
    for network in networks {
        let (classes, picture_len) = (network.classes(), network.plan().image_len());
        let (pictures, at_a_time) = (images.count(picture_len), network.plan().batch);
        mean.resize(pictures / views * classes, 0.0);
        let mut picture = 0;
        // Ten views of a batch are more than a network takes at a time.
        for first in (0..pictures).step_by(at_a_time) {
            let part = images.part(first..pictures.min(first + at_a_time), picture_len);
            for row in network.forward(part, Pass::Evaluate).chunks_exact(classes) {
                let mean = &mut mean[picture / views * classes..][..classes];
                mean.iter_mut().zip(softmax(row)).for_each(|(mean, p)| *mean += p * share);
                picture += 1;
            }
        }
    }
}
