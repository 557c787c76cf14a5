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
    let Some(first) = networks.first() else { return Ok(totals.metrics()) };
    let (computes_by_itself, classes) = (first.device().is_asynchronous(), first.classes());
    let loader = loader.clone().with_pixels(Pixels::preferred_by(first.device()));
    let (mut passes, mut probabilities) = (Passes::new(networks), Vec::new());
    let (mut epoch, mut upcoming) = (loader.epoch(0, 0), None);
    while let Some(batch) = upcoming.take().or_else(|| epoch.next_batch()) {
        let batch = batch?;
        passes.begin(&batch);
        if computes_by_itself {
            upcoming = epoch.next_batch();
        }
        let next = upcoming.as_ref().and_then(|next| next.as_ref().ok());
        // The next batch crosses while the device computes this one,
        next.into_iter().for_each(|next| passes.bring(next));
        passes.finish(&batch);
        // and is computed while this one is counted.
        next.into_iter().for_each(|next| passes.begin(next));
        probabilities.resize(batch.len() * classes, 0.0);
        mean_probabilities(&mut probabilities, &passes.logits, [loader.views(), classes]);
        let mut unreadable = batch.unreadable.iter().map(|image| image.slot).peekable();
        for (slot, row) in probabilities.chunks_exact(classes).enumerate() {
            let (sample, label) = (batch.samples[slot], batch.labels[slot]);
            if unreadable.next_if_eq(&slot).is_some() {
                let loss = loss(1.0 / classes as f64);
                totals.add_wrong(loss);
                answered(&Answer { sample, label, loss, answer: None });
                continue;
            }
            let (loss, rank) = (loss(row[label as usize]), rank(row, label as usize));
            totals.add(rank, loss);
            let answer = Ranked { probabilities: row, predicted: likeliest(row), rank };
            answered(&Answer { sample, label, loss, answer: Some(answer) });
        }
        counted(&batch, totals.images)?;
        epoch.recycle(batch);
    }
    Ok(totals.metrics())
}

/// Passes of batches through every network.
struct Passes<'n, D: Device> {
    networks: &'n mut [Network<D>],
    /// Whether the first pass of the batch to be finished next is asked for.
    is_begun: bool,
    /// What a batch's passes gave, network after network (pictures, classes).
    logits: Vec<f32>,
}

impl<'n, D: Device> Passes<'n, D> {
    fn new(networks: &'n mut [Network<D>]) -> Self {
        networks.iter_mut().for_each(Network::forget_brought);
        Self { networks, is_begun: false, logits: Vec::new() }
    }

    /// Has the device bring a batch beside what it computes.
    fn bring(&mut self, batch: &Batch) {
        self.networks[0].bring_to_evaluate(&batch.images);
    }

    /// Asks for the first of a batch's passes, unless it was.
    fn begin(&mut self, batch: &Batch) {
        if !std::mem::replace(&mut self.is_begun, true) {
            begin_from(&mut self.networks[0], batch, 0);
        }
    }

    /// The logits of all of a batch's passes, of which the first is asked for.
    fn finish(&mut self, batch: &Batch) {
        self.logits.clear();
        for network in &mut *self.networks {
            let pictures = Images::from(&batch.images).count(network.plan().image_len());
            for first in (0..pictures).step_by(network.plan().batch) {
                if !std::mem::take(&mut self.is_begun) {
                    begin_from(network, batch, first);
                }
                self.logits.extend_from_slice(network.logits());
            }
        }
    }
}

/// Begins the pass over a batch's pictures from this one on: ten views of each image are more than a
/// network takes at a time.
fn begin_from<D: Device>(network: &mut Network<D>, batch: &Batch, first: usize) {
    let (images, len) = (Images::from(&batch.images), network.plan().image_len());
    let end = images.count(len).min(first + network.plan().batch);
    network.begin_forward(images.part(first..end, len), Pass::Evaluate);
}

/// The class that no other comes before, as [`rank`] has it.
fn likeliest(outputs: &[f64]) -> u32 {
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

/// The `mean` probabilities of images (N, classes), over networks and views, of `logits` (networks, N,
/// views, classes).
fn mean_probabilities(mean: &mut [f64], logits: &[f32], [views, classes]: [usize; 2]) {
    let share = mean.len() as f64 / logits.len() as f64;
    mean.fill(0.0);
    for of_network in logits.chunks_exact(mean.len() * views) {
        for (picture, row) in of_network.chunks_exact(classes).enumerate() {
            let mean = &mut mean[picture / views * classes..][..classes];
            mean.iter_mut().zip(softmax(row)).for_each(|(mean, p)| *mean += p * share);
        }
    }
}
