//! Batches of bytes become, to the bit, the batches of numbers that a loader makes otherwise.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;

use alexnet_data::{
    Augment, Batch, ColourNoise, Fit, Loader, LoaderConfig, MeanImage, MeanPart, Order, Pictures,
    Pixels, Preprocess, Sample, Unreadable, View,
};
use alexnet_ops::Normalisation;
use support::sample_set;

const CROP: u32 = 17; // Rows of whole vectors and a rest.
const VIEWS: [View; 4] = [View::Centre, View::TenCrops, View::RandomCrop, View::RandomResizedCrop];

fn config(augment: Augment, unreadable: Unreadable, fit: Fit, workers: usize) -> LoaderConfig {
    LoaderConfig {
        batch_size: 5,
        workers,
        seed: 7,
        augment,
        unreadable,
        preprocess: Preprocess {
            fit,
            resize: 20,
            crop: CROP,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            mean_image: None,
        },
        order: Order::Shuffled,
    }
}

fn coloured(view: View) -> Augment {
    Augment { colour: Some(ColourNoise::imagenet(0.1, true, Some(2))), ..view.into() }
}

/// What a batch shows, values as bits.
type Shown = (Vec<u32>, Vec<u32>, Vec<usize>, Vec<(usize, usize, Option<usize>)>);

fn shown(batch: &Batch) -> Shown {
    let bits = batch.images.values().iter().map(|value| value.to_bits()).collect();
    let unreadable = batch.unreadable.iter();
    let unreadable = unreadable.map(|image| (image.slot, image.sample, image.replacement));
    (bits, batch.labels.clone(), batch.samples.clone(), unreadable.collect())
}

/// All batches of an epoch, their memory used again; as levels if `pixels` says so.
fn epoch(loader: &Loader, number: u64, pixels: Pixels) -> Vec<Shown> {
    let (mut epoch, mut all) = (loader.epoch(number, 0), Vec::new());
    while let Some(batch) = epoch.next_batch() {
        let batch = batch.unwrap();
        let as_levels = matches!(batch.images, Pictures::Levels { .. });
        assert_eq!(as_levels, pixels == Pixels::Levels);
        all.push(shown(&batch));
        epoch.recycle(batch);
    }
    all
}

fn loader(samples: &[Sample], config: LoaderConfig, pixels: Pixels) -> Loader {
    Loader::new(samples, config).unwrap().with_pixels(pixels)
}

/// The same batches both ways, for any number of workers, with and without colour noise.
fn check(samples: &[Sample], augment: &Augment, unreadable: Unreadable, fit: Fit) {
    let config = |workers| config(augment.clone(), unreadable, fit, workers);
    // In the third epoch the noise is over.
    for number in [1, 2] {
        let expected = epoch(&loader(samples, config(0), Pixels::Values), number, Pixels::Values);
        assert_eq!(expected.len(), 8);
        for workers in [0, 1, 4] {
            let loader = loader(samples, config(workers), Pixels::Levels);
            let found = epoch(&loader, number, Pixels::Levels);
            assert!(found == expected, "{augment:?} {unreadable:?} {fit:?} {workers} workers");
        }
    }
}

#[test]
fn every_view_with_every_tint_has_the_same_bits_from_levels_for_any_number_of_workers() {
    let (_folder, dataset) = sample_set();
    for view in VIEWS {
        for augment in [view.into(), coloured(view), Augment { shared: 4, ..coloured(view) }] {
            for fit in [Fit::ShorterSide, Fit::CentreSquare, Fit::Warp] {
                check(&dataset.train.samples, &augment, Unreadable::Blank, fit);
            }
        }
    }
}

#[test]
fn unreadable_images_are_replaced_or_blank_among_levels_too() {
    let (_folder, dataset) = sample_set();
    for sample in [3, 12, 30] {
        fs::write(dataset.train.samples[sample].content.path(), b"hello").unwrap();
    }
    for view in VIEWS {
        for unreadable in [Unreadable::Blank, Unreadable::Replace { budget: 3 }] {
            check(&dataset.train.samples, &coloured(view), unreadable, Fit::ShorterSide);
        }
    }
}

