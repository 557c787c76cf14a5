//! An image becomes labels: decoded and preprocessed as in evaluation, through the network, the
//! likeliest classes first.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use alexnet_data::{DataError, Preprocess};
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

    /// The `count` likeliest classes, likeliest first; equals in class order.
    pub fn top(&self, logits: &[f32], count: usize) -> Vec<Ranked> {
        let probabilities = softmax(logits);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let ranked = |index: usize| {
            let class = self.classes[index].clone();
            Ranked { index, class, probability: probabilities[index] }
        };
        order.into_iter().take(count).map(ranked).collect()
    }
}
