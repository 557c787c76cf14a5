//! `alexnet eval`: loss and accuracy of weights, alone or as an ensemble.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use alexnet_data::{Loader, LoaderConfig, OpenedSplit, Order, Unreadable, View, open_split};
use alexnet_ops::Device;
use alexnet_predict::Predictor;
use alexnet_train::Metrics;
use serde::Serialize;

use super::{open_predictor, passed_over, print_json};
use crate::arguments::{EvalArguments, Format};
use crate::device::on_device;
use crate::measuring::{Measured, measure, top_k};
use crate::places::{self, Named};
use crate::published::Published;
use crate::{Ended, interrupt, terminal};

#[derive(Serialize)]
struct Evaluation<'a> {
    #[serde(flatten)]
    metrics: Metrics,
    top1_error: f64,
    top5_error: f64,
    /// Likeliest classes that count for top-5: fewer than five of fewer classes.
    top5_counts: usize,
    classes: usize,
    crops: usize,
    published: Option<Published>,
    weights: &'a [String],
    data: &'a str,
}

pub(crate) fn run(arguments: &EvalArguments) -> anyhow::Result<Ended> {
    interrupt::listen()?;
    let weights = arguments.weights.iter().map(|path| ("--weights", &**path));
    places::check(&tables(arguments), weights)?;
    on_device!(arguments.device, |device| eval(&device, arguments))
}

/// The tables asked for.
fn tables(arguments: &EvalArguments) -> Vec<Named<'_>> {
    let EvalArguments { predictions, per_class, confusion, .. } = arguments;
    places::given([
        ("--predictions", predictions),
        ("--per-class", per_class),
        ("--confusion", confusion),
    ])
    .collect()
}

fn eval<D: Device + Clone>(device: &D, arguments: &EvalArguments) -> anyhow::Result<Ended> {
    let mut members = Vec::new();
    for path in &arguments.weights {
        let batch = arguments.batch_size;
        members.push(open_predictor(device.clone(), path, batch)?);
        interrupt::check()?;
    }
    let (configs, members): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    check_ensemble(&members, arguments)?;
    let classes = members[0].classes().to_vec();
    let opened = open_split(&arguments.data, arguments.split.as_deref(), &classes)?;
    check_classes(&opened, classes.len(), arguments)?;
    let config = LoaderConfig {
        batch_size: arguments.batch_size,
        workers: arguments.workers,
        seed: 0,
        augment: if arguments.crops == 10 { View::TenCrops } else { View::Centre }.into(),
        unreadable: Unreadable::Blank,
        preprocess: members[0].preprocess().clone(),
        order: Order::Sequential,
    };
    places::check_images(&tables(arguments), [&opened.split])?;
    if let Some(line) = passed_over(&opened.split.passed_over, &arguments.data) {
        terminal::note(&format!("alexnet: {line}"));
    }
    let samples = opened.split.samples;
    let loader = Loader::new(samples.clone(), config)?;
    let mut networks: Vec<_> = members.into_iter().map(Predictor::into_network).collect();
    let measured = measure(&mut networks, &loader, samples.len())?;
    let written = [
        table(&arguments.predictions, |it| measured.write_predictions(it, &samples, &classes)),
        table(&arguments.per_class, |it| measured.write_per_class(it, &classes)),
        table(&arguments.confusion, |it| measured.write_confusion(it, &classes)),
    ];
    let same = configs.iter().all(|config| *config == configs[0]);
    let published = match same {
        true => Published::of(&configs[0], &classes, configs.len()),
        false => Err("no published figure for different models together".to_owned()),
    };
    // A table that could not be written takes nothing from what was measured.
    print_result(&measured, &published, &opened.split.folder.display().to_string(), arguments)?;
    written.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(Ended::Done)
}

/// Writes a table, if it was asked for and nobody wishes to stop.
fn table(
    path: &Option<PathBuf>,
    write: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    interrupt::check()?;
    write(path)
}

fn print_result(
    measured: &Measured,
    published: &Result<Published, String>,
    data: &str,
    arguments: &EvalArguments,
) -> anyhow::Result<()> {
    let Metrics { images, loss, top1_accuracy, top5_accuracy } = measured.metrics;
    let classes = measured.confusion.classes().len();
    let k = top_k(classes);
    if arguments.format == Format::Json {
        let weights: Vec<_> =
            arguments.weights.iter().map(|path| path.display().to_string()).collect();
        return print_json(&Evaluation {
            metrics: measured.metrics,
            top1_error: 1.0 - top1_accuracy,
            top5_error: 1.0 - top5_accuracy,
            top5_counts: k,
            classes,
            crops: arguments.crops,
            published: published.as_ref().ok().copied(),
            weights: &weights,
            data,
        });
    }
    let percent = |share: f64| share * 100.0;
    let (top1, top5) = (percent(top1_accuracy), percent(top5_accuracy));
    terminal::print(&format!(
        "Test: Acc@1 {top1:.2} Acc@{k} {top5:.2} loss {loss:.4} ({images} images)"
    ))?;
    let (top1, top5) = (percent(1.0 - top1_accuracy), percent(1.0 - top5_accuracy));
    terminal::print(&format!("Here: top-1 error {top1:.2} %, top-{k} error {top5:.2} %"))?;
    match published {
        Err(why) => terminal::print(&format!("Published: {why}")),
        Ok(published) => {
            terminal::print(&format!("Published: {published}"))?;
            published
                .other_crops(arguments.crops)
                .map_or(Ok(()), |how| terminal::print(&format!("To compare, it was {how}")))
        }
    }
}

/// Members of an ensemble see the same pixels and name the same classes.
fn check_ensemble<D: Device>(
    members: &[Predictor<D>],
    arguments: &EvalArguments,
) -> anyhow::Result<()> {
    let first = &members[0];
    for (member, path) in members.iter().zip(&arguments.weights).skip(1) {
        let same = member.classes() == first.classes() && member.preprocess() == first.preprocess();
        ensure!(
            same,
            "{} and {} differ in classes or preprocessing and make no ensemble: \
             evaluate them one by one",
            arguments.weights[0].display(),
            path.display()
        );
    }
    Ok(())
}

fn check_classes(
    opened: &OpenedSplit,
    classes: usize,
    arguments: &EvalArguments,
) -> anyhow::Result<()> {
    if !opened.missing.is_empty() && !arguments.allow_missing_classes {
        bail!(
            "{} has no images of {} of the weights' {classes} classes ({}): add them, or pass \
             --allow-missing-classes to measure on the rest",
            opened.split.folder.display(),
            opened.missing.len(),
            abridged(&opened.missing)
        );
    }
    Ok(())
}

/// The first few names.
fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}
