//! What the fuzz targets share: bytes become the files of a data set, or of a network, which is opened
//! and read.
//!
//! Whatever the bytes are, the worst that may come of them is an error of one line.

use std::fs;
use std::path::Path;

use alexnet_data::{Dataset, Fit, Preprocess, open};
use alexnet_weights::formats::{self, Known};
use alexnet_weights::{ModelFile, WeightsError};

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

/// Writes `bytes` into a file of this name and opens it as weights of any form.
pub fn open_weights(name: &str, bytes: &[u8]) {
    with_file(name, bytes, |path| {
        check_weights(formats::open(path, &Known::default()).map(|opened| opened.file));
    });
}

/// As [`open_weights`], of a file this program wrote.
pub fn load_weights(bytes: &[u8]) {
    with_file("weights.safetensors", bytes, |path| check_weights(ModelFile::load(path)));
}

/// As [`open_weights`], of a sound net whose mean image is in a file of these bytes.
pub fn open_mean_image(bytes: &[u8]) {
    with_file("mean.binaryproto", bytes, |path| {
        let known = Known { mean_image: Some(path.to_owned()), ..Known::default() };
        let net = Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens").join(NET);
        check_weights(formats::open(&net, &known).map(|opened| opened.file));
    });
}

/// A small net of Caffe's, among the goldens.
pub const NET: &str = "caffe/caffenet.caffemodel";

fn with_file(name: &str, bytes: &[u8], then: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    then(&path);
}

fn check_weights(read: Result<ModelFile, WeightsError>) {
    match read {
        Ok(file) => {
            assert_eq!(file.classes.len(), file.config.classes);
            for array in &file.weights {
                assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
                assert!(array.values.iter().all(|value| value.is_finite()), "{}", array.name);
            }
            file.preprocess.check().expect("usable settings");
        }
        Err(error) => check_message(&error.to_string()),
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
