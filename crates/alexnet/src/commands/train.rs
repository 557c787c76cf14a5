//! `alexnet train`: from a folder of images to weights.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alexnet_data::{Content, Dataset, Disk, SampleSet, Statistics, quoted};
use alexnet_network::Plan;
use alexnet_ops::Device;
use alexnet_train::{
    Checkpoint, Checkpoints, Outcome, Progress, Recipe, RunFolder, SAVES_FAILED_MAX, Shortage,
    TrainConfig, TrainError, Trainer, checkpoint_bytes, training_plan,
};
use anyhow::{Context, anyhow, bail, ensure};

use super::statistics::measured;
use super::{passed_over, sample, with_commas};
use crate::claim::{Claim, SETTINGS, settings_text};
use crate::device::on_device;
use crate::fine_tuning::Beginning;
use crate::flags::{AugmentName, TrainFlags};
use crate::machine::{check_room, cores};
use crate::settings::{Settings, UsageError};
use crate::terminal::{self, Display, in_words, note};
use crate::watch::Watch;
use crate::{Ended, interrupt};

/// What may be told anew to a run that is resumed. All else it began with.
const AT_RESUME: [&str; 12] = [
    "data",
    "device",
    "threads",
    "precision",
    "workers",
    "save-every-steps",
    "save-every-minutes",
    "checkpoint-hist",
    "print-freq",
    "max-unreadable",
    "epochs",
    "patience",
];

pub(crate) fn run(typed: TrainFlags) -> anyhow::Result<Ended> {
    interrupt::listen()?;
    let (mut flags, data) = completed(typed.clone())?;
    // What is resumed has long begun, unless it was ended before it saved anything.
    let begins = flags.weights.is_some() && begun(&flags)?.is_none();
    let weights = flags.weights.as_deref().filter(|_| begins);
    let beginning = weights.map(Beginning::load).transpose()?;
    if let Some(beginning) = &beginning {
        flags = beginning.completed(flags)?;
    }
    let settings = Settings::decide(&flags, data)?;
    settings.check_typed(&typed)?;
    if flags.print_config {
        terminal::hand_over(config_text(&settings, flags.data.is_none())?.trim_end())?;
        return Ok(Ended::Done);
    }
    let dataset = opened(&flags, &settings)?;
    if let Some(beginning) = beginning.as_ref().filter(|_| typed.init.is_some()) {
        beginning.check_init(&dataset.classes)?;
    }
    let job = Job { flags: &flags, settings: &settings, dataset: &dataset, beginning };
    on_device!(settings.device_flags(), |device| train(device, &job))
}

/// The flags over the values of the run or the file they name, and the data set that is meant.
pub(super) fn completed(flags: TrainFlags) -> anyhow::Result<(TrainFlags, PathBuf)> {
    let flags = match &flags.resume {
        Some(run) => {
            let saved = run.join(SETTINGS);
            ensure!(saved.is_file(), "{} is no run: it has no {SETTINGS}", run.display());
            let resumed = flags.clone().over(&saved)?;
            ensure!(resumed.data.is_some(), "{} names no data: it is damaged", saved.display());
            check_resumed(&flags, &saved)?;
            resumed
        }
        None => flags.with_file()?,
    };
    Ok(on_some_data(flags))
}

/// What would make it another run may not be asked for.
fn check_resumed(typed: &TrainFlags, saved: &Path) -> anyhow::Result<()> {
    let begun = toml::Table::try_from(TrainFlags::default().over(saved)?)?;
    let typed = toml::Table::try_from(typed)?;
    let changed = typed.iter().find(|&(flag, value)| {
        !AT_RESUME.contains(&flag.as_str()) && begun.get(flag) != Some(value)
    });
    match changed {
        Some((flag, _)) => Err(UsageError(format!(
            "the run began with another --{flag}: to resume it, leave it out"
        )))?,
        None => Ok(()),
    }
}

