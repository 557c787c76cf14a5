//! The loader: the same batches whoever makes them, and an end to every epoch.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;

use alexnet_data::{
    Augment, BATCHES_AHEAD, ColourNoise, DataError, Fit, Image, Loader, LoaderConfig, MeanImage,
    MeanPart, Order, Preprocess, Sample, SampleKey, Unreadable, View, unreadable_budget,
};
use support::sample_set;

fn config(workers: usize, view: View, order: Order) -> LoaderConfig {
    let preprocess = Preprocess {
        fit: Fit::ShorterSide,
        mean_image: None,
        resize: 20,
        crop: 16,
        mean: [128.0; 3],
        std: [64.0; 3],
    };
    let (augment, unreadable) = (view.into(), Unreadable::Blank);
    LoaderConfig { batch_size: 5, workers, seed: 7, augment, unreadable, preprocess, order }
}

fn shuffled(samples: &[Sample], workers: usize) -> Loader {
    let config = config(workers, View::RandomResizedCrop, Order::Shuffled);
    Loader::new(samples, config).unwrap()
}

/// What a batch shows.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    images: Vec<f32>,
    labels: Vec<u32>,
    samples: Vec<usize>,
    /// Slot, sample and what stands in its place.
    unreadable: Vec<(usize, usize, Option<usize>)>,
}

/// All batches from `first` on, their buffers used again.
fn batches(loader: &Loader, epoch: u64, first: usize) -> Vec<Shown> {
    let mut epoch = loader.epoch(epoch, first);
    let mut all = Vec::new();
    while let Some(batch) = epoch.next_batch() {
        let batch = batch.unwrap();
        let unreadable = &batch.unreadable;
        all.push(Shown {
            images: batch.images.values().into_owned(),
            labels: batch.labels.clone(),
            samples: batch.samples.clone(),
            unreadable: unreadable.iter().map(|u| (u.slot, u.sample, u.replacement)).collect(),
        });
        epoch.recycle(batch);
    }
    all
}

#[test]
fn any_number_of_workers_makes_the_same_batches() {
    let (_folder, dataset) = sample_set();
    let samples = &dataset.train.samples;
    let expected = batches(&shuffled(samples, 0), 2, 0);
    assert_eq!(expected.len(), 8);
    assert_eq!(expected.last().unwrap().labels.len(), 1);
    for workers in [1, 4, 40] {
        assert_eq!(batches(&shuffled(samples, workers), 2, 0), expected, "{workers} workers");
    }
}

#[test]
fn a_resumed_epoch_goes_on_with_the_batch_it_stopped_at() {
    let (_folder, dataset) = sample_set();
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
    let (_folder, dataset) = sample_set();
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
    let (_folder, dataset) = sample_set();
    let config = config(2, View::Centre, Order::Sequential);
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
    let (_folder, dataset) = sample_set();
    let image = dataset.train.samples[0].content.read_image().unwrap();
    let preprocess = config(0, View::Centre, Order::Sequential).preprocess;
    let colour = Some(ColourNoise::imagenet(0.1, false, None));
    let vary = |augment: &Augment, seed, epoch, sample| {
        let mut out = vec![0.0; preprocess.image_len()];
        let key = SampleKey { seed, epoch, sample, position: 0 };
        augment.apply(&image, &preprocess, key, &mut out).unwrap();
        out
    };
    for augment in [
        View::RandomCrop.into(),
        View::RandomResizedCrop.into(),
        Augment { view: View::Centre, shared: 1, colour },
    ] {
        let first = vary(&augment, 1, 2, 3);
        assert_eq!(first, vary(&augment, 1, 2, 3));
        for (seed, epoch, sample) in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert_ne!(first, vary(&augment, seed, epoch, sample), "{augment:?} {seed} {epoch}");
        }
    }
}

