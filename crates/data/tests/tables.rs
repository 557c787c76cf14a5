//! Sets of many images a file: CIFAR's records, MNIST's arrays, Hugging Face's tables.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;

use alexnet_data::{DataError, Dataset, NamedSplit, Sample, open, open_split, survey};
use flate2::Compression;
use flate2::write::GzEncoder;
use support::surveyed;
use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

/// What a set holds: for each image its class, size and pixels.
fn contents(classes: &[String], samples: &[Sample]) -> Result<Vec<Pixels>, DataError> {
    let contents = |sample: &Sample| {
        let image = sample.content.read_image()?;
        let class = classes[sample.label as usize].clone();
        Ok((class, image.width(), image.height(), image.rgb().to_vec()))
    };
    samples.iter().map(contents).collect()
}

type Pixels = (String, u32, u32, Vec<u8>);

fn train_and_val(root: &Path) -> (Vec<Pixels>, Vec<Pixels>) {
    let Dataset { classes, train, val, .. } = open(root, None).unwrap();
    (contents(&classes, &train.samples).unwrap(), contents(&classes, &val.samples).unwrap())
}

/// Training and validation images together, if all can be had.
fn everything(root: &Path) -> Result<Vec<Pixels>, DataError> {
    let Dataset { classes, train, val, .. } = open(root, None)?;
    Ok([contents(&classes, &train.samples)?, contents(&classes, &val.samples)?].concat())
}

/// One line, which names the file in `root`, and says this.
fn assert_says(root: &Path, file: &str, says: &str) {
    let message = everything(root).unwrap_err().to_string();
    assert!(message.contains(&root.join(file).display().to_string()), "{file}: {message}");
    assert!(message.contains(says) && !message.contains('\n'), "{says}: {message}");
}

/// A byte that tells place and image apart.
fn level(image: usize, at: usize) -> u8 {
    (image * 101 + at * 7 + at / 1024 * 31) as u8
}

// ---------------------------------------------------------------- CIFAR

const CIFAR_PIXELS: usize = 32 * 32;

/// A record: these classes, then planes of red, green and blue.
fn record(labels: &[u8], image: usize) -> Vec<u8> {
    let planes = (0..3 * CIFAR_PIXELS).map(|at| level(image, at));
    labels.iter().copied().chain(planes).collect()
}

/// The same image as (height, width, 3).
fn interleaved(class: &str, image: usize) -> Pixels {
    let pixels =
        (0..CIFAR_PIXELS).flat_map(|at| [0, 1, 2].map(|c| level(image, c * CIFAR_PIXELS + at)));
    (class.into(), 32, 32, pixels.collect())
}

/// CIFAR-10 of six images: batch n holds image n, of `cat` or `dog` in turn, the test a `dog`.
fn cifar_10(within: &str) -> Vec<(String, Vec<u8>)> {
    let batch = |n: usize| (format!("{within}data_batch_{n}.bin"), record(&[(n % 2) as u8], n));
    let mut files: Vec<_> = (1..=5).map(batch).collect();
    files.push((format!("{within}test_batch.bin"), record(&[1], 6)));
    files.push((format!("{within}batches.meta.txt"), b"cat\ndog\n\n".to_vec()));
    files
}

/// CIFAR-100: image 0 and 1 to learn from, 2 to measure with. Coarse classes are 19.
fn cifar_100() -> Vec<(String, Vec<u8>)> {
    let train = [record(&[19, 1], 0), record(&[19, 0], 1)].concat();
    vec![
        ("train.bin".into(), train),
        ("test.bin".into(), record(&[19, 1], 2)),
        ("fine_label_names.txt".into(), b"apple\nbear\n".to_vec()),
        ("coarse_label_names.txt".into(), b"fruit\nmammals\n".to_vec()),
    ]
}

fn written(files: &[(String, Vec<u8>)]) -> TempDir {
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&name[..], bytes.clone())).collect();
    folder(&files)
}

#[test]
fn cifar_10_has_its_pixels_classes_and_splits() {
    for within in ["", "cifar-10-batches-bin/"] {
        let root = written(&cifar_10(within));
        let (train, val) = train_and_val(root.path());
        let classes = ["dog", "cat", "dog", "cat", "dog"];
        let expected: Vec<_> =
            (1..).zip(classes).map(|(image, class)| interleaved(class, image)).collect();
        assert!(train == expected, "training images in {within:?}");
        assert!(val == [interleaved("dog", 6)], "test image in {within:?}");
    }
}