/// The data set that is meant; the sample set is drawn if it is not there, also where a printed
/// configuration names it.
pub(super) fn opened(flags: &TrainFlags, settings: &Settings) -> anyhow::Result<Dataset> {
    let data = &settings.data;
    let is_sample_set = flags.resume.is_none() && data == Path::new(sample::DEFAULT_FOLDER);
    if is_sample_set && !data.exists() {
        sample::write(&SampleSet::default(), data)?;
    }
    let opened = alexnet_data::open(data, settings.val_fraction());
    match &flags.resume {
        Some(run) if opened.is_err() && !data.exists() => bail!(
            "{} does not exist: if the images of this run have moved, say where, as DATA beside \
             --resume {}",
            data.display(),
            quoted(run)
        ),
        _ => Ok(opened?),
    }
}

/// Without a folder, the built-in sample set, and the settings that suit it where none are typed.
fn on_some_data(flags: TrainFlags) -> (TrainFlags, PathBuf) {
    if let Some(data) = flags.data.clone() {
        return (flags, data);
    }
    let flags = TrainFlags {
        width: flags.width.or(Some(SAMPLE_WIDTH)),
        image_size: flags.image_size.or(Some(SAMPLE_IMAGE_SIZE)),
        epochs: flags.epochs.or(Some(SAMPLE_EPOCHS)),
        dropout: flags.dropout.or(Some(SAMPLE_DROPOUT)),
        augment: flags.augment.or(Some(AugmentName::RandomCrop)),
        ..flags
    };
    note(&format!(
        "No folder given: training on the built-in sample set, by default at width \
         {SAMPLE_WIDTH} and {SAMPLE_IMAGE_SIZE} pixels with random crops and dropout of \
         {SAMPLE_DROPOUT}, for a result in a minute."
    ));
    (flags, sample::DEFAULT_FOLDER.into())
}

/// The sample set's pictures are about 128 pixels wide and simpler than photographs: a quarter of
/// the width learns them in a sixteenth of the work (`records/`). Crops stay large, since a twelfth
/// of a picture may not show its shape.
const SAMPLE_WIDTH: f32 = 0.25;
const SAMPLE_IMAGE_SIZE: usize = 112;
const SAMPLE_EPOCHS: u64 = 15;
/// Fewer units are dropped than in a whole network, and fifteen epochs do for every seed that was tried
/// (`records/2026-11-25-sample-set`).
const SAMPLE_DROPOUT: f32 = 0.2;

/// All that a run is made of.
struct Job<'a> {
    flags: &'a TrainFlags,
    settings: &'a Settings,
    dataset: &'a Dataset,
    beginning: Option<Beginning>,
}

fn train<D: Device>(device: D, job: &Job<'_>) -> anyhow::Result<Ended> {
    let Job { flags, settings, dataset, ref beginning } = *job;
    let config = settings.train_config(dataset.classes.len())?;
    // What can be refused is refused before a folder is made.
    let plan = training_plan(&config, dataset).map_err(by_flag)?;
    let smaller = ["--micro-batch", "--batch-size", "--image-size", "--width"];
    check_room(&device, &plan, checkpoint_bytes(&plan) as usize, "the network", &smaller)?;
    if let Some(beginning) = beginning {
        beginning.check(&plan)?;
    }
    let text = settings_text(settings)?;
    if interrupt::requested() {
        note("Stopped before anything was begun.");
        return Ok(Ended::Stopped);
    }
    let mut claim = match &flags.resume {
        Some(run) => Claim::resumed(run)?,
        None => Claim::new(flags, &text, device.name())?,
    };
    match train_in(&mut claim, device, job, (config, &plan), &text) {
        // It has its settings to go on with, and needs no more.
        Err(error) if interrupt::is_wish_to_stop(&error) => {
            claim.keep();
            note(&stopped_line(claim.folder()));
            Ok(Ended::Stopped)
        }
        ended => ended,
    }
}

/// An error of settings and data together, with the flag that is the way out.
fn by_flag(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::BatchTooLarge { batch_size, images, folder } => anyhow!(
            "--batch-size is {batch_size}, but {} has only {images} training images: choose {images} \
             or less",
            folder.display()
        ),
        other => other.into(),
    }
}

fn stopped_line(run: &Path) -> String {
    format!("Stopped. Continue with: alexnet train --resume {}", quoted(run))
}