/// Every pixel of these images says where it lies: red is its column, green its row.
fn coordinates(width: u32, height: u32) -> Image {
    let pixel = |at: u32| [(at % width) as u8, (at / width) as u8, 0];
    Image::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

/// Left, top and flip of the picture that `augment` makes of `image` at full scale.
fn placed(augment: &Augment, preprocess: &Preprocess, key: SampleKey) -> (u8, u8, bool) {
    let mut out = vec![0.0; preprocess.image_len()];
    augment.apply(&coordinates(40, 32), preprocess, key, &mut out).unwrap();
    let crop = preprocess.crop as usize;
    let (first, last) = (out[0] as u8, out[(crop - 1) * 3] as u8);
    (first.min(last), out[1] as u8, last < first)
}

fn at_full_scale(fit: Fit) -> Preprocess {
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    Preprocess { fit, resize: 32, crop: 29, mean, std, mean_image: None }
}

#[test]
fn every_crop_of_the_region_and_both_flips_are_equally_likely() {
    let augment = Augment::from(View::RandomCrop);
    for (fit, lefts) in [(Fit::ShorterSide, 0..=11), (Fit::CentreSquare, 4..=7)] {
        let mut counts = std::collections::HashMap::new();
        let draws = 400 * lefts.clone().count() * 4 * 2;
        for sample in 0..draws as u64 {
            let key = SampleKey { seed: 1, epoch: 0, sample, position: sample };
            *counts.entry(placed(&augment, &at_full_scale(fit), key)).or_insert(0) += 1;
        }
        for left in lefts {
            for (top, flip) in (0..4).flat_map(|top| [(top, false), (top, true)]) {
                let count = counts.remove(&(left, top, flip)).unwrap_or(0);
                // Five standard deviations of a count of 400.
                assert!((300..=500).contains(&count), "{fit:?} {left} {top} {flip}: {count}");
            }
        }
        assert!(counts.is_empty(), "{fit:?}: outside of the region: {counts:?}");
    }
}

#[test]
fn images_of_a_group_share_their_crop_and_flip() {
    let augment = Augment { shared: 4, ..View::RandomCrop.into() };
    let place = |position: u64| {
        let key = SampleKey { seed: 1, epoch: 0, sample: 1000 - position, position };
        placed(&augment, &at_full_scale(Fit::CentreSquare), key)
    };
    let places: Vec<_> = (0..64).map(place).collect();
    assert!(places.chunks(4).all(|group| group.iter().all(|place| *place == group[0])));
    assert!(places.chunks(4).any(|group| group[0] != places[0]));
}

#[test]
fn ten_crops_are_four_corners_the_centre_and_all_mirrored() {
    let preprocess = at_full_scale(Fit::CentreSquare);
    let len = preprocess.image_len();
    let mut out = vec![0.0; 10 * len];
    let key = SampleKey { seed: 0, epoch: 0, sample: 0, position: 0 };
    let augment = Augment::from(View::TenCrops);
    augment.apply(&coordinates(40, 32), &preprocess, key, &mut out).unwrap();
    let corner = |picture: &[f32]| (picture[0] as u8, picture[1] as u8);
    let found: Vec<_> = out.chunks_exact(len).map(corner).collect();
    let plain = [(4, 0), (7, 0), (6, 2), (4, 3), (7, 3)];
    let mirrored = plain.map(|(left, top)| (left + 28, top));
    assert_eq!(found, [plain, mirrored].concat());
}

#[test]
fn a_mean_image_is_subtracted_at_its_centre_or_where_the_crop_lies() {
    // The mean of the images is the image itself: where the crop lies, nothing is left.
    let region = coordinates(32, 32);
    let levels: Vec<f32> = region.rgb().iter().map(|&level| level.into()).collect();
    let augment = Augment::from(View::RandomCrop);
    for (part, is_zero) in [(MeanPart::Crop, true), (MeanPart::Centre, false)] {
        let mean_image = Some(MeanImage { part, levels: levels.clone() });
        let preprocess = Preprocess { mean_image, ..at_full_scale(Fit::CentreSquare) };
        let mut out = vec![0.0; preprocess.image_len()];
        let mut differed = false;
        for sample in 0..8 {
            let key = SampleKey { seed: 1, epoch: 0, sample, position: sample };
            augment.apply(&region, &preprocess, key, &mut out).unwrap();
            differed |= out.iter().any(|&level| level != 0.0);
        }
        assert_eq!(differed, !is_zero, "{part:?}");
    }
}

#[test]
fn a_mean_image_that_does_not_fit_is_refused_with_what_really_differs() {
    let refused = |fit, view: View, numbers, level| {
        let mean_image = Some(MeanImage { part: MeanPart::Crop, levels: vec![level; numbers] });
        let preprocess = Preprocess { mean_image, ..at_full_scale(fit) };
        Augment::from(view).check(&preprocess).unwrap_err().to_string()
    };
    let whole = 32 * 32 * 3;
    let too_small = refused(Fit::Warp, View::Centre, 3, 0.0);
    assert!(too_small.contains("3 numbers and needs 3072"), "{too_small}");
    for (fit, view) in
        [(Fit::ShorterSide, View::Centre), (Fit::CentreSquare, View::RandomResizedCrop)]
    {
        let no_place = refused(fit, view, whole, 0.0);
        assert!(no_place.contains("shorter-side") && !no_place.contains("3072"), "{no_place}");
    }
    let infinite = refused(Fit::Warp, View::Centre, whole, f32::INFINITY);
    assert!(infinite.contains("no finite number"), "{infinite}");
}

#[test]
fn the_pixels_come_back_from_what_was_made_of_them() {
    let image = coordinates(40, 32);
    let centre = |mean: [f32; 3], std: [f32; 3], mean_image: Option<MeanImage>| {
        let fit = if mean_image.is_some() { Fit::CentreSquare } else { Fit::ShorterSide };
        let preprocess = Preprocess { mean, std, mean_image, ..at_full_scale(fit) };
        let mut input = vec![0.0; preprocess.image_len()];
        preprocess.evaluate(&image, &mut input).unwrap();
        (preprocess.denormalise(&input), input)
    };
    let (pixels, levels) = centre([0.0; 3], [1.0; 3], None);
    assert!(pixels.iter().map(|&level| f32::from(level)).eq(levels), "levels themselves");
    let steep = |part| {
        let levels = (0..32 * 32 * 3).map(|at| (at % 251) as f32 + 0.3).collect();
        Some(MeanImage { part, levels })
    };
    for (mean, std, mean_image) in [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], None),
        ([127.305, 119.715, 104.913], [1.0; 3], None),
        ([0.0; 3], [1.0, 2.0, 3.0], steep(MeanPart::Centre)),
        ([0.0; 3], [1.0, 2.0, 3.0], steep(MeanPart::Crop)),
    ] {
        let (again, input) = centre(mean, std, mean_image);
        assert_ne!(input, pixels.iter().map(|&level| level.into()).collect::<Vec<f32>>());
        assert_eq!(again, pixels, "mean {mean:?}, deviation {std:?}");
    }
    // What noise carried out of range is clipped.
    let preprocess = at_full_scale(Fit::ShorterSide);
    assert_eq!(preprocess.denormalise(&[-1e9, 0.0, 1e9]), [0, 0, 255]);
}

