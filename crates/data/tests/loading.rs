//! The loader: the same batches whoever makes them, and an end to every epoch.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;

use alexnet_data::{
    Augment, BATCHES_AHEAD, Batch, DataError, Dataset, Loader, LoaderConfig, Order, Preprocess,
    Sample, SampleKey, SampleSet, open,
};
use tempfile::TempDir;

/// 36 training images, three of each class.
fn dataset() -> (TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let set = SampleSet { seed: 3, train_per_class: 3, val_per_class: 1, side: 24 };
    set.write(&root, &mut |_, _| true).unwrap();
    let dataset = open(&root, None).unwrap();
    (folder, dataset)
}

fn config(workers: usize, augment: Augment, order: Order) -> LoaderConfig {
    let preprocess = Preprocess { resize: 20, crop: 16, mean: [128.0; 3], std: [64.0; 3] };
    LoaderConfig { batch_size: 5, workers, seed: 7, augment, preprocess, order }
}

fn shuffled(samples: &[Sample], workers: usize) -> Loader {
    let config = config(workers, Augment::RandomResizedCrop, Order::Shuffled);
    Loader::new(samples, config).unwrap()
}

/// All batches from `first` on, their buffers used again.
fn batches(loader: &Loader, epoch: u64, first: usize) -> Vec<Batch> {
    let mut epoch = loader.epoch(epoch, first);
    let mut all = Vec::new();
    while let Some(batch) = epoch.next_batch() {
        let batch = batch.unwrap();
        all.push(batch.clone());
        epoch.recycle(batch);
    }
    all
}

#[test]
fn any_number_of_workers_makes_the_same_batches() {
    let (_folder, dataset) = dataset();
    let samples = &dataset.train.samples;
    let expected = batches(&shuffled(samples, 0), 2, 0);
    assert_eq!(expected.len(), 8);
    assert_eq!(expected.last().unwrap().len(), 1);
    for workers in [1, 4, 40] {
        assert_eq!(batches(&shuffled(samples, workers), 2, 0), expected, "{workers} workers");
    }
}

#[test]
fn a_resumed_epoch_goes_on_with_the_batch_it_stopped_at() {
    let (_folder, dataset) = dataset();
    for workers in [0, 2] {
        let loader = shuffled(&dataset.train.samples, workers);
        let whole = batches(&loader, 1, 0);
        for first in [0, 3, 7, 8, 100] {
            let rest = whole.get(first..).unwrap_or_default();
            assert_eq!(batches(&loader, 1, first), rest, "{workers} workers from {first}");
        }
    }
}

#[test]
fn each_epoch_shows_every_sample_once_in_an_order_of_its_own() {
    let (_folder, dataset) = dataset();
    let loader = shuffled(&dataset.train.samples, 2);
    let orders: Vec<Vec<usize>> = (0..3)
        .map(|epoch| batches(&loader, epoch, 0).into_iter().flat_map(|b| b.samples).collect())
        .collect();
    assert_ne!(orders[0], orders[1]);
    assert_ne!(orders[1], orders[2]);
    for mut order in orders {
        order.sort_unstable();
        assert!(order.into_iter().eq(0..36));
    }
}

#[test]
fn a_sequential_loader_without_variation_evaluates_each_image() {
    let (_folder, dataset) = dataset();
    let config = config(2, Augment::None, Order::Sequential);
    let loader = Loader::new(dataset.train.samples.clone(), config.clone()).unwrap();
    let image_len = config.preprocess.image_len();
    let mut expected = vec![0.0; image_len];
    for batch in batches(&loader, 9, 0) {
        for ((&sample, &label), image) in
            batch.samples.iter().zip(&batch.labels).zip(batch.images.chunks_exact(image_len))
        {
            let Sample { content, label: expected_label } = &dataset.train.samples[sample];
            config.preprocess.evaluate(&content.read_image().unwrap(), &mut expected).unwrap();
            assert_eq!(image, expected);
            assert_eq!(label, *expected_label);
        }
    }
}

#[test]
fn variation_depends_on_seed_epoch_and_sample_alone() {
    let (_folder, dataset) = dataset();
    let image = dataset.train.samples[0].content.read_image().unwrap();
    let preprocess = config(0, Augment::None, Order::Sequential).preprocess;
    let vary = |augment: Augment, seed, epoch, sample| {
        let mut out = vec![0.0; preprocess.image_len()];
        augment.apply(&image, &preprocess, SampleKey { seed, epoch, sample }, &mut out).unwrap();
        out
    };
    for augment in [Augment::RandomCrop, Augment::RandomResizedCrop] {
        let first = vary(augment, 1, 2, 3);
        assert_eq!(first, vary(augment, 1, 2, 3));
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert_ne!(first, vary(augment, other.0, other.1, other.2), "{augment:?} {other:?}");
        }
    }
}

#[test]
fn an_unreadable_image_is_an_error_that_names_it_and_the_epoch_goes_on() {
    let (_folder, dataset) = dataset();
    let path = dataset.train.samples[12].content.path();
    fs::write(&path, b"hello").unwrap();
    for workers in [0, 1, 4] {
        let config = config(workers, Augment::None, Order::Sequential);
        let mut epoch = Loader::new(&*dataset.train.samples, config).unwrap().epoch(0, 0);
        for batch in 0..8 {
            match epoch.next_batch().unwrap() {
                Ok(_) => assert_ne!(batch, 2),
                Err(error) => {
                    assert_eq!(batch, 2);
                    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
                }
            }
        }
        assert!(epoch.next_batch().is_none());
    }
}

#[test]
fn an_epoch_dropped_at_any_moment_ends_its_threads() {
    let (_folder, dataset) = dataset();
    let loader = shuffled(&dataset.train.samples, 3);
    for taken in 0..=BATCHES_AHEAD + 1 {
        let mut epoch = loader.epoch(0, 0);
        for _ in 0..taken {
            epoch.next_batch().unwrap().unwrap();
        }
    }
}

#[test]
fn settings_no_image_can_satisfy_are_refused_at_once() {
    for (resize, crop, deviation) in
        [(20, 0, 1.0), (20, 21, 1.0), (20, 16, 0.0), (20, 16, f32::NAN), (100_000, 16, 1.0)]
    {
        let mut config = config(1, Augment::None, Order::Sequential);
        config.preprocess = Preprocess { resize, crop, mean: [0.0; 3], std: [deviation; 3] };
        let refused = Loader::new(Vec::new(), config);
        assert!(matches!(refused, Err(DataError::Preprocess(_))), "{resize} {crop} {deviation}");
    }
}

#[test]
fn settings_keep_their_names_in_files() {
    let names = [
        (Augment::None, "\"none\""),
        (Augment::RandomCrop, "\"random-crop\""),
        (Augment::RandomResizedCrop, "\"random-resized-crop\""),
    ];
    for (augment, name) in names {
        assert_eq!(serde_json::to_string(&augment).unwrap(), name);
        assert_eq!(serde_json::from_str::<Augment>(name).unwrap(), augment);
    }
}