/// Trains in a folder that is this run's alone. `text` are its settings, as they are written down.
fn train_in<D: Device>(
    claim: &mut Claim,
    device: D,
    job: &Job<'_>,
    (config, plan): (TrainConfig, &Plan),
    text: &str,
) -> anyhow::Result<Ended> {
    let Job { flags, settings, dataset, ref beginning } = *job;
    let checkpoint = begun(flags)?;
    let config = match beginning {
        Some(begun) => settings.normalisation().with_weights(config, &begun.file.preprocess),
        None => config,
    };
    let (config, learnt) = with_images_known(config, settings, dataset, checkpoint.as_ref())?;
    let config = &config;
    let (device_name, run_folder) = (device.name(), claim.run_folder()?);
    let workers = settings.workers;
    let mut trainer = Trainer::new(device, config.clone(), dataset, run_folder.clone(), workers)?;
    trainer.save_when(settings.saving());
    if let Some(budget) = settings.max_unreadable {
        trainer.allow_unreadable(budget);
    }
    let begun_epochs = checkpoint.as_ref().map_or(config.epochs, |begun| begun.config.epochs);
    if let Some(begun) = checkpoint {
        trainer.restore(begun)?;
    }
    let beginning =
        beginning.as_ref().map(|b| b.weights(&trainer.network().weights(), &dataset.classes));
    if let Some((weights, _)) = &beginning {
        trainer.begin_with(weights)?;
    }
    claim.tell(text)?;
    let folder = run_folder.root();
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log.txt"));
    let log = log.with_context(|| format!("cannot write to {}", folder.display()))?;
    let classes = dataset.classes.len();
    let mut display = Display::new(config.epochs, settings.print_freq, classes, log);
    introduce(&mut display, plan, config, dataset, &device_name, folder);
    display.say(&recipe_line(settings));
    for line in [learnt, beginning.map(|(_, line)| line)].into_iter().flatten() {
        display.say(&line);
    }
    display.say(&time_estimate(&mut trainer, settings, dataset));
    say_where_it_stands(&mut display, &trainer, flags.resume.is_some(), begun_epochs);
    claim.keep();
    let (progress, smoothing) = (trainer.progress(), settings.label_smoothing);
    let print_freq = settings.print_freq;
    let mut watch = Watch::new(display, &run_folder, progress, dataset, smoothing, print_freq);
    let outcome = trainer.run(&mut watch)?;
    conclude(&mut watch.display, &run_folder, dataset, outcome, trainer.progress());
    Ok(if outcome == Outcome::Stopped { Ended::Stopped } else { Ended::Done })
}

/// Where a run goes on, and what is not as it was or should be.
fn say_where_it_stands<D: Device>(
    display: &mut Display,
    trainer: &Trainer<D>,
    resumed: bool,
    begun_epochs: u64,
) {
    let progress = trainer.progress();
    if resumed && progress.step == 0 {
        display.say("The run was ended before it saved anything: from the beginning.");
    } else if progress.step > 0 {
        display.say(&format!("Resumed at epoch {}, step {}.", progress.epoch + 1, progress.step));
    }
    let epochs = trainer.config().epochs;
    if begun_epochs != epochs {
        display.say(&format!(
            "Begun for {begun_epochs} epochs, now for {epochs}: schedules that run to the end move."
        ));
    }
    if let Some(Shortage { needs_bytes, free_bytes }) = trainer.shortage() {
        display.say(&format!(
            "Note     {} MiB are free for checkpoints, {} MiB should be: should saving fail, training \
             goes on, and stops after {SAVES_FAILED_MAX} failures in a row.",
            with_commas((free_bytes >> 20) as usize),
            with_commas((needs_bytes >> 20) as usize),
        ));
    }
}

/// Where the run that is to be resumed stands; nowhere if it was ended before it saved anything.
pub(super) fn begun(flags: &TrainFlags) -> anyhow::Result<Option<Checkpoint>> {
    let Some(run) = &flags.resume else { return Ok(None) };
    let folder = run.join("checkpoints");
    let checkpoints = Checkpoints::new(Arc::new(Disk), folder.clone());
    let newest = checkpoints.newest()?;
    ensure!(
        newest.is_some() || checkpoints.is_empty(),
        "{} holds no whole checkpoint to resume from: to train from the beginning, delete the folder",
        folder.display()
    );
    Ok(newest)
}

