//! What a check finds, of sets of every kind, by any number of threads. What each kind of finding
//! looks like, the program's own tests show (`alexnet/tests/data_commands.rs`).

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use alexnet_data::{
    Case, CheckReport, DataError, Encoding, FindingKind, ImageReference, PackSettings, Severity,
    check, open, pack, survey,
};
use support::{golden, sample_set, tar, tree};

const CROP: u32 = 20;

fn report(root: &Path, val_fraction: Option<f64>, workers: usize) -> CheckReport<'static> {
    // A report points into its survey, which here may stay until the tests end.
    let survey = Box::leak(Box::new(survey(root, val_fraction).unwrap()));
    check(survey, CROP, workers, &mut |_| true).unwrap()
}

/// Kind and number of cases of all that was found.
fn found(report: &CheckReport<'_>) -> Vec<(FindingKind, usize)> {
    report.findings.iter().map(|finding| (finding.kind, finding.cases.len())).collect()
}

/// A PNG of `side` pixels a side unlike any of another number.
fn png(side: u32, number: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| image::Rgb([number as u8, (x * 16) as u8, (y * 16) as u8]);
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(side, side, pixel)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Four images to learn from and two to measure with, of two classes.
fn shards(train_3: &[u8]) -> tempfile::TempDir {
    let images: Vec<Vec<u8>> = (0..6).map(|number| png(8 + number * 6, number)).collect();
    let shard = |members: &[(u32, &str)]| {
        let mut parts = Vec::new();
        for (number, class) in members {
            let image = if *number == 3 { train_3 } else { &images[*number as usize] };
            parts.push((format!("{number}.png"), image.to_vec()));
            parts.push((format!("{number}.cls"), class.as_bytes().to_vec()));
        }
        tar(&parts.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect::<Vec<_>>())
    };
    let train = shard(&[(0, "a"), (1, "a"), (2, "b"), (3, "b")]);
    tree(&[("train-0.tar", &train), ("val-0.tar", &shard(&[(4, "a"), (5, "b")]))])
}

#[test]
fn a_report_is_the_same_by_any_number_of_threads() {
    let (_folder, dataset) = sample_set();
    let samples = &dataset.train.samples;
    fs::write(samples[3].content.path(), b"hello").unwrap();
    fs::write(samples[9].content.path(), b"").unwrap();
    for (from, to) in [(0, 1), (5, 20), (5, 30), (12, 13)] {
        fs::copy(samples[from].content.path(), samples[to].content.path()).unwrap();
    }
    fs::copy(samples[7].content.path(), dataset.val.samples[4].content.path()).unwrap();
    let alone = report(&dataset.root, None, 1);
    let expected = [
        (FindingKind::Unreadable, 1),
        (FindingKind::Empty, 1),
        (FindingKind::Contradiction, 2),
        (FindingKind::Leak, 1),
        (FindingKind::Duplicate, 2),
    ];
    // The sample's class is another than the copy's.
    let contradictions = if samples[7].label == dataset.val.samples[4].label { 1 } else { 2 };
    let found = found(&alone);
    assert_eq!(
        found.iter().map(|it| it.0).collect::<Vec<_>>(),
        expected.map(|it| it.0),
        "{found:?}"
    );
    assert_eq!(found[2].1, contradictions);
    for workers in [0, 2, 5] {
        assert_eq!(report(&dataset.root, None, workers), alone, "{workers} threads");
    }
}

#[test]
fn sizes_are_those_of_the_images_that_can_be_read() {
    let root = shards(b"\x89PNG\r\n\x1a\n");
    let report = report(root.path(), None, 2);
    let [train, val] = &report.splits[..] else { panic!("{:?}", report.splits) };
    assert_eq!((train.images, train.readable, val.images, val.readable), (4, 3, 2, 2));
    let sizes = train.sizes.unwrap();
    assert_eq!((sizes.smallest, sizes.median, sizes.largest), ([8, 8], [14, 14], [20, 20]));
    assert_eq!((sizes.smaller_than_crop, val.sizes.unwrap().smaller_than_crop), (2, 0));
}

#[test]
fn a_set_without_faults_has_no_findings_whatever_its_kind() {
    let (folder, dataset) = sample_set();
    assert_eq!(found(&report(&dataset.root, None, 2)), []);
    for (name, encoding) in [("as-they-are", Encoding::Original), ("raw", Encoding::Raw)] {
        let out = folder.path().join(name);
        let settings = PackSettings { size: None, encoding, shard_images: 5 };
        pack(&dataset, settings, &out, 2, &mut |_| true).unwrap();
        let report = report(&out, None, 2);
        assert_eq!((found(&report), report.splits[0].readable), (vec![], 36), "{name}");
    }
    assert_eq!(found(&report(shards(&png(26, 3)).path(), None, 2)), []);
}

#[test]
fn any_byte_of_a_packed_image_that_is_flipped_is_found() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("packed");
    let settings = PackSettings { size: None, encoding: Encoding::Raw, shard_images: 100 };
    pack(&dataset, settings, &out, 2, &mut |_| true).unwrap();
    let tar = out.join("val-000000.tar");
    let whole = fs::read(&tar).unwrap();
    // The first image's pixels lie behind its two headers.
    let first = 512 + 128;
    for at in [first, first + 1000, first + 3 * 20 * 20 - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&tar, damaged).unwrap();
        let report = report(&out, None, 2);
        assert_eq!(found(&report), [(FindingKind::Unreadable, 1)], "byte {at}");
        let case = &report.findings[0].cases[0];
        assert_eq!(case.images[0].content.path(), tar.join("000000000.npy"));
        assert!(case.detail.as_ref().unwrap().contains("its CRC-32 is not the one kept of it"));
    }
}

