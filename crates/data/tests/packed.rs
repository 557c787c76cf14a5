//! Packed sets: the same images faster, whole or not there.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{
    Content, DataError, Dataset, Encoding, Fit, Image, Loader, LoaderConfig, Order, PackOutcome,
    PackSettings, PackSize, Packing, Preprocess, Unreadable, View, open, open_split, pack,
    statistics, survey,
};
use support::{sample_set, surveyed};

fn settings(size: Option<PackSize>, encoding: Encoding) -> PackSettings {
    PackSettings { size, encoding, shard_images: 10 }
}

const ORIGINAL: PackSettings =
    PackSettings { size: None, encoding: Encoding::Original, shard_images: 10 };

fn pack_all(dataset: &Dataset, settings: PackSettings, out: &Path) -> PackOutcome {
    pack(dataset, settings, out, 2, &mut |_| true).unwrap()
}

fn pixels(dataset: &Dataset) -> Vec<Image> {
    let samples = dataset.train.samples.iter().chain(&dataset.val.samples);
    samples.map(|sample| sample.content.read_image().unwrap()).collect()
}

fn labels(dataset: &Dataset) -> Vec<u32> {
    dataset.train.samples.iter().chain(&dataset.val.samples).map(|s| s.label).collect()
}

#[test]
fn a_set_packed_as_it_is_or_as_bare_pixels_is_the_same_set() {
    let (folder, dataset) = sample_set();
    for (name, encoding) in [("original", Encoding::Original), ("raw", Encoding::Raw)] {
        let out = folder.path().join(name);
        let outcome = pack_all(&dataset, settings(None, encoding), &out);
        assert_eq!((outcome.train, outcome.val, outcome.reused_shards), (36, 12, 0));
        let packed = open(&out, None).unwrap();
        assert_eq!(packed.classes, dataset.classes);
        assert_eq!(labels(&packed), labels(&dataset), "{name}");
        assert!(pixels(&packed) == pixels(&dataset), "{name}");
    }
}

/// A few kilobytes that would become gigabytes.
#[test]
fn a_very_long_image_is_packed_as_it_is_and_left_out_of_statistics() {
    let (folder, dataset) = sample_set();
    let path = dataset.train.samples[3].content.path();
    let long = image::RgbImage::from_pixel(16_384, 2, image::Rgb([9, 8, 7]));
    long.save_with_format(&path, image::ImageFormat::Png).unwrap();
    let size = Some(PackSize { fit: Fit::ShorterSide, side: 256 });
    let out = folder.path().join("packed");
    let outcome = pack_all(&dataset, settings(size, Encoding::Raw), &out);
    assert_eq!(outcome.unreadable, [path.display().to_string()]);
    let packed = open(&out, None).unwrap();
    let image = packed.train.samples[3].content.read_image().unwrap();
    assert_eq!((image.width(), image.height()), (16_384, 2));
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let fit = Fit::ShorterSide;
    let preprocess = Preprocess { fit, resize: 256, crop: 256, mean, std, mean_image: None };
    let found = statistics(&dataset.train.samples, &preprocess, 2, &mut |_| true).unwrap();
    assert_eq!((found.images, found.unreadable), (35, 1));
}

#[test]
fn the_network_sees_the_same_from_the_folder_and_from_the_pack_with_any_number_of_workers() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("packed");
    pack_all(&dataset, ORIGINAL, &out);
    let images = |dataset: &Dataset, workers, first| {
        let (mean, std) = ([128.0; 3], [64.0; 3]);
        let config = LoaderConfig {
            batch_size: 5,
            workers,
            seed: 7,
            augment: View::RandomResizedCrop.into(),
            unreadable: Unreadable::Replace { budget: 0 },
            preprocess: Preprocess {
                fit: Fit::ShorterSide,
                resize: 20,
                crop: 16,
                mean,
                std,
                mean_image: None,
            },
            order: Order::Shuffled,
        };
        let mut epoch = Loader::new(&*dataset.train.samples, config).unwrap().epoch(2, first);
        let mut all = Vec::new();
        while let Some(batch) = epoch.next_batch() {
            all.extend_from_slice(&batch.unwrap().images.values());
        }
        all
    };
    let expected = images(&dataset, 0, 0);
    let packed = open(&out, None).unwrap();
    for workers in [0, 1, 4] {
        assert!(images(&packed, workers, 0) == expected, "{workers} workers");
    }
    let batch = 5 * 16 * 16 * 3;
    assert!(images(&packed, 1, 3) == expected[3 * batch..], "resumed");
}

