//! The networks of the experiments: tables of layers, and edits of them.

use alexnet_network::{
    Conv, DropoutForm, Fill, Initialisation, Layer, Linear, Model, ModelConfig, ModelError,
    ModelName, Plan, Purpose, Units,
};
use alexnet_ops::{LrnRegion, Rounding};

use crate::training::LEVELS_PER_UNIT;

/// Side of the small AlexNets' input. At 35 pixels the sizes behind conv1 are 31, 15, 7, 3, and
/// without overlapping pooling 31, 16, 14, 7, 5, 3: both end alike, as at 224.
pub(crate) const PIXELS: usize = 35;
/// Factor on the 2012 network's maps and units.
pub(crate) const WIDTH: f32 = 0.125;
/// Share that dropout drops. Half, as in the paper, is much of so few units: with a fifth, 24 epochs
/// come about as far as 40 with half (records/2026-11-25-lab).
const DROPOUT: f32 = 0.2;
/// conv1's kernel, at every pixel: 11 at every fourth is for images six times as large.
const FIRST_KERNEL: usize = 5;

/// The 2012 network, config #145, narrow and for small images. It was made for pixels of 0 to 255;
/// here they are divided by [`LEVELS_PER_UNIT`], so that local response normalisation is to see them
/// multiplied again.
pub(crate) fn small_alexnet(classes: usize, width: f32) -> Result<Model, ModelError> {
    let mut model = Model::new(ModelConfig {
        model: ModelName::Original,
        classes,
        image_size: PIXELS,
        width,
        batch_norm: false,
        dropout: Some(DROPOUT),
    })?;
    for row in &mut model.rows {
        if let Layer::Lrn(_, _, alpha, _, _) = row {
            *alpha *= LEVELS_PER_UNIT * LEVELS_PER_UNIT;
        }
    }
    Ok(edited(&model, |number, row| match row {
        Layer::Conv(conv) if number == 1 => {
            Layer::Conv(Conv { kernel: FIRST_KERNEL, stride: 1, ..conv })
        }
        other => other,
    }))
}

/// The same without some rows.
pub(crate) fn without(model: &Model, unwanted: impl Fn(&Layer) -> bool) -> Model {
    let rows = model.rows.iter().filter(|row| !unwanted(row)).copied().collect();
    Model { rows, ..model.clone() }
}

/// The same without its convolution number `number` (from 1) and the ReLU behind it.
pub(crate) fn without_convolution(model: &Model, number: usize) -> Model {
    let mut rows = model.rows.clone();
    let mut convolutions = (0..rows.len()).filter(|&row| matches!(rows[row], Layer::Conv(_)));
    if let Some(row) = convolutions.nth(number - 1) {
        rows.drain(row..row + 2);
    }
    Model { rows, ..model.clone() }
}

/// Config #147: pooling windows that do not overlap. conv2 and conv5 lose a pixel of padding, which
/// keeps the sizes.
pub(crate) fn without_overlap(model: &Model) -> Model {
    edited(model, |number, row| match row {
        Layer::MaxPool(..) => Layer::MaxPool(2, 2, Rounding::Ceil),
        Layer::Conv(conv) if number == 2 || number == 5 => {
            Layer::Conv(Conv { pad: conv.pad - 1, ..conv })
        }
        other => other,
    })
}

/// Config #145-half: one column of the two, but with 256 maps in conv5 and whole linear layers.
pub(crate) fn one_tower(model: &Model) -> Model {
    edited(model, |number, row| match row {
        Layer::Conv(conv) => {
            let maps = if number == 5 { conv.maps } else { conv.maps / 2 };
            Layer::Conv(Conv { maps, groups: 1, ..conv })
        }
        Layer::Lrn(LrnRegion::AcrossMaps { .. }, size, alpha, beta, k) => {
            Layer::Lrn(LrnRegion::AcrossMaps { groups: 1 }, size, alpha, beta, k)
        }
        other => other,
    })
}

