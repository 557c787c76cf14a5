//! What others measured with the same models, to stand beside what is measured here.

use std::fmt;

use alexnet_network::{ModelConfig, ModelName};
use serde::Serialize;

/// Classes of ILSVRC-2012, on whose validation images all figures here were measured.
const CLASSES: usize = 1000;

/// Errors that were published, in per cent, on ILSVRC-2012's validation images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Published {
    #[serde(skip)]
    model: ModelName,
    /// Networks whose probabilities were averaged.
    members: usize,
    /// Views of each image.
    crops: usize,
    top1_error_percent: f64,
    top5_error_percent: f64,
    source: &'static str,
}

const PAPER: &str = "Krizhevsky, Sutskever, Hinton 2012, table 2";
const TORCHVISION: &str = "torchvision, AlexNet_Weights.IMAGENET1K_V1";

const fn published(
    (model, members, crops): (ModelName, usize, usize),
    top1_error_percent: f64,
    top5_error_percent: f64,
    source: &'static str,
) -> Published {
    Published { model, members, crops, top1_error_percent, top5_error_percent, source }
}

/// The paper gives no figure for one crop on these images (39.0 and 18.3 % are of ILSVRC-2010's test
/// images), BVLC and torchvision none for ten.
const TABLE: [Published; 7] = [
    published((ModelName::Original, 1, 10), 40.7, 18.2, PAPER),
    published((ModelName::Original, 5, 10), 38.1, 16.4, PAPER),
    published((ModelName::Paper, 1, 10), 40.7, 18.2, PAPER),
    published((ModelName::Paper, 5, 10), 38.1, 16.4, PAPER),
    published((ModelName::Caffe, 1, 1), 42.9, 19.8, "BVLC, bvlc_alexnet/readme.md"),
    published((ModelName::Caffenet, 1, 1), 42.6, 19.6, "BVLC, bvlc_reference_caffenet/readme.md"),
    published((ModelName::Torchvision, 1, 1), 43.478, 20.934, TORCHVISION),
];

impl Published {
    /// The figure of the same model, if these classes are ILSVRC-2012's, as far as their names tell.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn of(
        config: &ModelConfig,
        classes: &[String],
        members: usize,
    ) -> Result<Self, String> {
        if classes.len() != CLASSES || !classes.iter().all(|class| is_wnid(class)) {
            return Err("no published figure for these classes".into());
        }
        let native = config.model.native_image_size();
        let changed = config.width != 1.0
            || config.batch_norm
            || config.dropout.is_some()
            || config.image_size != native;
        let found = TABLE.iter().find(|row| row.model == config.model && row.members == members);
        match found.filter(|_| !changed) {
            Some(found) => Ok(*found),
            None if changed => Err(format!("no published figure for a changed {}", config.model)),
            None if members > 1 => {
                Err(format!("no published figure for {members} {} together", config.model))
            }
            None => Err(format!("no published figure for {}", config.model)),
        }
    }

    /// What must be asked for to compare, if `crops` are others.
    pub(crate) fn other_crops(&self, crops: usize) -> Option<String> {
        (self.crops != crops).then(|| format!("measured with --crops {}", self.crops))
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { members, crops, top1_error_percent, top5_error_percent, source, .. } = self;
        let networks = if *members == 1 { String::new() } else { format!("{members} networks, ") };
        let crops = if *crops == 1 { "1 crop".to_owned() } else { format!("{crops} crops") };
        write!(
            f,
            "top-1 error {top1_error_percent} %, top-5 error {top5_error_percent} % ({networks}\
             {crops}, ILSVRC-2012's 50,000 validation images; {source})"
        )
    }
}

/// A WordNet number: `n01440764`.
fn is_wnid(name: &str) -> bool {
    name.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model: ModelName) -> ModelConfig {
        ModelConfig {
            model,
            classes: CLASSES,
            image_size: model.native_image_size(),
            width: 1.0,
            batch_norm: false,
            dropout: None,
        }
    }

    fn wnids() -> Vec<String> {
        (0..CLASSES).map(|index| format!("n{index:08}")).collect()
    }

    #[test]
    fn figures_are_of_the_same_model_on_the_same_classes() {
        let paper = Published::of(&config(ModelName::Paper), &wnids(), 1).expect("a figure");
        assert_eq!((paper.top1_error_percent, paper.top5_error_percent), (40.7, 18.2));
        assert_eq!(paper.other_crops(1).as_deref(), Some("measured with --crops 10"));
        assert_eq!(paper.other_crops(10), None);
        let five = Published::of(&config(ModelName::Paper), &wnids(), 5).expect("a figure");
        assert_eq!(five.top5_error_percent, 16.4);
        assert!(five.to_string().contains("5 networks, 10 crops"), "{five}");
    }

    #[test]
    fn where_there_is_no_figure_none_is_made_up() {
        let named = |name: &str| {
            let mut names = wnids();
            names[7] = name.into();
            names
        };
        let narrow = ModelConfig { width: 0.5, ..config(ModelName::Caffe) };
        let cases = [
            (config(ModelName::Caffe), wnids()[1..].to_vec(), 1, "these classes"),
            (config(ModelName::Caffe), named("cat"), 1, "these classes"),
            (config(ModelName::Caffe), named("n0000001"), 1, "these classes"),
            (narrow, wnids(), 1, "a changed caffe"),
            (config(ModelName::Caffe), wnids(), 5, "5 caffe together"),
            (config(ModelName::Modern), wnids(), 1, "for modern"),
        ];
        for (config, classes, members, expected) in cases {
            let why = Published::of(&config, &classes, members).expect_err("none");
            assert!(why.contains(expected), "{why}");
        }
    }
}
