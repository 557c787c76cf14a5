//! Crops: at random in training against the centre alone, and ten in evaluation against one.

use alexnet_data::View;
use alexnet_ops::Device;
use alexnet_train::evaluate;

use super::{PAPERS, differences, effect, lasts, points, recipe, with_spread};
use crate::chart::{lines, mean_curve};
use crate::experiment::Experiment;
use crate::finding::{Finding, Table};
use crate::models::PIXELS;
use crate::training::{Epoch, Recipe, Run};
use crate::workbench::{LabError, Workbench};

const SEEDS: u64 = 3;

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let random = recipe(bench.alexnet()?, bench.size);
    let centre = Recipe { view: View::Centre, ..random.clone() };
    let recipes = [("random", random), ("centre", centre)];
    let here = bench.here(&seeds, &recipes[0].1)?;
    let ten = bench.loader(bench.val.clone(), PIXELS, View::TenCrops, None)?;
    let mut runs: [Vec<Run>; 2] = Default::default();
    let mut ten_errors: [Vec<f64>; 2] = Default::default();
    for seed in seeds {
        for (arm, (name, recipe)) in recipes.iter().enumerate() {
            let mut trained = bench.train_whole(&format!("{name} crops"), recipe, seed)?;
            let networks = std::slice::from_mut(&mut trained.network);
            let found = evaluate(networks, &ten, |_, _| Ok(()))?;
            ten_errors[arm].push(100.0 * (1.0 - found.top1_accuracy));
            runs[arm].push(trained.run);
        }
    }
    let ones = runs.each_ref().map(|runs| lasts(runs, |epoch| 100.0 * epoch.validation_error()));
    let mut table =
        Table::new(&["trained on", "error, % of one crop", "of ten", "training error, %"]);
    for arm in 0..2 {
        table.row([
            format!("{} crops", recipes[arm].0),
            with_spread(&ones[arm], 1),
            with_spread(&ten_errors[arm], 1),
            with_spread(&lasts(&runs[arm], |epoch| 100.0 * epoch.training_error()), 1),
        ]);
    }
    let [random, centre] = &runs;
    let effects = vec![
        effect(
            "points of top-1 error that ten crops give over one",
            "1.5 (1.3 of top-5)",
            differences(&ones[0], &ten_errors[0]),
        ),
        effect(
            "points of top-1 error that random crops give in training",
            "\"substantial overfitting\" without",
            points(centre, random),
        ),
    ];
    let curves = recipes.iter().zip(&runs).flat_map(|((name, _), runs)| {
        [
            mean_curve(format!("{name}, training"), runs, |epoch| epoch.running_error),
            mean_curve(format!("{name}, validation"), runs, Epoch::validation_error),
        ]
    });
    let y = "error, %, mean over seeds";
    let drawing = lines("crops", "Random crops and centre crops", "epoch", y, curves.collect())?;
    Ok(Finding {
        experiment: Experiment::Crops,
        here,
        there: PAPERS.into(),
        table,
        effects,
        remarks: vec![format!(
            "Crops of {PIXELS} pixels of images brought to {}, as 224 of 256; random ones are \
             mirrored half of the time.",
            (PIXELS * 256).div_ceil(224)
        )],
        drawings: vec![drawing],
    })
}