/// Config #150: columns that meet in the softmax only; conv2 has 160 maps a column in place of 128,
/// hidden layers 4096 units a column in place of 2048. A linear layer in columns is a convolution
/// in groups over all places.
pub(crate) fn columns_apart(model: &Model) -> Result<Model, ModelError> {
    const COLUMNS: usize = 2;
    let sizes = Plan::new(model, 1, Purpose::Inference, Initialisation::Model)?;
    let last_pool = sizes.layers.iter().rfind(|layer| layer.kind == "max_pool");
    let mut side = last_pool.map_or(1, |layer| layer.output[0]);
    Ok(edited(model, |number, row| match row {
        Layer::Conv(conv) => {
            let maps = if number == 2 { conv.maps * 160 / 128 } else { conv.maps };
            let groups = if number == 1 { 1 } else { COLUMNS };
            Layer::Conv(Conv { maps, groups, ..conv })
        }
        Layer::Linear(Linear { units: Units::Hidden(units), weights, bias }) => Layer::Conv(Conv {
            maps: units * COLUMNS,
            kernel: std::mem::replace(&mut side, 1),
            stride: 1,
            pad: 0,
            groups: COLUMNS,
            rounding: Rounding::Floor,
            weights,
            bias,
        }),
        other => other,
    }))
}

/// The same with dropout of this share, in this form.
pub(crate) fn with_dropout(model: &Model, share: f32, form: DropoutForm) -> Model {
    edited(model, |_, row| match row {
        Layer::Dropout(..) => Layer::Dropout(share, form),
        other => other,
    })
}

/// The network up to its last hidden layer, and its units: a network whose outputs are features.
pub(crate) fn up_to_last_hidden(model: &Model) -> Model {
    let hidden = |row: &Layer| match row {
        Layer::Linear(Linear { units: Units::Hidden(units), .. }) => Some(*units),
        _ => None,
    };
    let last = model.rows.iter().rposition(|row| hidden(row).is_some()).unwrap_or(0);
    let units = hidden(&model.rows[last]).unwrap_or(0);
    let config = ModelConfig { classes: units, ..model.config };
    // And the ReLU behind it.
    Model { config, rows: model.rows[..last + 2].to_vec() }
}

/// Each row anew, from its own and how many convolutions there are up to it.
fn edited(model: &Model, mut edit: impl FnMut(usize, Layer) -> Layer) -> Model {
    let mut convolutions = 0;
    let rows = model.rows.iter().map(|&row| {
        convolutions += usize::from(matches!(row, Layer::Conv(_)));
        edit(convolutions, row)
    });
    Model { rows: rows.collect(), ..model.clone() }
}

/// The four-layer network of figure 1, as far as it is known: cuda-convnet's `layers-19pct`, whose
/// average pooling overlaps while ours does not. All weights start at deviation 1 / √inputs, so that
/// sums are about as large as inputs: neither curve is flat there.
pub(crate) fn four_layers(classes: usize, activation: Layer) -> Model {
    const SIDE: usize = 32;
    let conv = |inputs: usize, maps| {
        Layer::Conv(Conv {
            maps,
            kernel: 5,
            stride: 1,
            pad: 2,
            groups: 1,
            rounding: Rounding::Floor,
            weights: Fill::Normal(1.0 / (25.0 * inputs as f32).sqrt()),
            bias: Fill::Constant(0.0),
        })
    };
    let rows = vec![
        conv(3, 32),
        activation,
        Layer::MaxPool(3, 2, Rounding::Ceil),
        conv(32, 32),
        activation,
        Layer::AveragePool(SIDE / 4),
        conv(32, 64),
        activation,
        Layer::AveragePool(SIDE / 8),
        linear(Units::Classes, 1.0 / 32.0),
    ];
    Model { config: plain(classes, SIDE), rows }
}

/// Ten hidden layers of equal width, and the classes.
pub(crate) fn ten_layers(classes: usize, activation: Layer, scheme: Scheme) -> Model {
    let mut rows = Vec::new();
    let mut inputs = DEEP_SIDE * DEEP_SIDE * 3;
    for _ in 0..DEEP_LAYERS {
        rows.extend([
            linear(Units::Hidden(DEEP_UNITS), scheme.deviation(inputs, DEEP_UNITS)),
            activation,
        ]);
        inputs = DEEP_UNITS;
    }
    rows.push(linear(Units::Classes, scheme.deviation(inputs, classes)));
    Model { config: plain(classes, DEEP_SIDE), rows }
}