#[test]
fn any_byte_of_a_png_in_a_shard_that_is_flipped_is_found() {
    let whole = png(12, 3);
    // Behind the pixels comes a chunk of 12 bytes, in which nothing is.
    for at in 0..whole.len() - 12 {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        let root = shards(&damaged);
        let report = report(root.path(), None, 1);
        let cases: Vec<_> = report
            .findings
            .iter()
            .flat_map(|finding| finding.cases.iter().map(|case| (finding.kind, &case.images)))
            .collect();
        let path = root.path().join("train-0.tar/3.png");
        let [(FindingKind::Unreadable, images)] = &cases[..] else {
            panic!("byte {at} of {}: {cases:?}", whole.len());
        };
        assert_eq!((images[0].content.path(), images[0].class), (path, "b"));
    }
}

#[test]
fn a_case_of_one_image_takes_few_bytes_whatever_is_to_be_said_of_it() {
    let files = ["train/a/1.png", "train/a/2.png", "train/b/1.jpg"].map(|name| (name, &b""[..]));
    let root = tree(&files);
    let report = report(root.path(), None, 2);
    let [empty, _missing_split] = &report.findings[..] else { panic!("{:?}", found(&report)) };
    let details = || empty.cases.iter().map(|case| case.detail.as_ref().unwrap());
    let first = details().next().unwrap();
    assert_eq!((empty.kind, details().len()), (FindingKind::Empty, 3));
    assert!(details().all(|detail| Arc::ptr_eq(detail, first)), "equal words are kept once");
    // Of three million of them less than half a gigabyte.
    let bytes = size_of::<Case>() + size_of::<ImageReference>();
    assert!(bytes <= 128, "{bytes} bytes");
}

#[test]
fn images_that_are_set_aside_leak_if_they_have_copies() {
    // Four of the five images of class `a` are one picture: of two set aside one is a copy at least.
    let number = |n: u32| if n < 4 { 0 } else { n };
    let images: Vec<(String, Vec<u8>)> = (0..10)
        .map(|n| (format!("{}/{n}.png", if n < 5 { "a" } else { "b" }), png(20, number(n))))
        .collect();
    let files: Vec<_> = images.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect();
    let root = tree(&files);
    let whole = report(root.path(), None, 2);
    assert_eq!(found(&whole), [(FindingKind::MissingSplit, 1), (FindingKind::Duplicate, 1)]);
    assert_eq!(whole.splits[0].name, "all");
    let divided = report(root.path(), Some(0.4), 2);
    assert_eq!(found(&divided), [(FindingKind::Leak, 1)]);
}

