//! Dropout: that its two forms agree in expectation, what it costs, and what it gives.

use alexnet_network::{DropoutForm, Layer};
use alexnet_ops::conformance::values;
use alexnet_ops::{Device, Dropout, DropoutKey};

use super::{differences, effect, lasts, ratio, recipe, with_spread};
use crate::chart::{lines, mean_curve};
use crate::experiment::Experiment;
use crate::finding::{Finding, Table};
use crate::models::{with_dropout, without};
use crate::statistics::Estimate;
use crate::training::{Epoch, Evaluates, Run};
use crate::workbench::{LabError, Workbench};

const SEEDS: u64 = 3;
/// Training error to which epochs are counted.
const GOAL: f64 = 0.25;
/// The paper's rate.
const RATE: f32 = 0.5;
/// Units of the layer whose sum the masks change: the paper's fc6.
const UNITS: usize = 4096;

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let masks = bench.size.or(4000, 200);
    let forms = [DropoutForm::Classic, DropoutForm::Inverted]
        .map(|form| (form, expectation(&bench.device, form, masks)));

    let model = bench.alexnet()?;
    let [classic, inverted] =
        [DropoutForm::Classic, DropoutForm::Inverted].map(|form| with_dropout(&model, RATE, form));
    let none = without(&model, |row| matches!(row, Layer::Dropout(..)));
    let here = bench.here(&seeds, &recipe(classic.clone(), bench.size))?;
    let names = ["classic", "inverted", "none"];
    let mut runs: [Vec<Run>; 3] = Default::default();
    for seed in seeds {
        for ((name, model), runs) in names.iter().zip([&classic, &inverted, &none]).zip(&mut runs) {
            let mut recipe = recipe(model.clone(), bench.size);
            (recipe.evaluates, recipe.falls) = (Evaluates::Both, false);
            runs.push(bench.train_whole(name, &recipe, seed)?.run);
        }
    }
    let [with, _, none] = &runs;
    let gap = |runs: &[Run]| {
        lasts(runs, |epoch| 100.0 * (epoch.validation_error() - epoch.training_error()))
    };
    let epochs = with.iter().zip(none);
    let epochs =
        epochs.filter_map(|(with, none)| Some(with.epochs_to(GOAL)? / none.epochs_to(GOAL)?));
    let effects = vec![
        ratio("epochs to 25 % training error, with over without", "about 2", epochs.collect()),
        effect(
            "points of top-1 error between validation and training that it takes away",
            "\"substantial overfitting\" without",
            differences(&gap(none), &gap(with)),
        ),
        effect(
            "points of top-1 validation error that it gives",
            "none published",
            super::points(none, with),
        ),
    ];
    let curves = names.iter().zip(&runs).flat_map(|(name, runs)| {
        [
            mean_curve(format!("{name}, training"), runs, Epoch::training_error),
            mean_curve(format!("{name}, validation"), runs, Epoch::validation_error),
        ]
    });
    let y = "error, %, mean over seeds";
    let drawing = lines("dropout", "Dropout and none", "epoch", y, curves.collect())?;
    let mut remarks: Vec<String> = forms.iter().map(|(form, found)| found.words(*form)).collect();
    remarks.push(
        "Errors of training images are of evaluation too, nothing dropped; the rate does \
                  not fall, so that epochs can be compared."
            .into(),
    );
    Ok(Finding {
        experiment: Experiment::Dropout,
        here: here.replace(" falling by half a cosine", ""),
        there: super::PAPERS.into(),
        table: table(&names, &runs),
        effects,
        remarks,
        drawings: vec![drawing],
    })
}

fn table(names: &[&str], runs: &[Vec<Run>]) -> Table {
    let mut table = Table::new(&[
        "dropout",
        "epochs to 25 % training error",
        "ms a step",
        "training error, %",
        "validation error, %",
    ]);
    for (name, runs) in names.iter().zip(runs) {
        let epochs: Vec<f64> = runs.iter().filter_map(|run| run.epochs_to(GOAL)).collect();
        let step_ms = |run: &Run| 1000.0 * run.step_s / run.steps.max(1) as f64;
        table.row([
            (*name).into(),
            with_spread(&epochs, 2),
            with_spread(&runs.iter().map(step_ms).collect::<Vec<f64>>(), 2),
            with_spread(&lasts(runs, |epoch| 100.0 * epoch.training_error()), 1),
            with_spread(&lasts(runs, |epoch| 100.0 * epoch.validation_error()), 1),
        ]);
    }
    table
}

/// A sum over dropped units, by many masks, beside what it is in evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    masks: Estimate,
    evaluated: f64,
}

impl Expectation {
    /// How many standard errors lie between.
    pub(crate) fn distance(&self) -> f64 {
        (self.masks.mean - self.evaluated).abs() / self.masks.standard_error()
    }

    fn words(&self, form: DropoutForm) -> String {
        let Estimate { count, mean, .. } = self.masks;
        format!(
            "{form:?} dropout of {UNITS} units: a sum over them is {mean:.4} ± {:.4} in the mean of \
             {count} masks and {:.4} in evaluation, {:.1} standard errors apart.",
            self.masks.standard_error(),
            self.evaluated,
            self.distance()
        )
    }
}

/// The sum `w · dropped(x)` in the mean over masks, and `w · scaled(x)`.
pub(crate) fn expectation<D: Device>(device: &D, form: DropoutForm, masks: u64) -> Expectation {
    let activations: Vec<f32> = values(UNITS, 1, 1.0).into_iter().map(|x| x.max(0.0)).collect();
    let weights = values(UNITS, 2, 0.1);
    let (mut x, mut y) = (device.floats(UNITS), device.floats(UNITS));
    device.upload(&mut x, &activations);
    let sum = |y: &D::Floats| {
        let mut dropped = vec![0.0; UNITS];
        device.download(&mut dropped, y);
        let products = dropped.iter().zip(&weights);
        products.map(|(&y, &w)| f64::from(y) * f64::from(w)).sum::<f64>()
    };
    device.dropout(&mut y, &x, Dropout::Scaled(form.evaluation_scale(RATE)), UNITS);
    let evaluated = sum(&y);
    let sums: Vec<f64> = (0..masks)
        .map(|step| {
            let key = DropoutKey { seed: 0, step, layer: 0, first: 0 };
            let masked = Dropout::Masked { rate: RATE, kept_scale: form.kept_scale(RATE), key };
            device.dropout(&mut y, &x, masked, UNITS);
            sum(&y)
        })
        .collect();
    Expectation { masks: Estimate::of(&sums), evaluated }
}

#[cfg(test)]
mod tests {
    use alexnet_ops::Reference;

    use super::*;

    #[test]
    fn both_forms_are_in_the_mean_what_they_are_in_evaluation_and_a_wrong_scale_is_not() {
        let device = Reference::<f32>::new();
        for form in [DropoutForm::Classic, DropoutForm::Inverted] {
            let mut found = expectation(&device, form, 2000);
            assert!(found.distance() < 3.0, "{found:?}");
            found.evaluated *= 1.5;
            assert!(found.distance() > 3.0, "a wrong scale passes: {found:?}");
        }
    }
}