#[test]
fn an_unreadable_training_image_is_replaced_by_the_same_one_whoever_makes_the_batch() {
    let (_folder, dataset) = sample_set();
    for sample in [3, 12, 30] {
        fs::write(dataset.train.samples[sample].content.path(), b"hello").unwrap();
    }
    let replacing = |workers| {
        let unreadable = Unreadable::Replace { budget: 3 };
        let config =
            LoaderConfig { unreadable, ..config(workers, View::RandomCrop, Order::Shuffled) };
        Loader::new(&*dataset.train.samples, config).unwrap()
    };
    let expected = batches(&replacing(0), 1, 0);
    let replaced: Vec<_> = expected.iter().flat_map(|batch| &batch.unreadable).collect();
    let mut found: Vec<_> = replaced.iter().map(|(_, sample, _)| *sample).collect();
    found.sort_unstable();
    assert_eq!(found, [3, 12, 30]);
    for batch in &expected {
        for &(slot, _, replacement) in &batch.unreadable {
            assert_eq!(Some(batch.samples[slot]), replacement);
            let label = dataset.train.samples[batch.samples[slot]].label;
            assert_eq!(batch.labels[slot], label);
        }
    }
    for workers in [1, 4] {
        assert_eq!(batches(&replacing(workers), 1, 0), expected, "{workers} workers");
    }
    assert_eq!(batches(&replacing(2), 1, 3), expected[3..], "resumed");
}

