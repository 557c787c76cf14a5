//! `alexnet train`: from a folder of images to weights.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alexnet_data::{Dataset, SampleSet};
use alexnet_network::{Model, Plan, Purpose};
use alexnet_ops::Device;
use alexnet_train::{Checkpoint, Outcome, RunFolder, TrainConfig, Trainer};
use anyhow::{Context, bail, ensure};

use super::{sample, with_commas};
use crate::Ended;
use crate::device::on_device;
use crate::machine::{Environment, check_memory};
use crate::settings::{AugmentName, TrainFlags};
use crate::terminal::{Display, in_words};

const DEFAULT_PROJECT: &str = "runs/train";

pub(crate) fn run(flags: TrainFlags) -> anyhow::Result<Ended> {
    let flags = match &flags.resume {
        Some(run) => {
            let saved = run.join("args.toml");
            ensure!(saved.is_file(), "{} is no run: it has no args.toml", run.display());
            flags.clone().over(&saved)?
        }
        None => flags.with_file()?,
    };
    let flags = on_sample_set(flags)?.filled();
    let data = flags.data.clone().context("no data")?;
    let dataset = alexnet_data::open(&data)?;
    let config = flags.train_config(dataset.classes.len())?;
    on_device!(flags.device_flags(), |device| train(device, &flags, &config, &dataset))
}

/// Without a folder, the built-in sample set, and the settings that suit it where none are typed.
fn on_sample_set(flags: TrainFlags) -> anyhow::Result<TrainFlags> {
    if flags.data.is_some() {
        return Ok(flags);
    }
    let folder = PathBuf::from(sample::DEFAULT_FOLDER);
    if !folder.exists() {
        sample::write(&SampleSet::default(), &folder)?;
    }
    let flags = TrainFlags {
        data: Some(folder),
        width: flags.width.or(Some(SAMPLE_WIDTH)),
        image_size: flags.image_size.or(Some(SAMPLE_IMAGE_SIZE)),
        epochs: flags.epochs.or(Some(SAMPLE_EPOCHS)),
        augment: flags.augment.or(Some(AugmentName::RandomCrop)),
        ..flags
    };
    eprintln!(
        "No folder given: training on the built-in sample set, by default at width {SAMPLE_WIDTH} and \
         {SAMPLE_IMAGE_SIZE} pixels with random crops, for a result in minutes."
    );
    Ok(flags)
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
    config: &TrainConfig,
    dataset: &Dataset,
) -> anyhow::Result<Ended> {
    let device_name = device.name();
    let folder = match &flags.resume {
        Some(run) => run.clone(),
        None => new_folder(flags)?,
    };
    let made = || format!("cannot write to {}", folder.display());
    // Everything that can be refused is refused before a folder is made.
    let checkpoint =
        flags.resume.is_some().then(|| newest(&folder, config, dataset)).transpose()?;
    let plan = Plan::new(
        &Model::new(config.model)?,
        config.batch_size,
        Purpose::Training,
        config.initialisation,
    )?;
    check_batch(config, dataset)?;
    check_memory(plan.bytes(), "the network")?;
    let run_folder = RunFolder::create(&folder).with_context(made)?;
    let workers = flags.workers.unwrap_or_default();
    let mut trainer = Trainer::new(device, config.clone(), dataset, run_folder.clone(), workers)?;
    trainer.checkpoint_every(flags.save_every_steps.unwrap_or_default());
    if let Some(checkpoint) = checkpoint {
        trainer.restore(checkpoint)?;
    }
    write_settings(&folder, flags, device_name.clone()).with_context(made)?;

    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log.txt"));
    let print_freq = flags.print_freq.unwrap_or(1);
    let log = log.with_context(made)?;
    let mut display = Display::new(config.epochs, print_freq, log, on_interrupt()?);
    introduce(&mut display, &plan, config, dataset, &device_name, &folder);
    if trainer.progress().step > 0 {
        let progress = trainer.progress();
        display.say(&format!("Resumed at epoch {}, step {}.", progress.epoch + 1, progress.step));
    }
    let outcome = trainer.run(&mut display)?;
    conclude(&mut display, &run_folder, dataset, outcome, &trainer);
    Ok(if outcome == Outcome::Stopped { Ended::Stopped } else { Ended::Done })
}

