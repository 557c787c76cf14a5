//! Recipes, and runs that begin from weights, as a user types them.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use alexnet::network::Array;
use alexnet::weights::ModelFile;
use program::{alexnet, run};
use tempfile::TempDir;

/// A tiny data set, another with one class renamed, and a run on the first: never changed.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for set in ["set", "other"] {
        let drawn = ["data", "sample", set, "--train-per-class", "2", "--val-per-class", "1"];
        assert_eq!(run(alexnet(path, &drawn)).0, 0);
    }
    let class = fs::read_dir(path.join("set/train")).unwrap().next().unwrap().unwrap().file_name();
    for split in ["train", "val"] {
        let split = path.join("other").join(split);
        fs::rename(split.join(&class), split.join("zebra")).unwrap();
    }
    let flags = ["set", "--width", "0.02", "--image-size", "63", "--name", "first"];
    let (code, _, told) = run(train(path, &flags));
    assert_eq!(code, 0, "{told}");
    folder
});

const WEIGHTS: &str = "runs/train/first/weights/last.safetensors";

/// One epoch of small batches.
fn train(folder: &Path, flags: &[&str]) -> std::process::Command {
    let mut command = alexnet(folder, &["train"]);
    command.args(flags).args(["--batch-size", "8"]);
    if !flags.contains(&"--epochs") {
        command.args(["--epochs", "1"]);
    }
    command
}

fn weights(folder: &Path, run: &str) -> Vec<Array> {
    let file: PathBuf = folder.join("runs/train").join(run).join("weights/last.safetensors");
    ModelFile::load(&file).unwrap().weights
}

/// Names of the tensors that differ.
fn changed(before: &[Array], after: &[Array]) -> Vec<String> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(a, b)| a != b).map(|(array, _)| array.name.clone()).collect()
}

#[test]
fn a_run_begins_from_weights_and_takes_their_network_and_preprocessing() {
    let folder = FOLDER.path();
    let flags = ["set", "--weights", WEIGHTS, "--lr", "0", "--name", "same"];
    let (code, _, told) = run(train(folder, &flags));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains(&format!("Begins   from {WEIGHTS}, with its classes")), "{told}");
    let (before, after) = (weights(folder, "first"), weights(folder, "same"));
    // Nothing learned: what is there is what it began from. Running statistics move.
    let changed = changed(&before, &after);
    assert!(changed.iter().all(|name| name.contains("running")), "{changed:?}");
}

#[test]
fn other_classes_get_a_new_last_layer_and_frozen_layers_keep_their_bits() {
    let folder = FOLDER.path();
    let flags = ["other", "--weights", WEIGHTS, "--freeze", "conv", "--name", "frozen"];
    let (code, _, told) = run(train(folder, &flags));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("with a new last layer, for its classes are others"), "{told}");
    let (before, after) = (weights(folder, "first"), weights(folder, "frozen"));
    let changed = changed(&before, &after);
    assert!(changed.iter().any(|name| name == "classifier.6.weight"), "{changed:?}");
    assert!(changed.iter().any(|name| name == "classifier.1.weight"), "{changed:?}");
    let features = changed.iter().filter(|name| name.starts_with("features"));
    assert!(features.clone().all(|name| name.contains("running")), "{changed:?}");
    // What was not frozen learns.
    let (code, _, told) = run(train(folder, &["other", "--weights", WEIGHTS, "--name", "all"]));
    assert_eq!(code, 0, "{told}");
    let all = weights(folder, "all");
    assert_ne!(before[0], all[0], "a control: without --freeze {} moves", before[0].name);
}

#[test]
fn weights_of_another_network_are_refused_before_a_folder_is_made() {
    let folder = FOLDER.path();
    let cases: [(&[&str], &str); 4] = [
        (&["--model", "paper"], "--model is paper, but the network in"),
        (&["--width", "0.5"], "--width is 0.5, but the network in"),
        (&["--batch-norm", "false"], "--batch-norm is false, but the network in"),
        (&["--resume", "runs/train/first"], "cannot be used with"),
    ];
    for (flags, says) in cases {
        let all = [&["set", "--weights", WEIGHTS, "--name", "refused"], flags].concat();
        let (code, _, told) = run(train(folder, &all));
        assert_eq!(code, 2, "{flags:?}: {told}");
        assert!(told.contains(says), "{flags:?}: {told}");
        assert!(!folder.join("runs/train/refused").exists(), "{flags:?}");
    }
    // A table without adaptive pooling knows one image size.
    let flags = ["set", "--model", "caffenet", "--width", "0.01", "--name", "caffenet"];
    assert_eq!(run(train(folder, &flags)).0, 0);
    let caffenet = "runs/train/caffenet/weights/last.safetensors";
    let flags = ["set", "--weights", caffenet, "--image-size", "195", "--name", "refused"];
    let (code, _, told) = run(train(folder, &flags));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("at 195 pixels tensor fc6.weight has shape"), "{told}");
    assert!(told.contains("leave --image-size out"), "{told}");
    assert!(!folder.join("runs/train/refused").exists());
}

#[test]
fn the_settings_of_a_recipe_are_printed_as_a_file_that_gives_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let (code, printed, told) =
        run(alexnet(folder.path(), &["train", "d", "--print-config", "--recipe", "original"]));
    assert_eq!(code, 0, "{told}");
    for figure in [
        "lr-drops = \"24,50,78\"",
        "layer-lr = \"conv1=0.1@66,conv1=0@71\"",
        "bias-lr-factor = 2.0",
        "epochs = 91",
        "shared-crops = 32",
        "# The recipe's figures are from the 2012 code, config #145",
    ] {
        assert!(printed.contains(figure), "{figure}: {printed}");
    }
    fs::write(folder.path().join("original.toml"), &printed).unwrap();
    let again = ["train", "-c", "original.toml", "--print-config"];
    assert_eq!(run(alexnet(folder.path(), &again)).1, printed);
    // Without images they are those of the sample set, and not passed off as anybody's.
    let (_, of_sample_set, _) = run(alexnet(folder.path(), &["train", "--print-config"]));
    let says_so = |printed: &str| printed.contains("# No DATA: data, width, image-size");
    assert_eq!([&*of_sample_set, &printed].map(says_so), [true, false], "{of_sample_set}");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing else was made: {names:?}");
}

#[test]
fn a_run_that_does_not_improve_ends_when_its_patience_does() {
    let folder = FOLDER.path();
    let flags = ["set", "--weights", WEIGHTS, "--lr", "0", "--epochs", "9", "--patience", "2"];
    let (code, _, told) = run(train(folder, &[&flags[..], &["--name", "patient"]].concat()));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("validation did not improve (--patience)"), "{told}");
    let results = fs::read_to_string(folder.join("runs/train/patient/results.csv")).unwrap();
    let epochs = results.lines().count() - 1;
    assert!((3..9).contains(&epochs), "{results}");
    // More patience, and the run goes on.
    let more = ["train", "--resume", "runs/train/patient", "--patience", "0", "--epochs", "8"];
    assert_eq!(run(alexnet(folder, &more)).0, 0);
    let results = fs::read_to_string(folder.join("runs/train/patient/results.csv")).unwrap();
    assert_eq!(results.lines().count() - 1, 8, "{results}");
}
