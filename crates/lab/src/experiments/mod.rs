//! One file an experiment, or several that compare networks in the same way.

pub(crate) mod ablations;
pub(crate) mod crops;
pub(crate) mod dropout;
pub(crate) mod ensemble;
pub(crate) mod filters;
pub(crate) mod gradients;
pub(crate) mod neighbours;
pub(crate) mod relu;

use std::ops::Range;

use alexnet_data::View;
use alexnet_network::{Initialisation, Layer, Model, Plan, Purpose};
use alexnet_ops::Device;

use crate::finding::{Effect, Table};
use crate::models::{PIXELS, WIDTH, small_alexnet};
use crate::statistics::Estimate;
use crate::training::{BATCH, Evaluates, Recipe, Run};
use crate::workbench::{LabError, Size, Workbench};

/// How the small AlexNets are trained: the paper's rule and decay, He's initial weights, for the
/// paper's leave a narrow network's sums too small, and a rate that falls.
fn recipe(model: Model, size: Size) -> Recipe {
    Recipe {
        model,
        initialisation: Initialisation::He,
        epochs: size.or(EPOCHS, 2),
        rate: RATE,
        falls: true,
        decay: 5e-4,
        view: View::RandomCrop,
        goal: None,
        evaluates: Evaluates::Validation,
    }
}

/// The networks stay at a plateau first, at which they know no more than colours. After so many epochs
/// they err on half of the validation images, where guessing errs on eleven of twelve
/// (records/2026-11-25-lab).
const EPOCHS: u64 = 24;
const RATE: f64 = 0.03;

impl<D: Device + Clone> Workbench<'_, D> {
    /// The 2012 network, small, for this data.
    fn alexnet(&self) -> Result<Model, LabError> {
        Ok(small_alexnet(self.classes.len(), WIDTH)?)
    }

    /// Data, network, training and seeds in words.
    fn here(&self, seeds: &Range<u64>, recipe: &Recipe) -> Result<String, LabError> {
        let Recipe { model, epochs, rate, .. } = recipe;
        let dropout = model.rows.iter().find_map(|row| match row {
            Layer::Dropout(rate, _) => Some(format!(" dropout of {rate},")),
            _ => None,
        });
        let plan = Plan::new(model, 1, Purpose::Inference, Initialisation::Model)?;
        Ok(format!(
            "{}; the 2012 network at width {} and {PIXELS} pixels,{} {} parameters; {epochs} \
             epochs of batches of {BATCH}, rate {rate} falling by half a cosine; {}",
            self.data(),
            model.config.width,
            dropout.unwrap_or_default(),
            plan.parameter_count(),
            seeds_in_words(seeds)
        ))
    }
}

/// Data, network and training of the paper's ablations.
const PAPERS: &str = "ILSVRC-2010 and 2012: 1000 classes, 1.2 million training images; the whole \
                      network at 224 pixels, 61 million parameters; 90 epochs; one run each";

fn seeds_in_words(seeds: &Range<u64>) -> String {
    match seeds.end - seeds.start {
        1 => "1 seed".into(),
        count => format!("{count} seeds"),
    }
}

/// `12.3 ± 0.4`, the deviation after the mean; of one value, that.
fn with_spread(values: &[f64], digits: usize) -> String {
    let Estimate { count, mean, deviation } = Estimate::of(values);
    match count {
        0 => "-".into(),
        1 => format!("{mean:.digits$}"),
        _ => format!("{mean:.digits$} ± {deviation:.digits$}"),
    }
}

/// Of each run's last epoch.
fn lasts(runs: &[Run], of: impl Fn(&crate::training::Epoch) -> f64) -> Vec<f64> {
    runs.iter().map(|run| of(run.last())).collect()
}

/// In points of the top-1 error, seed by seed: how much worse `without` is than `with`.
fn points(without: &[Run], with: &[Run]) -> Vec<f64> {
    let errors = |runs: &[Run]| lasts(runs, |epoch| 100.0 * epoch.validation_error());
    differences(&errors(without), &errors(with))
}

fn differences(more: &[f64], less: &[f64]) -> Vec<f64> {
    more.iter().zip(less).map(|(more, less)| more - less).collect()
}

/// An effect that is 0 where there is none.
fn effect(what: &str, published: &str, values: Vec<f64>) -> Effect {
    Effect { what: what.into(), published: published.into(), without: 0.0, values }
}

/// One that is 1.
fn ratio(what: &str, published: &str, values: Vec<f64>) -> Effect {
    Effect { without: 1.0, ..effect(what, published, values) }
}

/// A row for each network: top-1 error, loss and training error of its last epochs.
fn table_of_runs(names: &[&str], runs: &[Vec<Run>]) -> Table {
    let mut table =
        Table::new(&["network", "top-1 error, %", "validation loss", "training error, %"]);
    for (name, runs) in names.iter().zip(runs) {
        table.row([
            (*name).to_owned(),
            with_spread(&lasts(runs, |epoch| 100.0 * epoch.validation_error()), 1),
            with_spread(&lasts(runs, |epoch| epoch.validation_loss()), 3),
            with_spread(&lasts(runs, |epoch| 100.0 * epoch.training_error()), 1),
        ]);
    }
    table
}
