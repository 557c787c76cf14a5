//! What `--layer-lr`, `--freeze` and `--lr-drops` take: lists, as one text each.

use std::fmt;
use std::str::FromStr;

use alexnet_train::LayerRate;
use serde::{Deserialize, Serialize};

/// `conv1=0.1@66,conv1=0@71`: a layer's factor, and from which epoch on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct LayerRates(pub(crate) Vec<LayerRate>);

/// `conv1,conv2`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Layers(pub(crate) Vec<String>);

/// `24,50,78`, rising.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct EpochList(pub(crate) Vec<f64>);

/// The parts of a list; of an empty text none.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A number from 0 up.
fn number(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is no number from 0 up")),
    }
}

impl FromStr for LayerRates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = |part: &str| {
            let (layer, rest) =
                part.split_once('=').ok_or("it must be like conv1=0.1 or conv1=0@71")?;
            let (factor, epoch) = rest.split_once('@').unwrap_or((rest, "0"));
            let (factor, from_epoch) = (number(factor)?, number(epoch)?);
            Ok(LayerRate { layer: layer.trim().to_owned(), factor, from_epoch })
        };
        parts(text).map(rate).collect::<Result<_, String>>().map(Self)
    }
}

impl fmt::Display for LayerRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LayerRate { layer, factor, from_epoch }) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{layer}={factor}")?;
            if *from_epoch > 0.0 {
                write!(f, "@{from_epoch}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(parts(text).map(str::to_owned).collect()))
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for EpochList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let epochs: Vec<f64> = parts(text).map(number).collect::<Result<_, _>>()?;
        match epochs.is_sorted_by(|a, b| a < b) {
            true => Ok(Self(epochs)),
            false => Err("epochs must rise, as in 24,50,78".into()),
        }
    }
}

impl fmt::Display for EpochList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(f64::to_string).collect::<Vec<_>>().join(","))
    }
}

/// Text in settings files, as typed.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(list: $name) -> Self {
                list.to_string()
            }
        }
    )*};
}

as_text!(LayerRates, Layers, EpochList);

/// The rates of all layers that `freeze` and `rates` speak of, in the network of these layers.
///
/// # Errors
/// When there is no such layer; the message names the flag and those there are.
pub(crate) fn of_layers(
    freeze: &Layers,
    rates: &LayerRates,
    layers: &[String],
) -> Result<Vec<LayerRate>, String> {
    let named = |flag: &str, name: &str| {
        let is_meant = |layer: &&String| {
            *layer == name || layer.trim_end_matches(|c: char| c.is_ascii_digit()) == name
        };
        let meant: Vec<String> = layers.iter().filter(is_meant).cloned().collect();
        match meant.is_empty() {
            false => Ok(meant),
            true => Err(format!(
                "--{flag} names {name:?}: it must be one of {}, conv or fc",
                layers.join(", ")
            )),
        }
    };
    let mut found = Vec::new();
    for rate in &rates.0 {
        let meant = named("layer-lr", &rate.layer)?;
        found.extend(meant.into_iter().map(|layer| LayerRate { layer, ..rate.clone() }));
    }
    // Frozen is frozen, whatever else is said of the layer.
    for name in &freeze.0 {
        for layer in named("freeze", name)? {
            found.retain(|rate| rate.layer != layer);
            found.push(LayerRate { layer, factor: 0.0, from_epoch: 0.0 });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_as_they_are_written() {
        for text in ["", "conv1=0.1@66,conv1=0@71", "fc8=10"] {
            assert_eq!(text.parse::<LayerRates>().expect(text).to_string(), text);
        }
        assert_eq!("24, 50,78.5".parse::<EpochList>().expect("epochs").to_string(), "24,50,78.5");
        assert_eq!("conv1, fc6".parse::<Layers>().expect("layers").to_string(), "conv1,fc6");
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        for text in ["conv1", "conv1=x", "conv1=-1", "conv1=1@", "conv1=inf", "conv1=NaN"] {
            assert!(text.parse::<LayerRates>().is_err(), "{text}");
        }
        for text in ["5,5", "5,4", "a", "-1"] {
            assert!(text.parse::<EpochList>().is_err(), "{text}");
        }
    }

    #[test]
    fn kinds_stand_for_all_their_layers_and_frozen_is_frozen() {
        let layers = ["conv1", "conv2", "fc3"].map(String::from);
        let rates = "fc=10,conv2=0.5".parse().expect("rates");
        let found = of_layers(&"conv".parse().expect("layers"), &rates, &layers).expect("found");
        assert_eq!(LayerRates(found).to_string(), "fc3=10,conv1=0,conv2=0");
        let error = of_layers(&"conv9".parse().expect("layers"), &rates, &layers);
        assert!(error.expect_err("refused").contains("conv1, conv2, fc3"));
    }
}