#[test]
fn images_are_brought_to_size_once() {
    let (folder, dataset) = sample_set();
    for (fit, encoding) in [(Fit::Warp, Encoding::Raw), (Fit::CentreSquare, Encoding::Jpeg(95))] {
        let out = folder.path().join(format!("{fit:?}"));
        pack_all(&dataset, settings(Some(PackSize { fit, side: 17 }), encoding), &out);
        for image in pixels(&open(&out, None).unwrap()) {
            assert_eq!((image.width(), image.height()), (17, 17), "{fit:?}");
        }
    }
}

/// The position of an image's pixels is where NumPy's format says they are.
#[test]
fn bare_pixels_are_arrays_that_numpy_reads() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("packed");
    pack_all(&dataset, settings(None, Encoding::Raw), &out);
    let packed = open(&out, None).unwrap();
    let Content::Part(part) = &packed.train.samples[0].content else { panic!("no part") };
    let tar = fs::read(part.store.path()).unwrap();
    let header = &tar[part.start as usize - 128..part.start as usize];
    assert!(header.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', "));
    assert!(header.ends_with(b" \n"));
}

#[test]
fn any_tar_reader_finds_the_images_and_their_classes() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("packed");
    pack_all(&dataset, ORIGINAL, &out);
    let file = fs::File::open(out.join("train-000001.tar")).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(file).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if name == "000000012.cls" {
            assert_eq!(bytes, dataset.train.samples[12].label.to_string().as_bytes());
        }
        if name == "000000012.jpg" {
            assert_eq!(bytes, fs::read(dataset.train.samples[12].content.path()).unwrap());
        }
        names.push(name);
    }
    assert_eq!(names.len(), 20);
    assert_eq!(names[..2], ["000000010.jpg", "000000010.cls"]);
}

/// What a run that was ended after `shards` shards left.
fn ended_after(shards: u64, dataset: &Dataset, out: &Path) {
    let stopped = pack(dataset, ORIGINAL, out, 1, &mut |done| done < shards);
    assert!(matches!(stopped, Err(DataError::StoppedReading)));
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    files.sort();
    files.iter_mut().for_each(|(path, _)| *path = path.file_name().unwrap().into());
    files
}

#[test]
fn a_half_packed_set_is_never_taken_for_whole_and_the_rerun_completes_it() {
    let (folder, dataset) = sample_set();
    let whole = folder.path().join("whole");
    pack_all(&dataset, ORIGINAL, &whole);
    for shards in 1..=5 {
        let out = folder.path().join(format!("after-{shards}"));
        ended_after(shards, &dataset, &out);
        // As a kill in the middle of a write leaves it.
        fs::write(out.join(".writing-tar"), b"half").unwrap();
        fs::write(out.join("val-000001.tar"), b"a tar without its index").unwrap();
        let message = open(&out, None).unwrap_err().to_string();
        assert!(message.contains("is not whole: repeat"), "{message}");

        let outcome = pack_all(&dataset, ORIGINAL, &out);
        assert!(outcome.reused_shards >= shards as usize, "{shards}: {outcome:?}");
        assert!(files(&out) == files(&whole), "after {shards} shards");
    }
}

#[test]
fn packing_that_is_stopped_within_a_shard_leaves_no_part_of_it_and_the_rerun_makes_it_whole() {
    let (folder, dataset) = sample_set();
    let size = Some(PackSize { fit: Fit::ShorterSide, side: 512 });
    let one_shard = PackSettings { size, encoding: Encoding::Raw, shard_images: 1000 };
    let (whole, out) = (folder.path().join("whole"), folder.path().join("stopped"));
    pack_all(&dataset, one_shard, &whole);
    for workers in [0, 1, 2] {
        let mut most = 0;
        let stopped = pack(&dataset, one_shard, &out, workers, &mut |done| {
            most = done;
            false
        });
        assert!(matches!(stopped, Err(DataError::StoppedReading)));
        assert_eq!(most, 0, "it heard of it at the end of a shard");
        let left: Vec<PathBuf> = files(&out).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, [Path::new("packing.json")], "{workers} workers");
        pack_all(&dataset, one_shard, &out);
        assert!(files(&out) == files(&whole), "{workers} workers");
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_folder_with_anything_else_in_it_is_left_alone() {
    let (folder, dataset) = sample_set();
    let other = settings(None, Encoding::Raw);
    let (begun, full) = (folder.path().join("begun"), folder.path().join("full"));
    ended_after(2, &dataset, &begun);
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), b"...").unwrap();
    for (out, says) in
        [(&begun, "holds another set, or the beginning of one"), (&full, "exists and is not empty")]
    {
        let before = files(out);
        let message = pack(&dataset, other, out, 1, &mut |_| true).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        assert!(files(out) == before);
    }
    let resized = settings(Some(PackSize { fit: Fit::Warp, side: 8 }), Encoding::Original);
    let message = pack(&dataset, resized, &full, 1, &mut |_| true).unwrap_err().to_string();
    assert!(message.contains("cannot keep their bytes"), "{message}");
}

