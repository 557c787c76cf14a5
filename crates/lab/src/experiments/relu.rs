//! The paper's figure 1: epochs until the training error is 25 %, with ReLU and with tanh.

use alexnet_data::View;
use alexnet_network::{Initialisation, Layer};
use alexnet_ops::{Device, Saturation};

use super::{ratio, seeds_in_words, with_spread};
use crate::chart::{lines_to_goal, mean_curve};
use crate::experiment::Experiment;
use crate::finding::{Finding, Table};
use crate::models::four_layers;
use crate::training::{BATCH, Evaluates, Recipe, Run};
use crate::workbench::{LabError, Workbench};

/// The error both networks run to.
const GOAL: f64 = 0.25;
/// Learning rates tried for each, the middle ones first: others are given up when they are slower.
const RATES: [f64; 5] = [0.03, 0.01, 0.1, 0.003, 0.3];
/// Longest run.
const EPOCHS: u64 = 60;
const SEEDS: u64 = 3;

/// One network of the two.
struct Contender {
    name: &'static str,
    rate: f64,
    /// By seed.
    runs: Vec<Run>,
}

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let relu = contend(bench, "ReLU", Layer::Relu)?;
    let tanh = contend(bench, "tanh", Layer::Saturation(Saturation::Tanh))?;
    let mut table = Table::new(&["network", "rate", "epochs to 25 %", "runs that came there"]);
    for Contender { name, rate, runs } in [&relu, &tanh] {
        let epochs: Vec<f64> = runs.iter().filter_map(|run| run.epochs_to(GOAL)).collect();
        let came = format!("{} of {}", epochs.len(), runs.len());
        table.row([(*name).into(), rate.to_string(), with_spread(&epochs, 2), came]);
    }
    let pairs = relu.runs.iter().zip(&tanh.runs);
    let ratios: Vec<f64> = pairs
        .filter_map(|(relu, tanh)| Some(tanh.epochs_to(GOAL)? / relu.epochs_to(GOAL)?))
        .collect();
    let mut remarks = vec![
        "The paper does not say which four-layer network: this is cuda-convnet's layers-19pct, but \
         for its overlapping average pooling. Rates are chosen for each network, as in the paper: \
         of those tried the one that comes there first."
            .to_owned(),
    ];
    if ratios.len() < relu.runs.len() {
        remarks.push(format!(
            "Not every run came to 25 % within {} epochs; the ratio is of those that did.",
            epochs(bench)
        ));
    }
    let seeds = bench.seeds(SEEDS);
    let curves = [&relu, &tanh].map(|contender| {
        let name = format!("{}, rate {}", contender.name, contender.rate);
        mean_curve(name, &contender.runs, |epoch| epoch.running_error)
    });
    let (title, y) = ("ReLU and tanh to 25 % training error", "training error, %, mean over seeds");
    Ok(Finding {
        experiment: Experiment::Relu,
        here: format!(
            "{}; four layers (32, 32, 64 maps of 5 by 5, classes) at 32 pixels, batches of {BATCH}, \
             no regularisation; {}",
            bench.data(),
            seeds_in_words(&seeds)
        ),
        there:
            "CIFAR-10: 10 classes, 50,000 images of 32 pixels; a four-layer network; one run each"
                .into(),
        table,
        effects: vec![ratio("epochs with tanh over epochs with ReLU", "6", ratios)],
        remarks,
        drawings: vec![lines_to_goal(
            "relu",
            title,
            "epoch",
            y,
            curves.into(),
            ("25 %", 100.0 * GOAL),
        )?],
    })
}

fn epochs<D: Device + Clone>(bench: &Workbench<'_, D>) -> u64 {
    bench.size.or(EPOCHS, 2)
}

/// Finds the rate with the first seed, and runs the others with it.
fn contend<D: Device + Clone>(
    bench: &mut Workbench<'_, D>,
    name: &'static str,
    activation: Layer,
) -> Result<Contender, LabError> {
    let recipe = |rate, epochs| Recipe {
        model: four_layers(bench.classes.len(), activation),
        initialisation: Initialisation::Model,
        epochs,
        rate,
        falls: false,
        decay: 0.0,
        view: View::Centre,
        goal: Some(GOAL),
        evaluates: Evaluates::Nothing,
    };
    let (seeds, longest) = (bench.seeds(SEEDS), epochs(bench));
    let [middle, ..] = RATES;
    let recipes = RATES.map(|rate| recipe(rate, longest));
    let mut best: Option<(f64, f64)> = None;
    for (rate, recipe) in RATES.into_iter().zip(&recipes) {
        // No longer than the best so far took.
        let epochs = best.map_or(longest, |(_, epochs)| epochs.ceil() as u64);
        let recipe = Recipe { epochs, ..recipe.clone() };
        let run = bench.train(&format!("{name}, rate {rate}"), &recipe, seeds.start)?.run;
        let reached = run.epochs_to(GOAL);
        let better = reached.filter(|&epochs| best.is_none_or(|(_, least)| epochs < least));
        best = better.map(|epochs| (rate, epochs)).or(best);
    }
    let rate = best.map_or(middle, |(rate, _)| rate);
    let mut runs = Vec::new();
    for seed in seeds {
        let recipe = Recipe { rate, ..recipes[0].clone() };
        runs.push(bench.train(&format!("{name}, rate {rate}"), &recipe, seed)?.run);
    }
    Ok(Contender { name, rate, runs })
}
