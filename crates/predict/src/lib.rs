//! An image becomes labels: decoded and preprocessed as in evaluation, through the network, the
//! likeliest classes first.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use alexnet_data::{
    Content, DataError, Loader, LoaderConfig, Order, Pixels, Preprocess, Sample, Unreadable, View,
};
use alexnet_network::{Initialisation, LoadError, Model, ModelError, Network, Pass, Plan, Purpose};
use alexnet_ops::{Device, softmax};
use alexnet_weights::formats::{self, Known};
use alexnet_weights::{ModelFile, WeightsError};
use serde::Serialize;

/// Why there is no predictor or no prediction.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The weights file was not read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its table makes no network.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The weights file.
        path: PathBuf,
        /// Why.
        reason: ModelError,
    },
    /// Its arrays are not that network's.
    #[error("{}: {reason}", path.display())]
    Load {
        /// The weights file.
        path: PathBuf,
        /// Why.
        reason: LoadError,
    },
    /// The image was not read.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// The plan of a file's network for up to `batch` images at a time: says what memory it takes.
///
/// # Errors
/// When the file's table makes no network.
pub fn inference_plan(path: &Path, file: &ModelFile, batch: usize) -> Result<Plan, PredictError> {
    let plan = Model::new(file.config)
        .and_then(|model| Plan::new(&model, batch, Purpose::Inference, Initialisation::Model));
    plan.map_err(|reason| PredictError::Model { path: path.into(), reason })
}

/// One class and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Place among the outputs.
    pub index: usize,
    /// The class's name.
    pub class: String,
    /// Softmax of the outputs.
    pub probability: f64,
}

/// A trained network, ready to look at images.
pub struct Predictor<D: Device> {
    network: Network<D>,
    classes: Vec<String>,
    preprocess: Preprocess,
}

impl<D: Device> Predictor<D> {
    /// Reads weights of any form at `path` and makes their network for up to `batch` images at a
    /// time.
    ///
    /// # Errors
    /// When the file is not whole and consistent, or of no network that is known.
    pub fn open(device: D, path: &Path, batch: usize) -> Result<Self, PredictError> {
        let file = formats::open(path, &Known::default())?.file;
        let plan = inference_plan(path, &file, batch)?;
        Self::new(device, path, file, plan)
    }

    /// A predictor from a file read from `path`, by an [`inference_plan`] of it.
    ///
    /// # Errors
    /// When the file's arrays are not those of the plan.
    pub fn new(device: D, path: &Path, file: ModelFile, plan: Plan) -> Result<Self, PredictError> {
        let network = Network::with_weights(device, plan, &file.weights);
        let network = network.map_err(|reason| PredictError::Load { path: path.into(), reason })?;
        Ok(Self { network, classes: file.classes, preprocess: file.preprocess })
    }

    /// Class names, in the order of the outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What happens to an image before the network sees it.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The network alone.
    pub fn into_network(self) -> Network<D> {
        self.network
    }

    /// Logits (classes) of the image file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or decoded; the message names it.
    pub fn predict(&mut self, path: &Path) -> Result<Vec<f32>, PredictError> {
        let image = alexnet_data::read_image(path)?;
        let mut pixels = vec![0.0; self.preprocess.image_len()];
        self.preprocess.evaluate(&image, &mut pixels).map_err(DataError::from)?;
        Ok(self.network.forward(&pixels, Pass::Evaluate).to_vec())
    }

    /// Logits (classes) of each image file of `paths` in turn, as many of them at a time as the
    /// network takes, while `workers` threads read and decode the next ones. `told` hears of each, of
    /// those that cannot be read too; its error ends the rest.
    ///
    /// # Errors
    /// When `told` has one, or the preprocessing is of no use.
    pub fn predict_each<E: From<PredictError>>(
        &mut self,
        paths: &[PathBuf],
        workers: usize,
        mut told: impl FnMut(&Path, Result<&[f32], DataError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let loader = self.loader(paths, workers).map_err(PredictError::from)?;
        let (mut batches, classes) = (loader.epoch(0, 0), self.network.classes());
        while let Some(batch) = batches.next_batch() {
            let mut batch = batch.map_err(PredictError::from)?;
            let logits = self.network.forward(&batch.images, Pass::Evaluate);
            let mut unreadable = batch.unreadable.drain(..).peekable();
            for (slot, (&sample, logits)) in
                batch.samples.iter().zip(logits.chunks_exact(classes)).enumerate()
            {
                let lost = unreadable.next_if(|image| image.slot == slot);
                told(&paths[sample], lost.map_or(Ok(logits), |image| Err(image.error)))?;
            }
            drop(unreadable);
            batches.recycle(batch);
        }
        Ok(())
    }

    /// What makes batches of image files, as in evaluation.
    fn loader(&self, paths: &[PathBuf], workers: usize) -> Result<Loader, DataError> {
        let sample = |path: &PathBuf| Sample { content: Content::File(path.clone()), label: 0 };
        let samples: Vec<Sample> = paths.iter().map(sample).collect();
        let config = LoaderConfig {
            batch_size: self.network.plan().batch,
            workers,
            seed: 0,
            augment: View::Centre.into(),
            unreadable: Unreadable::Blank,
            preprocess: self.preprocess.clone(),
            order: Order::Sequential,
        };
        Ok(Loader::new(samples, config)?.with_pixels(Pixels::preferred_by(self.network.device())))
    }
}

/// The `count` likeliest of `classes` by their logits, likeliest first; equals in class order.
///
/// # Panics
/// When there are not as many logits as classes.
pub fn likeliest(classes: &[String], logits: &[f32], count: usize) -> Vec<Ranked> {
    assert_eq!(logits.len(), classes.len(), "there must be as many logits as classes");
    let probabilities = softmax(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let ranked = |index: usize| {
        let class = classes[index].clone();
        Ranked { index, class, probability: probabilities[index] }
    };
    order.into_iter().take(count).map(ranked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "there must be as many logits as classes")]
    fn more_logits_than_classes_are_told_apart_from_a_fault_within() {
        likeliest(&["cat".into(), "dog".into()], &[1.0, 3.0, 2.0], 5);
    }
}
