//! `alexnet train`: from a folder of images to weights.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use alexnet_data::{Content, Dataset, SampleSet};
use alexnet_network::Plan;
use alexnet_ops::Device;
use alexnet_train::{
    Checkpoint, Outcome, Progress, RunFolder, TrainConfig, Trainer, training_plan,
};
use anyhow::{Context, bail, ensure};

use super::{sample, with_commas};
use crate::device::on_device;
use crate::flags::{AugmentName, TrainFlags};
use crate::machine::{Environment, check_memory};
use crate::settings::Settings;
use crate::terminal::{Display, in_words, note};
use crate::{Ended, interrupt};

const DEFAULT_PROJECT: &str = "runs/train";

pub(crate) fn run(flags: TrainFlags) -> anyhow::Result<Ended> {
    let (flags, data) = completed(flags)?;
    let settings = Settings::decide(&flags, data.clone())?;
    let dataset = alexnet_data::open(&data, settings.val_fraction())?;
    on_device!(settings.device_flags(), |device| train(device, &flags, &settings, &dataset))
}

/// The flags over the values of the run or the file they name, and the data set that is meant.
pub(super) fn completed(flags: TrainFlags) -> anyhow::Result<(TrainFlags, PathBuf)> {
    let flags = match &flags.resume {
        Some(run) => {
            let saved = run.join("args.toml");
            ensure!(saved.is_file(), "{} is no run: it has no args.toml", run.display());
            let flags = flags.clone().over(&saved)?;
            ensure!(flags.data.is_some(), "{} names no data: it is damaged", saved.display());
            flags
        }
        None => flags.with_file()?,
    };
    on_some_data(flags)
}

/// Without a folder, the built-in sample set, and the settings that suit it where none are typed.
fn on_some_data(flags: TrainFlags) -> anyhow::Result<(TrainFlags, PathBuf)> {
    if let Some(data) = flags.data.clone() {
        return Ok((flags, data));
    }
    let folder = PathBuf::from(sample::DEFAULT_FOLDER);
    if !folder.exists() {
        sample::write(&SampleSet::default(), &folder)?;
    }
    let flags = TrainFlags {
        width: flags.width.or(Some(SAMPLE_WIDTH)),
        image_size: flags.image_size.or(Some(SAMPLE_IMAGE_SIZE)),
        epochs: flags.epochs.or(Some(SAMPLE_EPOCHS)),
        augment: flags.augment.or(Some(AugmentName::RandomCrop)),
        ..flags
    };
    note(&format!(
        "No folder given: training on the built-in sample set, by default at width {SAMPLE_WIDTH} \
         and {SAMPLE_IMAGE_SIZE} pixels with random crops, for a result in minutes."
    ));
    Ok((flags, folder))
}

/// The sample set's pictures are about 128 pixels wide and simpler than photographs: a quarter of
/// the width learns them in a sixteenth of the work (`records/`). Crops stay large, since a twelfth
/// of a picture may not show its shape.
const SAMPLE_WIDTH: f32 = 0.25;
const SAMPLE_IMAGE_SIZE: usize = 112;
const SAMPLE_EPOCHS: u64 = 15;

fn train<D: Device>(
    device: D,
    flags: &TrainFlags,
    settings: &Settings,
    dataset: &Dataset,
) -> anyhow::Result<Ended> {
    let config = &settings.train_config(dataset.classes.len());
    // What can be refused is refused before a folder is made.
    let plan = training_plan(config, dataset)?;
    check_memory(plan.bytes(), "the network")?;
    let (device_name, settings_text) = (device.name(), settings_text(settings)?);
    let folder = match &flags.resume {
        Some(run) => run.clone(),
        None => new_folder(flags)?,
    };
    let made = || format!("cannot write to {}", folder.display());
    let run_folder = RunFolder::create(&folder).with_context(made)?;
    let workers = settings.workers;
    let mut trainer = Trainer::new(device, config.clone(), dataset, run_folder.clone(), workers)?;
    trainer.checkpoint_every(settings.save_every_steps);
    let begun_epochs = match &flags.resume {
        Some(_) => restore(&mut trainer, &run_folder)?,
        None => config.epochs,
    };
    if flags.resume.is_none() {
        write_settings(&folder, &settings_text, device_name.clone()).with_context(made)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log.txt"));
    let log = log.with_context(made)?;
    let mut display = Display::new(config.epochs, settings.print_freq, log);
    introduce(&mut display, &plan, config, dataset, &device_name, &folder);
    let progress = trainer.progress();
    if progress.step > 0 {
        display.say(&format!("Resumed at epoch {}, step {}.", progress.epoch + 1, progress.step));
    }
    if begun_epochs != config.epochs {
        display.say(&format!(
            "Begun for {begun_epochs} epochs, now for {}: schedules that run to the end move.",
            config.epochs
        ));
    }
    interrupt::listen()?;
    let outcome = trainer.run(&mut display)?;
    conclude(&mut display, &run_folder, dataset, outcome, trainer.progress());
    Ok(if outcome == Outcome::Stopped { Ended::Stopped } else { Ended::Done })
}

/// The next free folder, or the named one if there is none yet.
fn new_folder(flags: &TrainFlags) -> anyhow::Result<PathBuf> {
    let project = flags.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.into());
    let Some(name) = &flags.name else {
        let free = (1..).map(|n| project.join(format!("exp{n}"))).find(|path| !path.exists());
        return free.context("no free folder name");
    };
    let folder = project.join(name);
    if folder.exists() {
        let way_out = match Checkpoint::newest(&folder.join("checkpoints")) {
            Some(_) => format!("continue that run with --resume {}", folder.display()),
            None => "delete it, for it holds no checkpoint".to_owned(),
        };
        bail!("{} exists: choose another --name, or {way_out}", folder.display());
    }
    Ok(folder)
}

