//! What becomes of a command to which the system gives no more files or threads.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

/// A data set, the same packed, and a run on it, shared by all tests, never changed. Each image has a
/// shard of its own, and each shard that was read stays open.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let set = ["data", "sample", "set", "--train-per-class", "2", "--val-per-class", "1"];
    let pack = ["data", "pack", "set", "shards", "--shard-images", "1", "--resize-size", "72"];
    let train = train("runs");
    for arguments in [&set[..], &pack, &train] {
        let (code, _, told) = program::run(program::alexnet(folder.path(), arguments));
        assert_eq!(code, 0, "{told}");
    }
    folder
});

/// The smallest network there is, trained by a run in this folder.
fn train(project: &str) -> Vec<&str> {
    let tiny = ["train", "shards", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];
    [&tiny[..], &["--epochs=1", "--threads", "1", "--name", "begun", "--project", project]].concat()
}

/// Runs the program in a shell with this limit.
fn limited(folder: &Path, limit: &str, arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_alexnet");
    let script = format!("{limit}; exec {program} {}", arguments.join(" "));
    let mut bash = Command::new("bash");
    bash.current_dir(folder).args(["-c", &script]);
    program::run(bash)
}

#[test]
fn an_image_counts_as_bad_for_its_own_faults_and_never_for_a_limit_of_the_process() {
    let folder = FOLDER.path();
    let weights = "runs/begun/weights/last.safetensors";
    let out = tempfile::tempdir_in(folder).unwrap();
    let [trained, packed] = ["trained", "packed"].map(|name| out.path().join(name));
    let [trained, packed] = [trained, packed].map(|path| path.display().to_string());
    let mean = ["--mean", "image", "--augment", "random-crop", "--fit", "warp"];
    let commands = [
        train(&trained),
        [&train(&trained)[..], &mean].concat(),
        vec!["eval", "shards", "--weights", weights],
        vec!["predict", "set", "--weights", weights, "--workers", "8"],
        vec!["data", "check", "shards"],
        vec!["data", "statistics", "shards"],
        vec!["data", "pack", "set", &packed],
    ];
    for command in &commands {
        let anew = |limit: &str| {
            for made in [&trained, &packed] {
                drop(fs::remove_dir_all(made));
            }
            limited(folder, limit, command)
        };
        let (code, _, told) = anew("true");
        assert_eq!(code, 0, "without a limit: {told}");
        let mut refused = 0;
        for files in 4..24 {
            let (code, shown, told) = anew(&format!("ulimit -n {files}"));
            let all = format!("{command:?}, {files} files, code {code}: {shown}{told}");
            assert!(matches!(code, 0 | 1 | 127), "{all}"); // 127: not even the program was opened
            for counted in ["counts as wrong", "shown instead", "left out", "cannot be decoded"] {
                assert!(!all.contains(counted), "{all}");
            }
            let of_image = |line: &&str| {
                let is_of_one = line.contains(".jpg: ") || line.contains(".tar: ");
                line.contains("cannot read") && is_of_one && line.contains("Too many open files")
            };
            let lines: Vec<&str> = told.lines().filter(of_image).collect();
            assert!(lines.len() <= usize::from(code == 1), "one error, at the end: {all}");
            refused += lines.len();
            let has_way_out =
                |line: &&str| line.contains("--workers") && line.contains("ulimit -n");
            assert!(lines.iter().all(has_way_out), "{all}");
        }
        // A file's image is held open too briefly for that to happen for sure.
        assert!(refused > 0 || command[0] == "predict", "{command:?} had room for all images");
    }
}

#[test]
fn a_new_runs_folder_that_cannot_be_looked_into_is_told_by_the_systems_word_and_not_as_taken() {
    let folder = FOLDER.path();
    let at = tempfile::tempdir_in(folder).unwrap();
    let project = at.path().display().to_string();
    let named = train(&project);
    // Without a name too: the next free one was looked for, for ever.
    let unnamed = [&named[..9], &["--project", &*project]].concat();
    for command in [&named, &unnamed] {
        for files in 4..16 {
            for made in fs::read_dir(at.path()).unwrap() {
                fs::remove_dir_all(made.unwrap().path()).unwrap();
            }
            let (code, _, told) = limited(folder, &format!("ulimit -n {files}"), command);
            assert!(!told.contains("exists"), "{command:?}, {files} files, code {code}: {told}");
            let made = fs::read_dir(at.path()).unwrap().count();
            assert!(made <= 1, "{made} folders: {told}");
        }
    }
    let (code, _, told) = program::run(program::alexnet(folder, &named));
    assert_eq!(code, 0, "what was left is in nobody's way: {told}");
    let (code, _, told) = program::run(program::alexnet(folder, &named));
    assert!(code == 1 && told.contains("exists: choose another --name"), "{told}");
}