#[test]
fn damage_is_noticed_and_named() {
    let (folder, dataset) = sample_set();
    type Damage = fn(&Path);
    let flip_in_tar: Damage = |out| {
        let path = out.join("train-000000.tar");
        let mut bytes = fs::read(&path).unwrap();
        bytes[700] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let cut_tar: Damage = |out| {
        let path = out.join("train-000000.tar");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1024]).unwrap();
    };
    let edit_index: Damage = |out| {
        let path = out.join("train-000000.csv");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replacen("512", "513", 1)).unwrap();
    };
    let cut_manifest: Damage = |out| {
        let path = out.join("pack.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, &text[..text.len() / 2]).unwrap();
    };
    let lead_out: Damage = |out| {
        let path = out.join("pack.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replacen("\"train-000000\"", "\"../train-000000\"", 1)).unwrap();
    };
    for (name, damage, says) in [
        ("flip", flip_in_tar, "train-000000.tar/000000000.jpg is damaged (its CRC-32"),
        ("cut", cut_tar, "train-000000.tar ends before byte"),
        ("index", edit_index, "train-000000.csv, CRC-32: it is not the index"),
        ("manifest", cut_manifest, "pack.json, line"),
        ("name", lead_out, "pack.json, shard \"../train-000000\": it is no shard's name"),
    ] {
        let out = folder.path().join(name);
        pack_all(&dataset, ORIGINAL, &out);
        damage(&out);
        let read = open(&out, None)
            .and_then(|packed| packed.train.samples[0].content.read_image().map(|_| ()));
        let message = read.unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn an_image_that_cannot_be_decoded_is_stored_as_it_is_and_stays_unreadable() {
    let (folder, dataset) = sample_set();
    let path = dataset.val.samples[5].content.path();
    fs::write(&path, b"hello").unwrap();
    let out = folder.path().join("packed");
    let outcome = pack_all(&dataset, settings(None, Encoding::Raw), &out);
    assert_eq!(outcome.unreadable, [path.display().to_string()]);
    let packed = open(&out, None).unwrap();
    assert_eq!(packed.val.samples.len(), 12);
    let message = packed.val.samples[5].content.read_image().unwrap_err().to_string();
    assert!(
        message.contains("is not a JPEG or PNG image (it starts with 68 65 6c 6c)"),
        "{message}"
    );
}

#[test]
fn a_split_that_no_pack_has_is_answered_with_those_that_this_one_has() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("packed");
    pack_all(&dataset, ORIGINAL, &out);
    let message = open_split(&out, Some("test-2"), &dataset.classes).unwrap_err().to_string();
    let says = "holds a set of kind packed, which has no split \"test-2\": it has train, val";
    assert_eq!(message, format!("{} {says}", out.display()));
}

#[test]
fn a_survey_says_how_a_set_was_packed() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("packed");
    fs::write(dataset.val.samples[0].content.path(), b"hello").unwrap();
    let size = Some(PackSize { fit: Fit::Warp, side: 16 });
    let settings = PackSettings { shard_images: 10, ..settings(size, Encoding::Jpeg(90)) };
    pack_all(&dataset, settings, &out);
    assert_eq!(surveyed(&out), ("packed", vec![("train", 36), ("val", 12)], 12));
    let packing = survey(&out, None).unwrap().packing;
    assert_eq!(packing, Some(Packing { settings, shards: 6, unreadable: 1 }));
    assert_eq!(survey(&dataset.root, None).unwrap().packing, None);
}