#[test]
fn more_unreadable_images_than_allowed_end_the_epoch_with_the_way_out() {
    let (_folder, dataset) = sample_set();
    for sample in 0..4 {
        fs::write(dataset.train.samples[sample].content.path(), b"hello").unwrap();
    }
    for workers in [0, 2] {
        let unreadable = Unreadable::Replace { budget: 3 };
        let config =
            LoaderConfig { unreadable, ..config(workers, View::Centre, Order::Sequential) };
        let mut epoch = Loader::new(&*dataset.train.samples, config).unwrap().epoch(0, 0);
        let message = epoch.next_batch().unwrap().unwrap_err().to_string();
        assert!(
            message.starts_with("more than 3 images of this epoch cannot be read"),
            "{message}"
        );
        assert!(message.contains("is not a JPEG or PNG"), "{message}");
    }
    assert_eq!([100, 1_281_167].map(unreadable_budget), [10, 128]);
}

#[test]
fn an_unreadable_image_to_measure_with_is_blank_and_named_and_none_is_dropped() {
    let (_folder, dataset) = sample_set();
    let path = dataset.train.samples[12].content.path();
    fs::write(&path, b"hello").unwrap();
    for workers in [0, 1, 4] {
        let config = config(workers, View::Centre, Order::Sequential);
        let mut epoch = Loader::new(&*dataset.train.samples, config).unwrap().epoch(0, 0);
        let mut samples = Vec::new();
        while let Some(batch) = epoch.next_batch() {
            let batch = batch.unwrap();
            for image in &batch.unreadable {
                assert_eq!((image.sample, image.slot, image.replacement), (12, 2, None));
                let message = image.error.to_string();
                assert!(message.starts_with(&path.display().to_string()), "{message}");
            }
            assert_eq!(batch.unreadable.len(), usize::from(batch.samples.contains(&12)));
            samples.extend_from_slice(&batch.samples);
        }
        assert!(samples.into_iter().eq(0..36), "{workers} workers");
    }
}

#[test]
fn an_epoch_dropped_at_any_moment_ends_its_threads() {
    let (_folder, dataset) = sample_set();
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
        let mut config = config(1, View::Centre, Order::Sequential);
        config.preprocess = Preprocess {
            fit: Fit::ShorterSide,
            mean_image: None,
            resize,
            crop,
            mean: [0.0; 3],
            std: [deviation; 3],
        };
        let refused = Loader::new(Vec::new(), config);
        assert!(matches!(refused, Err(DataError::Preprocess(_))), "{resize} {crop} {deviation}");
    }
}

#[test]
fn settings_keep_their_names_in_files() {
    let names = [
        (View::Centre, "\"centre\""),
        (View::TenCrops, "\"ten-crops\""),
        (View::RandomCrop, "\"random-crop\""),
        (View::RandomResizedCrop, "\"random-resized-crop\""),
    ];
    for (view, name) in names {
        assert_eq!(serde_json::to_string(&view).unwrap(), name);
        assert_eq!(serde_json::from_str::<View>(name).unwrap(), view);
    }
}
