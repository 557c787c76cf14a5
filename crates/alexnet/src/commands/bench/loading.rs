//! `alexnet bench data`: decoding and augmentation, as in training.

use std::path::Path;

use alexnet_data::{
    Fit, Loader, LoaderConfig, Order, Pixels, Preprocess, SampleSet, Unreadable, View,
    unreadable_budget,
};

use super::{Measured, timed};
use crate::arguments::{BenchArguments, LoadedAs};

/// Times loading from the folder asked for, or else from a sample set drawn for it.
pub(super) fn measure(arguments: &BenchArguments) -> anyhow::Result<Measured> {
    if let Some(root) = &arguments.data {
        return load(arguments, root);
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("set");
    let set = SampleSet { train_per_class: 40, val_per_class: 1, ..SampleSet::default() };
    set.write(&root, &mut |_, _| true)?;
    load(arguments, &root)
}

fn load(arguments: &BenchArguments, root: &Path) -> anyhow::Result<Measured> {
    let dataset = alexnet_data::open(root, None)?;
    let crop = u32::try_from(arguments.model.config().image_size)?;
    let config = LoaderConfig {
        batch_size: arguments.batch_size.min(dataset.train.samples.len()),
        workers: arguments.workers,
        seed: 0,
        augment: View::RandomResizedCrop.into(),
        unreadable: Unreadable::Replace { budget: unreadable_budget(dataset.train.samples.len()) },
        preprocess: Preprocess {
            fit: Fit::ShorterSide,
            resize: crop.saturating_mul(8).div_ceil(7),
            crop,
            mean: [127.5; 3],
            std: [64.0; 3],
            mean_image: None,
        },
        order: Order::Shuffled,
    };
    let batch = config.batch_size;
    let pixels = match arguments.loaded_as {
        LoadedAs::Values => Pixels::Values,
        LoadedAs::Levels => Pixels::Levels,
    };
    let loader = Loader::new(dataset.train.samples, config)?.with_pixels(pixels);
    let mut number = 0;
    let mut epoch = loader.epoch(number, 0);
    let times = timed(arguments, || {
        loop {
            let Some(ready) = epoch.next_batch().transpose()? else {
                number += 1;
                epoch = loader.epoch(number, 0);
                continue;
            };
            let whole = ready.len() == batch;
            epoch.recycle(ready);
            // The last of an epoch may be a part of one.
            if whole {
                return Ok(());
            }
        }
    })?;
    let form = if pixels == Pixels::Levels { ", levels" } else { "" };
    let name = format!("cpu ({} loader threads{form})", arguments.workers);
    let mut measured = Measured::new("data", arguments, name, &times, batch);
    // Batches are made ahead, so single waits say little: the rate is over all of them.
    measured.images_per_s = (batch * times.len()) as f64 / (times.iter().sum::<f64>() / 1e3);
    Ok(Measured { threads: arguments.workers, ..measured })
}