#[test]
fn a_class_that_nothing_is_learnt_of_is_an_error_and_one_that_is_not_measured_a_warning() {
    let images: Vec<Vec<u8>> = (0..4).map(|number| png(20, number)).collect();
    let root = tree(&[
        ("train/a/0.png", &images[0]),
        ("train/b/1.png", &images[1]),
        ("val/b/2.png", &images[2]),
        ("val/z/3.png", &images[3]),
    ]);
    fs::create_dir(root.path().join("train/c")).unwrap();
    let report = report(root.path(), None, 2);
    let classes: Vec<_> = report
        .findings
        .iter()
        .flat_map(|finding| {
            finding.cases.iter().map(|case| (finding.severity, case.classes.join("")))
        })
        .collect();
    let expected = [
        (Severity::Error, "z"),
        (Severity::Error, "c"),
        (Severity::Warning, "a"),
        (Severity::Warning, "c"),
    ];
    assert_eq!(classes, expected.map(|(severity, class)| (severity, class.to_owned())));
    assert_eq!((report.count(Severity::Error), report.count(Severity::Warning)), (2, 2));
    assert!(open(root.path(), None).is_err(), "what a check calls an error is refused");
}

#[test]
fn a_list_that_names_a_file_that_is_gone_is_checked_to_its_end() {
    let (a, b) = (png(20, 0), png(20, 1));
    let list = b"1.png a\n2.png b\ngone.png b\n";
    let root = tree(&[("train.txt", list), ("1.png", &a), ("2.png", &b)]);
    let report = report(root.path(), None, 2);
    assert_eq!(found(&report), [(FindingKind::Unreadable, 1), (FindingKind::MissingSplit, 1)]);
    let detail = report.findings[0].cases[0].detail.as_ref().unwrap();
    assert!(detail.starts_with("cannot read ") && detail.contains("gone.png"), "{detail}");
}

#[test]
fn a_check_is_stopped_by_whoever_watches_it() {
    let (_folder, dataset) = sample_set();
    let survey = survey(&dataset.root, None).unwrap();
    let stopped = check(&survey, CROP, 2, &mut |done| done < 3);
    assert!(matches!(stopped, Err(DataError::StoppedReading)));
}

#[test]
fn orientation_and_colours_are_told_of_the_files_that_have_them() {
    let images =
        ["exif-turned.jpg", "cmyk.jpg", "ycck.jpg", "grey.jpg", "alpha.png", "subsampled.jpg"];
    let bytes = images.map(|name| golden(&format!("pixels/{name}")));
    let names = images.map(|name| format!("train/a/{name}"));
    let mut files: Vec<(&str, &[u8])> =
        names.iter().zip(&bytes).map(|(name, bytes)| (&**name, &bytes[..])).collect();
    let other = png(20, 0);
    files.push(("train/b/1.png", &other));
    let root = tree(&files);
    let report = report(root.path(), None, 2);
    let said: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.kind != FindingKind::MissingSplit)
        .flat_map(|finding| &finding.cases)
        .map(|case| {
            let path = case.images[0].content.path();
            let name = path.file_name().unwrap().display().to_string();
            (name, case.detail.as_deref().unwrap_or_default().to_owned())
        })
        .collect();
    let expected = [
        ("exif-turned.jpg", "orientation 6"),
        ("cmyk.jpg", "CMYK"),
        ("ycck.jpg", "YCCK"),
        ("grey.jpg", ""),
        ("alpha.png", ""),
    ];
    assert_eq!(said, expected.map(|(name, detail)| (name.to_owned(), detail.to_owned())));
}
