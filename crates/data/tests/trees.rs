//! Trees of class folders: the same images under names that are kept, whole or not there.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::Path;

use alexnet_data::{
    Content, DataError, Dataset, Encoding, Form, PackSettings, PackWriter, Part, Sample, Split,
    Store, TreeOutcome, TreeWriter, open, pack,
};
use support::{all_files, assert_says, golden, listed, sample_set, tree};

fn write_all(dataset: &Dataset, out: &Path) -> TreeOutcome {
    TreeWriter::begin(dataset, out).unwrap().run(2, &mut |_| true).unwrap()
}

/// Class, and pixels of each image of both splits, sorted.
fn images(dataset: &Dataset) -> Vec<(String, Vec<u8>)> {
    let samples = dataset.train.samples.iter().chain(&dataset.val.samples);
    let image = |sample: &Sample| {
        let class = dataset.classes[sample.label as usize].clone();
        (class, sample.content.read_image().unwrap().rgb().to_vec())
    };
    let mut images: Vec<_> = samples.map(image).collect();
    images.sort();
    images
}

#[test]
fn a_tree_of_a_tree_has_the_same_files() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("tree");
    let outcome = write_all(&dataset, &out);
    let expected =
        TreeOutcome { train: 36, val: 12, folders: 24, reused_folders: 0, no_images: vec![] };
    assert_eq!(outcome, expected);
    for split in ["train", "val"] {
        let [found, expected] = [&out, &dataset.root].map(|root| all_files(&root.join(split)));
        assert!(found == expected, "{split}");
    }
}

#[test]
fn bare_pixels_become_png_files() {
    let (folder, dataset) = sample_set();
    let (packed, out) = (folder.path().join("packed"), folder.path().join("tree"));
    let settings = PackSettings { size: None, encoding: Encoding::Raw, shard_images: 10 };
    pack(&dataset, settings, &packed, 2, &mut |_| true).unwrap();
    write_all(&open(&packed, None).unwrap(), &out);
    let found = open(&out, None).unwrap();
    assert!(found.train.samples.iter().all(|s| s.content.path().extension().unwrap() == "png"));
    assert_eq!(found.classes, dataset.classes);
    assert!(images(&found) == images(&dataset));
}

/// Names in an archive may be anything.
#[test]
fn a_name_is_kept_where_it_can_be_and_leads_nowhere_else() {
    let long = format!("{}.jpg", "x".repeat(300));
    let names = [
        ("plain.jpg", "plain.jpg"),
        ("a/plain.jpg", "000000001-plain.jpg"),
        ("b/PLAIN.JPG", "000000002-PLAIN.JPG"),
        ("../up.jpg", "up.jpg"),
        ("/etc/absolute.jpg", "absolute.jpg"),
        ("c/..", "000000005.jpg"),
        ("", "archive.jpg"),
        (".hidden.jpg", "000000007.jpg"),
        ("what?.jpg", "000000008.jpg"),
        ("..\\windows.jpg", "000000009.jpg"),
        ("line\nfeed.jpg", "000000010.jpg"),
        (&long, "000000011.jpg"),
        ("Bücher und Äpfel.jpg", "Bücher und Äpfel.jpg"),
        ("7", "7.jpg"),
        ("000000001-plain.jpg", "000000014-000000001-plain.jpg"),
    ];
    let image = golden("pixels/baseline.jpg");
    let folder = tree(&[("archive", &image)]);
    let store = Store::file(&folder.path().join("archive"));
    let sample = |name: &str, label| {
        let (store, len) = (store.clone(), image.len() as u64);
        let part =
            Part { store, name: name.into(), start: 0, len, form: Form::Encoded, crc32: None };
        Sample { content: Content::Part(part), label }
    };
    let mut samples: Vec<_> = names.iter().map(|(name, _)| sample(name, 0)).collect();
    samples.push(sample("dog.jpg", 1));
    let split = Split { folder: folder.path().join("archive"), samples, ..Split::default() };
    let (root, classes) = (folder.path().to_path_buf(), vec!["cat".into(), "dog".into()]);
    let dataset = Dataset { root, classes, train: split.clone(), val: split };
    let out = folder.path().join("tree");
    write_all(&dataset, &out);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something left the folder");
    let found = open(&out, None).unwrap();
    let mut expected: Vec<_> =
        names.iter().map(|(_, name)| (format!("cat/{name}"), "cat")).collect();
    expected.push(("dog/dog.jpg".into(), "dog"));
    expected.sort();
    assert_eq!(listed(&found.train, &found.classes), expected);
    assert_eq!(listed(&found.val, &found.classes), expected);
}

#[test]
fn classes_that_cannot_be_folders_are_refused() {
    let (folder, dataset) = sample_set();
    for name in ["", ".", "..", "../cat", "a/b", "a\\b", ".cat", "cat.", "c:at", "__MACOSX", "a\nb"]
    {
        let mut dataset = dataset.clone();
        dataset.classes[3] = name.into();
        let out = folder.path().join("tree");
        let refused = TreeWriter::begin(&dataset, &out).err().unwrap().to_string();
        let says = format!("class {name:?} cannot be a folder's name: rename it");
        assert!(refused.starts_with(&says), "{refused}");
        assert!(!out.exists());
    }
}