/// `config` with what the settings want to know of the training images, as the run that is resumed
/// found it, or else found now and also said in words.
pub(super) fn with_images_known(
    config: TrainConfig,
    settings: &Settings,
    dataset: &Dataset,
    begun: Option<&Checkpoint>,
) -> anyhow::Result<(TrainConfig, Option<String>)> {
    match begun {
        Some(begun) => Ok((settings.normalisation().with_begun(config, &begun.config), None)),
        None => with_statistics(config, settings, dataset),
    }
}

/// `config` with what the settings want to know of the training images, and what that was, in words.
/// All of them are read for it.
fn with_statistics(
    config: TrainConfig,
    settings: &Settings,
    dataset: &Dataset,
) -> anyhow::Result<(TrainConfig, Option<String>)> {
    let normalisation = settings.normalisation();
    let wanted = normalisation.of_images();
    if wanted.is_empty() {
        return Ok((config, None));
    }
    note(&format!(
        "Reading all {} training images once for their {wanted} (--mean, --std, \
         --colour-noise-from).",
        with_commas(dataset.train.samples.len())
    ));
    let found = measured(&dataset.train.samples, &config.preprocess, settings.workers)?;
    let Statistics { images, mean: [red, green, blue], .. } = found;
    let line = format!(
        "Colours  {wanted} of {} images; mean colour {red:.1}, {green:.1}, {blue:.1}",
        with_commas(images as usize)
    );
    Ok((normalisation.with_statistics(config, found)?, Some(line)))
}

/// All settings as they would be used, with what is to be known of them.
fn config_text(settings: &Settings, of_sample_set: bool) -> anyhow::Result<String> {
    let text = toml::to_string(settings).context("the settings cannot be written down")?;
    let Recipe { source, epochs, evaluation_crops, .. } = Recipe::of(settings.recipe);
    let crops = if evaluation_crops == 1 { "crop" } else { "crops" };
    let sample_set = match of_sample_set {
        true => {
            "# No DATA: data, width, image-size, epochs, dropout and augment suit the built-in sample \
             set where they\n# were not typed. Other images get the recipe's: alexnet train DATA \
             --print-config shows them.\n"
        }
        false => "",
    };
    Ok(format!(
        "# Every setting of this run: alexnet train -c FILE uses them.\n{sample_set}\
         # The recipe's figures are from {source}.\n\
         # It was published for {epochs} epochs, and measured with {evaluation_crops} {crops}.\n\
         {text}"
    ))
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
    if let Some(line) = passed_over(&dataset.passed_over(), &dataset.root) {
        display.say(&format!("Note     {line}."));
    }
    display.say(&format!(
        "Model    {}{batch_norm}, width {}, {} pixels: {} parameters, {} multiply-adds an image",
        model.model,
        model.width,
        model.image_size,
        with_commas(plan.parameter_count()),
        with_commas(plan.macs()),
    ));
    display.say(&format!(
        "Training {} of batches of {}, learning rate {}, on {device}, {} MiB for the network, {} MiB \
         more while it is saved",
        if config.epochs == 1 { "1 epoch".to_owned() } else { format!("{} epochs", config.epochs) },
        config.batch_size,
        config.sgd.learning_rate,
        with_commas(plan.bytes() >> 20),
        with_commas(checkpoint_bytes(plan) as usize >> 20),
    ));
    display.say(&format!("Run      {} (settings in args.toml)", folder.display()));
}

/// Whose figures hold where none were typed.
fn recipe_line(settings: &Settings) -> String {
    let Recipe { epochs, .. } = Recipe::of(settings.recipe);
    let stretched = match settings.epochs == epochs {
        true => String::new(),
        false => format!(", its {epochs} epochs brought to {}", settings.epochs),
    };
    format!("Recipe   {}{stretched}; --print-config shows every figure", settings.recipe)
}

