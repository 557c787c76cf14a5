//! ILSVRC-2012 as it is downloaded and as Kaggle has it, in small: every label right, or refused.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::Path;

use alexnet_data::{Split, decode, open, open_split, survey};
use support::ilsvrc::{
    CLASSES, DEVKIT, Downloads, GROUND_TRUTH, SYNSETS, TRAIN, TRAIN_IMAGES, TRUTH, VAL, VAL_IMAGES,
    downloads, synsets, tar_of,
};
use support::matlab::{Synset, meta};
use support::{assert_says, golden, listed, surveyed, tar, tree};
use tempfile::TempDir;

const BLOCK: usize = 512;

/// The expected listing: by class, then by name.
fn expected_train() -> Vec<(String, &'static str)> {
    let mut images = TRAIN_IMAGES;
    images.sort_by_key(|&(wnid, name, _)| (wnid, name));
    images.map(|(wnid, name, _)| (format!("{wnid}/{name}"), wnid)).to_vec()
}

fn expected_val() -> Vec<(String, &'static str)> {
    let mut images = VAL_IMAGES;
    images.sort_by_key(|&(_, name, _)| name);
    images.map(|(wnid, name, _)| (name.to_owned(), wnid)).to_vec()
}

/// Whether each image of a split is, pixel by pixel, the one of its name.
fn assert_images(split: &Split, images: &[(&str, &str, &str)]) {
    for sample in &split.samples {
        let path = sample.content.path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (_, _, file) = images.iter().find(|image| image.1 == name).unwrap();
        let expected = decode(&golden(&format!("pixels/{file}"))).unwrap();
        assert_eq!(sample.content.read_image().unwrap(), expected, "{name}");
    }
}

#[test]
fn each_image_of_the_tars_has_its_class_and_its_pixels() {
    let root = downloads().write();
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(dataset.classes, CLASSES);
    assert_eq!(listed(&dataset.train, &dataset.classes), expected_train());
    assert_eq!(listed(&dataset.val, &dataset.classes), expected_val());
    assert_images(&dataset.train, &TRAIN_IMAGES);
    assert_images(&dataset.val, &VAL_IMAGES);
}

#[test]
fn the_fixture_would_catch_labels_in_the_order_of_the_tar_and_ids_taken_for_ranks() {
    let ids: Vec<usize> = GROUND_TRUTH.lines().map(|id| id.parse().unwrap()).collect();
    for ((true_class, name, _), id) in VAL_IMAGES.iter().zip(&ids) {
        assert_ne!(*true_class, SYNSETS[id - 1].0, "{name} would be right unsorted");
    }
    for ((name, true_class), id) in expected_val().iter().zip(&ids) {
        assert_eq!(*true_class, SYNSETS[id - 1].0);
        assert_ne!(*true_class, CLASSES[id - 1], "{name} would be right with its id for a rank");
    }
}

#[test]
fn the_devkit_is_read_packed_and_unpacked_as_matlab_and_as_scipy_write_it() {
    for (case, bytes) in [
        ("MATLAB, compressed", meta(&synsets(), true)),
        ("MATLAB", meta(&synsets(), false)),
        ("SciPy, compressed", golden("meta/packed.mat")),
        ("SciPy", golden("meta/plain.mat")),
    ] {
        let packed = Downloads { meta: Some(bytes.clone()), ..downloads() };
        let folder = packed.write();
        fs::remove_file(folder.path().join(format!("{DEVKIT}.tar.gz"))).unwrap();
        fs::create_dir_all(folder.path().join(DEVKIT).join("data")).unwrap();
        fs::write(folder.path().join(DEVKIT).join("data/meta.mat"), &bytes).unwrap();
        fs::write(folder.path().join(DEVKIT).join(TRUTH), GROUND_TRUTH).unwrap();
        for root in [packed.write(), folder] {
            let dataset = open(root.path(), None).unwrap();
            assert_eq!(listed(&dataset.train, &dataset.classes), expected_train(), "{case}");
            assert_eq!(listed(&dataset.val, &dataset.classes), expected_val(), "{case}");
        }
    }
}