#[test]
fn cifar_100_has_its_fine_classes() {
    let root = written(&cifar_100());
    let (train, val) = train_and_val(root.path());
    assert!(train == [interleaved("bear", 0), interleaved("apple", 1)]);
    assert!(val == [interleaved("bear", 2)]);
}

#[test]
fn a_record_is_named_by_its_file_and_number() {
    let root = written(&cifar_100());
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(dataset.train.samples[1].content.path(), root.path().join("train.bin/1"));
}

#[test]
fn the_test_images_of_every_kind_can_be_asked_for() {
    for (files, split, images) in [
        (cifar_10(""), "test", Some(1)),
        (cifar_10(""), "train", Some(5)),
        (cifar_100(), "test", Some(1)),
        (cifar_100(), "val", None),
        (mnist("", false), "test", Some(2)),
        (mnist("", false), "t10k", Some(2)),
        (mnist("", false), "val", None),
    ] {
        let root = written(&files);
        let classes = ["cat", "dog", "apple", "bear", "0", "1", "2"].map(String::from);
        let opened = open_split(root.path(), Some(split), &classes);
        let found = opened.ok().map(|opened| opened.split.samples.len());
        assert_eq!(found, images, "{split} of {}", files[0].0);
    }
}

#[test]
fn a_survey_counts_the_images_and_bytes_of_every_kind() {
    let idx_bytes = [3, 2].map(|images| images * (WIDTH * HEIGHT) as u64);
    for (files, kind, splits, classes, bytes) in [
        (cifar_10(""), "cifar-10", [("train", 5), ("val", 1)], 2, [5 * 3072, 3072]),
        (cifar_100(), "cifar-100", [("train", 2), ("val", 1)], 2, [2 * 3072, 3072]),
        (mnist("", false), "idx", [("train", 3), ("val", 2)], 3, idx_bytes),
        (mnist("", true), "idx", [("train", 3), ("val", 2)], 3, idx_bytes),
    ] {
        let root = written(&files);
        assert_eq!(surveyed(root.path()), (kind, splits.to_vec(), classes));
        let survey = survey(root.path(), None).unwrap();
        let stored: Vec<u64> = survey.splits.iter().map(NamedSplit::stored_bytes).collect();
        assert_eq!(stored, bytes, "{kind}");
    }
}

/// Files with one replaced, or without it.
fn with(mut files: Vec<(String, Vec<u8>)>, name: &str, bytes: Option<Vec<u8>>) -> TempDir {
    let at = files.iter().position(|(file, _)| file == name).unwrap();
    match bytes {
        Some(bytes) => files[at].1 = bytes,
        None => drop(files.remove(at)),
    }
    written(&files)
}

#[test]
fn a_cifar_file_that_cannot_be_used_is_named_with_the_place() {
    let long = [record(&[1], 3), vec![0]].concat();
    let odd = [record(&[1], 3), record(&[2], 3)].concat();
    for (name, bytes, says) in [
        ("data_batch_3.bin", Some(long), "3074 bytes: it should be whole records of 3073 bytes"),
        ("data_batch_3.bin", Some(vec![]), "0 bytes: it should be whole records"),
        ("data_batch_3.bin", Some(odd), "byte 3073: class 2 is not one of the 2 in batches.meta"),
        ("data_batch_3.bin", None, "does not exist"),
        ("batches.meta.txt", None, "does not exist"),
        ("batches.meta.txt", Some(vec![0xff]), "byte 0: it is not UTF-8 text"),
    ] {
        assert_says(with(cifar_10(""), name, bytes).path(), name, says);
    }
    let bytes = record(&[0, 7], 0);
    let root = with(cifar_100(), "test.bin", Some(bytes));
    assert_says(root.path(), "test.bin", "byte 1: class 7 is not one of the 2 in fine_label_names");
}

#[test]
fn a_set_that_lacks_a_split_is_told_the_files_of_its_own_form() {
    let only = |files: Vec<(String, Vec<u8>)>, kept: &str| {
        written(&files.into_iter().filter(|(name, _)| name.contains(kept)).collect::<Vec<_>>())
    };
    let cases = [
        (with(cifar_10(""), "test_batch.bin", None), "put test_batch.bin of cifar-10 into "),
        (with(cifar_100(), "train.bin", None), "put train.bin of cifar-100 into "),
        (only(mnist("", false), "train"), "add t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"),
        (only(mnist("", true), "t10k"), "add train-images-idx3-ubyte and train-labels-idx1-ubyte"),
    ];
    for (root, says) in cases {
        let message = everything(root.path()).unwrap_err().to_string();
        let knows_no_folder = !message.contains("train/") && !message.contains("val/");
        assert!(message.contains(says) && knows_no_folder, "{message}");
    }
}