#[test]
fn colour_noise_gives_each_image_a_normalisation_of_its_own_and_ten_crops_share_theirs() {
    let (_folder, dataset) = sample_set();
    let normalisations = |augment: Augment| -> Vec<Normalisation> {
        let config = config(augment, Unreadable::Blank, Fit::ShorterSide, 0);
        let loader = loader(&dataset.train.samples, config, Pixels::Levels);
        let batch = loader.epoch(0, 0).next_batch().unwrap().unwrap();
        let Pictures::Levels { levels, mut normalise } = batch.images else { panic!("levels") };
        let of = Pictures::Levels { levels: levels.clone(), normalise: normalise.clone() };
        let all = normalise.clone();
        normalise.rotate_left(1);
        let misled = Pictures::Levels { levels, normalise };
        let differ = all.iter().any(|each| each != &all[0]);
        assert_eq!(of.values() != misled.values(), differ);
        all
    };
    let plain = normalisations(View::RandomCrop.into());
    assert_eq!(plain.len(), 5);
    assert!(plain.iter().all(|each| each.mean == [123.675, 116.28, 103.53]));
    let varied = normalisations(coloured(View::RandomCrop));
    assert!((1..5).all(|at| varied[at] != varied[at - 1]), "{varied:?}");
    let ten = normalisations(coloured(View::TenCrops));
    assert_eq!(ten.len(), 50);
    assert!(ten.chunks(10).all(|of_one| of_one.iter().all(|each| *each == of_one[0])));
    assert!(ten.chunks(10).any(|of_one| of_one[0] != ten[0]));
}

#[test]
fn with_a_mean_image_a_loader_makes_values_whatever_it_is_asked_for() {
    let (_folder, dataset) = sample_set();
    let augment = coloured(View::RandomCrop);
    let mut config = config(augment, Unreadable::Blank, Fit::CentreSquare, 2);
    let levels = (0..20 * 20 * 3).map(|at| at as f32 / 8.0).collect();
    config.preprocess.mean_image = Some(MeanImage { part: MeanPart::Crop, levels });
    let asked = loader(&dataset.train.samples, config.clone(), Pixels::Levels);
    assert_eq!(asked.pixels(), Pixels::Values);
    let expected = loader(&dataset.train.samples, config, Pixels::Values);
    let [expected, found] = [&expected, &asked].map(|loader| epoch(loader, 1, Pixels::Values));
    assert!(found == expected);
}

#[test]
fn memory_of_either_kind_is_used_again_and_none_is_taken_for_the_other() {
    let (_folder, dataset) = sample_set();
    let config = config(coloured(View::RandomCrop), Unreadable::Blank, Fit::ShorterSide, 0);
    let values = loader(&dataset.train.samples, config.clone(), Pixels::Values);
    let levels = loader(&dataset.train.samples, config, Pixels::Levels).sharing_memory(&values);
    let address = |batch: &Batch| match &batch.images {
        Pictures::Values(values) => values.as_ptr().addr(),
        Pictures::Levels { levels, .. } => levels.as_ptr().addr(),
    };
    for loader in [&values, &levels] {
        let mut epoch = loader.epoch(0, 0);
        let first = epoch.next_batch().unwrap().unwrap();
        let expected = address(&first);
        epoch.recycle(first);
        for _ in 1..7 {
            let batch = epoch.next_batch().unwrap().unwrap();
            assert_eq!(address(&batch), expected, "{:?}", loader.pixels());
            epoch.recycle(batch);
        }
    }
    let alone = epoch(&values.clone(), 3, Pixels::Values);
    for loader in [&levels, &values, &levels] {
        assert!(epoch(loader, 3, loader.pixels()) == alone, "{:?}", loader.pixels());
    }
}

#[test]
fn blank_pictures_are_zeros_of_either_kind() {
    for pixels in [Pixels::Values, Pixels::Levels] {
        let blank = Pictures::blank(pixels, 2, 12);
        assert!(blank.values().iter().all(|value| value.to_bits() == 0));
        assert_eq!(blank.values().len(), 24);
    }
}
