//! `--weights`: a run that begins from what another learned.

use std::path::{Path, PathBuf};

use alexnet_network::{Array, Plan, TensorSpec};
use alexnet_weights::ModelFile;
use alexnet_weights::formats::Known;
use anyhow::ensure;

use crate::commands::open_weights;
use crate::flags::TrainFlags;
use crate::normalisation::{Levels, Mean};
use crate::settings::UsageError;

/// The last layer's weights and biases stand last.
const HEAD_TENSORS: usize = 2;

/// What a run begins from.
pub(crate) struct Beginning {
    path: PathBuf,
    pub(crate) file: ModelFile,
}

impl Beginning {
    /// The weights of this file, of any form.
    ///
    /// # Errors
    /// When the file is unreadable, malformed or damaged.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let file = open_weights(path, &Known::default())?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// The flags, and where nothing was typed what the weights were trained with.
    ///
    /// # Errors
    /// When another network was typed than the weights are of.
    pub(crate) fn completed(&self, flags: TrainFlags) -> Result<TrainFlags, UsageError> {
        let (config, preprocess) = (&self.file.config, &self.file.preprocess);
        self.same("model", flags.model, config.model)?;
        self.same("width", flags.width, config.width)?;
        self.same("batch-norm", flags.batch_norm, config.batch_norm)?;
        // At another image size, images are resized in the usual proportion.
        let resize = flags.image_size.is_none().then_some(preprocess.resize as usize);
        Ok(TrainFlags {
            recipe: flags.recipe.or(Some(config.model)),
            model: Some(config.model),
            width: Some(config.width),
            batch_norm: Some(config.batch_norm),
            dropout: flags.dropout.or(config.dropout),
            image_size: flags.image_size.or(Some(config.image_size)),
            resize_size: flags.resize_size.or(resize),
            fit: flags.fit.or(Some(preprocess.fit.into())),
            mean: flags.mean.or(Some(Mean::Levels(Levels::Weights))),
            std: flags.std.or(Some(Levels::Weights)),
            ..flags
        })
    }