#[test]
fn a_split_that_is_asked_for_and_not_there_is_answered_with_the_kind_of_the_set_and_its_splits() {
    for (root, split, says) in [
        (written(&cifar_10("")), "val", "cifar-10, which has no split \"val\": it has train, test"),
        (
            with(cifar_100(), "test.bin", None),
            "test",
            "cifar-100, which has no split \"test\": it has train",
        ),
        (
            written(&mnist("", true)),
            "valid",
            "idx, which has no split \"valid\": it has train, test",
        ),
        (written(&mnist("", false)), "", "idx, which has no split \"\": it has train, test"),
    ] {
        let message = open_split(root.path(), Some(split), &[]).unwrap_err().to_string();
        let expected = format!("{} holds a set of kind {says}", root.path().display());
        assert_eq!(message, expected);
    }
}

#[test]
fn a_set_of_one_class_is_told_what_says_the_classes_in_its_own_form() {
    let batch = |n| (format!("data_batch_{n}.bin"), record(&[0], n));
    let mut cifar_10: Vec<_> = (1..=5).map(batch).collect();
    cifar_10.push(("batches.meta.txt".into(), b"cat\n".to_vec()));
    let cifar_100 = vec![
        ("train.bin".into(), record(&[19, 0], 0)),
        ("fine_label_names.txt".into(), b"apple\n".to_vec()),
    ];
    let labels = Some(idx(&[3], &[0, 0, 0]));
    for (root, says) in [
        (written(&cifar_10), "name each in batches.meta.txt, one a line, and add records of it"),
        (
            written(&cifar_100),
            "name each in fine_label_names.txt, one a line, and add records of it",
        ),
        (
            with(mnist("", false), "train-labels-idx1-ubyte", labels),
            "add images of each, with labels that number them from 0",
        ),
    ] {
        let message = open(root.path(), None).unwrap_err().to_string();
        let root = root.path().display();
        assert_eq!(message, format!("{root} has 1 class(es), at least 2 are needed: {says}"));
    }
}

#[test]
fn two_kinds_in_a_folder_are_both_named_and_neither_is_taken() {
    let kinds = [
        (cifar_10(""), vec![("train/a/0.jpg".to_owned(), vec![])], "cifar-10", "folders"),
        (cifar_10(""), mnist("", false), "cifar-10", "idx"),
        (cifar_10(""), cifar_100(), "cifar-10", "cifar-100"),
        (cifar_10("cifar-10-batches-bin/"), cifar_100(), "cifar-10", "cifar-100"),
        (
            vec![("data/train.parquet".to_owned(), vec![])],
            vec![("train/a/0.jpg".to_owned(), vec![])],
            "parquet",
            "folders",
        ),
    ];
    for (files, others, first, second) in kinds {
        let root = written(&[files, others].concat());
        let says = format!("a set of kind {first} and one of kind {second}, either of which");
        let message = everything(root.path()).unwrap_err().to_string();
        assert!(message.contains(&says) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_cifar_file_cut_anywhere_is_refused() {
    let root = written(&cifar_100());
    let path = root.path().join("train.bin");
    let whole = fs::read(&path).unwrap();
    let record_bytes = whole.len() / 2;
    let file = fs::File::options().write(true).open(&path).unwrap();
    for len in (1..whole.len()).rev().filter(|len| len % record_bytes != 0) {
        file.set_len(len as u64).unwrap();
        let says = "it should be whole records";
        let message = open(root.path(), None).unwrap_err().to_string();
        assert!(message.contains(says), "cut at {len}: {message}");
    }
    // What is left of the set then is right, but lacks a class.
    fs::write(&path, &whole[..record_bytes]).unwrap();
    let message = open(root.path(), None).unwrap_err().to_string();
    assert!(message.contains("is of the class apple, which"), "{message}");
}

#[test]
fn a_set_cut_after_it_was_opened_names_the_image() {
    let root = written(&cifar_100());
    let dataset = open(root.path(), None).unwrap();
    fs::write(root.path().join("train.bin"), vec![0; 4000]).unwrap();
    let message = dataset.train.samples[1].content.read_image().unwrap_err().to_string();
    assert!(message.contains("train.bin ends before byte 6148, where 1 should"), "{message}");
}

// ---------------------------------------------------------------- IDX

const WIDTH: usize = 3;
const HEIGHT: usize = 2;

fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|dimension| dimension.to_be_bytes()));
    [bytes, values.to_vec()].concat()
}

fn grey_images(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let count = numbers.len() as u32;
    let values: Vec<u8> =
        numbers.flat_map(|image| (0..WIDTH * HEIGHT).map(move |at| level(image, at))).collect();
    idx(&[count, HEIGHT as u32, WIDTH as u32], &values)
}

