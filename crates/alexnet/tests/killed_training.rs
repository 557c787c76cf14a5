//! Training killed at any moment, and resumed, again and again: it ends with the bytes of a run that
//! nothing disturbed.
//!
//! 20 kills; `ALEXNET_KILLS=300 cargo test --release -p alexnet --test killed_training` for more.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.
#![allow(clippy::print_stderr)] // How many kills hit.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alexnet_data::SampleSet;
use program::{alexnet, run};
use tempfile::TempDir;

/// Kills unless told.
const KILLS: usize = 20;
/// Of these so many, of a hundred, must hit a save.
const IN_A_SAVE_MIN: usize = 30;
/// Settings of a run of 36 steps of milliseconds, saved after each: files of 4.5 MB, so that much of
/// the time goes into saving.
const TINY: &str = "train set --width 0.1 --image-size 63 --batch-size 4 --epochs 4 \
                    --save-every-steps 1 --threads 2 --workers 1 --name";

/// What is timed is not disturbed by other tests of this file.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder with `set/`: 36 training images and 12 to measure with.
fn with_set() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let set = SampleSet { seed: 1, train_per_class: 3, val_per_class: 1, side: 72 };
    set.write(&folder.path().join("set"), &mut |_, _| true).unwrap();
    folder
}

fn train(folder: &Path, name: &str) -> Command {
    let mut command = alexnet(folder, &[]);
    command.args(TINY.split_whitespace()).arg(name);
    command
}

/// The command with which a user goes on: the same one where there is no run yet.
fn go_on(folder: &Path, name: &str) -> Command {
    let run = folder.join("runs/train").join(name);
    if run.join("args.toml").is_file() {
        return alexnet(folder, &["train", "--resume", &format!("runs/train/{name}")]);
    }
    let _ = fs::remove_dir_all(run);
    train(folder, name)
}

/// What a run ends with: weights, their best, all but the times of its results, and whatever is in
/// its last checkpoint but the times.
fn ends(folder: &Path, name: &str) -> (Vec<u8>, Vec<u8>, Vec<String>, Vec<u8>) {
    let run = folder.join("runs/train").join(name);
    let read = |file: &str| fs::read(run.join(file)).unwrap();
    let results = String::from_utf8(read("results.csv")).unwrap();
    let timeless = |line: &str| {
        let columns: Vec<_> = line.split(',').collect();
        [&columns[..2], &columns[3..8]].concat().join(",")
    };
    let checkpoints = fs::read_dir(run.join("checkpoints")).unwrap();
    let newest = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
    let checkpoint = fs::read(newest).unwrap();
    let header = u64::from_le_bytes(*checkpoint.first_chunk().unwrap()) as usize;
    (
        read("weights/last.safetensors"),
        read("weights/best.safetensors"),
        results.lines().map(timeless).collect(),
        checkpoint[8 + header..].to_vec(),
    )
}

/// Moments at which to kill, the same for each run of the test.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> f64 {
        // Knuth's MMIX generator; its upper bits are good enough.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Whether a program that was just killed was writing a file of its run.
fn is_in_a_save(run: &Path) -> bool {
    let folders = [run.to_path_buf(), run.join("weights"), run.join("checkpoints")];
    let entries = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with(".writing-"))
}

/// Whether the program has ended by itself.
fn ends_within(child: &mut Child, time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

/// Until the run is saving, or has ended, or the time is over: every other kill is to hit a save, on
/// however busy a machine.
fn wait_for_a_save(child: &mut Child, run: &Path, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time && child.try_wait().unwrap().is_none() && !is_in_a_save(run) {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// What came of killing runs.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    in_a_save: usize,
    /// Before there was a run to resume.
    too_early: usize,
    completed: usize,
}

#[test]
fn a_run_that_is_killed_at_any_moments_ends_as_one_that_is_not() {
    let kills = std::env::var("ALEXNET_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let _alone = alone();
    let folder = with_set();
    let start = Instant::now();
    let (code, _, told) = run(train(folder.path(), "whole"));
    let usual = start.elapsed();
    assert_eq!(code, 0, "{told}");
    let whole = ends(folder.path(), "whole");

    let (mut tally, mut moments) = (Tally::default(), Moments(42));
    let torn = folder.path().join("runs/train/torn");
    loop {
        let mut command = go_on(folder.path(), "torn");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Often enough for a run to be killed several times before its end.
        let moment = usual.mul_f64(moments.next() / 2.0);
        if tally.kills < kills && !ends_within(&mut child, moment) {
            if tally.kills % 2 == 1 {
                wait_for_a_save(&mut child, &torn, usual);
            }
            child.kill().unwrap();
            child.wait().unwrap();
            tally.kills += 1;
            tally.in_a_save += usize::from(is_in_a_save(&torn));
            tally.too_early += usize::from(!torn.join("args.toml").is_file());
            continue;
        }
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "after {tally:?}: {told}");
        assert!(!told.contains("passed over") && !told.contains("set aside"), "{told}");
        assert!(ends(folder.path(), "torn") == whole, "after {tally:?}");
        tally.completed += 1;
        if tally.kills == kills {
            break;
        }
        fs::remove_dir_all(&torn).unwrap();
    }
    eprintln!("{usual:?} a run, {tally:?}");
    let share = 100 * tally.in_a_save;
    assert!(share >= IN_A_SAVE_MIN * kills, "too few in a save: {tally:?}");
    assert!(4 * tally.too_early <= kills, "too few in the run: {tally:?}");
}

/// Sends a signal once the run has saved something.
fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
}

fn wait_for_a_checkpoint(child: &mut Child, run: &Path) {
    let whole = |entry: fs::DirEntry| entry.path().extension().is_some();
    let some = || {
        let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten();
        entries.filter_map(Result::ok).any(whole)
    };
    while !some() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Whether a program started from here hears of a closed terminal: the tests themselves may run under
/// `nohup`, and elsewhere than on Linux nobody can tell.
fn hears_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|ignored| u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 0)
}

