//! Networks with and without something, trained alike: normalisation, overlapping pooling, towers,
//! a middle layer.

use alexnet_network::{Layer, Model};
use alexnet_ops::Device;

use super::{PAPERS, effect, points, recipe, table_of_runs};
use crate::chart::{lines, mean_curve};
use crate::experiment::Experiment;
use crate::finding::Finding;
use crate::models::{columns_apart, one_tower, without, without_convolution, without_overlap};
use crate::training::Epoch;
use crate::workbench::{LabError, Workbench};

/// Default number of seeds.
const SEEDS: u64 = 3;

/// A network that lacks something, and what the paper lost by that.
struct Ablation {
    name: &'static str,
    model: Model,
    what: &'static str,
    published: &'static str,
}

pub(crate) fn lrn<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let model = without(&bench.alexnet()?, |row| matches!(row, Layer::Lrn(..)));
    let what = "points of top-1 error that normalisation gives";
    let (name, published) = ("without any", "1.4 (1.2 of top-5)");
    let remark = "The figure is of the 2012 code's configs #145 and #148: it measures three \
                  normalisations, of which the paper describes two.";
    compare(bench, Experiment::Lrn, vec![Ablation { name, model, what, published }], remark)
}

pub(crate) fn pooling<D: Device + Clone>(
    bench: &mut Workbench<'_, D>,
) -> Result<Finding, LabError> {
    let model = without_overlap(&bench.alexnet()?);
    let what = "points of top-1 error that overlap gives";
    let (name, published) = ("windows 2, stride 2", "0.4 (0.3 of top-5)");
    let remark = "Sizes are kept as in config #147 of the 2012 code: conv2 and conv5 with a pixel \
                  less of padding.";
    compare(bench, Experiment::Pooling, vec![Ablation { name, model, what, published }], remark)
}

pub(crate) fn towers<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let whole = bench.alexnet()?;
    let ablations = vec![
        Ablation {
            name: "one tower",
            model: one_tower(&whole),
            what: "points of top-1 error that two towers give over one",
            published: "1.7 (1.2 of top-5)",
        },
        Ablation {
            name: "two apart",
            model: columns_apart(&whole)?,
            what: "points of top-1 error that the towers' meeting gives",
            published: "1.2 (1.1 of top-5), 2012 code",
        },
    ];
    let remark = "Towers as in configs #145, #145-half and #150 of the 2012 code: the one tower has \
                  as many parameters as two, and those apart have wider layers.";
    compare(bench, Experiment::Towers, ablations, remark)
}

pub(crate) fn depth<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let whole = bench.alexnet()?;
    let published = "about 2";
    let ablations = vec![
        Ablation {
            name: "without conv3",
            model: without_convolution(&whole, 3),
            what: "points of top-1 error that conv3 gives",
            published,
        },
        Ablation {
            name: "without conv4",
            model: without_convolution(&whole, 4),
            what: "points of top-1 error that conv4 gives",
            published,
        },
    ];
    let remark = "The paper names no layer. An independent replication (Zeiler and Fergus 2013) \
                  lost 4.9 points without conv3 and conv4 together.";
    compare(bench, Experiment::Depth, ablations, remark)
}

/// Trains the whole network and the others alike, with the same seeds.
fn compare<D: Device + Clone>(
    bench: &mut Workbench<'_, D>,
    experiment: Experiment,
    ablations: Vec<Ablation>,
    remark: &str,
) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let whole = recipe(bench.alexnet()?, bench.size);
    let here = bench.here(&seeds, &whole)?;
    let mut names = vec!["whole"];
    let mut recipes = vec![whole];
    for Ablation { name, model, .. } in &ablations {
        names.push(name);
        recipes.push(recipe(model.clone(), bench.size));
    }
    let mut runs = vec![Vec::new(); names.len()];
    for seed in seeds {
        for ((name, recipe), runs) in names.iter().zip(&recipes).zip(&mut runs) {
            runs.push(bench.train_whole(name, recipe, seed)?.run);
        }
    }
    let effects = ablations.iter().zip(&runs[1..]);
    let effects = effects
        .map(|(ablation, without)| {
            effect(ablation.what, ablation.published, points(without, &runs[0]))
        })
        .collect();
    let curves = names.iter().zip(&runs);
    let curves =
        curves.map(|(name, runs)| mean_curve(*name, runs, Epoch::validation_error)).collect();
    let (name, y) = (experiment.as_str(), "validation error, %, mean over seeds");
    Ok(Finding {
        experiment,
        here,
        there: PAPERS.into(),
        table: table_of_runs(&names, &runs),
        effects,
        remarks: vec![remark.into()],
        drawings: vec![lines(name, experiment.question(), "epoch", y, curves)?],
    })
}
