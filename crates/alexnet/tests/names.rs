//! Names that others chose, of classes, files and folders, wherever a person or a program reads them;
//! and files that are passed over for theirs.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use alexnet::data::{SampleSet, quoted};
use program::alexnet;
use serde_json::Value;
use tempfile::TempDir;

/// Names that steer a terminal, end a line, or are no XML.
const CLASSES: [&str; 3] = ["bell\u{7}\u{1}", "two\nlines", "\u{1b}[2Jcat"];
/// The same as a person sees them.
const SEEN: [&str; 3] = [r"bell\u{7}\u{1}", r"two\nlines", r"\u{1b}[2Jcat"];
const SET: &str = "it's a set";
const PROJECT: &str = "my runs";
const BEST: &str = "my runs/exp1/weights/best.safetensors";
const TINY: [&str; 10] = [
    "--width",
    "0.02",
    "--image-size",
    "63",
    "--batch-size",
    "4",
    "--epochs",
    "2",
    "--project",
    PROJECT,
];

/// A set with such classes, files that are passed over, a run on it, and what that told on standard
/// error; shared by all tests, never changed.
static TRAINED: LazyLock<(TempDir, String)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let drawn = folder.path().join("drawn");
    let set = SampleSet { train_per_class: 4, val_per_class: 2, side: 32, ..SampleSet::default() };
    set.write(&drawn, &mut |_, _| true).unwrap();
    for split in ["train", "val"] {
        let split_of_set = folder.path().join(SET).join(split);
        fs::create_dir_all(&split_of_set).unwrap();
        for (from, class) in SampleSet::classes().iter().zip(CLASSES) {
            fs::rename(drawn.join(split).join(from), split_of_set.join(class)).unwrap();
        }
    }
    let first = folder.path().join(SET).join("train").join(CLASSES[0]);
    fs::write(first.join("other.webp"), b"RIFF").unwrap();
    symlink("nowhere", first.join("gone.jpg")).unwrap();
    assert!(Command::new("mkfifo").arg(first.join("pipe.jpg")).status().unwrap().success());
    let told = done(folder.path(), &[&["train", SET][..], &TINY].concat()).1;
    (folder, told)
});

fn folder() -> &'static Path {
    TRAINED.0.path()
}

/// Runs to a good end; returns standard output and standard error.
fn done(folder: &Path, arguments: &[&str]) -> (String, String) {
    let (code, out, told) = program::run(alexnet(folder, arguments));
    assert_eq!(code, 0, "{arguments:?}: {told}");
    (out, told)
}

/// Whether nothing in a text but ends of lines steers a terminal.
fn is_harmless(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && c != '\n')
}

#[test]
fn odd_names_are_seen_whole_on_the_terminal_and_kept_as_they_are_for_programs() {
    assert!(is_harmless(&TRAINED.1), "{:?}", TRAINED.1);
    let log = fs::read_to_string(folder().join("my runs/exp1/log.txt")).unwrap();
    assert!(is_harmless(&log), "{log:?}");
    for arguments in [
        &["data", "info", SET][..],
        &["data", "check", SET],
        &["predict", SET, "--weights", BEST, "--top-k", "3"],
    ] {
        let (_, out, told) = program::run(alexnet(folder(), arguments));
        assert!(is_harmless(&out) && is_harmless(&told), "{out:?} {told:?}");
        for seen in SEEN {
            assert!(out.contains(seen), "{arguments:?}: {out}");
        }
    }
    let arguments = ["predict", SET, "--weights", BEST, "--top-k", "3", "--format", "json"];
    let predictions: Vec<Value> = serde_json::from_str(&done(folder(), &arguments).0).unwrap();
    let mut classes: Vec<_> = predictions[0]["predictions"].as_array().unwrap().clone();
    classes.sort_by_key(|ranked| ranked["index"].as_u64());
    let classes: Vec<_> = classes.iter().map(|ranked| ranked["class"].as_str().unwrap()).collect();
    let mut expected = CLASSES;
    expected.sort_unstable();
    assert_eq!(classes, expected);
}

#[test]
fn figures_with_odd_names_are_xml() {
    done(folder(), &["figures", "my runs/exp1", "--out", "figures"]);
    let svg = fs::read_to_string(folder().join("figures/per_class.svg")).unwrap();
    assert!(is_harmless(&svg), "{svg:?}");
    for seen in SEEN {
        assert!(svg.contains(&format!("\n{seen}\n")), "{svg}");
    }
}

#[test]
fn suggested_commands_can_be_pasted_into_a_shell() {
    let told = &TRAINED.1;
    let (_, suggested) = told.split_once("Try next ").unwrap();
    for line in suggested.lines().map(str::trim) {
        let program = quoted(Path::new(env!("CARGO_BIN_EXE_alexnet")));
        let command = line.replacen("alexnet", &program, 1);
        let output = Command::new("bash").args(["-c", &command]).current_dir(folder()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let (code, _, told) =
        program::run(alexnet(folder(), &[&["train", SET, "--name", "exp1"][..], &TINY].concat()));
    assert_eq!(code, 1);
    assert!(told.contains("--resume 'my runs/exp1'"), "{told}");
}

#[test]
fn what_is_not_read_is_said_by_train_eval_and_predict_and_told_apart_by_check() {
    let first = format!("{SET}/train/{}", SEEN[0]);
    let both = "1 image of another format and 1 link that leads nowhere are left out, such as ";
    let train = format!("{both}{first}/gone.jpg");
    assert!(TRAINED.1.contains(&train), "{}", TRAINED.1);
    assert!(TRAINED.1.contains(r"alexnet data check 'it'\''s a set' names all"), "{}", TRAINED.1);
    let (_, told) = done(folder(), &["predict", SET, "--weights", BEST]);
    assert!(told.contains(&train), "{told}");
    let eval = ["eval", SET, "--split", "train", "--weights", BEST];
    assert!(done(folder(), &eval).1.contains(&train));
    let (out, _) = done(folder(), &["data", "check", SET, "--format", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    for (kind, name) in [
        ("dead-link", "gone.jpg"),
        ("unsupported-format", "other.webp"),
        ("other-file", "pipe.jpg"),
    ] {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["kind"] == kind).unwrap();
        let file = finding["cases"][0]["file"].as_str().unwrap();
        assert_eq!((file.ends_with(name), finding["cases"].as_array().unwrap().len()), (true, 1));
    }
    assert!(!out.contains("outside-classes"), "{out}");
}

#[test]
fn two_sets_to_measure_with_are_an_error_of_check() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let set = SampleSet { train_per_class: 1, val_per_class: 1, side: 16, ..SampleSet::default() };
    set.write(&root, &mut |_, _| true).unwrap();
    symlink("val", root.join("valid")).unwrap();
    let (code, out, _) =
        program::run(alexnet(folder.path(), &["data", "check", "set", "--format", "json"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    let found = report["findings"].as_array().unwrap();
    let several = found.iter().find(|finding| finding["kind"] == "several-validations").unwrap();
    assert_eq!((code, &several["severity"]), (1, &"error".into()));
    assert_eq!(several["cases"][0]["detail"], "val, valid");
}
