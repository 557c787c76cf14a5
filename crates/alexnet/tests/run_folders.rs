//! Run folders: one for each run, with something to resume or not there at all; and what a run that
//! is resumed goes on with.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use alexnet_data::SampleSet;
use program::{alexnet, run};
use tempfile::TempDir;

/// The smallest network and images there are.
const TINY: &str = "--width 0.02 --image-size 63 --batch-size 8 --epochs 1";

/// A folder with `set/`: 24 training images and 12 to measure with.
fn with_set() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let set = SampleSet { seed: 1, train_per_class: 2, val_per_class: 1, side: 72 };
    set.write(&folder.path().join("set"), &mut |_, _| true).unwrap();
    folder
}

fn command(folder: &Path, arguments: &str) -> Command {
    alexnet(folder, &arguments.split_whitespace().collect::<Vec<_>>())
}

/// What is told by a command that succeeds.
fn succeeds(folder: &Path, arguments: &str) -> String {
    let (code, _, told) = run(command(folder, arguments));
    assert_eq!(code, 0, "{arguments}: {told}");
    told
}

/// Asserts a failure with this exit code, in one line that has all of `words`.
fn assert_refused(folder: &Path, arguments: &str, code: i32, words: &[&str]) {
    let (found, _, told) = run(command(folder, arguments));
    assert_eq!(found, code, "{arguments}: {told}");
    let line = told.lines().find(|line| words.iter().all(|word| line.contains(word)));
    assert!(line.is_some() && !told.contains("panicked"), "{arguments}: {told}");
}

fn begin(folder: &Path, name: &str) {
    succeeds(folder, &format!("train set {TINY} --name {name}"));
}

