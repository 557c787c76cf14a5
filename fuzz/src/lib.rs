//! What the fuzz targets share: bytes become the files of a data set, which is opened and read.
//!
//! Whatever the bytes are, the worst that may come of them is an error of one line.

use std::fs;
use std::path::Path;

use alexnet_data::{Dataset, Fit, Preprocess, open};

/// Images of each split that are read and brought to size.
const IMAGES: usize = 3;

/// Writes `files`, names and bytes, into a new folder, opens it as a data set and reads of its
/// images. `TMPDIR` says where; a folder in memory is quickest.
pub fn open_set(files: &[(&str, &[u8])]) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
    open_folder(folder.path());
}

fn open_folder(folder: &Path) {
    match open(folder, None) {
        Ok(dataset) => read(&dataset),
        Err(error) => check_message(&error.to_string()),
    }
}

fn read(dataset: &Dataset) {
    let preprocess = Preprocess {
        fit: Fit::ShorterSide,
        resize: 9,
        crop: 8,
        mean: [0.0; 3],
        std: [255.0; 3],
        mean_image: None,
    };
    let mut pixels = vec![0.0; preprocess.image_len()];
    for split in [&dataset.train, &dataset.val] {
        for sample in split.samples.iter().take(IMAGES) {
            assert!((sample.label as usize) < dataset.classes.len());
            match sample.content.read_image() {
                Ok(image) => preprocess.evaluate(&image, &mut pixels).expect("usable settings"),
                Err(error) => check_message(&error.to_string()),
            }
        }
    }
}

/// A decoder's panic that the crate catches and names is no find; libFuzzer would end at it. One
/// that reaches a target still ends it.
pub fn let_panics_be_caught() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// An error is one line.
pub fn check_message(message: &str) {
    assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
}

/// What stands between the files of an input that is several.
pub const BETWEEN: &[u8] = b"\0-next file-\0";

/// The files of an input; those that are not there are empty.
pub fn files<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut rest = bytes;
    std::array::from_fn(|index| {
        let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let (file, after) = match end {
            Some(end) if index + 1 < N => (&rest[..end], &rest[end + BETWEEN.len()..]),
            _ => (rest, &rest[rest.len()..]),
        };
        rest = after;
        file
    })
}

/// A small picture.
pub const PNG: &[u8] = include_bytes!("../../goldens/pixels/one-bit.png");
