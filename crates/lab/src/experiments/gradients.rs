//! What is left of a gradient behind ten layers: as a product of ten slopes, and in networks.

use alexnet_data::View;
use alexnet_network::{Array, Initialisation, Layer, Network, Plan, Purpose};
use alexnet_ops::{Device, Saturation};

use super::{effect, seeds_in_words, with_spread};
use crate::chart::{line, logarithmic_lines};
use crate::experiment::Experiment;
use crate::finding::{Finding, Table};
use crate::models::{DEEP_LAYERS, DEEP_SIDE, DEEP_UNITS, Scheme, ten_layers};
use crate::training::BATCH;
use crate::workbench::{LabError, Workbench};

const SEEDS: u64 = 5;

/// Where descriptions of the vanishing gradient take the slope.
const AT: f64 = 0.5;

const CURVES: [(&str, Layer); 3] = [
    ("sigmoid", Layer::Saturation(Saturation::Sigmoid)),
    ("tanh", Layer::Saturation(Saturation::Tanh)),
    ("ReLU", Layer::Relu),
];

/// The slope of a curve at `x`.
fn slope(curve: Layer, x: f64) -> f64 {
    match curve {
        Layer::Saturation(Saturation::Sigmoid) => {
            let y = 1.0 / (1.0 + (-x).exp());
            y * (1.0 - y)
        }
        Layer::Saturation(Saturation::Tanh) => 1.0 - x.tanh().powi(2),
        _ => f64::from(u8::from(x > 0.0)),
    }
}

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let mut table = Table::new(&[
        "curve",
        "initial weights",
        "gradient of layer 1 (root mean square)",
        "of layer 10",
        "log10 of layer 1 over layer 10",
    ]);
    let (mut drawings, y) = (Vec::new(), "root mean square, geometric mean over seeds");
    let mut effects = Vec::new();
    for scheme in Scheme::ALL {
        let (mut ratios_of_curves, mut drawn) = (Vec::new(), Vec::new());
        for (name, curve) in CURVES {
            let mut sizes = Vec::new();
            for seed in seeds.clone() {
                bench.tell(&format!("{name}, {}", scheme.name()), seed, seeds.end)?;
                sizes.push(gradient_sizes(bench, curve, scheme, seed)?);
            }
            let of = |layer: usize| sizes.iter().map(|sizes| sizes[layer]).collect::<Vec<f64>>();
            let (first, last) = (of(0), of(DEEP_LAYERS - 1));
            let ratios: Vec<f64> =
                first.iter().zip(&last).map(|(first, last)| (first / last).log10()).collect();
            let mean = |layer| geometric_mean(&of(layer));
            table.row([
                name.into(),
                scheme.name().into(),
                format!("{:.2e}", mean(0)),
                format!("{:.2e}", mean(DEEP_LAYERS - 1)),
                with_spread(&ratios, 2),
            ]);
            let points = (0..DEEP_LAYERS).map(|layer| (layer as f64 + 1.0, mean(layer)));
            drawn.push(line(name, points.collect()));
            ratios_of_curves.push(ratios);
        }
        let title = format!("Gradients of weights by layer, {}", scheme.name());
        drawings.push(logarithmic_lines(scheme.file_name(), &title, "layer", y, drawn)?);
        if let [sigmoid, tanh, relu] = &ratios_of_curves[..] {
            for (name, other) in [("sigmoid", sigmoid), ("tanh", tanh)] {
                let what = format!(
                    "powers of ten by which ReLU keeps more of a gradient than {name}, {}",
                    scheme.name()
                );
                effects.push(effect(&what, "none published", super::differences(relu, other)));
            }
        }
    }
    Ok(Finding {
        experiment: Experiment::Gradients,
        here: format!(
            "{}; ten hidden layers of {DEEP_UNITS} at {DEEP_SIDE} pixels, the gradients of one \
             batch of {BATCH} before any training; {}",
            bench.data(),
            seeds_in_words(&seeds)
        ),
        there: "ten numbers multiplied, without weights".into(),
        table,
        effects,
        remarks: products(),
        drawings,
    })
}

/// Ten slopes multiplied.
fn products() -> Vec<String> {
    let power = |curve| slope(curve, AT).powi(DEEP_LAYERS as i32);
    let [sigmoid, tanh, relu] = CURVES.map(|(_, curve)| power(curve));
    let best = slope(CURVES[0].1, 0.0).powi(DEEP_LAYERS as i32);
    vec![
        format!(
            "Ten slopes at {AT} multiplied, as often done: sigmoid {sigmoid:.3e} (not the 9.54e-08 \
             often printed), tanh {tanh:.4}, ReLU {relu}. Where the sigmoid is steepest, at 0, it is \
             {best:.3e}."
        ),
        "A network multiplies by weights too: these decide as much, and no curve has one fate."
            .to_owned(),
    ]
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// The root mean square of each hidden layer's gradient of weights, for one batch.
fn gradient_sizes<D: Device + Clone>(
    bench: &Workbench<'_, D>,
    curve: Layer,
    scheme: Scheme,
    seed: u64,
) -> Result<Vec<f64>, LabError> {
    let model = ten_layers(bench.classes.len(), curve, scheme);
    let plan = Plan::new(&model, BATCH, Purpose::Gradients, Initialisation::Model)?;
    let mut network = Network::new(bench.device.clone(), plan, seed);
    let loader = bench.loader(bench.train.clone(), DEEP_SIDE, View::Centre, Some(seed))?;
    let Some(batch) = loader.epoch(0, 0).next_batch().transpose()? else { return Ok(Vec::new()) };
    let step = network.gradient_step(&batch.images, &batch.labels, seed, 0);
    step.map_err(|_| LabError::Diverged { run: "ten layers".into(), epoch: 1 })?;
    let gradients = network.gradients();
    let weights = gradients.iter().filter(|array| array.name.ends_with(".weight"));
    Ok(weights.take(DEEP_LAYERS).map(root_mean_square).collect())
}

fn root_mean_square(array: &Array) -> f64 {
    let squares = array.values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
    (squares / array.values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_slopes_multiplied_are_what_arithmetic_says() {
        let cases = [
            (0, AT, 5.137e-7),
            (0, 0.0, 9.537e-7), // 4^-10
            (1, AT, 0.090_51),
            (2, AT, 1.0),
            (2, -AT, 0.0),
        ];
        for (curve, x, expected) in cases {
            let found = slope(CURVES[curve].1, x).powi(10);
            let what = CURVES[curve].0;
            assert!((found - expected).abs() <= 5e-4 * expected, "{what} at {x}: {found}");
        }
        assert!(products()[0].contains("sigmoid 5.137e-7"), "{}", products()[0]);
    }
}