#[test]
fn runs_that_begin_at_once_never_have_the_same_folder() {
    let folder = with_set();
    let train = format!("train set {TINY} --mean data");
    let at_once = |arguments: &str| {
        let begin = |()| command(folder.path(), arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut begun = [(); 3].map(begin);
        begun.each_mut().map(|child| child.wait().unwrap().code().unwrap())
    };
    assert_eq!(at_once(&train), [0; 3]);
    for name in ["exp1", "exp2", "exp3"] {
        let log = folder.path().join("runs/train").join(name).join("log.txt");
        assert_eq!(fs::read_to_string(log).unwrap().matches("Done in").count(), 1, "{name}");
    }
    let mut codes = at_once(&format!("{train} --name mine"));
    codes.sort_unstable();
    assert_eq!(codes, [0, 1, 1]);
}

#[test]
fn what_a_run_left_that_was_killed_while_it_began_is_in_nobodys_way() {
    let parts = [".lock", "weights/", "checkpoints/", "env.json"];
    let left = |folder: &Path, parts: &[&str]| {
        fs::create_dir_all(folder).unwrap();
        for part in parts {
            match part.strip_suffix('/') {
                Some(inner) => fs::create_dir(folder.join(inner)).unwrap(),
                None => fs::write(folder.join(part), "").unwrap(),
            }
        }
    };
    let folder = with_set();
    let runs = folder.path().join("runs/train");
    for count in 0..=parts.len() {
        let name = format!("killed-{count}");
        left(&runs.join(&name), &parts[..count]);
        begin(folder.path(), &name);
        assert!(runs.join(name).join("weights/last.safetensors").is_file());
    }
    left(&runs.join("exp1"), &parts);
    succeeds(folder.path(), &format!("train set {TINY}"));
    assert!(runs.join("exp1/args.toml").is_file() && !runs.join("exp2").exists());
    // What holds anything else, or is only just begun by another process, is left alone.
    left(&runs.join("notes"), &[".lock", "notes.txt"]);
    left(&runs.join("begun"), &parts);
    let lock = fs::File::open(runs.join("begun/.lock")).unwrap();
    lock.try_lock().unwrap();
    for (name, way_out) in [("notes", "delete it"), ("begun", "another process begins there")] {
        let train = format!("train set {TINY} --name {name}");
        assert_refused(folder.path(), &train, 1, &["exists: choose another --name", way_out]);
        assert!(!runs.join(name).join("args.toml").exists(), "{name}");
    }
}

#[test]
fn a_run_that_fails_before_it_has_anything_to_keep_leaves_no_folder() {
    let folder = with_set();
    for class in fs::read_dir(folder.path().join("set/train")).unwrap() {
        for image in fs::read_dir(class.unwrap().path()).unwrap() {
            fs::write(image.unwrap().path(), "no image").unwrap();
        }
    }
    let train = format!("train set {TINY} --name mine --mean data");
    assert_refused(folder.path(), &train, 1, &["alexnet: "]);
    assert!(!folder.path().join("runs/train/mine").exists());
}

#[cfg(unix)]
#[test]
fn a_signal_in_the_first_moments_leaves_a_run_to_resume() {
    let folder = with_set();
    // Some time passes until the first step.
    let train = "train set --image-size 127 --width 0.5 --batch-size 24 --epochs 1";
    for (name, milliseconds, more) in
        [("at-once", 0, ""), ("soon", 30, ""), ("later", 300, ""), ("reading", 0, "--mean data")]
    {
        let mut begun = command(folder.path(), &format!("{train} {more} --name {name}"));
        let mut child = begun.stderr(Stdio::null()).spawn().unwrap();
        let run = folder.path().join("runs/train").join(name);
        while !run.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended early");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        let there = ["args.toml", "checkpoints"].map(|part| run.join(part).exists());
        assert_eq!(there, [true; 2], "{name}");
    }
}

#[test]
fn a_run_ended_before_its_first_step_is_resumed_from_its_settings() {
    let folder = with_set();
    begin(folder.path(), "whole");
    begin(folder.path(), "ended");
    let file = |name: &str, file| folder.path().join("runs/train").join(name).join(file);
    // As it is when the process dies while its network is made.
    for part in ["results.csv", "log.txt"] {
        fs::remove_file(file("ended", part)).unwrap();
    }
    for part in ["weights", "checkpoints"] {
        fs::remove_dir_all(file("ended", part)).unwrap();
        fs::create_dir(file("ended", part)).unwrap();
    }
    let told = succeeds(folder.path(), "train --resume runs/train/ended");
    assert!(told.contains("from the beginning"), "{told}");
    let last = "weights/last.safetensors";
    assert!(fs::read(file("ended", last)).unwrap() == fs::read(file("whole", last)).unwrap());
}

#[test]
fn what_a_run_was_told_when_it_was_resumed_it_goes_on_with() {
    let folder = with_set();
    begin(folder.path(), "longer");
    let told = succeeds(folder.path(), "train --resume runs/train/longer --epochs 3 --workers 1");
    assert!(told.contains("Begun for 1 epochs, now for 3"), "{told}");
    let told = succeeds(folder.path(), "train --resume runs/train/longer");
    assert!(told.contains("3 epochs") && !told.contains("now for"), "{told}");
    let args = fs::read_to_string(folder.path().join("runs/train/longer/args.toml")).unwrap();
    assert!(args.contains("epochs = 3") && args.contains("workers = 1"), "{args}");
}

#[test]
fn what_would_make_it_another_run_is_refused_by_flag() {
    let folder = with_set();
    begin(folder.path(), "run");
    for (typed, flag) in [
        ("--image-size 80", "image-size"),
        ("--recipe paper", "recipe"),
        ("--val-fraction 0.5", "val-fraction"),
        ("--dropout 0.25", "dropout"),
        ("--seed 7", "seed"),
    ] {
        let resume = format!("train --resume runs/train/run --epochs 2 {typed}");
        let refusal = format!("began with another --{flag}: to resume it, leave it out");
        assert_refused(folder.path(), &resume, 2, &[&refusal]);
    }
    let same = "--image-size 63 --width 0.02 --threads 1 --precision f32 --save-every-minutes 1";
    succeeds(folder.path(), &format!("train --resume runs/train/run --epochs 2 {same}"));
}

#[test]
fn a_run_is_not_resumed_on_other_classes_or_measured_with_other_images() {
    let folder = with_set();
    begin(folder.path(), "run");
    let resume = "train --resume runs/train/run --epochs 2";
    let set = folder.path().join("set");
    let image = fs::read_dir(set.join("val/blue-dotted-circle")).unwrap().next().unwrap().unwrap();
    let copy = set.join("val/blue-dotted-circle/copy.jpg");
    fs::copy(image.path(), &copy).unwrap();
    let validation = ["the validation images of", "12 images", "13 images"];
    assert_refused(folder.path(), resume, 1, &validation);
    fs::remove_file(copy).unwrap();
    fs::create_dir(set.join("train/unicorn")).unwrap();
    fs::copy(image.path(), set.join("train/unicorn/1.jpg")).unwrap();
    let training = ["the training images of", "24 images", "25 images"];
    assert_refused(folder.path(), resume, 1, &training);
}

#[test]
fn a_run_whose_images_have_moved_says_how_to_go_on_and_goes_on() {
    let folder = with_set();
    begin(folder.path(), "run");
    fs::rename(folder.path().join("set"), folder.path().join("moved")).unwrap();
    let words = ["set does not exist", "say where, as DATA beside --resume runs/train/run"];
    assert_refused(folder.path(), "train --resume runs/train/run --epochs 2", 1, &words);
    succeeds(folder.path(), "train moved --resume runs/train/run --epochs 2");
    succeeds(folder.path(), "train --resume runs/train/run --epochs 3");
}

#[test]
fn weights_that_a_run_began_from_are_not_missed_when_it_is_resumed() {
    let folder = with_set();
    begin(folder.path(), "first");
    let weights = folder.path().join("w.safetensors");
    fs::copy(folder.path().join("runs/train/first/weights/best.safetensors"), &weights).unwrap();
    let tune = "train set --weights w.safetensors --batch-size 8 --epochs 1 --name tuned";
    assert_refused(folder.path(), &format!("{tune} --init he"), 2, &["--init has no effect"]);
    succeeds(folder.path(), tune);
    fs::remove_file(weights).unwrap();
    succeeds(folder.path(), "train --resume runs/train/tuned --epochs 2");
}

#[test]
fn a_configuration_printed_for_the_sample_set_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let print = alexnet(folder.path(), &["train", "--print-config"]);
    let (code, printed, told) = run(print);
    assert_eq!(code, 0, "{told}");
    fs::write(folder.path().join("c.toml"), printed).unwrap();
    succeeds(folder.path(), "data preview -c c.toml --rows 1 --views 1");
    assert!(folder.path().join("sample-set/train").is_dir());
}