    fn same<T: PartialEq + std::fmt::Display>(
        &self,
        flag: &str,
        typed: Option<T>,
        own: T,
    ) -> Result<(), UsageError> {
        match typed {
            Some(typed) if typed != own => Err(UsageError(format!(
                "--{flag} is {typed}, but the network in {} has {own}: leave --{flag} out",
                self.path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the weights fit the plan of the run, but for the last layer.
    ///
    /// # Errors
    /// When they do not; the message names the first tensor that does not.
    pub(crate) fn check(&self, plan: &Plan) -> anyhow::Result<()> {
        let tensors: Vec<_> = plan.parameters.iter().flat_map(|of| &of.tensors).collect();
        for TensorSpec { name, shape, .. } in tensors.iter().rev().skip(HEAD_TENSORS).rev() {
            let found = self.file.weights.iter().find(|array| array.name == *name);
            let found = found.map(|array| &array.shape);
            ensure!(
                found == Some(shape),
                "{} does not fit: at {} pixels tensor {name} has shape {shape:?}, there {}: leave \
                 --image-size out",
                self.path.display(),
                plan.model.config.image_size,
                found.map_or("is none".into(), |found| format!("it is {found:?}"))
            );
        }
        Ok(())
    }

    /// Whether there is anything for `--init` to begin, in a network that tells `classes` apart.
    ///
    /// # Errors
    /// When all layers are the weights' own.
    pub(crate) fn check_init(&self, classes: &[String]) -> Result<(), UsageError> {
        match self.rows(classes) {
            Some(_) => Err(UsageError(format!(
                "--init has no effect: {} knows all classes of the data, so that no layer starts anew",
                self.path.display()
            ))),
            None => Ok(()),
        }
    }

    /// Where the last layer knows `classes`, if it knows all.
    fn rows(&self, classes: &[String]) -> Option<Vec<usize>> {
        let of_class = |class| self.file.classes.iter().position(|known| known == class);
        classes.iter().map(of_class).collect()
    }

    /// The weights for a network that tells `classes` apart and would otherwise start from `fresh`,
    /// and in words what was taken. The last layer's rows are found by their classes' names; if the
    /// file lacks one, the whole layer starts anew.
    pub(crate) fn weights(&self, fresh: &[Array], classes: &[String]) -> (Vec<Array>, String) {
        let rows = self.rows(classes);
        let head: Vec<&str> =
            fresh.iter().rev().take(HEAD_TENSORS).map(|array| &*array.name).collect();
        let begun = self.file.weights.iter().map(|array| {
            let Some(anew) = fresh.iter().find(|f| f.name == array.name) else {
                return array.clone(); // the network says that it has no such layer
            };
            match &rows {
                _ if !head.contains(&&*array.name) => array.clone(),
                Some(rows) => with_rows(array, rows),
                None => anew.clone(),
            }
        });
        let head = match &rows {
            Some(_) if classes == self.file.classes => "with its classes".to_owned(),
            Some(_) => format!("with {} of its {} classes", classes.len(), self.file.classes.len()),
            None => "with a new last layer, for its classes are others".to_owned(),
        };
        let line = format!("Begins   from {}, {head}", self.path.display());
        (begun.collect(), line)
    }
}

/// These rows of an array, in this order.
fn with_rows(array: &Array, rows: &[usize]) -> Array {
    let len = array.shape.iter().skip(1).product();
    let mut shape = array.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = rows.len();
    }
    let row = |&row: &usize| &array.values[row * len..][..len];
    let values = rows.iter().flat_map(row).copied().collect();
    Array { name: array.name.clone(), shape, values }
}

#[cfg(test)]
mod tests {
    use alexnet_data::{Fit, Preprocess};
    use alexnet_network::{ModelConfig, ModelName};

    use super::*;

    fn array(name: &str, shape: &[usize], first: f32) -> Array {
        let len = shape.iter().product::<usize>();
        let values = (0..len).map(|index| first + index as f32).collect();
        Array { name: name.into(), shape: shape.into(), values }
    }

    fn beginning() -> Beginning {
        let (model, mean, std) = (ModelName::Modern, [1.0; 3], [2.0; 3]);
        let config = ModelConfig {
            model,
            classes: 3,
            image_size: 64,
            width: 0.5,
            batch_norm: true,
            dropout: None,
        };
        let fit = Fit::Warp;
        let preprocess = Preprocess { fit, resize: 80, crop: 64, mean, std, mean_image: None };
        let weights =
            vec![array("body", &[2], 5.0), array("w", &[3, 2], 10.0), array("b", &[3], 20.0)];
        let classes = ["bat", "cat", "rat"].map(String::from).into();
        Beginning { path: "w.st".into(), file: ModelFile { config, classes, preprocess, weights } }
    }

    #[test]
    fn rows_of_the_last_layer_are_found_by_name_or_all_start_anew() {
        let fresh = [array("body", &[2], 0.0), array("w", &[2, 2], 0.0), array("b", &[2], 0.0)];
        let names = |names: [&str; 2]| names.map(String::from);
        let (known, line) = beginning().weights(&fresh, &names(["rat", "bat"]));
        assert_eq!(known[0].values, [5.0, 6.0]);
        assert_eq!((&*known[1].shape, &*known[1].values), (&[2, 2][..], &[14., 15., 10., 11.][..]));
        assert_eq!(known[2].values, [22.0, 20.0]);
        assert!(line.contains("2 of its 3 classes"), "{line}");
        let (others, line) = beginning().weights(&fresh, &names(["bat", "dog"]));
        assert_eq!(others[0].values, [5.0, 6.0]);
        assert_eq!((&others[1], &others[2]), (&fresh[1], &fresh[2]));
        assert!(line.contains("new last layer"), "{line}");
    }

    #[test]
    fn the_weights_network_is_the_run_s_and_what_was_typed_holds() {
        let typed = TrainFlags { image_size: Some(96), lr: Some(0.5), ..TrainFlags::default() };
        let flags = beginning().completed(typed).expect("completed");
        assert_eq!((flags.width, flags.image_size, flags.resize_size), (Some(0.5), Some(96), None));
        assert_eq!((flags.lr, flags.std), (Some(0.5), Some(Levels::Weights)));
        let other = TrainFlags { model: Some(ModelName::Paper), ..TrainFlags::default() };
        let error = beginning().completed(other).expect_err("refused").to_string();
        assert!(
            error.starts_with("--model is paper, but the network in w.st has modern"),
            "{error}"
        );
    }
}
