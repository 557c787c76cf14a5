//! Images in tar files: whole or refused, whatever the file holds.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::Path;

use alexnet_data::{Dataset, open, open_split};
use support::{assert_says, golden, listed, surveyed, tar, tree};

/// Header, contents and closing zeros come in blocks.
const BLOCK: usize = 512;

/// A shard of samples of these keys and classes; the images are their keys.
fn shard(samples: &[(&str, &str)]) -> Vec<u8> {
    let parts: Vec<[(String, &str); 2]> = samples
        .iter()
        .map(|(key, class)| [(format!("{key}.jpg"), *key), (format!("{key}.cls"), *class)])
        .collect();
    let members: Vec<(&str, &[u8])> =
        parts.iter().flatten().map(|(name, bytes)| (name.as_str(), bytes.as_bytes())).collect();
    tar(&members)
}

/// A root with one training shard of these bytes, and a good one to measure with.
fn with_train(bytes: &[u8]) -> tempfile::TempDir {
    tree(&[("train-0.tar", bytes), ("val-0.tar", &shard(&[("v/0", "a"), ("v/1", "b")]))])
}

fn message(root: &Path) -> String {
    open(root, None).unwrap_err().to_string()
}

#[test]
fn shards_are_found_by_folder_and_by_name_and_read_in_the_order_of_names() {
    let first = shard(&[("x/2", "cat"), ("x/1", "dog")]);
    let (second, val) = (shard(&[("x/3", "cat")]), shard(&[("y", "dog\n")]));
    for (train, validation) in [
        (["train/00.tar", "train/01.tar"], "val/00.tar"),
        (["train-000000.tar", "train-000001.tar"], "validation-000000.tar"),
        (["train_0.tar", "train_1.tar"], "test.tar"),
        (["train/00.tar", "train/01.tar"], "valid-0.tar"),
    ] {
        let root = tree(&[(train[1], &second), (train[0], &first), (validation, &val)]);
        let dataset = open(root.path(), None).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"]);
        let [a, b] = train;
        let expected = [
            (format!("{a}/x/2.jpg"), "cat"),
            (format!("{a}/x/1.jpg"), "dog"),
            (format!("{b}/x/3.jpg"), "cat"),
        ];
        assert_eq!(listed(&dataset.train, &dataset.classes), expected);
        let expected = [(format!("{validation}/y.jpg"), "dog")];
        assert_eq!(listed(&dataset.val, &dataset.classes), expected);
    }
}

#[test]
fn shards_without_splits_are_set_aside_from_or_evaluated_whole() {
    let bytes = shard(&[("0", "a"), ("1", "a"), ("2", "b"), ("3", "b")]);
    let root = tree(&[("0.tar", &bytes)]);
    let dataset = open(root.path(), Some(0.5)).unwrap();
    assert_eq!((dataset.train.samples.len(), dataset.val.samples.len()), (2, 2));
    let opened = open_split(root.path(), None, &dataset.classes).unwrap();
    assert_eq!(opened.split.samples.len(), 4);
}

#[test]
fn archives_left_beside_unpacked_folders_do_not_matter() {
    let root = tree(&[
        ("train/a/0.jpg", b""),
        ("train/b/0.jpg", b""),
        ("val/a/0.jpg", b""),
        ("train.tar", b"junk"),
        ("all.tar", b"junk"),
        ("test.tar", b"junk"),
    ]);
    let dataset = open(root.path(), None).unwrap();
    assert_eq!((dataset.train.samples.len(), dataset.val.samples.len()), (2, 1));
}

#[test]
fn shards_beside_folders_of_classes_are_refused_and_other_archives_do_not_matter() {
    let bytes = shard(&[("0", "a"), ("1", "b")]);
    let plain = tar(&[("a/0.jpg", b""), ("b/0.jpg", b"")]);
    for folders in [["a/0.jpg", "b/0.jpg"], ["val/a/0.jpg", "val/b/0.jpg"]] {
        let [first, second] = folders.map(|path| (path, &b""[..]));
        let root = tree(&[first, second, ("train-0.tar", &bytes)]);
        let says = "a set of kind webdataset and one of kind folders, either of which may be meant";
        assert_says(&message(root.path()), root.path(), says, says);
        let root = tree(&[first, second, ("train.tar", &plain)]);
        let classes = ["a".to_string(), "b".into()];
        assert_eq!(open_split(root.path(), None, &classes).unwrap().split.samples.len(), 2);
    }
    let root = tree(&[
        ("train-0.tar", &bytes),
        ("val-0.tar", &bytes),
        ("test/a/0.jpg", b""),
        ("test/b/0.jpg", b""),
        ("figures/0.png", b""),
        ("README.md", b""),
        ("table.csv", b""),
    ]);
    assert_eq!(open(root.path(), None).unwrap().train.samples.len(), 2);
}

