//! A trained network in a file.

use std::path::Path;

use alexnet_data::{Disk, FileSystem, Preprocess};
use alexnet_network::{Array, ModelConfig};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::container::{self, WeightsError};

/// Everything needed to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The table and its options.
    pub config: ModelConfig,
    /// Class names, in the order of the outputs.
    pub classes: Vec<String>,
    /// What happens to an image before the network sees it.
    pub preprocess: Preprocess,
    /// Weights and running statistics, named and ordered as in `docs/weights.md`.
    pub weights: Vec<Array>,
}

/// The part that is not arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) model: ModelConfig,
    pub(crate) classes: Vec<String>,
    pub(crate) preprocess: Preprocess,
}

/// What stands in the description of every checkpoint, and of no weights file.
#[derive(Deserialize)]
struct OfCheckpoint {
    #[serde(rename = "progress")]
    _progress: IgnoredAny,
}

impl Description {
    /// The description of a whole file.
    ///
    /// # Errors
    /// When it is of a checkpoint, or of another version.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, WeightsError> {
        container::parse(path, text).map_err(|error| {
            match serde_json::from_str::<OfCheckpoint>(text) {
                Ok(_) => WeightsError::Checkpoint { path: path.into() },
                Err(_) => error,
            }
        })
    }
}

impl ModelFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses or a weight is no number.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        self.save_on(&Disk, path)
    }

    /// As [`save`](Self::save), on another disk.
    ///
    /// # Errors
    /// As there.
    pub fn save_on(&self, disk: &dyn FileSystem, path: &Path) -> Result<(), WeightsError> {
        let description = self.description();
        let arrays = self.weights.iter().map(|array| (array.name.clone(), array));
        container::write(disk, path, arrays, &description).map(drop)
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When it is unreadable, malformed, damaged, of another kind or version, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        Self::load_from(&Disk, path)
    }

    /// As [`load`](Self::load), from another disk.
    ///
    /// # Errors
    /// As there.
    pub fn load_from(disk: &dyn FileSystem, path: &Path) -> Result<Self, WeightsError> {
        let (weights, description) = container::read_any(disk, path)?;
        let description = description.ok_or_else(|| WeightsError::Foreign { path: path.into() })?;
        Self::new(Description::parse(path, &description)?, weights)
            .map_err(|reason| WeightsError::Malformed { path: path.into(), reason })
    }

    /// A file of this description.
    ///
    /// # Errors
    /// When the description contradicts itself.
    pub(crate) fn new(description: Description, weights: Vec<Array>) -> Result<Self, String> {
        let Description { model: config, classes, preprocess } = description;
        if classes.len() != config.classes {
            return Err(format!("{} class names for {} outputs", classes.len(), config.classes));
        }
        if preprocess.crop as usize != config.image_size {
            return Err(format!(
                "crops of {} for images of {}",
                preprocess.crop, config.image_size
            ));
        }
        preprocess.check().map_err(|error| error.to_string())?;
        Ok(Self { config, classes, preprocess, weights })
    }

    /// All but the weights.
    pub(crate) fn description(&self) -> Description {
        Description {
            model: self.config,
            classes: self.classes.clone(),
            preprocess: self.preprocess.clone(),
        }
    }
}
