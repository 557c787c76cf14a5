//! What a run finds out about its training images: in its weights, the same from any number of
//! threads, and not found anew when it is resumed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use alexnet_data::{Fit, Preprocess, Statistics, open, statistics};
use assert_cmd::Command;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a tiny data set, `set`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = ["data", "sample", "set", "--train-per-class", "2", "--val-per-class", "1"];
    succeeds(folder.path(), &sample);
    folder
}

fn alexnet(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
    command.current_dir(folder).args(arguments);
    command
}

/// What was said on standard output and standard error.
fn succeeds(folder: &Path, arguments: &[&str]) -> (String, String) {
    let done = alexnet(folder, arguments).assert().success();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&done.get_output().stdout), text(&done.get_output().stderr))
}

/// The smallest network, with all that can be found out of its images.
fn train<'a>(name: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    let tiny = ["train", "set", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];
    let images = ["--mean", "image", "--std", "data", "--colour-noise", "0.1"];
    let of_data = ["--colour-noise-from", "data", "--fit", "warp", "--augment", "random-crop"];
    let run = ["--lr-scheduler", "constant", "--name", name];
    [&tiny[..], &images, &of_data, &run, others].concat()
}

fn file(folder: &Path, run: &str, name: &str) -> Vec<u8> {
    fs::read(folder.join("runs/train").join(run).join(name)).expect(name)
}

/// What weights say of themselves.
fn description(weights: &[u8]) -> Value {
    let (_, header) = SafeTensors::read_metadata(weights).expect("safetensors");
    let entries: &HashMap<String, String> = header.metadata().as_ref().expect("metadata");
    let entry: Value = serde_json::from_str(&entries["alexnet"]).expect("JSON");
    serde_json::from_str(entry["description"].as_str().expect("text")).expect("JSON")
}

/// What the data crate finds, whose figures are held to NumPy's there.
fn expected(folder: &Path) -> Statistics {
    let dataset = open(&folder.join("set"), None).expect("a set");
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let fit = Fit::Warp;
    let preprocess = Preprocess { fit, resize: 72, crop: 72, mean, std, mean_image: None };
    statistics(&dataset.train.samples, &preprocess, 1, &mut |_| true).expect("statistics")
}

#[test]
fn weights_carry_what_was_found_and_are_measured_with_it() {
    let folder = folder();
    let (_, told) = succeeds(folder.path(), &train("one", &["--epochs", "1", "-j", "1"]));
    assert!(told.contains("Reading all 24 training images once for their mean image"), "{told}");
    let weights = file(folder.path(), "one", "weights/last.safetensors");
    let preprocess: Preprocess =
        serde_json::from_value(description(&weights)["preprocess"].take()).expect("preprocess");
    let expected = expected(folder.path());
    let mean_image = preprocess.mean_image.expect("a mean image");
    assert!(Some(mean_image.levels) == expected.mean_image);
    assert_eq!(preprocess.std, expected.std);

    let weights = "runs/train/one/weights/last.safetensors";
    let eval = ["eval", "set", "--weights", weights, "--format", "json"];
    let found: Value = serde_json::from_str(&succeeds(folder.path(), &eval).0).expect("JSON");
    let results = String::from_utf8(file(folder.path(), "one", "results.csv")).expect("text");
    let row = results.lines().nth(1).expect("a row");
    let loss: f64 = row.split(',').nth(4).expect("a loss").parse().expect("a number");
    assert!((found["loss"].as_f64().expect("a number") - loss).abs() < 1e-6, "{found}, {row}");
}

#[test]
fn runs_end_with_the_same_bits_from_any_number_of_threads_and_when_resumed() {
    let folder = folder();
    let last = |run: &str| file(folder.path(), run, "weights/last.safetensors");
    for (name, workers) in [("one", "1"), ("four", "4")] {
        succeeds(folder.path(), &train(name, &["--epochs", "2", "-j", workers]));
    }
    assert!(last("one") == last("four"));

    succeeds(folder.path(), &train("parts", &["--epochs", "1"]));
    let resume = ["train", "--resume", "runs/train/parts", "--epochs", "2"];
    let refused = alexnet(folder.path(), &[&resume[..], &["--mean", "data"]].concat()).assert();
    let told = String::from_utf8_lossy(&refused.failure().get_output().stderr).into_owned();
    assert!(told.contains("the run began with another --mean"), "{told}");
    let (_, told) = succeeds(folder.path(), &resume);
    assert!(told.contains("Resumed at epoch 2") && !told.contains("Reading all"), "{told}");
    assert!(last("parts") == last("one"));
}

#[test]
fn the_colours_of_a_set_are_printed_for_people_and_scripts() {
    let folder = folder();
    let command = ["data", "statistics", "set", "--fit", "warp", "--resize-size", "72"];
    let (table, _) = succeeds(folder.path(), &command);
    assert!(table.contains("component 1") && table.contains("24 training images"), "{table}");
    let json = succeeds(folder.path(), &[&command[..], &["--format", "json"]].concat()).0;
    let found: Value = serde_json::from_str(&json).expect("JSON");
    let expected = expected(folder.path());
    let same = |key: &str, levels: Vec<f32>| {
        let found: Vec<f32> = serde_json::from_value(found[key].clone()).expect("numbers");
        assert_eq!(found, levels, "{key}");
    };
    same("mean", expected.mean.to_vec());
    same("std", expected.std.to_vec());
    let components: [[f32; 3]; 3] =
        serde_json::from_value(found["components"].clone()).expect("numbers");
    assert_eq!(components, expected.components);
    assert_eq!(found["images"], 24);
}

#[test]
fn more_unreadable_images_than_are_allowed_end_the_run_and_it_may_be_allowed_more() {
    let folder = folder();
    for class in fs::read_dir(folder.path().join("set/train")).expect("listed").flatten().take(2) {
        let image = fs::read_dir(class.path()).expect("listed").flatten().next();
        fs::write(image.expect("an image").path(), b"no image").expect("written");
    }
    let tiny = ["train", "set", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];
    let run = |most, name| {
        let others = ["--epochs", "1", "--max-unreadable", most, "--name", name];
        alexnet(folder.path(), &[&tiny[..], &others].concat()).assert()
    };
    let refused = run("1", "one").failure();
    let told = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(told.contains("more than 1 images of this epoch cannot be read"), "{told}");
    run("2", "two").success();
}