/// What a run that was ended after `folders` class folders left.
fn ended_after(folders: u64, dataset: &Dataset, out: &Path) {
    let writer = TreeWriter::begin(dataset, out).unwrap();
    let stopped = writer.run(1, &mut |done| done < folders);
    assert!(matches!(stopped, Err(DataError::StoppedReading)));
}

#[test]
fn a_half_written_tree_is_never_taken_for_whole_and_the_rerun_completes_it() {
    let (folder, dataset) = sample_set();
    let whole = folder.path().join("whole");
    write_all(&dataset, &whole);
    for folders in [1, 11, 12, 13, 23, 24] {
        let out = folder.path().join(format!("after-{folders}"));
        ended_after(folders, &dataset, &out);
        // As a kill in the middle of a write leaves it.
        fs::create_dir(out.join(".preparing/train/.writing-a")).unwrap();
        fs::write(out.join(".preparing/train/.writing-a/0000.jpg"), b"half").unwrap();
        fs::write(out.join(".writing-b"), b"half").unwrap();
        let message = open(&out, None).unwrap_err().to_string();
        assert_says(&message, &out, "is not whole: repeat", "half");
        assert!(!out.join("train").exists() && !out.join("val").exists());

        let outcome = write_all(&dataset, &out);
        assert!(outcome.reused_folders >= folders as usize, "{folders}: {outcome:?}");
        assert!(all_files(&out) == all_files(&whole), "after {folders} folders");
        assert_eq!(write_all(&dataset, &out).reused_folders, 24);
        assert!(all_files(&out) == all_files(&whole), "once more");
    }
}

#[test]
fn what_is_not_as_it_was_written_is_not_taken_up() {
    let (folder, dataset) = sample_set();
    let class = format!("train/{}", dataset.classes[5]);
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("shorter", |image| fs::write(image, b"...").unwrap()),
        ("gone", |image| fs::remove_file(image).unwrap()),
        ("one more", |image| fs::write(image.with_file_name("more.jpg"), b"").unwrap()),
        ("renamed", |image| fs::rename(image, image.with_file_name("other.jpg")).unwrap()),
    ];
    for (case, change) in changes {
        let out = folder.path().join(case);
        write_all(&dataset, &out);
        let image = fs::read_dir(out.join(&class)).unwrap().next().unwrap().unwrap().path();
        change(&image);
        let again = TreeWriter::begin(&dataset, &out).unwrap().run(1, &mut |_| true);
        let message = again.unwrap_err().to_string();
        assert_says(&message, &out.join(&class), " is not as it was written: remove it", case);
        fs::remove_dir_all(out.join(&class)).unwrap();
        assert_eq!(write_all(&dataset, &out).reused_folders, 23);
    }
}

#[test]
fn a_folder_with_anything_else_in_it_is_left_alone() {
    let (folder, dataset) = sample_set();
    let (begun, full) = (folder.path().join("begun"), folder.path().join("full"));
    ended_after(2, &dataset, &begun);
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), b"...").unwrap();
    let mut other = dataset.clone();
    other.train.samples.pop();
    for (out, says) in
        [(&begun, "holds another set, or the beginning of one"), (&full, "exists and is not empty")]
    {
        let before = all_files(out);
        let message = TreeWriter::begin(&other, out).err().unwrap().to_string();
        assert_says(&message, out, says, "other");
        assert!(all_files(out) == before);
    }
}

#[test]
fn an_image_that_cannot_be_had_ends_the_writing_by_name_and_one_that_is_damaged_is_copied() {
    let (folder, dataset) = sample_set();
    let path = dataset.val.samples[5].content.path();
    fs::write(&path, b"hello").unwrap();
    let out = folder.path().join("tree");
    write_all(&dataset, &out);
    let copy = out.join("val").join(path.strip_prefix(&dataset.val.folder).unwrap());
    assert_eq!(fs::read(copy).unwrap(), b"hello");

    fs::remove_file(&path).unwrap();
    let out = folder.path().join("other");
    let writer = TreeWriter::begin(&dataset, &out).unwrap();
    let message = writer.run(2, &mut |_| true).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot read {}: ", path.display())), "{message}");
    assert!(open(&out, None).is_err());
}

/// Where the system opens a folder as a file.
#[cfg(unix)]
#[test]
fn a_folder_that_is_being_written_is_refused_to_others_until_its_writer_is_gone() {
    let (folder, dataset) = sample_set();
    let out = folder.path().join("out");
    let settings = PackSettings { size: None, encoding: Encoding::Raw, shard_images: 10 };
    let packing = || PackWriter::begin(&dataset, settings, &out).err().map(|it| it.to_string());
    let preparing = || TreeWriter::begin(&dataset, &out).err().map(|it| it.to_string());
    let first = TreeWriter::begin(&dataset, &out).unwrap();
    for refused in [packing(), preparing()] {
        let told = refused.unwrap();
        assert!(told.contains("is being written by another alexnet data command"), "{told}");
    }
    // As when its process is killed.
    drop(first);
    assert_eq!(preparing(), None);
    assert!(packing().unwrap().contains("exists and is not empty"));
}