#[test]
fn validation_images_alone_are_evaluated_with_a_models_classes() {
    let root = downloads().write();
    fs::remove_file(root.path().join(TRAIN)).unwrap();
    let classes = ["n04152593", "n03126707", "n02119789", "n01440764"].map(String::from);
    for split in [None, Some("val"), Some("validation")] {
        let opened = open_split(root.path(), split, &classes).unwrap();
        assert_eq!(listed(&opened.split, &classes), expected_val());
        assert!(opened.missing.is_empty());
    }
    let error = open_split(root.path(), Some("test"), &classes).unwrap_err().to_string();
    assert!(
        error.ends_with("kind ilsvrc-2012, which has no split \"test\": it has val"),
        "{error}"
    );
    let error = open(root.path(), None).unwrap_err().to_string();
    assert!(error.contains("has no training images: add ILSVRC2012_img_train.tar"), "{error}");
}

#[test]
fn the_same_images_are_set_aside_as_of_folders() {
    let files: Vec<_> = TRAIN_IMAGES
        .iter()
        .map(|(wnid, name, image)| {
            (format!("train/{wnid}/{name}"), golden(&format!("pixels/{image}")))
        })
        .collect();
    let folders =
        tree(&files.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect::<Vec<_>>());
    let (tars, folders) = (downloads().write(), folders);
    let aside = |root: &TempDir| {
        let dataset = open(root.path(), Some(0.4)).unwrap();
        listed(&dataset.val, &dataset.classes).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(aside(&tars), aside(&folders));
    assert_eq!(aside(&tars).len(), 2);
}

#[test]
fn an_image_that_is_there_twice_in_the_place_of_another_is_refused_by_name() {
    let doubled = |images: &[(&'static str, &'static str, &'static str)]| {
        let mut images = images.to_vec();
        images[1] = images[0];
        (images[0].1, tar_of(&images))
    };
    let class: Vec<_> = TRAIN_IMAGES.into_iter().filter(|image| image.0 == CLASSES[0]).collect();
    let (train_name, train_tar) = doubled(&class);
    let mut of_training = downloads();
    let it = of_training.train.iter_mut().find(|(name, _)| name.starts_with(CLASSES[0])).unwrap();
    it.1 = train_tar;
    let (val_name, val) = doubled(&VAL_IMAGES);
    let of_validation = Downloads { val, ..downloads() };
    for (downloads, tar, name) in [(of_training, TRAIN, train_name), (of_validation, VAL, val_name)]
    {
        let root = downloads.write();
        let message = open(root.path(), None).unwrap_err().to_string();
        assert_says(&message, root.path(), &format!("it holds {name} twice"), tar);
        assert!(message.contains(tar), "{message}");
    }
}

#[test]
fn a_folder_that_was_unpacked_wins_over_its_tar() {
    let root = downloads().write();
    let folder = root.path().join("train");
    for class in CLASSES {
        fs::create_dir_all(folder.join(class)).unwrap();
        fs::write(folder.join(class).join("0.jpg"), b"").unwrap();
    }
    let dataset = open(root.path(), None).unwrap();
    assert_eq!((dataset.train.folder, dataset.train.samples.len()), (folder, 4));
    assert_eq!(listed(&dataset.val, &dataset.classes), expected_val());
}

/// `meta.mat` that says it has seven records and has six.
fn one_record_more() -> Vec<u8> {
    let mut bytes = meta(&synsets(), false);
    let dimensions = [5, 0, 0, 0, 8, 0, 0, 0, 6, 0, 0, 0, 1];
    let at = bytes.windows(dimensions.len()).position(|window| window == dimensions).unwrap();
    bytes[at + 8] = 7;
    bytes
}

/// What is done to the downloads, and what is said then.
type Refusal = (&'static str, fn(&mut Downloads), &'static str);

const REFUSALS: [Refusal; 17] = [
    ("no ground truth", |d| d.ground_truth = None, "validation_ground_truth.txt: it is not there"),
    (
        "a line too few",
        |d| d.ground_truth = Some("4\n2\n3\n".into()),
        "it has 3 lines, but there are 4 validation images",
    ),
    (
        "a line too many",
        |d| d.ground_truth = Some("4\n2\n3\n1\n1\n".into()),
        "it has 5 lines, but there are 4 validation images",
    ),
    (
        "an ancestor's id",
        |d| d.ground_truth = Some("4\n5\n3\n1\n".into()),
        "validation_ground_truth.txt, line 2: it should be the ILSVRC2012_ID of a class",
    ),
    (
        "no id",
        |d| d.ground_truth = Some("4\n2\nn01440764\n1\n".into()),
        "validation_ground_truth.txt, line 3: it should be the ILSVRC2012_ID of a class",
    ),
    (
        "a validation image too few",
        |d| d.val = tar_of(&VAL_IMAGES[1..]),
        "it has 4 lines, but there are 3 validation images",
    ),
    ("no meta.mat", |d| d.meta = None, "devkit_t12.tar.gz, data/meta.mat: it is not there"),
    ("another meta.mat", |d| d.meta = Some(b"hello".into()), "synsets: it is not a MATLAB 5 file"),
    (
        "a record missing",
        |d| d.meta = Some(one_record_more()),
        "synsets: it has not as many records",
    ),
    (
        "a class twice",
        |d| d.meta = Some(meta(&[synsets(), synsets()].concat(), true)),
        "synsets: no classes, or one of them twice",
    ),
    (
        "no class",
        |d| d.meta = Some(meta(&synsets()[4..], true)),
        "synsets: no classes, or one of them twice",
    ),
    (
        "a class missing",
        |d| drop(d.train.remove(2)),
        "img_train.tar, n01440764.tar: this class of the devkit is not in it",
    ),
    (
        "a class too many",
        |d| d.train.push(("n00001740.tar".into(), tar_of(&[]))),
        "img_train.tar, n00001740.tar: no class of the devkit",
    ),
    (
        "a class more than once",
        |d| d.train.push(d.train[0].clone()),
        "img_train.tar, n02119789.tar: no class of the devkit, or one that came before",
    ),
    (
        "an image missing",
        |d| d.train[2].1 = tar_of(&TRAIN_IMAGES[3..5]),
        "img_train.tar, n01440764.tar: it holds 2 images, the devkit counts 3",
    ),
    (
        "a class that is no tar",
        |d| d.train[1].1 = b"hello ".repeat(200),
        "img_train.tar/n04152593.tar, byte ",
    ),
    (
        "a class that was cut",
        |d| d.train[2].1.truncate(BLOCK),
        "img_train.tar/n01440764.tar ends before byte ",
    ),
];

#[test]
fn downloads_that_do_not_fit_together_are_refused_with_the_file_and_the_way_out() {
    for (case, spoil, says) in REFUSALS {
        let mut downloads = downloads();
        spoil(&mut downloads);
        let root = downloads.write();
        let message = open(root.path(), None).unwrap_err().to_string();
        assert_says(&message, root.path(), says, case);
    }
    let root = downloads().write();
    fs::remove_file(root.path().join(format!("{DEVKIT}.tar.gz"))).unwrap();
    let says = "devkit: ILSVRC2012_devkit_t12.tar.gz is needed to know the classes";
    assert_says(&open(root.path(), None).unwrap_err().to_string(), root.path(), says, "no devkit");
}

#[test]
fn a_tar_of_tars_that_was_cut_is_refused_wherever_it_was_cut() {
    let root = downloads().write();
    let expected = open(root.path(), None).unwrap();
    let whole = downloads().train_tar();
    let mut allowed = Vec::new();
    for len in (0..whole.len()).step_by(BLOCK) {
        fs::write(root.path().join(TRAIN), &whole[..len]).unwrap();
        match open(root.path(), None) {
            Ok(found) => {
                assert_eq!(found, expected, "cut to {len} of {}", whole.len());
                allowed.push(len);
            }
            Err(error) => assert_says(&error.to_string(), root.path(), TRAIN, "cut"),
        }
    }
    assert_eq!(allowed, [whole.len() - BLOCK]);
}

#[test]
fn a_damaged_devkit_is_an_error_or_the_same_classes_and_never_a_panic() {
    let devkit = downloads().devkit();
    let root = downloads().write();
    let (path, expected) = (root.path().join(format!("{DEVKIT}.tar.gz")), CLASSES);
    for len in 0..devkit.len() {
        fs::write(&path, &devkit[..len]).unwrap();
        let message = open(root.path(), None).unwrap_err().to_string();
        assert_says(&message, root.path(), DEVKIT, &format!("cut to {len}"));
    }
    fs::remove_file(path).unwrap();
    let path = root.path().join(DEVKIT).join("data/meta.mat");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for packed in [false, true] {
        let whole = meta(&synsets(), packed);
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            let message = open(root.path(), Some(0.5)).unwrap_err().to_string();
            assert_says(&message, root.path(), "meta.mat", &format!("cut to {at}"));
            for wrong in [0, 1, 0x0e, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                fs::write(&path, bytes).unwrap();
                match open(root.path(), Some(0.5)) {
                    Ok(found) => assert_eq!(found.classes, expected, "{wrong} at {at}"),
                    Err(error) => assert_says(&error.to_string(), root.path(), "", "damaged"),
                }
            }
        }
    }
}

/// Downloads of the real set's size, each image empty; ids are ranks but for the first four.
fn as_many_as_there_are(ground_truth: &str) -> TempDir {
    let mut ids: Vec<usize> = (0..1000).collect();
    for (id, rank) in [(490, 65), (361, 970), (171, 230), (822, 809)] {
        let at = ids.iter().position(|&other| other == rank).unwrap();
        ids.swap(id - 1, at);
    }
    let leaf = |rank: &usize| Synset {
        wnid: format!("n{rank:08}"),
        words: String::new(),
        children: Vec::new(),
        images: 0,
    };
    let names: Vec<String> = (1..=50_000).map(|n| format!("ILSVRC2012_val_{n:08}.JPEG")).collect();
    let rest = (4..50_000).map(|n| format!("{}\n", n % 1000 + 1)).collect::<String>();
    let downloads = Downloads {
        meta: Some(meta(&ids.iter().map(leaf).collect::<Vec<_>>(), true)),
        ground_truth: Some(format!("{ground_truth}{rest}")),
        train: Vec::new(),
        val: tar(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>()),
    };
    downloads.write()
}

#[test]
fn a_set_of_the_real_size_must_start_with_the_real_labels() {
    let classes: Vec<String> = (0..1000).map(|rank| format!("n{rank:08}")).collect();
    let root = as_many_as_there_are("490\n361\n171\n822\n");
    let split = open_split(root.path(), None, &classes).unwrap().split;
    let start: Vec<u32> = split.samples[..4].iter().map(|sample| sample.label).collect();
    assert_eq!((start, split.samples.len()), (vec![65, 970, 230, 809], 50_000));
    let root = as_many_as_there_are("490\n171\n361\n822\n");
    let message = open_split(root.path(), None, &classes).unwrap_err().to_string();
    let says =
        "ground_truth.txt, line 2: id 171 is class 230 of 0 to 999, but ILSVRC-2012 has id 361";
    assert_says(&message, root.path(), says, "another order");
}

const SOLUTION: &str = "LOC_val_solution.csv";
const MAPPING: &str = "LOC_synset_mapping.txt";

/// Kaggle's files, with this table; `None` leaves a file out.
fn kaggle(solution: Option<&str>, mapping: bool) -> TempDir {
    let images = "ILSVRC/Data/CLS-LOC";
    let train =
        TRAIN_IMAGES.map(|(wnid, name, image)| (format!("{images}/train/{wnid}/{name}"), image));
    let val = VAL_IMAGES.map(|(_, name, image)| (format!("{images}/val/{name}"), image));
    let test = [(format!("{images}/test/ILSVRC2012_test_00000001.JPEG"), "rgb.png")];
    let files: Vec<_> = train
        .into_iter()
        .chain(val)
        .chain(test)
        .map(|(name, image)| (name, golden(&format!("pixels/{image}"))))
        .collect();
    let root = tree(&files.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect::<Vec<_>>());
    if let Some(text) = solution {
        fs::write(root.path().join(SOLUTION), text).unwrap();
    }
    if mapping {
        let text: String =
            SYNSETS[..4].iter().map(|(wnid, words, ..)| format!("{wnid} {words}\n")).collect();
        fs::write(root.path().join(MAPPING), text).unwrap();
    }
    root
}

/// In no order, as it is; a line may have several boxes.
fn solution() -> String {
    let mut text = "ImageId,PredictionString\n".to_owned();
    for (wnid, name, _) in VAL_IMAGES {
        let id = name.strip_suffix(".JPEG").unwrap();
        text += &format!("{id},{wnid} 85 1 499 272 {wnid} 11 22 33 44 \n");
    }
    text
}

#[test]
fn kaggles_folders_have_their_labels_from_the_table_beside_them() {
    for (inner, mapping) in [("", true), ("", false), ("ILSVRC", true)] {
        let root = kaggle(Some(&solution()), mapping);
        let path = root.path().join(inner);
        let dataset = open(&path, None).unwrap();
        assert_eq!(dataset.classes, CLASSES);
        assert_eq!(listed(&dataset.train, &dataset.classes), expected_train(), "{inner}");
        assert_eq!(listed(&dataset.val, &dataset.classes), expected_val(), "{inner}");
        assert_images(&dataset.val, &VAL_IMAGES);
        let opened = open_split(&path, Some("val"), &dataset.classes).unwrap();
        assert_eq!(opened.split.samples, dataset.val.samples);
    }
}

#[test]
fn kaggles_files_that_do_not_fit_together_are_refused() {
    let whole = solution();
    let (short, _) = whole.trim_end().rsplit_once('\n').unwrap();
    let more = format!("{whole}ILSVRC2012_val_00000009,n01440764 1 2 3 4\n");
    let twice = format!("{whole}ILSVRC2012_val_00000001,n01440764 1 2 3 4\n");
    let other = whole.replace("n01440764", "n00000001");
    let bare = whole.replace(",n01440764 85 1 499 272 n01440764 11 22 33 44 ", "");
    for (case, table, says) in [
        ("no table", None, "CLS-LOC, val: LOC_val_solution.csv is needed, put it into"),
        ("an image without a line", Some(short), "00002.JPEG: no line is of this image"),
        (
            "a line without an image",
            Some(&*more),
            "csv, line 6: there is no ILSVRC2012_val_00000009",
        ),
        ("an image twice", Some(&*twice), "csv, line 6: it should be an image's name, once"),
        (
            "an unknown class",
            Some(&*other),
            "line 2: n00000001 is not one of LOC_synset_mapping.txt's",
        ),
        ("no class", Some(&*bare), "csv, line 2: it should be an image's name, once, a comma"),
        ("an empty table", Some(""), "no line is of this image"),
    ] {
        let root = kaggle(table, true);
        let message = open(root.path(), None).unwrap_err().to_string();
        assert_says(&message, root.path(), says, case);
    }
}

#[test]
fn kaggles_test_images_are_said_to_have_no_classes() {
    let root = kaggle(Some(&solution()), true);
    let classes = CLASSES.map(String::from);
    let message = open_split(root.path(), Some("test"), &classes).unwrap_err().to_string();
    assert_says(&message, root.path(), "its class was never published: measure with val", "test");
    let missing = open_split(Path::new(root.path()), Some("more"), &classes).unwrap_err();
    let says = "kind kaggle-ilsvrc, which has no split \"more\": it has train, val";
    assert_says(&missing.to_string(), root.path(), says, "more");
}

#[test]
fn a_survey_knows_the_downloads_and_kaggles_folders_and_leaves_images_without_classes_out() {
    let splits = vec![("train", 7), ("val", 4)];
    let downloads = downloads().write();
    assert_eq!(surveyed(downloads.path()), ("ilsvrc-2012", splits.clone(), 4));
    let root = kaggle(Some(&solution()), true);
    assert_eq!(surveyed(root.path()), ("kaggle-ilsvrc", splits, 4));
    let left_out = survey(root.path(), None).unwrap().left_out.unwrap();
    assert!(left_out.contains("its class was never published"), "{left_out}");
}
