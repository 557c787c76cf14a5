//! What `--mean`, `--std` and `--colour-noise-from` take, and what becomes of it once the training
//! images are known.

use std::fmt;
use std::str::FromStr;

use alexnet_data::{IMAGENET_MEAN, IMAGENET_STD, MeanImage, MeanPart, Preprocess, Statistics};
use alexnet_train::TrainConfig;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::settings::UsageError;

/// Deviations that change nothing: raw grey levels, as in the paper (§2).
pub(crate) const NO_SCALING: Levels = Levels::Given([1.0; 3]);

/// A level of red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Levels {
    /// What the training images have.
    Data,
    /// What torchvision has.
    Imagenet,
    /// What the weights were trained with that the run begins from; of means a mean image as well.
    Weights,
    /// These, 0 to 255.
    Given([f32; 3]),
}

/// What is subtracted from pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Mean {
    /// The training images' mean, pixel by pixel.
    Image(MeanPart),
    /// One level a colour.
    Levels(Levels),
}

/// Whose principal components colour noise follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ColoursOf {
    /// The training images'
    Data,
    /// Those of ILSVRC-2012, as cuda-convnet2 ships them
    Imagenet,
}

impl Levels {
    /// The mean, if it is known without the images.
    fn mean(self) -> Option<[f32; 3]> {
        match self {
            Self::Data | Self::Weights => None,
            Self::Imagenet => Some(IMAGENET_MEAN),
            Self::Given(levels) => Some(levels),
        }
    }

    /// The deviation, if it is known without the images.
    fn std(self) -> Option<[f32; 3]> {
        match self {
            Self::Data | Self::Weights => None,
            Self::Imagenet => Some(IMAGENET_STD),
            Self::Given(levels) => Some(levels),
        }
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "data" => return Ok(Self::Data),
            "imagenet" => return Ok(Self::Imagenet),
            "weights" => return Ok(Self::Weights),
            _ => {}
        }
        let levels: Vec<f32> =
            text.split(',').filter_map(|level| level.trim().parse().ok()).collect();
        match <[f32; 3]>::try_from(levels) {
            Ok(levels) if text.split(',').count() == 3 => Ok(Self::Given(levels)),
            _ => Err("it must be data, imagenet, weights or three grey levels such as 124,116,104"
                .into()),
        }
    }
}

impl FromStr for Mean {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "image" => return Ok(Self::Image(MeanPart::Crop)),
            "image-centre" => return Ok(Self::Image(MeanPart::Centre)),
            _ => {}
        }
        match text.parse() {
            // timm's and torchvision's programs take shares of 1.
            Ok(Levels::Given(levels))
                if levels.iter().all(|level| (0.0..=1.0).contains(level)) && levels != [0.0; 3] =>
            {
                Err(format!("these are grey levels from 0 to 255: {text} times 255"))
            }
            Ok(levels) => Ok(Self::Levels(levels)),
            Err(error) => Err(error.replace("be data", "be image, image-centre, data")),
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.write_str("data"),
            Self::Imagenet => f.write_str("imagenet"),
            Self::Weights => f.write_str("weights"),
            Self::Given([red, green, blue]) => write!(f, "{red},{green},{blue}"),
        }
    }
}

impl fmt::Display for Mean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(MeanPart::Crop) => f.write_str("image"),
            Self::Image(MeanPart::Centre) => f.write_str("image-centre"),
            Self::Levels(levels) => levels.fmt(f),
        }
    }
}

/// As text, and from it: in files these are what is typed.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse().map_err(|error| format!("{text}: {error}"))
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(Levels, Mean);

/// How pixels are normalised and their colours varied, as far as it may depend on the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Normalisation {
    pub(crate) mean: Mean,
    pub(crate) std: Levels,
    /// `None` without colour noise.
    pub(crate) colours: Option<ColoursOf>,
}

impl Normalisation {
    /// The mean and the deviation; where the training images have them, 0 and 1 for the time being.
    pub(crate) fn levels(self) -> ([f32; 3], [f32; 3]) {
        let mean = match self.mean {
            Mean::Image(_) => None,
            Mean::Levels(levels) => levels.mean(),
        };
        (mean.unwrap_or([0.0; 3]), self.std.std().unwrap_or([1.0; 3]))
    }

    /// What of the training images has to be known, in words; empty if nothing.
    pub(crate) fn of_images(self) -> String {
        let mean = match self.mean {
            Mean::Image(_) => "mean image",
            Mean::Levels(Levels::Data) => "mean colour",
            Mean::Levels(_) => "",
        };
        let std = if self.std == Levels::Data { "deviation" } else { "" };
        let colours = if self.colours == Some(ColoursOf::Data) { "principal colours" } else { "" };
        let parts: Vec<_> =
            [mean, std, colours].into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }

    /// `config` with what was found of the training images.
    ///
    /// # Errors
    /// When pixels would be divided by a deviation of 0.
    pub(crate) fn with_statistics(
        self,
        mut config: TrainConfig,
        found: Statistics,
    ) -> Result<TrainConfig, UsageError> {
        match (self.mean, found.mean_image) {
            (Mean::Image(part), Some(levels)) => {
                config.preprocess.mean_image = Some(MeanImage { part, levels });
            }
            (Mean::Levels(Levels::Data), _) => config.preprocess.mean = found.mean,
            _ => {}
        }
        if self.std == Levels::Data {
            check_deviations(found.std)?;
            config.preprocess.std = found.std;
        }
        if let (Some(ColoursOf::Data), Some(noise)) = (self.colours, &mut config.augment.colour) {
            noise.components = found.components;
        }
        Ok(config)
    }

    /// `config` with what the weights were trained with that the run begins from.
    pub(crate) fn with_weights(self, mut config: TrainConfig, of: &Preprocess) -> TrainConfig {
        if self.mean == Mean::Levels(Levels::Weights) {
            config.preprocess.mean = of.mean;
            config.preprocess.mean_image.clone_from(&of.mean_image);
        }
        if self.std == Levels::Weights {
            config.preprocess.std = of.std;
        }
        config
    }

    /// `config` with what a run that is resumed found when it began.
    pub(crate) fn with_begun(self, mut config: TrainConfig, begun: &TrainConfig) -> TrainConfig {
        match (self.mean, &begun.preprocess.mean_image) {
            (Mean::Image(part), Some(image)) => {
                config.preprocess.mean_image = Some(MeanImage { part, ..image.clone() });
            }
            (Mean::Levels(Levels::Data), _) => config.preprocess.mean = begun.preprocess.mean,
            _ => {}
        }
        if self.std == Levels::Data {
            config.preprocess.std = begun.preprocess.std;
        }
        let mut config = self.with_weights(config, &begun.preprocess);
        let noises = (&mut config.augment.colour, &begun.augment.colour);
        if let (Some(ColoursOf::Data), (Some(noise), Some(begun))) = (self.colours, noises) {
            noise.components = begun.components;
        }
        config
    }
}

/// Whether the training images' deviations can be divided by.
fn check_deviations(std: [f32; 3]) -> Result<(), UsageError> {
    let constant = ["red", "green", "blue"].into_iter().zip(std).find(|(_, std)| !std.is_normal());
    match constant {
        Some((colour, _)) => Err(UsageError(format!(
            "--std is data, but {colour} is the same in every pixel of the training images, and \
             pixels would be divided by 0: choose --std imagenet, or numbers such as --std {}",
            std.map(|std| if std.is_normal() { std.ceil() } else { 1.0 }.to_string()).join(",")
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_of_nought_is_refused_with_its_colour_the_flag_and_the_way_out() {
        assert!(check_deviations([58.4, 57.1, 0.5]).is_ok());
        for (std, colour, numbers) in
            [([58.4, 57.1, 0.0], "blue", "59,58,1"), ([0.0; 3], "red", "1,1,1")]
        {
            let refused = check_deviations(std).expect_err(colour).to_string();
            assert!(refused.starts_with(&format!("--std is data, but {colour} ")), "{refused}");
            assert!(refused.ends_with(&format!("--std {numbers}")), "{refused}");
        }
    }

    #[test]
    fn means_and_deviations_are_written_as_they_are_typed() {
        for text in [
            "image",
            "image-centre",
            "data",
            "imagenet",
            "weights",
            "127.305,119.715,104.913",
            "0,0,0",
        ] {
            assert_eq!(text.parse::<Mean>().expect(text).to_string(), text);
        }
        for text in ["data", "imagenet", "weights", "1,1,1", "0.5,58,57.25"] {
            assert_eq!(text.parse::<Levels>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_mean_is_refused_with_the_way_out() {
        for (text, says) in [
            ("picture", "image, image-centre, data, imagenet, weights or three grey levels"),
            ("1,2", "three grey levels"),
            ("1,2,x", "three grey levels"),
            ("1,2,3,x", "three grey levels"),
            ("0.485,0.456,0.406", "0.485,0.456,0.406 times 255"),
        ] {
            let refused = text.parse::<Mean>().expect_err(text);
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
