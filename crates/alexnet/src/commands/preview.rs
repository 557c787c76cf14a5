//! `alexnet data preview`: what the network will see, in one picture.
//!
//! The pictures are made of the very numbers that the network gets: each comes from a loader that
//! differs from training's in the size of its batches only, and what is drawn from a number does
//! not depend on that.

use std::collections::HashSet;
use std::ops::Range;

use alexnet_data::{
    Dataset, Loader, LoaderConfig, Order, Preprocess, Unreadable, View, unreadable_budget,
    write_beside,
};
use alexnet_figures::{ContactSheet, Picture, SHEET_PIXELS_MAX, SheetRow, label};
use alexnet_train::TrainConfig;
use anyhow::Context;
use clap::ValueEnum;

use super::train::{begun, completed, opened, with_images_known};
use crate::arguments::PreviewArguments;
use crate::settings::{Settings, UsageError};
use crate::{Ended, interrupt, places, terminal};

pub(crate) fn run(arguments: PreviewArguments) -> anyhow::Result<Ended> {
    interrupt::listen()?;
    let PreviewArguments { out, rows, views, epoch, flags } = arguments;
    let config = flags.config.clone();
    let resumed = flags.resume.as_ref().map(|run| run.join("args.toml"));
    let typed = flags.clone();
    let (flags, data) = completed(flags)?;
    let (weights, set) = (&flags.weights, &flags.data);
    let read =
        [("--config", &config), ("--resume", &resumed), ("--weights", weights), ("DATA", set)];
    places::check(&[("--out", &out)], places::given(read))?;
    let settings = Settings::decide(&flags, data)?;
    settings.check_typed(&typed)?;
    check_size(rows, views, settings.image_size)?;
    let dataset = opened(&flags, &settings)?;
    places::check_images(&[("--out", &out)], [&dataset.train, &dataset.val])?;
    let begun = begun(&flags)?;
    let config = settings.train_config(dataset.classes.len())?;
    let (config, _) = with_images_known(config, &settings, &dataset, begun.as_ref())?;
    let preview = Preview::new(&dataset, config)?;
    // Epochs are counted from 1 where people see them.
    let epochs = epoch - 1..epoch - 1 + views as u64;
    let sheet = ContactSheet {
        title: title(&settings),
        columns: columns(&epochs),
        rows: preview.rows(rows, &epochs)?,
    };
    let png = sheet.draw()?.to_png()?;
    interrupt::check()?;
    write_beside(&out, |file| file.write_all(&png))
        .with_context(|| format!("cannot write {}", out.display()))?;
    places::tell(&out, &out.display().to_string())?;
    Ok(Ended::Done)
}

/// Before anything is made, whether it has room on a sheet.
fn check_size(rows: usize, views: usize, side: usize) -> Result<(), UsageError> {
    let pictures = rows.saturating_mul(views.saturating_add(1));
    if pictures.saturating_mul(side).saturating_mul(side) <= SHEET_PIXELS_MAX {
        return Ok(());
    }
    Err(UsageError(format!(
        "{pictures} pictures of {side} x {side} pixels are more than the {SHEET_PIXELS_MAX} pixels \
         of a sheet: ask for fewer --rows or --views"
    )))
}

fn title(settings: &Settings) -> String {
    let Settings { model, image_size, resize_size, fit, augment, seed, .. } = settings;
    let (fit, augment) = (typed(fit), typed(augment));
    format!("{model}: {augment} of {image_size} pixels, {fit} {resize_size}, seed {seed}")
}

/// A value as it is typed after its flag.
fn typed(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn columns(epochs: &Range<u64>) -> Vec<String> {
    let epochs = epochs.clone().map(|epoch| format!("epoch {}", epoch + 1));
    ["evaluation".to_owned()].into_iter().chain(epochs).collect()
}

/// Makes pictures of single training images.
struct Preview<'d> {
    dataset: &'d Dataset,
    preprocess: Preprocess,
    /// As in training, one image after the other.
    training: Loader,
    /// The same images as they would be evaluated.
    evaluation: Loader,
}

impl<'d> Preview<'d> {
    fn new(dataset: &'d Dataset, config: TrainConfig) -> anyhow::Result<Self> {
        let TrainConfig { seed, augment, preprocess, .. } = config;
        let samples = &dataset.train.samples;
        let training = LoaderConfig {
            batch_size: 1,
            workers: 0,
            seed,
            augment,
            unreadable: Unreadable::Replace { budget: unreadable_budget(samples.len()) },
            preprocess: preprocess.clone(),
            order: Order::Shuffled,
        };
        let evaluation = LoaderConfig {
            augment: View::Centre.into(),
            unreadable: Unreadable::Blank,
            order: Order::Sequential,
            ..training.clone()
        };
        let training = Loader::new(samples.to_vec(), training)?;
        let evaluation = Loader::new(samples.to_vec(), evaluation)?;
        Ok(Self { dataset, preprocess, training, evaluation })
    }

    /// So many rows: an image as it is evaluated, then as it is shown in each of `epochs`.
    fn rows(&self, count: usize, epochs: &Range<u64>) -> anyhow::Result<Vec<SheetRow>> {
        let chosen = self.choose(count, epochs.start);
        let mut rows = Vec::new();
        for &sample in &chosen {
            let pictures = vec![self.picture(&self.evaluation, 0, sample)?];
            rows.push(SheetRow { caption: self.caption(sample), pictures });
        }
        for epoch in epochs.clone() {
            let order = self.training.order(epoch);
            for (row, sample) in rows.iter_mut().zip(&chosen) {
                let position = order.iter().position(|shown| shown == sample);
                let position = position.context("an epoch shows every image")?;
                row.pictures.push(self.picture(&self.training, epoch, position)?);
            }
        }
        Ok(rows)
    }

    /// The images an epoch begins with, one of each class before a second of any.
    fn choose(&self, count: usize, epoch: u64) -> Vec<usize> {
        let mut seen = HashSet::new();
        let is_first = |&sample: &usize| seen.insert(self.dataset.train.samples[sample].label);
        let (firsts, others): (Vec<usize>, Vec<usize>) =
            self.training.order(epoch).into_iter().partition(is_first);
        firsts.into_iter().chain(others).take(count).collect()
    }

    /// The picture at a position of an epoch.
    fn picture(&self, loader: &Loader, epoch: u64, position: usize) -> anyhow::Result<Picture> {
        interrupt::check()?;
        let batch = loader.epoch(epoch, position).next_batch();
        let batch = batch.context("an epoch ends after its last image")??;
        batch.unreadable.iter().for_each(terminal::unreadable);
        let side = self.preprocess.crop as usize;
        let pixels = self.preprocess.denormalise(&batch.images.values());
        Picture::new(side, side, pixels).context("a picture is a square")
    }

    /// `cat: cat/1.jpg`
    fn caption(&self, sample: usize) -> String {
        let sample = &self.dataset.train.samples[sample];
        let (class, path) = (sample.label as usize, sample.content.path());
        let class = label(class, &self.dataset.classes[class]);
        let path = path.strip_prefix(&self.dataset.train.folder).unwrap_or(&path);
        format!("{class}: {}", path.display())
    }
}
