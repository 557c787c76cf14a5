//! Batches of images' bytes become, to the bit, the batches of numbers that a loader makes otherwise.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;

use alexnet_data::{
    Augment, Batch, ColourNoise, Encoding, Fit, Loader, LoaderConfig, MeanImage, MeanPart, Order,
    PackSettings, PackSize, Pictures, Pixels, Preprocess, Sample, SampleSet, Unreadable, View,
    open, pack,
};
use alexnet_ops::{Axis, Images, Levels, Normalisation, Picture};
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

/// How many of an epoch's pictures are resized by whoever has the batch, and how many came resized.
fn resized_there_and_here(samples: &[Sample], view: View) -> (usize, usize) {
    let config = config(view.into(), Unreadable::Blank, Fit::ShorterSide, 0);
    let mut epoch = loader(samples, config, Pixels::Levels).epoch(0, 0);
    let (mut there, mut here) = (0, 0);
    while let Some(batch) = epoch.next_batch() {
        let Pictures::Levels { pictures, .. } = batch.unwrap().images else { panic!("levels") };
        let whole = |of: &&Picture| **of == Picture::whole(CROP, of.normalise);
        let resized = pictures.iter().filter(whole).count();
        (there, here) = (there + pictures.len() - resized, here + resized);
    }
    (there, here)
}

#[test]
fn images_too_large_for_their_slots_come_resized_and_have_the_same_bits() {
    let (_folder, small) = sample_set();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let set = SampleSet { seed: 4, train_per_class: 3, val_per_class: 1, side: 60 };
    set.write(&root, &mut |_, _| true).unwrap();
    let large = open(&root, None).unwrap().train.samples;
    for view in VIEWS {
        let all = 36 * view.count();
        let (_, here) = resized_there_and_here(&small.train.samples, view);
        assert_eq!(here > 0, view == View::RandomResizedCrop, "{view:?}: {here}");
        let (there, here) = resized_there_and_here(&large, view);
        assert_eq!(there + here, all);
        // A random part may be as small as a twelfth of the image.
        assert_eq!(there > 0, view == View::RandomResizedCrop, "{view:?}: {there}");
        assert!(here > 0, "{view:?}");
        for fit in [Fit::ShorterSide, Fit::Warp] {
            check(&large, &coloured(view), Unreadable::Blank, fit);
        }
    }
}

#[test]
fn a_packed_set_has_the_same_bits_from_levels() {
    let (folder, dataset) = sample_set();
    let size = Some(PackSize { fit: Fit::ShorterSide, side: 20 });
    for (name, encoding) in [("raw", Encoding::Raw), ("jpeg", Encoding::Jpeg(90))] {
        let out = folder.path().join(name);
        let settings = PackSettings { size, encoding, shard_images: 10 };
        pack(&dataset, settings, &out, 2, &mut |_| true).unwrap();
        let samples = open(&out, None).unwrap().train.samples;
        for view in VIEWS {
            assert_eq!(resized_there_and_here(&samples, view).1, 0, "{name} {view:?}");
            check(&samples, &coloured(view), Unreadable::Blank, Fit::ShorterSide);
        }
    }
}

/// What the tests above are worth: a filter that takes the edges of the bytes it has for those of the
/// image gives other bits, as does one that takes the image's edges for those of the bytes.
#[test]
fn a_filter_that_knows_nothing_of_the_image_s_edge_is_found_out() {
    let (_folder, dataset) = sample_set();
    let config = config(View::RandomResizedCrop.into(), Unreadable::Blank, Fit::ShorterSide, 0);
    let batch = loader(&dataset.train.samples, config, Pixels::Levels).epoch(0, 0).next_batch();
    let batch = batch.unwrap().unwrap();
    let Pictures::Levels { slots, pictures, side } = &batch.images else { panic!("levels") };
    // The same window of a larger image, in which nothing is cut off.
    let bordered = |axis: Axis| Axis { len: axis.len + 8, start: axis.start + 4.0, ..axis };
    let mut differ = 0;
    for (n, picture) in pictures.iter().enumerate() {
        let slot = slots.len() / pictures.len();
        let expected = &batch.images.values()[n * side * side * 3..][..side * side * 3];
        let own = &slots[n * slot..][..slot];
        let misled = [Picture { across: bordered(picture.across), ..*picture }];
        // Room for what it now believes to see.
        let room = [own, &vec![0; slot]].concat();
        let misled = Images::Levels(Levels { slots: &room, pictures: &misled, side: *side });
        let [columns, _] = picture.cut(*side);
        let touches = columns.start == 0 || columns.end == picture.across.len as usize;
        let differs = &*misled.values() != expected;
        assert!(touches || !differs, "an edge that no filter sees changes nothing: {picture:?}");
        differ += usize::from(differs);
    }
    assert!(differ > 0);
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
        let Pictures::Levels { slots, pictures, side } = &batch.images else { panic!("levels") };
        let all: Vec<_> = pictures.iter().map(|picture| picture.normalise).collect();
        let mut misled = pictures.clone();
        for (at, picture) in misled.iter_mut().enumerate() {
            picture.normalise = all[(at + 1) % all.len()];
        }
        let misled = Images::Levels(Levels { slots, pictures: &misled, side: *side });
        let differ = all.iter().any(|each| each != &all[0]);
        assert_eq!(batch.images.values() != misled.values(), differ);
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
        Pictures::Levels { slots, .. } => slots.as_ptr().addr(),
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
        let blank = Pictures::blank(pixels, 2, 2);
        assert!(blank.values().iter().all(|value| value.to_bits() == 0));
        assert_eq!(blank.values().len(), 24);
    }
}
