//! What the tests share, those of the program too.

#![allow(clippy::unwrap_used, dead_code)] // Each test file uses its share.

pub(crate) mod ilsvrc;
pub(crate) mod matlab;
pub(crate) mod parquet;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alexnet_data::{Dataset, SampleSet, Split, open, survey};
use tempfile::TempDir;

/// 36 training images and 12 to measure with, of twelve classes.
pub(crate) fn sample_set() -> (TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let set = SampleSet { seed: 3, train_per_class: 3, val_per_class: 1, side: 24 };
    set.write(&root, &mut |_, _| true).unwrap();
    let dataset = open(&root, None).unwrap();
    (folder, dataset)
}

/// A file of the goldens.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name)).unwrap()
}

/// A tar of these members in this order.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A folder with these files.
pub(crate) fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

/// What a survey recognises, the images of each split, and how many classes it finds.
pub(crate) fn surveyed(root: &Path) -> (&'static str, Vec<(&'static str, usize)>, usize) {
    let survey = survey(root, None).unwrap();
    let splits = survey.splits.iter().map(|named| (named.name, named.split.samples.len()));
    (survey.kind, splits.collect(), survey.classes.len())
}

/// Every file beneath a folder, hidden ones too, with its bytes; folders end in a slash.
pub(crate) fn all_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let inner = all_files(&entry.path()).into_iter();
            files.extend(inner.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
            files.insert(format!("{name}/"), Vec::new());
        } else {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// The names of a split's images, and of their classes.
pub(crate) fn listed<'a>(split: &Split, classes: &'a [String]) -> Vec<(String, &'a str)> {
    let name = |path: &Path| path.strip_prefix(&split.folder).unwrap().display().to_string();
    let samples = split.samples.iter();
    samples.map(|s| (name(&s.content.path()), &*classes[s.label as usize])).collect()
}

/// Whether a message is one line that starts with the root and says this.
pub(crate) fn assert_says(message: &str, root: &Path, says: &str, case: &str) {
    assert!(message.contains(says), "{case}: {message}");
    assert!(!message.contains('\n') && message.starts_with(root.to_str().unwrap()), "{message}");
}