fn grey(class: &str, image: usize) -> Pixels {
    let pixels = (0..WIDTH * HEIGHT).flat_map(|at| [level(image, at); 3]);
    (class.into(), WIDTH as u32, HEIGHT as u32, pixels.collect())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Images 0 to 3 to learn from, of classes 2, 0, 1; 3 and 4 to measure with, of classes 1, 2.
fn mnist(dot: &str, packed: bool) -> Vec<(String, Vec<u8>)> {
    let dash = if dot.is_empty() { "-" } else { dot };
    let file = |name: &str, dimensions: u32, bytes: Vec<u8>| match packed {
        false => (format!("{name}{dash}idx{dimensions}-ubyte"), bytes),
        true => (format!("{name}{dash}idx{dimensions}-ubyte.gz"), gzip(&bytes)),
    };
    vec![
        file("train-images", 3, grey_images(0..3)),
        file("train-labels", 1, idx(&[3], &[2, 0, 1])),
        file("t10k-images", 3, grey_images(3..5)),
        file("t10k-labels", 1, idx(&[2], &[1, 2])),
    ]
}

#[test]
fn idx_files_of_every_spelling_have_their_pixels_classes_and_splits() {
    for (dot, packed) in [("", false), ("", true), (".", false), (".", true)] {
        let root = written(&mnist(dot, packed));
        let (train, val) = train_and_val(root.path());
        let expected = [grey("2", 0), grey("0", 1), grey("1", 2)];
        assert_eq!(train, expected, "{dot:?}, packed: {packed}");
        assert_eq!(val, [grey("1", 3), grey("2", 4)], "{dot:?}, packed: {packed}");
    }
}

#[test]
fn idx_classes_are_named_by_classes_txt() {
    let mut files = mnist("", false);
    files.push(("classes.txt".into(), b"zero\none\ntwo\n".to_vec()));
    let (train, _) = train_and_val(written(&files).path());
    assert_eq!(train, [grey("two", 0), grey("zero", 1), grey("one", 2)]);

    files.last_mut().unwrap().1 = b"zero\none\n".to_vec();
    let says = "byte 8: class 2 is not one of the 2 in classes.txt";
    assert_says(written(&files).path(), "train-labels-idx1-ubyte", says);
}

#[test]
fn an_idx_file_that_cannot_be_used_is_named_with_the_place() {
    let whole = grey_images(0..3);
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        Some(bytes)
    };
    let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    for (name, bytes, says) in [
        (images, changed(0, 1), "byte 0: it is 1, an IDX file of such values has 0"),
        (images, changed(2, 13), "byte 2: it is 13, an IDX file of such values has 8"),
        (images, changed(3, 1), "byte 3: it is 1, an IDX file of such values has 3"),
        (images, changed(7, 4), "byte 34: it ends here, by its header it should at byte 40"),
        (images, changed(4, 255), "byte 34: it ends here, by its header it should at byte"),
        (images, changed(15, 0), "byte 12: a dimension is 0"),
        (images, Some(vec![]), "byte 0: it ends within its header"),
        (labels, Some(idx(&[2], &[0, 1])), "byte 4: it has 2 labels, but"),
        (labels, None, "does not exist"),
    ] {
        assert_says(with(mnist("", false), name, bytes).path(), name, says);
    }
    let name = "train-images-idx3-ubyte.gz";
    for (bytes, says) in
        [(whole.clone(), "as gzip: "), (gzip(&whole[..33]), "byte 33: it ends here, by its header")]
    {
        assert_says(with(mnist("", true), name, Some(bytes)).path(), name, says);
    }
}

#[test]
fn an_idx_file_cut_anywhere_is_refused() {
    for packed in [false, true] {
        let files = mnist("", packed);
        for (name, whole) in &files {
            for len in 0..whole.len() {
                let root = with(files.clone(), name, Some(whole[..len].to_vec()));
                let message = everything(root.path()).unwrap_err().to_string();
                assert!(message.contains(name), "{name} cut at {len}: {message}");
            }
        }
    }
}

#[test]
fn a_changed_idx_file_is_refused_or_read_but_never_causes_a_panic() {
    for packed in [false, true] {
        let files = mnist("", packed);
        for (name, whole) in &files {
            for (at, flipped) in (0..whole.len()).flat_map(|at| [(at, 1), (at, 0x80), (at, 0xff)]) {
                let mut bytes = whole.clone();
                bytes[at] ^= flipped;
                let _read = everything(with(files.clone(), name, Some(bytes)).path());
            }
        }
    }
}