/// The next free folder, or the named one if it holds no run yet.
fn new_folder(flags: &TrainFlags) -> anyhow::Result<PathBuf> {
    let project = flags.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.into());
    let Some(name) = &flags.name else {
        let free = (1..).map(|n| project.join(format!("exp{n}"))).find(|path| !path.exists());
        return free.context("no free folder name");
    };
    let folder = project.join(name);
    if folder.exists() {
        bail!(
            "{} exists: choose another --name, or continue that run with --resume {}",
            folder.display(),
            folder.display()
        );
    }
    Ok(folder)
}

fn check_batch(config: &TrainConfig, dataset: &Dataset) -> anyhow::Result<()> {
    let (batch_size, images) = (config.batch_size, dataset.train.samples.len());
    ensure!(
        batch_size <= images,
        "--batch-size {batch_size} is more than the {images} training images of {}: \
         choose {images} or less",
        dataset.train.folder.display()
    );
    Ok(())
}

/// The newest whole checkpoint of a run, if it is of this configuration.
fn newest(run: &Path, config: &TrainConfig, dataset: &Dataset) -> anyhow::Result<Checkpoint> {
    let folder = run.join("checkpoints");
    let checkpoint = Checkpoint::newest(&folder);
    let checkpoint = checkpoint.with_context(|| {
        format!("{} holds no whole checkpoint to resume from", folder.display())
    })?;
    ensure!(
        checkpoint.classes == dataset.classes,
        "{} was trained on other classes than {} has now: resume it with the data it began with",
        run.display(),
        dataset.root.display()
    );
    // More epochs than first asked for are welcome; anything else would make it another run.
    let same = TrainConfig { epochs: config.epochs, ..checkpoint.config.clone() };
    ensure!(
        same == *config,
        "the flags differ from those {} was trained with: start a new run for them, \
         or leave them out to resume",
        run.display()
    );
    Ok(checkpoint)
}

fn write_settings(folder: &Path, flags: &TrainFlags, device: String) -> anyhow::Result<()> {
    let header = "# Every setting of this run. To repeat it: alexnet train -c args.toml\n";
    fs::write(folder.join("args.toml"), format!("{header}{}", toml::to_string(flags)?))?;
    let environment = serde_json::to_string_pretty(&Environment::of(device))?;
    fs::write(folder.join("env.json"), environment + "\n")?;
    Ok(())
}

/// A flag that Ctrl-C or a termination signal raises. A second one ends the program at once; what
/// is on disk stays whole.
fn on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::EXIT_STOPPED));
        }
        eprintln!("\nStopping after this step; press again to leave at once.");
    })?;
    Ok(stop)
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
fn conclude<D: Device>(
    display: &mut Display,
    folder: &RunFolder,
    dataset: &Dataset,
    outcome: Outcome,
    trainer: &Trainer<D>,
) {
    let run = folder.root().display();
    if outcome == Outcome::Stopped {
        display.say(&format!("Stopped. Continue with: alexnet train --resume {run}"));
        return;
    }
    let progress = trainer.progress();
    if let Some((top1, epoch)) = progress.best {
        display.say(&format!(
            "Done in {}. Best validation top-1: {:.2} %, after epoch {epoch}.",
            in_words(progress.time_s),
            top1 * 100.0
        ));
    }
    let best = folder.best();
    let best = best.display();
    let validation = dataset.val.folder.display();
    display.say(&format!(
        "Weights  {best}\nCurves   {}\nTry next alexnet predict {validation} --weights {best}\n         \
         alexnet eval {} --weights {best}",
        folder.results().display(),
        dataset.root.display(),
    ));
}
