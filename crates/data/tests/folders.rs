//! Datasets as people make them, and what they are told when something is missing.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{find_images, open, open_split};
use tempfile::TempDir;

/// A folder with these files, each empty: listing does not look inside.
fn tree(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
    }
    root
}

fn names(root: &Path, paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
}

fn owned(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|class| class.to_string()).collect()
}

#[test]
fn samples_are_in_the_order_of_torchvisions_image_folder() {
    let root = tree(&[
        "train/cat/b.JPEG",
        "train/cat/a.png",
        "train/cat/B.jpg",
        "train/cat/more/0.jpg",
        "train/Dog/1.jpg",
        "train/Dog/notes.txt",
        "train/Dog/.hidden.jpg",
        "train/.cache/0.jpg",
        "val/cat/0.jpg",
    ]);
    let dataset = open(root.path()).unwrap();
    assert_eq!(dataset.classes, ["Dog", "cat"]);
    let (paths, labels): (Vec<_>, Vec<_>) =
        dataset.train.samples.into_iter().map(|sample| (sample.path, sample.label)).unzip();
    let expected = [
        "train/Dog/1.jpg",
        "train/cat/B.jpg",
        "train/cat/a.png",
        "train/cat/b.JPEG",
        "train/cat/more/0.jpg",
    ];
    assert_eq!(names(root.path(), &paths), expected);
    assert_eq!(labels, [0, 1, 1, 1, 1]);
    // A class may be absent from the validation images: labels go by name.
    assert_eq!(dataset.val.samples.len(), 1);
    assert_eq!(dataset.val.samples[0].label, 1);
}

#[test]
fn the_validation_split_goes_by_any_of_four_names() {
    let train = ["train/a/0.jpg", "train/b/0.jpg"];
    for name in ["val", "valid", "validation", "test"] {
        let val = format!("{name}/b/0.jpg");
        let root = tree(&[train[0], train[1], &val]);
        assert_eq!(open(root.path()).unwrap().val.folder, root.path().join(name));
    }
    let root = tree(&[train[0], train[1], "test/a/0.jpg", "valid/a/0.jpg"]);
    assert_eq!(open(root.path()).unwrap().val.folder, root.path().join("valid"));
}

#[test]
fn a_dataset_that_cannot_be_used_says_why_in_one_line() {
    let both = ["train/a/0.jpg", "train/b/0.jpg"];
    for (files, says) in [
        (&[][..], "is empty: a dataset has train/<class>/ and val/<class>/"),
        (&["a/0.jpg"], "has no train/ folder: put the training images in train/<class>/"),
        (&both, "has train/ but no validation images: add one of val/, valid/, validation/ or"),
        (&["train/a/0.jpg", "val/a/0.jpg"], "train holds 1 class folder(s), at least 2"),
        (&["train/0.jpg", "val/a/0.jpg"], "train holds 0 class folder(s), at least 2"),
        (&[both[0], "train/b/", "val/a/0.jpg"], "train/b holds no .jpg, .jpeg or .png image"),
        (&[both[0], both[1], "val/a/"], "val holds no .jpg, .jpeg or .png image"),
        (&[both[0], both[1], "val/c/0.jpg"], "val/c is not one of the 2 known classes"),
    ] {
        let root = tree(files);
        let message = open(root.path()).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
        assert!(message.starts_with(&root.path().display().to_string()), "{message}");
    }
    let message = open(Path::new("nowhere")).unwrap_err().to_string();
    assert_eq!(message, "nowhere does not exist");
}

#[test]
fn a_split_for_evaluation_is_found_where_it_lies() {
    let classes = owned(&["a", "b"]);
    for (files, split, folder) in [
        (&["test/b/0.jpg", "val/b/0.jpg"][..], None, "val"),
        (&["test/b/0.jpg", "val/b/0.jpg"], Some("test"), "test"),
        (&["b/0.jpg"], None, ""),
    ] {
        let root = tree(files);
        let opened = open_split(root.path(), split, &classes).unwrap();
        assert_eq!(opened.split.folder, root.path().join(folder));
        assert_eq!(opened.split.samples[0].label, 1);
        assert_eq!(opened.missing, ["a"]);
    }
}

#[test]
fn a_split_that_cannot_be_evaluated_says_why() {
    let classes = owned(&["a", "b"]);
    for (files, split, says) in [
        (&["c/0.jpg"][..], None, "has none of val/, valid/, validation/ or test/"),
        (&["a/0.jpg", "c/0.jpg"], None, "c is not one of the 2 known classes"),
        (&["val/a/0.jpg"], Some("test"), "test does not exist"),
        (&["val/a/notes.txt"], None, "val holds no .jpg"),
    ] {
        let root = tree(files);
        let message = open_split(root.path(), split, &classes).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn images_to_predict_are_files_as_given_and_folders_sorted() {
    let root = tree(&["z.jpg", "odd.name", "in/b.png", "in/a/1.jpg", "in/c.txt", "none/c.txt"]);
    let path = |name: &str| root.path().join(name);
    let found = find_images(&[path("odd.name"), path("in"), path("z.jpg")]).unwrap();
    assert_eq!(names(root.path(), &found), ["odd.name", "in/b.png", "in/a/1.jpg", "z.jpg"]);
    for (name, says) in [("none", "none holds no .jpg"), ("absent", "absent does not exist")] {
        let message = find_images(&[path(name)]).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_one_that_leads_back_up_ends() {
    use std::os::unix::fs::symlink;
    let root = tree(&["real/0.jpg", "set/a/1.jpg"]);
    symlink(root.path().join("real"), root.path().join("set/linked")).unwrap();
    symlink(root.path().join("set"), root.path().join("set/a/up")).unwrap();
    let found = find_images(&[root.path().join("set")]).unwrap();
    assert_eq!(names(root.path(), &found), ["set/a/1.jpg", "set/linked/0.jpg"]);
}
