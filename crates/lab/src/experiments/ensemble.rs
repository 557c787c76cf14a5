//! Several networks that differ in their seeds alone, averaged.

use alexnet_data::View;
use alexnet_network::Network;
use alexnet_ops::Device;
use alexnet_train::evaluate;

use super::{effect, recipe, with_spread};
use crate::chart::{line, lines};
use crate::experiment::Experiment;
use crate::finding::{Finding, Table};
use crate::models::PIXELS;
use crate::workbench::{LabError, Workbench};

/// As many as in the paper's table 2.
const SEEDS: u64 = 5;

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let recipe = recipe(bench.alexnet()?, bench.size);
    let here = bench.here(&seeds, &recipe)?;
    let mut networks: Vec<Network<D>> = Vec::new();
    let mut alone = Vec::new();
    for seed in seeds.clone() {
        let trained = bench.train_whole("a member", &recipe, seed)?;
        alone.push(100.0 * trained.run.last().validation_error());
        networks.push(trained.network);
    }
    let images = bench.loader(bench.val.clone(), PIXELS, View::Centre, None)?;
    let mut together = Vec::new();
    for count in 1..=networks.len() {
        let what = format!("{count} averaged");
        bench.tell(&what, count as u64 - 1, networks.len() as u64)?;
        let found = evaluate(&mut networks[..count], &images, |_, _| Ok(()))?;
        together.push(100.0 * (1.0 - found.top1_accuracy));
    }
    let mut table = Table::new(&["networks averaged", "top-1 error, %"]);
    table.row(["1, mean of all".to_owned(), with_spread(&alone, 1)]);
    for (index, error) in together.iter().enumerate().skip(1) {
        table.row([format!("{}", index + 1), format!("{error:.1}")]);
    }
    let whole = together.last().copied().unwrap_or(0.0);
    let gains = alone.iter().map(|error| error - whole).collect();
    let points = |errors: &[f64]| {
        errors.iter().enumerate().map(|(index, &error)| (index as f64 + 1.0, error)).collect()
    };
    let drawn = vec![
        line("the first so many, averaged", points(&together)),
        line("each alone", points(&alone)),
    ];
    let (title, y) = ("Networks averaged", "top-1 error, %");
    Ok(Finding {
        experiment: Experiment::Ensemble,
        here,
        there: super::PAPERS.into(),
        table,
        effects: vec![effect(
            &format!("points of top-1 error that {} networks give over one", networks.len()),
            "2.6 for five (40.7 to 38.1; top-5 18.2 to 16.4)",
            gains,
        )],
        remarks: vec![
            "Probabilities are averaged, as in the paper. The spread is of the members, beside one \
             ensemble."
                .into(),
        ],
        drawings: vec![lines("ensemble", title, "networks", y, drawn)?],
    })
}
