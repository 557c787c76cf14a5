//! The file `goldens/operations.safetensors`: cases described in JSON, and what PyTorch computed.
//!
//! PyTorch's order, `(N, C, H, W)` and `(K, C, R, S)`, ends here: [`channels_last`] turns every
//! tensor, drawn or read, into the devices' `(N, H, W, C)` and `(K, R, S, C)`.

use std::collections::BTreeMap;
use std::{fs, path::Path};

use alexnet_ops::{Rounding, conformance::value};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// The cases, and the outputs expected of them.
pub(crate) struct Goldens {
    /// In the file's order.
    pub(crate) cases: Vec<Case>,
    /// By `<case>/<output>`, in the devices' order.
    outputs: BTreeMap<String, Vec<f32>>,
}

/// One operation on one set of inputs.
#[derive(Deserialize)]
pub(crate) struct Case {
    /// Its name, beginning with the operation's.
    pub(crate) name: String,
    /// What is computed.
    #[serde(flatten)]
    pub(crate) operation: Operation,
    /// From what.
    pub(crate) inputs: BTreeMap<String, Recipe>,
}

/// An operation and its parameters, by the names in `make_operations.py`.
#[derive(Deserialize)]
#[serde(tag = "operation", content = "parameters", rename_all = "snake_case")]
pub(crate) enum Operation {
    Convolution {
        stride: usize,
        pad: usize,
        groups: usize,
        #[serde(with = "RoundingName")]
        rounding: Rounding,
    },
    Linear {},
    Relu {},
    Tanh {},
    Sigmoid {},
    MaxPool {
        size: usize,
        stride: usize,
        #[serde(with = "RoundingName")]
        rounding: Rounding,
    },
    AveragePool {},
    LrnAcrossMaps {
        groups: usize,
        #[serde(flatten)]
        constants: LrnConstants,
    },
    LrnSameMap(LrnConstants),
    BatchNormTrain {
        momentum: f32,
        epsilon: f32,
    },
    BatchNormEvaluate {
        momentum: f32,
        epsilon: f32,
    },
    Dropout {
        rate: f32,
        kept_scale: f32,
        seed: u64,
        step: u64,
        layer: u32,
    },
    Scale {
        factor: f32,
    },
    SoftmaxCrossEntropy {
        labels: Vec<u32>,
        smoothing: f32,
    },
    SgdPaper(SgdSchedule),
    SgdPytorch(SgdSchedule),
}

/// The names of [`Rounding`] in the file.
#[derive(Deserialize)]
#[serde(remote = "Rounding", rename_all = "snake_case")]
enum RoundingName {
    Floor,
    Ceil,
}

/// The numbers in the formula of local response normalisation.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct LrnConstants {
    pub(crate) size: usize,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) k: f32,
}

/// Updates of one parameter, one for each learning rate.
#[derive(Deserialize)]
pub(crate) struct SgdSchedule {
    pub(crate) learning_rates: Vec<f32>,
    pub(crate) momentum: f32,
    pub(crate) weight_decay: f32,
}

/// How an input is drawn: `uniform` of `goldens/common.py`.
#[derive(Deserialize)]
pub(crate) struct Recipe {
    /// In PyTorch's order.
    pub(crate) shape: Vec<usize>,
    salt: u32,
    scale: f32,
    offset: f32,
    levels: u32,
}

impl Goldens {
    /// Reads the file of this checkout.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let bytes = fs::read(root.join("goldens/operations.safetensors")).expect("the file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = header.metadata().as_ref().expect("metadata");
        let cases = serde_json::from_str(&metadata["cases"]).expect("cases");
        let tensors = SafeTensors::deserialize(&bytes).expect("tensors").tensors().into_iter();
        let outputs = tensors.map(|(name, tensor)| {
            assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
            (name, channels_last(tensor.shape(), floats(tensor.data())))
        });
        Self { cases, outputs: outputs.collect() }
    }

    /// The outputs expected of `case`, by name.
    pub(crate) fn expected(&self, case: &Case) -> BTreeMap<&str, &[f32]> {
        let prefix = format!("{}/", case.name);
        let outputs = self.outputs.iter();
        outputs
            .filter_map(|(name, values)| Some((name.strip_prefix(&prefix)?, &values[..])))
            .collect()
    }
}

impl Recipe {
    /// The input's values, in the devices' order.
    pub(crate) fn draw(&self) -> Vec<f32> {
        let levels = self.levels as f32;
        let element = |i| match value(i, self.salt) {
            u if self.levels == 0 => self.offset + self.scale * u,
            u => self.offset + self.scale * ((u * levels).floor() / levels),
        };
        channels_last(&self.shape, (0..self.shape.iter().product()).map(element).collect())
    }
}

/// Moves the second of four axes to the end; leaves what has no rows and columns as it is.
fn channels_last(shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    let &[batch, channels, height, width] = shape else { return values };
    let places = height * width;
    let mut moved = Vec::with_capacity(values.len());
    for n in 0..batch {
        for place in 0..places {
            moved.extend((0..channels).map(|c| values[(n * channels + c) * places + place]));
        }
    }
    moved
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "half a number at the end");
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}
