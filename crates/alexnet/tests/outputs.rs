//! Files the program writes: where they go, what they may not replace, and what is said when they
//! cannot be written.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use program::alexnet;
use tempfile::TempDir;

/// The smallest network and images there are.
const TINY: [&str; 9] =
    ["train", "set", "--width", "0.02", "--image-size", "63", "--batch-size", "8", "--epochs=1"];

/// A tiny data set and a run on it, shared by all tests, never changed.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let set = ["data", "sample", "set", "--train-per-class", "2", "--val-per-class", "1"];
    for arguments in [&set[..], &TINY] {
        let (code, _, told) = program::run(alexnet(folder.path(), arguments));
        assert_eq!(code, 0, "{told}");
    }
    folder
});

fn text_of(name: &str) -> String {
    FOLDER.path().join(name).display().to_string()
}

fn best() -> String {
    text_of("runs/train/exp1/weights/best.safetensors")
}

/// Asserts a failure with this code, told in one line that has all of `words` and names no file that
/// nobody asked for.
fn assert_refused(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let (found, out, told) = program::run(alexnet(folder, arguments));
    assert_eq!((found, &*out), (code, ""), "{arguments:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!told.contains(".writing"), "{told}");
    for word in words {
        assert!(told.contains(word), "{arguments:?}: '{word}' is not in: {told}");
    }
}

/// Runs the program in a shell that lets files have no more than so many kilobytes: the system
/// refuses to write on, as on a full disk.
#[cfg(unix)]
fn on_a_full_disk(folder: &Path, kilobytes: usize, arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_alexnet");
    let line = arguments.join(" ");
    let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec {program} {line}");
    let mut bash = Command::new("bash");
    bash.current_dir(folder).args(["-c", &script]);
    program::run(bash)
}

/// What is read of a pipe while the program runs with these arguments, which name it `pipe`.
#[cfg(unix)]
fn through_a_pipe(folder: &Path, arguments: &[&str]) -> (Vec<u8>, (i32, String, String)) {
    use std::os::unix::fs::FileTypeExt;
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let ended = program::run(alexnet(folder, arguments));
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo(), "{ended:?}");
    (reader.join().unwrap(), ended)
}

#[test]
fn a_table_of_predictions_has_its_columns_also_without_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let weights = best();
    let predict = ["predict", "gone.jpg", "--weights", &weights, "--format", "csv"];
    let (code, out, told) = program::run(alexnet(folder.path(), &predict));
    assert_eq!((code, &*out), (1, "path,rank,index,class,probability\n"), "{told}");
}

#[cfg(unix)]
#[test]
fn whoever_closes_a_table_of_predictions_early_has_seen_enough() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened, so that the program can begin to write, and closed before it does.
    let script = format!(
        "exec 3<>pipe 4>pipe 3<&-; exec {} predict {} --weights {} --format csv >&4 4>&-",
        env!("CARGO_BIN_EXE_alexnet"),
        text_of("set/val"),
        best()
    );
    let mut bash = Command::new("bash");
    bash.current_dir(folder.path()).args(["-c", &script]);
    let (code, _, told) = program::run(bash);
    assert_eq!((code, &*told), (0, ""));
}

#[cfg(unix)]
#[test]
fn pipes_get_what_a_file_would_and_links_lead_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (set, best) = (text_of("set"), best());
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("real.csv", at("link.csv")).unwrap();
    let tables = ["--per-class", "pipe", "--predictions", "link.csv"];
    let eval = [&["eval", &set, "-w", &best][..], &tables].concat();
    let (read, (code, _, told)) = through_a_pipe(folder.path(), &eval);
    assert_eq!(code, 0, "{told}");
    assert_eq!(String::from_utf8(read).unwrap().lines().count(), 13);
    assert_eq!(fs::read_to_string(at("real.csv")).unwrap().lines().count(), 13);
    assert!(fs::symlink_metadata(at("link.csv")).unwrap().is_symlink());
    for form in ["pth", "onnx", "safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let file = format!("file.{form}");
        let (code, out, told) = program::run(alexnet(folder.path(), &["convert", &best, &file]));
        assert!(code == 0 && out.contains(" bytes"), "{told}");
        let form = if form == "pth" { "pytorch" } else { form };
        let convert = ["convert", &best, "pipe", "--to-format", form];
        let (read, (code, out, told)) = through_a_pipe(folder.path(), &convert);
        // Standard output could be the pipe.
        assert!(code == 0 && out.is_empty() && told.starts_with("pipe: "), "{out} {told}");
        assert!(read == fs::read(folder.path().join(file)).unwrap(), "{form}");
        let verified = [&convert[..], &["--verify"]].concat();
        assert_refused(folder.path(), &verified, 2, &["--verify", "pipe"]);
    }
}