/// How long the run will take, from what a forward pass takes and what loading a batch does.
fn time_estimate<D: Device>(
    trainer: &mut Trainer<D>,
    settings: &Settings,
    dataset: &Dataset,
) -> String {
    let (batch_size, workers) = (settings.batch_size, settings.workers);
    let (pass_s, loading_s) = (trainer.forward_seconds(), trainer.loading_seconds());
    let passes = |images: usize| images.div_ceil(batch_size) as f64;
    let [train, val] = [&dataset.train, &dataset.val].map(|split| passes(split.samples.len()));
    let shared = Shared { cores: cores(), threads: settings.threads, workers };
    let step_s = PASSES_OF_A_STEP * pass_s;
    let epoch_s =
        train * shared.seconds(step_s, loading_s) + val * shared.seconds(pass_s, loading_s);
    let epochs = settings.epochs - trainer.progress().epoch.min(settings.epochs);
    format!(
        "Time     about {}: {} a step of {batch_size} images, {} of one thread to load them",
        in_words(epoch_s * epochs as f64),
        seconds(step_s),
        seconds(loading_s),
    )
}

/// Cores on which some threads compute a batch while others load the next.
struct Shared {
    cores: usize,
    /// That compute; 0 is one a core.
    threads: usize,
    /// That load; with 0, loading waits for computing and computing for loading.
    workers: usize,
}

impl Shared {
    /// Seconds from batch to batch, of which one takes `step_s` to compute by itself and one thread
    /// `loading_s` to load: the longer of the two, and no less than all cores need for both.
    fn seconds(&self, step_s: f64, loading_s: f64) -> f64 {
        let &Self { cores, threads, workers } = self;
        if workers == 0 {
            return step_s + loading_s;
        }
        let computing = if threads == 0 { cores } else { threads.min(cores) };
        let of_all_cores = (step_s * computing as f64 + loading_s) / cores as f64;
        of_all_cores.max(step_s).max(loading_s / workers.min(cores) as f64)
    }
}

/// A short time.
fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// A training step is a forward pass, and about as much for each of its two gradients.
const PASSES_OF_A_STEP: f64 = 3.0;

/// Where the results are and what to try next.
fn conclude(
    display: &mut Display,
    folder: &RunFolder,
    dataset: &Dataset,
    outcome: Outcome,
    progress: &Progress,
) {
    if outcome == Outcome::Stopped {
        display.say(&stopped_line(folder.root()));
        return;
    }
    if outcome == Outcome::OutOfPatience {
        let epoch = progress.epoch;
        display
            .say(&format!("Ended after epoch {epoch}: validation did not improve (--patience)."));
    }
    if let Some((top1, epoch)) = progress.best {
        display.say(&format!(
            "Done in {}. Best validation top-1: {:.2} %, after epoch {epoch}.",
            in_words(progress.time_s),
            top1 * 100.0
        ));
    }
    let best = folder.best();
    display.say(&format!("Weights  {}", best.display()));
    display.say(&format!("Curves   {}", folder.results().display()));
    let (best, root) = (quoted(&best), quoted(&dataset.root));
    if let Some(Content::File(image)) = dataset.val.samples.first().map(|sample| &sample.content) {
        let image = quoted(image);
        display.say(&format!("Try next alexnet predict {image} --weights {best}"));
    }
    display.say(&format!("         alexnet eval {root} --weights {best}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_from_batch_to_batch_counts_loading_where_it_shares_the_cores() {
        let cases = [
            // (cores, threads, workers), (step, loading), expected
            ((2, 0, 2), (1.0, 0.0), 1.0),
            ((2, 0, 2), (1.0, 1.0), 1.5),
            ((2, 1, 1), (1.0, 0.5), 1.0),
            ((2, 1, 1), (1.0, 3.0), 3.0),
            ((2, 0, 0), (1.0, 0.5), 1.5),
            ((16, 8, 8), (1.0, 4.0), 1.0),
            ((4, 0, 8), (1.0, 40.0), 11.0),
        ];
        for ((cores, threads, workers), (step_s, loading_s), expected) in cases {
            let shared = Shared { cores, threads, workers };
            let found = shared.seconds(step_s, loading_s);
            assert_eq!(found, expected, "{cores} cores, {threads} threads, {workers} workers");
        }
    }
}
