//! Model files come back as they went, and damaged ones do not come back at all.

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{Fit, Preprocess, write_beside};
use alexnet_network::{Array, ModelConfig, ModelName};
use alexnet_weights::{ModelFile, WeightsError};
use safetensors::SafeTensors;

fn model_file() -> ModelFile {
    let model = ModelName::Modern;
    let array = |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|i| i as f32 / 7.0).collect();
        Array { name: name.to_owned(), shape: shape.to_vec(), values }
    };
    ModelFile {
        config: ModelConfig {
            model,
            classes: 2,
            image_size: 64,
            width: 0.5,
            batch_norm: true,
            dropout: None,
        },
        classes: vec!["cat".into(), "dog \"é\"".into()],
        preprocess: Preprocess {
            fit: Fit::ShorterSide,
            mean_image: None,
            resize: 73,
            crop: 64,
            mean: [1.0, 2.0, 3.5],
            std: [0.1; 3],
        },
        weights: vec![array("a.weight", &[3, 2, 2]), array("b.bias", &[5])],
    }
}

fn saved(folder: &Path) -> PathBuf {
    let path = folder.join("model.safetensors");
    model_file().save(&path).expect("saved");
    path
}

#[test]
fn a_model_file_comes_back_as_it_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    assert_eq!(ModelFile::load(&path).expect("loaded"), model_file());
    assert_eq!(
        fs::read_dir(folder.path()).expect("listed").count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn the_same_network_makes_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = fs::read(saved(folder.path())).expect("read");
    assert_eq!(first, fs::read(saved(folder.path())).expect("read"));
}

#[test]
fn the_bytes_are_those_the_format_s_own_library_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = fs::read(saved(folder.path())).expect("read");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let again = safetensors::serialize(tensors.tensors(), header.metadata().clone());
    assert_eq!(again.expect("written"), bytes);
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let whole = fs::read(&path).expect("read");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("written");
        assert!(ModelFile::load(&path).is_err(), "cut to {length} of {} bytes", whole.len());
    }
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 1 << (index % 8);
        fs::write(&path, &flipped).expect("written");
        match ModelFile::load(&path) {
            Err(_) => {}
            // Space and case changes in the header that mean the same are no damage.
            Ok(loaded) => assert_eq!(loaded, model_file(), "bit {} of byte {index}", index % 8),
        }
    }
}

#[test]
fn values_that_are_not_numbers_are_refused_by_name_when_written_and_when_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let mut file = model_file();
    file.weights[1].values[4] = f32::NAN;
    let message = file.save(&path).expect_err("refused").to_string();
    assert!(message.contains("b.bias holds NaN at element 4"), "{message}");
    assert_eq!(ModelFile::load(&path).expect("as it was"), model_file());

    // The same file from another writer: the last value of `b.bias` is the file's last.
    let mut bytes = fs::read(&path).expect("read");
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let message = ModelFile::load(&path).expect_err("refused").to_string();
    assert!(message.contains("b.bias holds inf at element 4"), "{message}");
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let before = fs::read(&path).expect("read");
    let failed = write_beside(&path, |file| -> std::io::Result<()> {
        file.write_all(b"half of it")?;
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
    });
    assert!(failed.is_err());
    assert_eq!(fs::read(&path).expect("read"), before);
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
}

#[test]
fn files_of_other_kinds_are_named_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("notes.safetensors");
    fs::write(&text, "these are not weights, but they are long enough to have a header")
        .expect("written");
    assert!(matches!(ModelFile::load(&text), Err(WeightsError::Malformed { .. })));
    let missing = ModelFile::load(&folder.path().join("none.safetensors"));
    assert!(matches!(missing, Err(WeightsError::Io { action: "read", .. })));
}
