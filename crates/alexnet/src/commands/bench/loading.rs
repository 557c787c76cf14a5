//! `alexnet bench data`: decoding and augmentation, as in training.

use std::path::Path;
use std::time::Instant;

use alexnet_data::{
    Epoch, Fit, Loader, LoaderConfig, MAX_RESIZE_PIXELS, Order, Pixels, Preprocess, SampleSet,
    Unreadable, View, unreadable_budget,
};
use alexnet_network::Purpose;

use super::{Measured, clocked};
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
    // Images are made for a network: for one that cannot be, none are.
    let network = arguments.model.plan(arguments.batch_size, Purpose::Training)?.model.config;
    let crop = u32::try_from(network.image_size)?;
    let dataset = alexnet_data::open(root, None)?;
    let config = LoaderConfig {
        batch_size: arguments.batch_size.min(dataset.train.samples.len()),
        workers: arguments.workers,
        seed: 0,
        augment: View::RandomResizedCrop.into(),
        unreadable: Unreadable::Replace { budget: unreadable_budget(dataset.train.samples.len()) },
        preprocess: Preprocess {
            fit: Fit::ShorterSide,
            resize: crop.saturating_mul(8).div_ceil(7).min(MAX_RESIZE_PIXELS),
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
    let mut loading = Loading { loader, epoch: None, number: 0, images: 0 };
    (0..arguments.warmup_steps).try_for_each(|_| loading.step())?;
    loading.stop();
    let begin = Instant::now();
    let times = clocked(arguments.steps, || loading.step())?;
    let seconds = begin.elapsed().as_secs_f64();
    let form = if pixels == Pixels::Levels { ", levels" } else { "" };
    let name = format!("cpu ({} loader threads{form})", arguments.workers);
    let mut measured = Measured::new("data", arguments, name, &times, batch);
    // Batches are made ahead, so single waits say little: the rate is over all of them.
    measured.images_per_s = loading.images as f64 / seconds;
    Ok(Measured { threads: arguments.workers, ..measured })
}

/// Epoch after epoch, loaded as fast as it can be.
struct Loading {
    loader: Loader,
    /// `None` where the next is yet to begin.
    epoch: Option<Epoch>,
    number: u64,
    /// Loaded since it was stopped.
    images: usize,
}

impl Loading {
    /// Ends the epoch and its threads, so that nothing is made ahead: whatever is counted from here on
    /// will also be made from here on, by however many threads, and however few steps there are. What
    /// is being made when the last step ends is not counted: the rate is rather too low than too high.
    fn stop(&mut self) {
        self.epoch = None;
        self.number += 1;
        self.images = 0;
    }

    /// Loads a whole batch. The last of an epoch may be a part of one, which is loaded beside it.
    fn step(&mut self) -> anyhow::Result<()> {
        loop {
            let epoch = self.epoch.get_or_insert_with(|| self.loader.epoch(self.number, 0));
            let Some(ready) = epoch.next_batch().transpose()? else {
                self.epoch = None;
                self.number += 1;
                continue;
            };
            self.images += ready.len();
            let whole = ready.len() == self.loader.batch_size();
            epoch.recycle(ready);
            if whole {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread::sleep;
    use std::time::Duration;

    use alexnet_data::View;

    use super::*;

    #[test]
    fn what_was_made_ahead_while_warming_up_is_not_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("set");
        let set =
            SampleSet { train_per_class: 4, val_per_class: 1, side: 16, ..SampleSet::default() };
        set.write(&root, &mut |_, _| true).expect("drawn");
        let samples = alexnet_data::open(&root, None).expect("a set").train.samples;
        let preprocess = Preprocess {
            fit: Fit::ShorterSide,
            resize: 16,
            crop: 16,
            mean: [0.0; 3],
            std: [1.0; 3],
            mean_image: None,
        };
        let config = LoaderConfig {
            batch_size: 2,
            workers: 2,
            seed: 0,
            augment: View::Centre.into(),
            unreadable: Unreadable::Replace { budget: 0 },
            preprocess,
            order: Order::Sequential,
        };
        let loader = Loader::new(samples, config).expect("settings");
        let mut loading = Loading { loader, epoch: None, number: 0, images: 0 };
        loading.step().expect("a batch");
        assert_eq!(loading.images, 2);
        sleep(Duration::from_millis(200));
        fs::remove_dir_all(&root).expect("removed");
        // Batches that were made before are there still, but not after the clock was set to zero.
        loading.stop();
        assert_eq!(loading.images, 0);
        assert!(loading.step().is_err(), "a batch that was made ahead is counted");
    }
}
