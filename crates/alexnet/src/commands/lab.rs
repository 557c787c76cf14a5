//! `alexnet lab`: published claims as experiments.

use std::fs;
use std::path::Path;

use alexnet_data::{Dataset, SampleSet, write_beside};
use alexnet_lab::{Effect, Experiment, Finding, Progress, Size, Table, Workbench};
use alexnet_ops::Device;
use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;

use super::{print_json, print_table, table};
use crate::arguments::{Format, LabArguments, LabTask};
use crate::device::on_device;
use crate::terminal::{self, note, print};
use crate::{Ended, interrupt, places};

pub(crate) fn run(arguments: &LabArguments) -> anyhow::Result<Ended> {
    match arguments.task {
        LabTask::List => list(arguments.format),
        LabTask::Experiment(experiment) => {
            interrupt::listen()?;
            let size = if arguments.quick { Size::Quick } else { Size::Whole };
            check_place(&arguments.out, experiment)?;
            let (dataset, data, _drawn) = images(arguments, size)?;
            on_device!(arguments.device, |device| {
                experiment_on(device, arguments, experiment, &dataset, &data, size)
            })
        }
    }
}

/// Makes the folder of the results: whether it can be is known before the work.
fn check_place(folder: &Path, experiment: Experiment) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    places::can_be_written(&folder.join(results_name(experiment)))
}

/// The file of a finding.
fn results_name(experiment: Experiment) -> String {
    format!("{experiment}.json")
}

fn list(format: Format) -> anyhow::Result<Ended> {
    #[derive(Serialize)]
    struct Listed {
        name: &'static str,
        question: &'static str,
        published: &'static str,
        minutes: f64,
    }
    let listed = Experiment::ALL.map(|experiment| Listed {
        name: experiment.as_str(),
        question: experiment.question(),
        published: experiment.published(),
        minutes: experiment.minutes(),
    });
    match format {
        Format::Json => print_json(&listed)?,
        Format::Table => {
            let mut table = table(&["experiment", "minutes", "question"]);
            for Listed { name, question, published, minutes } in listed {
                table.add_row([name.into(), format!("{minutes}"), question.to_owned()]);
                table.add_row(["", "", &format!("  published: {published}")]);
            }
            print_table(&table)?;
        }
    }
    Ok(Ended::Done)
}

/// The data set, what it is called, and the folder it was drawn into for this experiment alone.
fn images(
    arguments: &LabArguments,
    size: Size,
) -> anyhow::Result<(Dataset, String, Option<TempDir>)> {
    if let Some(root) = &arguments.data {
        let dataset = alexnet_data::open(root, arguments.val_fraction)?;
        return Ok((dataset, root.display().to_string(), None));
    }
    let folder = tempfile::tempdir().context("no folder for the sample set")?;
    let root = folder.path().join("set");
    let set = size.sample_set();
    let classes = SampleSet::classes().len() as u32;
    let bar =
        terminal::bar(u64::from((set.train_per_class + set.val_per_class) * classes), "images");
    set.write(&root, &mut |done, _| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    Ok((alexnet_data::open(&root, None)?, "the sample set".into(), Some(folder)))
}

fn experiment_on<D: Device + Clone>(
    device: D,
    arguments: &LabArguments,
    experiment: Experiment,
    dataset: &Dataset,
    data: &str,
    size: Size,
) -> anyhow::Result<Ended> {
    let bar = terminal::bar(0, "");
    let mut watch = |progress: &Progress<'_>| {
        terminal::show(&bar, progress.done, progress.of, progress.what.to_owned());
        !interrupt::requested()
    };
    let bench = Workbench::new(device, dataset, data, size, &mut watch)?;
    let finding = experiment.run(&mut bench.with_seeds(arguments.seeds))?;
    bar.finish_and_clear();
    match arguments.format {
        Format::Json => print_json(&finding)?,
        Format::Table => print_finding(&finding)?,
    }
    draw(&finding, &arguments.out)?;
    Ok(Ended::Done)
}

fn print_finding(finding: &Finding) -> anyhow::Result<()> {
    let Finding { experiment, here, there, table, effects, remarks, .. } = finding;
    print(experiment.question())?;
    print(&format!("Published  {}", experiment.published()))?;
    print(&format!("There      {there}"))?;
    print(&format!("Here       {here}"))?;
    print("")?;
    print_table(&cells(table))?;
    print("")?;
    for effect in effects {
        print_effect(effect)?;
    }
    remarks.iter().try_for_each(|remark| print(remark))
}

fn print_effect(effect: &Effect) -> anyhow::Result<()> {
    let Effect { what, published, values, .. } = effect;
    let estimate = effect.estimate();
    let error = match estimate.count {
        0 | 1 => String::new(),
        _ => format!(" ± {:.2} (standard error)", estimate.standard_error()),
    };
    let by_seed: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
    let found = match estimate.count {
        0 => "not measured".to_owned(),
        _ => format!("{:.2}{error}, by seed {}", estimate.mean, by_seed.join(", ")),
    };
    print(what)?;
    print(&format!("  published  {published}"))?;
    print(&format!("  here       {found}"))?;
    print(&format!("  so it      {}", effect.verdict().words()))?;
    print("")
}

fn cells(of: &Table) -> super::Table {
    let headings: Vec<&str> = of.columns.iter().map(String::as_str).collect();
    let mut table = table(&headings);
    of.rows.iter().for_each(|row| {
        table.add_row(row);
    });
    table
}

/// The finding as JSON, and its drawings.
fn draw(finding: &Finding, folder: &Path) -> anyhow::Result<()> {
    let mut files = vec![(
        results_name(finding.experiment),
        (serde_json::to_string_pretty(finding)? + "\n").into_bytes(),
    )];
    let drawings = finding.drawings.iter();
    files.extend(drawings.map(|drawing| (drawing.name.clone(), drawing.bytes.clone())));
    for (name, bytes) in files {
        let path = folder.join(name);
        write_beside(&path, |file| file.write_all(&bytes))
            .with_context(|| format!("cannot write {}", path.display()))?;
        note(&path.display().to_string());
    }
    Ok(())
}