/// Brings the trainer to the run's newest whole checkpoint; returns for how many epochs it was
/// begun.
fn restore<D: Device>(trainer: &mut Trainer<D>, run: &RunFolder) -> anyhow::Result<u64> {
    let folder = run.checkpoints();
    let checkpoint = Checkpoint::newest(&folder).with_context(|| {
        format!("{} holds no whole checkpoint to resume from", folder.display())
    })?;
    let begun_epochs = checkpoint.config.epochs;
    trainer.restore(checkpoint)?;
    Ok(begun_epochs)
}

/// `args.toml`, with the data's full path, so that a run resumes from any folder.
fn settings_text(settings: &Settings) -> anyhow::Result<String> {
    let data = settings.data.canonicalize()?;
    let text = toml::to_string(&Settings { data, ..settings.clone() });
    let text = text.context("the settings cannot be written down")?;
    Ok(format!("# Every setting of this run. To repeat it: alexnet train -c args.toml\n{text}"))
}

fn write_settings(folder: &Path, settings: &str, device: String) -> anyhow::Result<()> {
    fs::write(folder.join("args.toml"), settings)?;
    let environment = serde_json::to_string_pretty(&Environment::of(device))?;
    fs::write(folder.join("env.json"), environment + "\n")?;
    Ok(())
}

/// What is about to happen, and everything that was chosen automatically.
fn introduce(
    display: &mut Display,
    plan: &Plan,
    config: &TrainConfig,
    dataset: &Dataset,
    device: &str,
    folder: &Path,
) {
    let model = config.model;
    let batch_norm = if model.batch_norm { " with batch normalisation" } else { "" };
    display.say(&format!(
        "Data     {}: {} classes, {} training and {} validation images",
        dataset.root.display(),
        dataset.classes.len(),
        with_commas(dataset.train.samples.len()),
        with_commas(dataset.val.samples.len()),
    ));
    display.say(&format!(
        "Model    {}{batch_norm}, width {}, {} pixels: {} parameters, {} multiply-adds an image",
        model.model,
        model.width,
        model.image_size,
        with_commas(plan.parameter_count()),
        with_commas(plan.macs()),
    ));
    display.say(&format!(
        "Training {} of batches of {}, learning rate {}, on {device}, {} MiB for the network",
        if config.epochs == 1 { "1 epoch".to_owned() } else { format!("{} epochs", config.epochs) },
        config.batch_size,
        config.sgd.learning_rate,
        with_commas(plan.bytes() >> 20),
    ));
    display.say(&format!("Run      {} (settings in args.toml)", folder.display()));
}

/// Where the results are and what to try next.
fn conclude(
    display: &mut Display,
    folder: &RunFolder,
    dataset: &Dataset,
    outcome: Outcome,
    progress: &Progress,
) {
    let run = folder.root().display();
    if outcome == Outcome::Stopped {
        display.say(&format!("Stopped. Continue with: alexnet train --resume {run}"));
        return;
    }
    if let Some((top1, epoch)) = progress.best {
        display.say(&format!(
            "Done in {}. Best validation top-1: {:.2} %, after epoch {epoch}.",
            in_words(progress.time_s),
            top1 * 100.0
        ));
    }
    let best = folder.best();
    let (best, root) = (best.display(), dataset.root.display());
    display.say(&format!("Weights  {best}\nCurves   {}", folder.results().display()));
    if let Some(Content::File(image)) = dataset.val.samples.first().map(|sample| &sample.content) {
        let image = image.display();
        display.say(&format!("Try next alexnet predict {image} --weights {best}"));
    }
    display.say(&format!("         alexnet eval {root} --weights {best}"));
}