#[test]
fn bad_settings_are_refused_before_a_sample_set_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.toml"), "momentum = 3.0").unwrap();
    assert_refused(folder.path(), "train -c bad.toml", 2, &["--momentum is 3"]);
    assert!(!folder.path().join("sample-set").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_data_set_whose_path_no_settings_file_holds_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = with_set();
    let odd = std::ffi::OsStr::from_bytes(b"odd-\xe9");
    fs::rename(folder.path().join("set"), folder.path().join(odd)).unwrap();
    let mut train = command(folder.path(), &format!("train {TINY}"));
    let (code, _, told) = run({
        train.arg(odd);
        train
    });
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("odd-") && told.contains("is not valid UTF-8: rename it"), "{told}");
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn whole_numbers_that_no_settings_file_holds_are_refused_by_flag() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--seed", "--max-unreadable", "--save-every-steps", "--print-freq"] {
        let train = format!("train set {flag} 9223372036854775808 --print-config");
        assert_refused(folder.path(), &train, 2, &[flag, "at most 9223372036854775807"]);
    }
    let most = "train set --seed 9223372036854775807 --print-config";
    let (code, printed, told) = run(command(folder.path(), most));
    assert_eq!(code, 0, "{told}");
    fs::write(folder.path().join("args.toml"), &printed).unwrap();
    let (_, again, _) = run(command(folder.path(), "train -c args.toml --print-config"));
    assert_eq!(again, printed);
}