#[test]
fn each_signal_of_users_and_schedulers_saves_and_leaves_with_130() {
    let _alone = alone();
    let folder = with_set();
    assert_eq!(run(train(folder.path(), "whole")).0, 0);
    let whole = ends(folder.path(), "whole");
    for (signals, name) in [
        (&["-INT"][..], "int"),
        (&["-TERM"], "term"),
        (&["-USR1"], "usr1"),
        (&[if hears_hangups() { "-HUP" } else { "-TERM" }], "hup"),
        // Schedulers repeat themselves.
        (&["-USR1", "-TERM", "-TERM"], "repeated"),
    ] {
        let mut child = train(folder.path(), name).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_a_checkpoint(&mut child, &folder.path().join("runs/train").join(name));
        signals.iter().for_each(|each| signal(&child, each));
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{name}: {told}");
        assert!(told.contains(&format!("--resume runs/train/{name}")), "{name}: {told}");
        let (code, _, told) = run(go_on(folder.path(), name));
        assert_eq!(code, 0, "{name}: {told}");
        assert!(ends(folder.path(), name) == whole, "{name}");
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_nothing_is_lost() {
    let _alone = alone();
    let folder = with_set();
    assert_eq!(run(train(folder.path(), "whole")).0, 0);
    let run_folder = folder.path().join("runs/train/twice");
    let mut child = train(folder.path(), "twice").stderr(Stdio::piped()).spawn().unwrap();
    wait_for_a_checkpoint(&mut child, &run_folder);
    // Stopped, it hears both only when it goes on: there is no time to save between them.
    for each in ["-STOP", "-INT", "-CONT", "-INT"] {
        signal(&child, each);
    }
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    let (code, _, told) = run(go_on(folder.path(), "twice"));
    assert_eq!(code, 0, "{told}");
    assert!(ends(folder.path(), "twice") == ends(folder.path(), "whole"));
}

/// `nohup` makes SIGHUP ignored, and so does a shell told to.
#[test]
fn a_run_begun_under_nohup_outlives_its_terminal() {
    let _alone = alone();
    let folder = with_set();
    let script = "trap '' HUP; exec \"$@\"";
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).args(["-c", script, "sh", env!("CARGO_BIN_EXE_alexnet")]);
    command.args(TINY.split_whitespace()).arg("nohup");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_a_checkpoint(&mut child, &folder.path().join("runs/train/nohup"));
    signal(&child, "-HUP");
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("Done in") && !told.contains("Stopping"), "{told}");
}

/// No file may be longer than a few blocks: settings and results are, checkpoints are not.
#[test]
fn a_disk_that_takes_nothing_more_is_told_of_and_ends_the_run_with_74() {
    let _alone = alone();
    let folder = with_set();
    let script = "trap '' XFSZ; ulimit -f 40; exec \"$@\"";
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).args(["-c", script, "sh", env!("CARGO_BIN_EXE_alexnet")]);
    command.args(TINY.split_whitespace()).arg("full");
    let (code, _, told) = run(command);
    assert_eq!(code, 74, "{told}");
    for expected in
        ["training goes on, attempt 1 of 3", "the run ends, attempt 3 of 3", "checkpoints/step-"]
    {
        assert!(told.contains(expected), "{told}");
    }
    // With room, the same run is begun again from its settings.
    let (code, _, told) = run(go_on(folder.path(), "full"));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("from the beginning"), "{told}");
}
