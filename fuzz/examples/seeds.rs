//! Writes a few small valid inputs for every target under `corpus/`, for the fuzzer to begin with.
//!
//!     cargo run --release --example seeds

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{Encoding, PackSettings, open, pack};
use alexnet_fuzz::{BETWEEN, NET, PNG};
use alexnet_weights::formats::{self, Format, Known, OnnxOptions};

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let goldens = here.join("../goldens");
    let read = |path: &str| fs::read(goldens.join(path)).expect("a golden");
    let corpus = here.join("corpus");

    for path in files_beneath(&goldens.join("pixels")) {
        if path.extension().is_some_and(|kind| kind == "png" || kind == "jpg") {
            seed(&corpus, "image", &[&fs::read(path).expect("a golden")]);
        }
    }
    for path in files_beneath(&goldens.join("parquet")) {
        if path.extension().is_some_and(|kind| kind == "parquet") {
            seed(&corpus, "parquet", &[&fs::read(path).expect("a golden")]);
        }
    }
    for meta in ["meta/plain.mat", "meta/packed.mat"] {
        seed(&corpus, "matlab", &[&read(meta), b"1\n2\n3\n"]);
    }
    seed(&corpus, "cifar", &[&[1; 2 * 3073], b"ship\ntruck\n"]);
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1][..], &[9; 4]].concat();
    seed(&corpus, "idx", &[&images, &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]]);
    let solution = b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4 \n";
    seed(&corpus, "kaggle", &[solution, b"n01440764 tench\nn01443537 goldfish\n"]);
    seed(&corpus, "list", &[b"a.png 0\na.png 1\n", b"cat\ndog\n"]);
    seed(&corpus, "list", &[b"a.png cat\na.png dog\n"]);
    for encoding in [Encoding::Raw, Encoding::Jpeg(80), Encoding::Original] {
        packed(&corpus, encoding);
    }
    for net in ["caffe", "caffenet", "caffenet-2014"] {
        seed(&corpus, "caffe", &[&read(&format!("caffe/{net}.caffemodel"))]);
    }
    seed(&corpus, "mean", &[&read("caffe/mean.binaryproto")]);
    let header = br#"{"conv1.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let lengths = (header.len() as u64).to_le_bytes();
    seed(&corpus, "safetensors", &[&[&lengths[..], &header[..], &[0; 4]].concat()]);
    of_every_form(&corpus, &goldens.join(NET));
}

/// A small network in a file of each form.
fn of_every_form(corpus: &Path, net: &Path) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let opened = formats::open(net, &Known::default()).expect("a golden");
    for (format, target) in [
        (Format::Safetensors, "safetensors"),
        (Format::Pytorch, "pytorch"),
        (Format::Onnx, "onnx"),
        (Format::Caffe, "caffe"),
    ] {
        let path = folder.path().join("weights");
        formats::save(&opened.file, &path, format, OnnxOptions::default()).expect("saved");
        seed(corpus, target, &[&fs::read(&path).expect("just written")]);
    }
}

/// Two pictures packed: seeds of packed sets and, since those are tars as others have them, of these.
fn packed(corpus: &Path, encoding: Encoding) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (set, out) = (folder.path().join("set"), folder.path().join("out"));
    for name in ["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/dog/1.png"] {
        let path = set.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, PNG).expect("written");
    }
    let dataset = open(&set, None).expect("a data set");
    let settings = PackSettings { size: None, encoding, shard_images: 2 };
    pack(&dataset, settings, &out, 0, &mut |_| true).expect("packed");
    let read = |name: &str| fs::read(out.join(name)).expect("of a packed set");
    let tar = read("train-000000.tar");
    seed(corpus, "webdataset", &[&tar]);
    seed(corpus, "pack", &[&read("pack.json"), &read("train-000000.csv"), &tar]);
}

/// Writes one input of `target`, called by its length and first bytes' sum.
fn seed(corpus: &Path, target: &str, files: &[&[u8]]) {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder).expect("made");
    let bytes = files.join(BETWEEN);
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    fs::write(folder.join(format!("seed-{}-{sum}", bytes.len())), bytes).expect("written");
}

fn files_beneath(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files_beneath(&path)) } else { found.push(path) }
    }
    found
}