/// A link of the test's own stands for `/dev/stdout`, which is one as well.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_as_a_file_s_name_is_written_to_in_order_also_where_it_goes_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::os::unix::fs::symlink("/proc/self/fd/1", &out).unwrap();
    let (set, best) = (text_of("set"), best());
    let eval = ["eval", &set, "-w", &best, "--per-class", "out", "--predictions", "out"];
    let (code, piped, told) = program::run(alexnet(folder.path(), &eval));
    assert_eq!(code, 0, "{told}");
    let mut command = alexnet(folder.path(), &eval);
    let file = folder.path().join("all.txt");
    assert!(command.stdout(fs::File::create(&file).unwrap()).status().unwrap().success());
    let kept = fs::read_to_string(&file).unwrap();
    assert_eq!(kept, piped);
    let begins = ["path,label", "class,images", "Test: Acc@1"].map(|begin| kept.find(begin));
    assert!(begins[0] == Some(0) && begins.is_sorted() && begins[2].is_some(), "{kept}");
    assert!(fs::symlink_metadata(out).unwrap().is_symlink());
}

#[test]
fn tables_that_cannot_be_written_are_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let (set, best) = (text_of("set"), best());
    for flag in ["--predictions", "--per-class", "--confusion"] {
        for place in ["none/x.csv", "."] {
            let eval = ["eval", &set, "-w", &best, flag, place];
            assert_refused(folder.path(), &eval, 1, &["cannot write", place]);
        }
    }
    let preview = ["data", "preview", &set, "--out", "none/x.png"];
    assert_refused(folder.path(), &preview, 1, &["cannot write none/x.png"]);
    assert_refused(folder.path(), &["convert", &best, "none/x.pth"], 1, &["none/x.pth"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_table_that_fails_takes_nothing_from_the_figures_and_a_full_disk_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let (set, best) = (text_of("set"), best());
    let eval = ["eval", &set, "-w", &best, "--predictions", "p.csv"];
    let (code, out, told) = on_a_full_disk(folder.path(), 0, &eval);
    assert!(code == 1 && out.contains("Test: Acc@1"), "{out} {told}");
    assert!(told.contains("cannot write p.csv: File too large"), "{told}");
    let (code, _, told) = on_a_full_disk(folder.path(), 1, &["convert", &best, "o.pth"]);
    assert_eq!((code, told.lines().count()), (1, 1), "{told}");
    assert!(told.contains("cannot write o.pth: File too large"), "{told}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A copy of the weights in a folder of its own.
fn with_weights() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(best(), folder.path().join("w.safetensors")).unwrap();
    let bytes = fs::read(best()).unwrap();
    (folder, bytes)
}

#[test]
fn what_is_read_is_never_replaced_and_no_two_results_go_to_one_file() {
    let (folder, bytes) = with_weights();
    fs::write(folder.path().join("names.txt"), "a\nb\n").unwrap();
    fs::write(folder.path().join("settings.toml"), "seed = 1\n").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("w.safetensors", folder.path().join("link")).unwrap();
    let set = text_of("set");
    let class = FOLDER.path().join("set/val/red-striped-cross");
    let image: PathBuf = fs::read_dir(class).unwrap().next().unwrap().unwrap().path();
    let pixels = fs::read(&image).unwrap();
    let image = image.display().to_string();
    let [on_image, as_image] = [["--confusion", &*image], ["--out", &*image]];
    let eval = ["eval", &set, "-w", "w.safetensors"];
    let convert = ["convert", "w.safetensors"];
    let preview = ["data", "preview", &set, "--config", "settings.toml"];
    let args = text_of("runs/train/exp1/args.toml");
    let (run, as_args) = (text_of("runs/train/exp1"), ["--out", &*args]);
    let resumed = ["data", "preview", "--resume", &run];
    let mut cases: Vec<(&[&str], &[&str], [&str; 2])> = vec![
        (&eval, &["--predictions", "w.safetensors"], ["--predictions", "--weights"]),
        (&eval, &["--per-class", "./w.safetensors"], ["--per-class", "--weights"]),
        (&eval, &on_image, ["--confusion", "DATA"]),
        (&eval, &["--predictions", "s", "--confusion", "./s"], ["--predictions", "--confusion"]),
        (&convert, &["w.safetensors"], ["IN", "OUT"]),
        (
            &convert,
            &["names.txt", "--to-format", "onnx", "--class-names", "names.txt"],
            ["OUT", "--class-names"],
        ),
        (&preview, &["--out", "settings.toml"], ["--out", "--config"]),
        (&resumed, &as_args, ["--out", "--resume"]),
        (&preview, &as_image, ["--out", "DATA"]),
    ];
    if cfg!(unix) {
        cases.push((&eval, &["--predictions", "link"], ["--predictions", "--weights"]));
        cases.push((&convert, &["link", "--to-format", "onnx"], ["IN", "OUT"]));
    }
    for (command, more, flags) in cases {
        assert_refused(folder.path(), &[command, more].concat(), 2, &flags);
    }
    assert!(fs::read(folder.path().join("w.safetensors")).unwrap() == bytes);
    assert!(fs::read(image).unwrap() == pixels);
    assert!(!folder.path().join("s").exists());
}

#[test]
fn figures_that_cannot_be_written_end_with_an_error_and_those_without_data_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let run = text_of("runs/train/exp1");
    let figures = |arguments: &[&str]| {
        let all = [&["figures", &run, "--data", arguments[0], "--out"], &arguments[1..]].concat();
        program::run(alexnet(folder.path(), &all))
    };
    fs::create_dir_all(folder.path().join("out/worst_mistakes.png")).unwrap();
    let (code, out, told) = figures(&[&text_of("set"), "out"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("cannot write out/worst_mistakes.png: is a directory"), "{told}");
    assert!(out.contains("worst_mistakes.csv"), "{out}");
    fs::write(folder.path().join("file"), "in the way").unwrap();
    let (code, _, told) = figures(&[&text_of("set"), "file"]);
    assert!(code == 1 && told.contains("cannot create file"), "{told}");
    let (code, out, told) = figures(&["none", "rest"]);
    assert!(code == 0 && out.contains("filters.png"), "{told}");
    assert!(told.contains("no answers: none does not exist"), "{told}");
}

#[test]
fn a_checkpoint_given_as_weights_is_called_one_and_the_weights_of_its_run_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = FOLDER.path().join("runs/train/exp1/checkpoints");
    let mut found = fs::read_dir(checkpoints).unwrap().map(|entry| entry.unwrap().path());
    let checkpoint = found.find(|path| path.extension().is_some_and(|e| e == "checkpoint"));
    let checkpoint = checkpoint.unwrap().display().to_string();
    let set = text_of("set");
    for command in [
        &["convert", &*checkpoint, "o.onnx"][..],
        &["predict", &set, "-w", &checkpoint],
        &["eval", &set, "-w", &checkpoint],
    ] {
        let words = ["is a checkpoint", "weights/last.safetensors"];
        assert_refused(folder.path(), command, 1, &words);
    }
}

#[test]
fn class_names_are_taken_without_a_byte_order_mark_and_wrong_ones_are_named_with_their_file() {
    let (folder, _) = with_weights();
    let names = folder.path().join("names.txt");
    let mut lines: Vec<String> = (1..=12).map(|n| format!("class {n}")).collect();
    let convert = ["convert", "w.safetensors", "o.safetensors", "--class-names", "names.txt"];
    fs::write(&names, format!("\u{feff}{}\r\n", lines.join("\r\n"))).unwrap();
    let (code, _, told) = program::run(alexnet(folder.path(), &convert));
    assert_eq!(code, 0, "{told}");
    let file = alexnet::weights::ModelFile::load(&folder.path().join("o.safetensors")).unwrap();
    assert_eq!(file.classes, lines);
    fs::write(&names, "class 1\nclass 2\n").unwrap();
    let words = ["names.txt", "w.safetensors has 12 outputs", "2 class names"];
    assert_refused(folder.path(), &convert, 1, &words);
    lines[4] = lines[1].clone();
    fs::write(&names, lines.join("\n")).unwrap();
    assert_refused(folder.path(), &convert, 1, &["names.txt", "line 5", "line 2", "class 2"]);
}

#[test]
fn a_path_that_is_not_there_does_not_keep_the_others_from_being_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let class = text_of("set/val/red-striped-cross");
    let predict = ["predict", "none.jpg", &class, "-w", &best(), "--format", "json"];
    let (code, out, told) = program::run(alexnet(folder.path(), &predict));
    assert!(code == 1 && told.contains("none.jpg does not exist"), "{told}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "{out}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_network_that_a_shell_s_limit_has_no_room_for_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_alexnet");
    let mut bash = Command::new("bash");
    let script = format!("ulimit -v 200000; exec {program} bench infer --steps 1");
    bash.current_dir(folder.path()).args(["-c", &script]);
    let (code, _, told) = program::run(bash);
    assert_eq!((code, told.lines().count()), (1, 1), "{told}");
    assert!(told.contains("195 MiB of memory for it: choose a smaller --batch-size"), "{told}");
}

#[cfg(unix)]
#[test]
fn a_conversion_that_is_stopped_leaves_a_whole_file_and_no_part_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let set = text_of("set");
    let train =
        ["train", &set, "--width", "0.5", "--image-size", "63", "--batch-size", "8", "--epochs=1"];
    let (code, _, told) = program::run(alexnet(folder.path(), &train));
    assert_eq!(code, 0, "{told}");
    fs::create_dir(folder.path().join("out")).unwrap();
    let convert = ["convert", "runs/train/exp1/weights/best.safetensors", "out/w.pth"];
    let names = || {
        let entries = fs::read_dir(folder.path().join("out")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    // Whether the signal comes while the file is written is a matter of luck: several tries.
    let stopped = (0..100).any(|_| {
        let mut child = alexnet(folder.path(), &convert).stderr(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            if names().iter().any(|name| name.starts_with(".writing")) {
                let pid = child.id().to_string();
                Command::new("kill").args(["-INT", &pid]).status().unwrap();
                break;
            }
        }
        let code = child.wait().unwrap().code();
        let left = names();
        assert!(matches!(code, Some(0 | 130)), "{code:?}");
        assert!(left.iter().all(|name| name == "w.pth"), "{code:?}: {left:?}");
        left.iter().for_each(|name| fs::remove_file(folder.path().join("out").join(name)).unwrap());
        code == Some(130) && !left.is_empty()
    });
    assert!(stopped, "no signal came while the file was written");
}

/// Asks a program to stop, as Ctrl-C does.
#[cfg(unix)]
fn interrupt(child: &std::process::Child) {
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
}

#[cfg(unix)]
#[test]
fn a_command_that_is_stopped_at_any_moment_leaves_whole_files_and_no_part_of_one() {
    const TRIES: u32 = 25;
    let folder = tempfile::tempdir().unwrap();
    let (set, best, run) = (text_of("set"), best(), text_of("runs/train/exp1"));
    let out = |name: &str| folder.path().join("out").join(name).display().to_string();
    let [answers, classes, pairs, sheet] = ["a.csv", "c.csv", "p.csv", "s.png"].map(out);
    let tables = ["--predictions", &answers, "--per-class", &classes, "--confusion", &pairs];
    let commands = [
        [&["eval", &set, "-w", &best][..], &tables].concat(),
        vec!["figures", &run, "--data", &set, "--out", "out"],
        vec!["data", "preview", &set, "--out", &sheet],
    ];
    for command in commands {
        let anew = || {
            drop(fs::remove_dir_all(folder.path().join("out")));
            fs::create_dir(folder.path().join("out")).unwrap();
            let mut command = alexnet(folder.path(), &command);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let files = || {
            let entries = fs::read_dir(folder.path().join("out")).unwrap();
            let file = |entry: fs::DirEntry| (entry.file_name(), fs::read(entry.path()).unwrap());
            entries.map(|entry| file(entry.unwrap())).collect::<std::collections::BTreeMap<_, _>>()
        };
        let begin = std::time::Instant::now();
        assert!(anew().wait().unwrap().success(), "{command:?}");
        let (usual, whole) = (begin.elapsed(), files());
        let mut stopped = 0;
        for part in 0..TRIES {
            let mut child = anew();
            std::thread::sleep(usual * part / TRIES);
            interrupt(&child);
            let code = child.wait().unwrap().code();
            // One that does not listen yet, and has written nothing, is ended by the signal itself.
            let left = files();
            assert!(matches!(code, Some(0 | 130)) || left.is_empty(), "{command:?} {code:?}");
            for (name, bytes) in &left {
                assert!(whole.get(name) == Some(bytes), "{command:?} {code:?}: {name:?}");
            }
            assert!(code != Some(0) || left.len() == whole.len(), "{command:?}: done, but not all");
            stopped += u32::from(code == Some(130));
        }
        assert!(stopped > 0, "{command:?} never heard of it");
    }
}

#[cfg(unix)]
#[test]
fn an_evaluation_that_is_stopped_ends_within_a_moment_and_writes_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let class = FOLDER.path().join("set/val/red-striped-cross");
    let image = fs::read_dir(class).unwrap().next().unwrap().unwrap().path();
    // Hours of work.
    let line = format!("{} red-striped-cross\n", image.display());
    fs::create_dir(folder.path().join("set")).unwrap();
    fs::write(folder.path().join("set/val.txt"), line.repeat(1_000_000)).unwrap();
    let best = best();
    let eval = ["eval", "set", "-w", &best, "--allow-missing-classes", "--predictions", "p.csv"];
    let mut child = alexnet(folder.path(), &eval).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(child.try_wait().unwrap().is_none(), "it ended early");
    interrupt(&child);
    let begin = std::time::Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    assert!(!folder.path().join("p.csv").exists());
}
