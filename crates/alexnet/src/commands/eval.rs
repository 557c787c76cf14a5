//! `alexnet eval`: loss and accuracy of weights, alone or as an ensemble.

use anyhow::{bail, ensure};

use alexnet_data::{Loader, LoaderConfig, OpenedSplit, Order, Unreadable, View, open_split};
use alexnet_ops::Device;
use alexnet_predict::{Predictor, inference_plan};
use alexnet_train::{Metrics, evaluate};
use alexnet_weights::ModelFile;
use serde::Serialize;

use super::print_json;
use crate::arguments::{EvalArguments, Format};
use crate::device::on_device;
use crate::machine::check_memory;
use crate::{Ended, terminal};

#[derive(Serialize)]
struct Evaluation {
    #[serde(flatten)]
    metrics: Metrics,
    weights: Vec<String>,
    data: String,
}

pub(crate) fn run(arguments: &EvalArguments) -> anyhow::Result<Ended> {
    on_device!(arguments.device, |device| eval(&device, arguments))
}

fn eval<D: Device + Clone>(device: &D, arguments: &EvalArguments) -> anyhow::Result<Ended> {
    let mut members = Vec::new();
    for path in &arguments.weights {
        let file = ModelFile::load(path)?;
        let plan = inference_plan(path, &file, arguments.batch_size)?;
        check_memory(plan.bytes(), &path.display().to_string())?;
        members.push(Predictor::new(device.clone(), path, file, plan)?);
    }
    check_ensemble(&members, arguments)?;
    let opened = open_split(&arguments.data, arguments.split.as_deref(), members[0].classes())?;
    check_classes(&opened, members[0].classes().len(), arguments)?;
    let config = LoaderConfig {
        batch_size: arguments.batch_size,
        workers: arguments.workers,
        seed: 0,
        augment: if arguments.crops == 10 { View::TenCrops } else { View::Centre }.into(),
        unreadable: Unreadable::Blank,
        preprocess: members[0].preprocess().clone(),
        order: Order::Sequential,
    };
    let bar = terminal::bar(opened.split.samples.len() as u64, "images");
    let loader = Loader::new(opened.split.samples, config)?;
    let mut networks: Vec<_> = members.into_iter().map(Predictor::into_network).collect();
    let metrics = evaluate(&mut networks, &loader, |batch, images| {
        batch.unreadable.iter().for_each(|image| bar.suspend(|| terminal::unreadable(image)));
        bar.set_position(images);
        Ok(())
    })?;
    bar.finish_and_clear();
    let weights = arguments.weights.iter().map(|path| path.display().to_string()).collect();
    let data = opened.split.folder.display().to_string();
    match arguments.format {
        Format::Json => print_json(&Evaluation { metrics, weights, data })?,
        Format::Table => {
            let Metrics { images, loss, top1_accuracy, top5_accuracy } = metrics;
            let (top1, top5) = (top1_accuracy * 100.0, top5_accuracy * 100.0);
            terminal::print(&format!(
                "Test: Acc@1 {top1:.2} Acc@5 {top5:.2} loss {loss:.4} ({images} images)"
            ))?;
        }
    }
    Ok(Ended::Done)
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