/// Hidden layers of the deep network.
pub(crate) const DEEP_LAYERS: usize = 10;
/// Units of each.
pub(crate) const DEEP_UNITS: usize = 128;
/// Its input's side.
pub(crate) const DEEP_SIDE: usize = 16;

/// How a deep network's weights start. Biases are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Normal with deviation 0.01: the paper.
    Paper,
    /// √(2 / (inputs + outputs)): Glorot and Bengio 2010.
    Xavier,
    /// √(2 / inputs): He et al. 2015.
    He,
}

impl Scheme {
    pub(crate) const ALL: [Self; 3] = [Self::Paper, Self::Xavier, Self::He];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Paper => "N(0, 0.01)",
            Self::Xavier => "Xavier",
            Self::He => "He",
        }
    }

    /// The file of its chart, without its ending.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Paper => "gradients-paper",
            Self::Xavier => "gradients-xavier",
            Self::He => "gradients-he",
        }
    }

    fn deviation(self, inputs: usize, outputs: usize) -> f32 {
        match self {
            Self::Paper => 0.01,
            Self::Xavier => (2.0 / (inputs + outputs) as f32).sqrt(),
            Self::He => (2.0 / inputs as f32).sqrt(),
        }
    }
}

fn linear(units: Units, deviation: f32) -> Layer {
    let (weights, bias) = (Fill::Normal(deviation), Fill::Constant(0.0));
    Layer::Linear(Linear { units, weights, bias })
}

/// A configuration for rows of one's own, named in files as the 2012 network's are.
fn plain(classes: usize, image_size: usize) -> ModelConfig {
    ModelConfig {
        model: ModelName::Original,
        classes,
        image_size,
        width: 1.0,
        batch_norm: false,
        dropout: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(model: &Model) -> Vec<(String, [usize; 3])> {
        let plan = Plan::new(model, 1, Purpose::Training, Initialisation::He).expect("a plan");
        plan.layers.into_iter().map(|layer| (layer.name, layer.output)).collect()
    }

    fn outputs(model: &Model, kind: &str) -> Vec<[usize; 3]> {
        let named = |(name, size): (String, _)| name.starts_with(kind).then_some(size);
        sizes(model).into_iter().filter_map(named).collect()
    }

    #[test]
    fn edited_networks_have_the_sizes_of_their_2012_configurations() {
        let whole = small_alexnet(12, WIDTH).expect("a model");
        let convolutions = [[31, 31, 16], [15, 15, 32], [7, 7, 48], [7, 7, 48], [7, 7, 32]];
        assert_eq!(outputs(&whole, "conv"), convolutions);
        assert_eq!(outputs(&whole, "pool"), [[15, 15, 16], [7, 7, 32], [3, 3, 32]]);
        let plain = without_overlap(&whole);
        assert_eq!(outputs(&plain, "pool"), [[16, 16, 16], [7, 7, 32], [3, 3, 32]]);
        assert_eq!(outputs(&plain, "conv")[4], [5, 5, 32]);
        let halves = [[31, 31, 8], [15, 15, 16], [7, 7, 24], [7, 7, 24], [7, 7, 32]];
        assert_eq!(outputs(&one_tower(&whole), "conv"), halves);
        let apart = columns_apart(&whole).expect("a model");
        let found = outputs(&apart, "conv");
        let wide = [[15, 15, 40], [1, 1, 1024], [1, 1, 1024]];
        assert_eq!([found[1], found[5], found[6]], wide);
        assert_eq!(outputs(&without_convolution(&whole, 3), "conv").len(), 4);
        let cut = up_to_last_hidden(&whole);
        assert_eq!(sizes(&cut).last(), Some(&("relu7".into(), [1, 1, 512])));
        let four = four_layers(10, Layer::Relu);
        assert_eq!(outputs(&four, "conv"), [[32, 32, 32], [16, 16, 32], [8, 8, 64]]);
    }
}