#[test]
fn a_class_is_a_number_or_a_name_in_cls_or_json() {
    let names = ("classes.txt", &b"cat\ndog\n"[..]);
    for (case, others, parts, classes, labels) in [
        ("names", vec![], [("cls", "dog"), ("cls", " cat\n")], vec!["cat", "dog"], [1, 0]),
        ("numbers", vec![], [("cls", "1"), ("cls", "0\n")], vec!["0", "1"], [1, 0]),
        (
            "lines",
            vec![names],
            [("cls", "1"), ("json", r#"{"label": 0}"#)],
            vec!["cat", "dog"],
            [1, 0],
        ),
        (
            "json",
            vec![],
            [("json", r#"{"w": 3, "label": "dog"}"#), ("json", r#"{"label":"cat"}"#)],
            vec!["cat", "dog"],
            [1, 0],
        ),
    ] {
        let [first, second] = parts.map(|(kind, text)| (kind, text.as_bytes()));
        let (first_name, second_name) = (format!("0.{}", first.0), format!("1.{}", second.0));
        let bytes = tar(&[
            (&first_name, first.1),
            ("0.PNG", b""),
            ("0.seg.png", b"a mask, no image of this sample"),
            ("1.jpeg", b""),
            (&second_name, second.1),
        ]);
        let mut files = vec![("train-0.tar", &bytes[..]), ("val-0.tar", &bytes)];
        files.extend(others);
        let dataset = open(tree(&files).path(), None).unwrap();
        assert_eq!(dataset.classes, classes, "{case}");
        let found: Vec<u32> = dataset.train.samples.iter().map(|sample| sample.label).collect();
        assert_eq!(found, labels, "{case}");
    }
}

/// A tar of all that a tar can hold beside images.
fn of_many_kinds(image: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let entry = |kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header
    };
    let mut folder = entry(tar::EntryType::Directory, b"");
    tar.append_data(&mut folder, "folder/", &b""[..]).unwrap();
    let mut link = entry(tar::EntryType::Symlink, b"");
    tar.append_link(&mut link, "folder/link.jpg", "elsewhere.jpg").unwrap();
    let long = format!("{}/gnu", "long".repeat(60));
    for (name, bytes) in [
        (format!("{long}.jpg"), image),
        (format!("{long}.cls"), b"a"),
        ("folder/._0.jpg".into(), b"left behind by another system"),
        ("README".into(), b"no part of a sample"),
        ("notes.txt".into(), b"nor this"),
    ] {
        tar.append_data(&mut entry(tar::EntryType::Regular, bytes), name, bytes).unwrap();
    }
    for (name, bytes) in [("päx.jpg", image), ("päx.cls", b"b")] {
        let path = format!("{}/{name}", "weit".repeat(60));
        tar.append_pax_extensions([("comment", &b"of no use"[..]), ("path", path.as_bytes())])
            .unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path("shortened").unwrap();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn long_names_are_read_links_and_folders_passed_over_and_each_image_is_its_own_bytes() {
    let image = golden("pixels/rgb.png");
    let root = with_train(&of_many_kinds(&image));
    let dataset = open(root.path(), None).unwrap();
    let (gnu, pax) = ("long".repeat(60), "weit".repeat(60));
    let expected =
        [(format!("train-0.tar/{gnu}/gnu.jpg"), "a"), (format!("train-0.tar/{pax}/päx.jpg"), "b")];
    assert_eq!(listed(&dataset.train, &dataset.classes), expected);
    for sample in &dataset.train.samples {
        assert_eq!(sample.content.read_encoded().unwrap().unwrap(), image);
        sample.content.read_image().unwrap();
    }
}

#[test]
fn a_tar_that_was_cut_is_refused_wherever_it_was_cut_unless_only_zeros_are_missing() {
    let whole = of_many_kinds(&golden("pixels/wide.png"));
    let root = with_train(&whole);
    let expected = open(root.path(), None).unwrap();
    let mut allowed = Vec::new();
    for len in (0..whole.len()).step_by(BLOCK).flat_map(|at| [at, at + 100, at + BLOCK - 1]) {
        fs::write(root.path().join("train-0.tar"), &whole[..len]).unwrap();
        match open(root.path(), None) {
            Ok(found) => {
                assert_eq!(found, expected, "cut to {len} of {} bytes", whole.len());
                allowed.push(len);
            }
            Err(error) => {
                let case = format!("cut to {len}");
                assert_says(&error.to_string(), root.path(), "train-0.tar", &case);
            }
        }
    }
    // The first block of zeros is the end; what is behind it may be missing.
    let end = whole.len() - BLOCK;
    assert_eq!(allowed, [end, end + 100, end + BLOCK - 1]);
}

#[test]
fn what_is_no_whole_tar_is_told_by_file_and_byte() {
    let whole = shard(&[("0", "a"), ("1", "b")]);
    let mut hole = whole.clone();
    hole[2 * 2 * BLOCK..].fill(0);
    hole.resize(2 << 20, 0);
    let mut behind = whole.clone();
    let middle = 2 * 2 * BLOCK;
    behind[middle..middle + BLOCK].fill(0);
    let mut endless_name = whole[..4 * BLOCK].to_vec();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(3 << 20);
    header.set_cksum();
    endless_name.extend(header.as_bytes());
    endless_name.resize(4 << 20, b'x');
    let control = tar(&[("0.jpg", b""), ("0\n.cls", b"")]);
    let twice = [&whole[..], &whole].concat();
    for (case, bytes, says) in [
        ("empty", &b""[..], "train-0.tar, byte 0: it ends here, before the zeros"),
        ("text", &b"hello ".repeat(200), "train-0.tar, byte 0: no tar member starts here"),
        (
            "cut in a member",
            &whole[..BLOCK],
            "train-0.tar ends before byte 513, where 0.jpg should",
        ),
        ("cut between two", &whole[..2 * BLOCK], "train-0.tar, byte 1024: it ends here, before"),
        ("a hole to the end", &hole, "train-0.tar, byte 2048: more follows the zeros"),
        ("a hole in between", &behind, "train-0.tar, byte 2048: more follows the zeros"),
        ("two in one", &twice, "train-0.tar, byte 4096: more follows the zeros"),
        ("an endless name", &endless_name, "train-0.tar, byte 2048: no tar member starts here"),
        ("a line's end in a name", &control, "train-0.tar, byte 512: a name that is not plain"),
    ] {
        let root = with_train(bytes);
        assert_says(&message(root.path()), root.path(), says, case);
    }
}

#[test]
fn any_byte_of_a_tar_may_be_wrong_without_a_panic() {
    let whole = of_many_kinds(b"pixels");
    let root = with_train(&whole);
    let path = root.path().join("train-0.tar");
    let mut refused = 0;
    for at in (0..whole.len()).step_by(7) {
        for wrong in [0, b'7', 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = wrong;
            fs::write(&path, bytes).unwrap();
            if let Err(error) = open(root.path(), None) {
                refused += 1;
                let case = format!("{wrong} at {at}");
                assert_says(&error.to_string(), root.path(), "", &case);
            }
        }
    }
    // Most of what is wrong in a header is seen by its checksum.
    assert!(refused > whole.len() / 7, "{refused}");
}

#[test]
fn a_sample_that_cannot_be_used_is_named_with_its_shard() {
    let good = ("0.cls", &b"a"[..]);
    let long = vec![b' '; (1 << 20) + 1];
    for (parts, says) in [
        (vec![("x/0.jpg", &b""[..])], "sample x/0: it has no .cls or .json to say its class"),
        (vec![good], "sample 0: it has a class but no .jpg, .jpeg or .png"),
        (vec![("0.jpg", b""), ("0.png", b""), good], "sample 0: it has two images"),
        (vec![("0.jpg", b""), ("1.jpg", b""), good], "sample 0: it has no .cls or .json"),
        (vec![("0.jpg", b""), ("0.cls", b" \n")], "sample 0: its .cls is not one number or name"),
        (vec![("0.jpg", b""), ("0.cls", b"a\nb")], "sample 0: its .cls is not one number or name"),
        (vec![("0.jpg", b""), ("0.cls", b"\xff")], "sample 0: its .cls is not one number or name"),
        (
            vec![("0.jpg", b""), ("0.cls", &long)],
            "sample 0: its class takes more than 1048576 bytes",
        ),
        (vec![("0.jpg", b""), ("0.json", b"{}")], "sample 0: its .json has no \"label\""),
        (
            vec![("0.jpg", b""), ("0.json", b"{\"label\": 1.5}")],
            "sample 0: its .json has no \"label\"",
        ),
        (vec![("0.jpg", b""), ("0.json", &b"[".repeat(9999))], "sample 0: its .json has no"),
    ] {
        let root = with_train(&tar(&parts));
        let says = format!("train-0.tar, {says}");
        assert_says(&message(root.path()), root.path(), &says, &says);
    }
    let root = tree(&[("train-0.tar", &shard(&[("0", "2")])), ("classes.txt", b"a\nb\n")]);
    let says = "train-0.tar, sample 0: 2 is not one of the 2 classes";
    assert_says(&message(root.path()), root.path(), says, says);
    let root = tree(&[("train-0.tar", &shard(&[("0", "1")])), ("classes.txt", b"1\n0\n")]);
    let says = "train-0.tar, sample 0: 1 is the name of class number 0, and number 1 is 0";
    assert_says(&message(root.path()), root.path(), says, says);
}

#[test]
fn a_split_that_is_not_there_is_said_to_be_missing() {
    let bytes = shard(&[("0", "a"), ("1", "b")]);
    let root = tree(&[("val-0.tar", &bytes)]);
    let says = format!("has no training images: put train-*.tar into {}", root.path().display());
    assert_says(&message(root.path()), root.path(), &says, "val-0.tar alone");
    let classes = ["a".to_string(), "b".into()];
    assert_eq!(open_split(root.path(), None, &classes).unwrap().split.samples.len(), 2);
    let error = open_split(root.path(), Some("test"), &classes).unwrap_err().to_string();
    let says = "holds a set of kind webdataset, which has no split \"test\": it has val";
    assert_says(&error, root.path(), says, "test");
    let root = tree(&[("train-0.tar", &shard(&[("0", "a"), ("1", "b"), ("2", "b")]))]);
    let dataset: Dataset = open(root.path(), Some(0.5)).unwrap();
    assert_eq!((dataset.train.samples.len(), dataset.val.samples.len()), (2, 1));
    assert_says(&message(root.path()), root.path(), "put val-*.tar (or valid-,", "train-0.tar");
    let root = tree(&[("0.tar", &bytes)]);
    assert_says(&message(root.path()), root.path(), "--val-fraction to divide all .tar", "0.tar");
}

#[test]
fn shards_of_one_class_are_told_what_says_it() {
    let root = with_train(&shard(&[("0", "a"), ("1", "a")]));
    let says = "has 1 class(es), at least 2 are needed: add images of each, with a .cls or .json";
    assert_says(&message(root.path()), root.path(), says, "one class");
}

#[test]
fn a_shard_that_is_not_read_beside_class_folders_is_named_where_its_images_are_missing() {
    let bytes = shard(&[("0", "a"), ("1", "b")]);
    for name in ["val-0.tar", "validation.parquet", "test-00000-of-00001.parquet"] {
        let root = tree(&[("train/a/0.jpg", b""), ("train/b/0.jpg", b""), (name, &bytes)]);
        let says =
            format!("{name} is not read beside class folders: bring its images into val/<class>/");
        assert_says(&message(root.path()), root.path(), &says, name);
    }
}

#[test]
fn a_survey_counts_the_images_of_shards() {
    let (train, val) = (shard(&[("0", "a"), ("1", "a"), ("2", "b")]), shard(&[("3", "b")]));
    let root = tree(&[("train-0.tar", &train), ("val-0.tar", &val), ("test-0.tar", &train)]);
    let splits = vec![("train", 3), ("val", 1), ("test", 3)];
    assert_eq!(surveyed(root.path()), ("webdataset", splits, 2));
    let unsplit = tree(&[("0.tar", &train)]);
    assert_eq!(surveyed(unsplit.path()), ("webdataset", vec![("all", 3)], 2));
}
