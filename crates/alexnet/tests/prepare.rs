//! ILSVRC-2012's files through the program: prepared, trained on, measured, or refused.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.
#![allow(clippy::print_stderr)] // What is skipped is said.

#[path = "support/program.rs"]
mod program;
#[path = "../../data/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use alexnet_data::open;
use program::{alexnet, run};
use serde_json::Value;
use support::ilsvrc::{
    CLASSES, Downloads, GROUND_TRUTH, TRAIN, TRAIN_IMAGES, VAL, VAL_IMAGES, downloads, tar_of,
};
use support::{all_files, golden};
use tempfile::TempDir;

const PREPARE: [&str; 4] = ["data", "prepare", "downloads", "out"];

/// A folder in which `downloads/` holds these.
fn beside(downloads: &Downloads) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::rename(downloads.write().keep(), folder.path().join("downloads")).unwrap();
    folder
}

/// Runs the program and asserts that it succeeds; returns standard output and standard error.
fn succeed(folder: &Path, arguments: &[&str]) -> (String, String) {
    let (code, out, told) = run(alexnet(folder, arguments));
    assert_eq!(code, 0, "{arguments:?}: {told}");
    (out, told)
}

/// Asserts that a command fails with a last line that has all of `words`.
fn assert_refused(command: Command, words: &[&str], case: &str) {
    let (code, out, told) = run(command);
    assert_eq!((code, &*out), (1, ""), "{case}: {told}");
    let line = told.lines().last().unwrap_or_default();
    assert!(line.starts_with("alexnet: ") && !told.contains("panicked"), "{case}: {told}");
    for word in words {
        assert!(line.contains(word), "{case}: '{word}' is not in: {line}");
    }
}

/// The files a tree should have: each image under its own name in the folder of its true class.
fn true_tree() -> BTreeMap<String, Vec<u8>> {
    let files = |split, images: &[(&str, &str, &str)]| {
        let file = |(wnid, name, image): &(&str, &str, &str)| {
            (format!("{split}/{wnid}/{name}"), golden(&format!("pixels/{image}")))
        };
        images.iter().map(file).collect::<Vec<_>>()
    };
    [files("train", &TRAIN_IMAGES), files("val", &VAL_IMAGES)].concat().into_iter().collect()
}

fn write_tree(root: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), bytes).unwrap();
    }
}

#[test]
fn a_tree_has_each_image_untouched_in_the_folder_of_its_class_and_nothing_else() {
    let folder = beside(&downloads());
    let (out, told) = succeed(folder.path(), &PREPARE);
    let says = "out: 7 training and 4 validation images in 8 class folders\n";
    assert_eq!(out, says, "{told}");
    for name in ["ILSVRC2012_devkit_t12.tar.gz", VAL, TRAIN] {
        let says = format!("downloads/{name} is not the published file, so nothing verifies it.");
        assert!(told.contains(&says), "{told}");
    }
    let mut files = all_files(&folder.path().join("out"));
    assert!(files.remove("prepared.json").is_some());
    files.retain(|name, _| !name.ends_with('/'));
    assert!(files == true_tree(), "{:?}", files.keys());
}

/// Trains a tiny network until images make a difference to it; its weights' file.
fn train(folder: &Path, data: &str) -> Vec<u8> {
    let tiny = ["--width", "0.02", "--image-size", "63", "--batch-size", "3"];
    let quick = ["--epochs", "10", "--lr", "0.05"];
    succeed(folder, &[&["train", data, "--name", data], &tiny[..], &quick].concat());
    fs::read(folder.join("runs/train").join(data).join("weights/last.safetensors")).unwrap()
}

/// Images, loss, top-1 and top-5 accuracy.
fn eval(folder: &Path, data: &str) -> [f64; 4] {
    let weights = ["--weights", "runs/train/downloads/weights/last.safetensors"];
    let (out, _) =
        succeed(folder, &[&["eval", data], &weights[..], &["--format", "json"]].concat());
    let found: Value = serde_json::from_str(&out).unwrap();
    ["images", "loss", "top1_accuracy", "top5_accuracy"].map(|key| found[key].as_f64().unwrap())
}

#[test]
fn the_same_is_learnt_and_measured_from_the_tars_the_tree_and_the_pack() {
    let folder = beside(&downloads());
    let path = folder.path();
    succeed(path, &["data", "prepare", "downloads", "tree"]);
    succeed(path, &["data", "prepare", "downloads", "raw", "--to", "pack"]);
    let original = ["--to", "pack", "--encoding", "original", "--shard-images", "2"];
    succeed(path, &[&["data", "prepare", "downloads", "original"], &original[..]].concat());
    write_tree(&path.join("true"), &true_tree());
    let weights = train(path, "downloads");
    let figures = eval(path, "downloads");
    assert_eq!(figures[0], 4.0);
    for data in ["tree", "raw", "original", "true"] {
        assert!(train(path, data) == weights, "{data}");
        let found = eval(path, data);
        // The tree's order is by class; a sum in another order may end otherwise.
        assert!((found[1] - figures[1]).abs() < 1e-6, "{data}: {found:?} {figures:?}");
        assert_eq!((found[0], found[2], found[3]), (figures[0], figures[2], figures[3]), "{data}");
    }
    // Would wrong labels be told by the figures? Here the ground truth's ids are taken for ranks.
    write_tree(&path.join("ranks"), &tree_of_ranks());
    let found = eval(path, "ranks");
    assert!((found[1] - figures[1]).abs() > 1e-4, "{found:?} {figures:?}");
}

fn tree_of_ranks() -> BTreeMap<String, Vec<u8>> {
    let mut images = VAL_IMAGES;
    images.sort_by_key(|&(_, name, _)| name);
    let ids = GROUND_TRUTH.lines().map(|id| id.parse::<usize>().unwrap());
    let file = |((_, name, image), id): (&(&str, &str, &str), usize)| {
        (format!("val/{}/{name}", CLASSES[id - 1]), golden(&format!("pixels/{image}")))
    };
    images.iter().zip(ids).map(file).collect()
}

/// What is done to the downloads, and what is said then.
type Refusal = (&'static str, fn(&mut Downloads), &'static [&'static str]);

#[test]
fn a_ground_truth_that_is_missing_or_wrong_is_refused_by_every_command() {
    let folder = beside(&downloads());
    train(folder.path(), "downloads");
    let refusals: [Refusal; 4] = [
        ("missing", |d| d.ground_truth = None, &["it is not there: download the devkit anew"]),
        (
            "too short",
            |d| d.ground_truth = Some("4\n2\n3\n".into()),
            &["it has 3 lines, but there are 4 validation images"],
        ),
        (
            "no id of a class",
            |d| d.ground_truth = Some("4\n5\n3\n1\n".into()),
            &["line 2: it should be the ILSVRC2012_ID of a class"],
        ),
        (
            "no number",
            |d| d.ground_truth = Some("4\n2\nfox\n1\n".into()),
            &["line 3: it should be the ILSVRC2012_ID of a class"],
        ),
    ];
    for (case, spoil, words) in refusals {
        let mut spoilt = downloads();
        spoil(&mut spoilt);
        let root = spoilt.write();
        let root = root.path().display().to_string();
        let weights = ["--weights", "runs/train/downloads/weights/last.safetensors"];
        let name = ["ILSVRC2012_devkit_t12.tar.gz", "validation_ground_truth.txt"];
        let words = [&name, words].concat();
        for command in [
            &["data", "prepare", &root, "out"][..],
            &["data", "prepare", &root, "out", "--to", "pack"],
            &["train", &root, "--width", "0.02"],
            &[&["eval", &root], &weights[..]].concat(),
        ] {
            assert_refused(alexnet(folder.path(), command), &words, case);
        }
        assert!(!folder.path().join("out").exists(), "{case}");
    }
}

#[test]
fn tars_that_were_cut_are_refused_with_the_file_and_the_byte() {
    let cases: [Refusal; 4] = [
        (
            "an inner tar",
            |d| d.train[2].1.truncate(512),
            &[TRAIN, "n01440764.tar ends before byte"],
        ),
        (
            "an inner tar, between members",
            |d| d.train[2].1.truncate(512 + 1536),
            &[TRAIN, "n01440764.tar, byte ", "it ends here", "restore it"],
        ),
        (
            "the validation tar",
            |d| d.val.truncate(1024),
            &[VAL, "ends before byte 1635", "it is not whole, restore it"],
        ),
        (
            "the validation tar, between members",
            |d| d.val.truncate(2048 + 1536 + 2048 + 2048),
            &[VAL, "byte 7680: it ends here", "restore it"],
        ),
    ];
    for (case, spoil, words) in cases {
        let mut spoilt = downloads();
        spoil(&mut spoilt);
        let folder = beside(&spoilt);
        assert_refused(alexnet(folder.path(), &PREPARE), words, case);
    }
    let folder = beside(&downloads());
    let tar = folder.path().join("downloads").join(TRAIN);
    let whole = fs::read(&tar).unwrap();
    for len in [whole.len() / 3, whole.len() / 2, whole.len() - 4096] {
        fs::write(&tar, &whole[..len]).unwrap();
        let words = [TRAIN, "byte ", "it is not whole, restore it"];
        assert_refused(alexnet(folder.path(), &PREPARE), &words, &format!("cut to {len}"));
        assert!(!folder.path().join("out").exists(), "{len}");
    }
}

/// A validation tar that is as long as the real one: behind the images a hole.
fn as_long_as_the_real_one(path: &Path) {
    const BYTES: u64 = 6_744_924_160;
    let mut tar = tar_of(&VAL_IMAGES);
    tar.truncate(tar.len() - 1024);
    let mut header = tar::Header::new_gnu();
    header.set_path("hole").unwrap();
    header.set_size(BYTES - tar.len() as u64 - 3 * 512);
    header.set_mode(0o644);
    header.set_cksum();
    tar.extend(header.as_bytes());
    fs::write(path, &tar).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_len(BYTES).unwrap();
}

#[test]
fn a_file_of_the_real_set_with_another_md5_is_refused_naming_both_unless_told() {
    let folder = beside(&downloads());
    as_long_as_the_real_one(&folder.path().join("downloads").join(VAL));
    let words = [
        "downloads/ILSVRC2012_devkit_t12.tar.gz has the MD5 ",
        "the published one is fa75699e90414af021442c21a62c3abf: download it anew",
        "--no-verify",
    ];
    for to in ["tree", "pack"] {
        let prepare = ["data", "prepare", "downloads", to, "--to", to];
        assert_refused(alexnet(folder.path(), &prepare), &words, to);
        assert!(open(&folder.path().join(to), None).is_err(), "{to}");
        let (out, told) = succeed(folder.path(), &[&prepare[..], &["--no-verify"]].concat());
        assert!(out.contains("7 training and 4 validation images"), "{out}");
        assert!(!told.contains("MD5"), "{told}");
    }
}

#[test]
fn flags_of_a_pack_are_no_flags_of_a_tree() {
    let folder = beside(&downloads());
    let flags = [
        ["--encoding", "jpeg"],
        ["--resize-size", "64"],
        ["--fit", "warp"],
        ["--quality", "90"],
        ["--shard-images", "2"],
    ];
    for flag in flags {
        let prepare = [&PREPARE[..], &flag].concat();
        let (code, _, told) = run(alexnet(folder.path(), &prepare));
        assert!(code == 2 && told.contains(flag[0]) && told.contains("--to pack"), "{told}");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn any_data_set_is_prepared_and_the_same_command_again_finds_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let sample = ["data", "sample", "set", "--train-per-class", "5", "--val-per-class", "1"];
    succeed(folder.path(), &sample);
    let prepare = ["data", "prepare", "set/train", "out", "--val-fraction", "0.4"];
    let (out, _) = succeed(folder.path(), &prepare);
    assert_eq!(out, "out: 36 training and 24 validation images in 24 class folders\n");
    let (_, told) = succeed(folder.path(), &prepare);
    assert_eq!(told, "24 class folders were there already.\n");
    assert_refused(
        alexnet(folder.path(), &prepare[..4]),
        &["set/train has no training images"],
        "",
    );
    let other = ["data", "prepare", "set", "out"];
    assert_refused(alexnet(folder.path(), &other), &["out holds another set"], "other");
}

#[test]
fn files_that_are_no_images_are_counted_and_the_first_are_named() {
    let (image, text) = (golden("pixels/rgb.png"), b"words".as_slice());
    let mut files = BTreeMap::new();
    for name in ["train/a/1.png", "train/b/1.png", "val/a/1.png", "train/outside.png"] {
        files.insert(name.to_owned(), image.clone());
    }
    for name in ["train/a/a.txt", "train/a/b.webp", "val/a/c.csv", "train/.hidden", "val/a/2.jpg"] {
        files.insert(name.to_owned(), text.to_vec());
    }
    let folder = tempfile::tempdir().unwrap();
    write_tree(&folder.path().join("set"), &files);
    let (_, told) = succeed(folder.path(), &["data", "prepare", "set", "out"]);
    assert_eq!(
        told,
        "Left out, as no .jpg, .jpeg or .png in a class: 4 files, such as set/train/a/a.txt, \
         set/train/a/b.webp, set/train/outside.png.\n\
         Copied as they are, though neither JPEG nor PNG: 1 file, set/val/a/2.jpg.\n"
    );
    fs::remove_file(folder.path().join("set/train/outside.png")).unwrap();
    let (_, told) = succeed(folder.path(), &["data", "prepare", "set", "packed", "--to", "pack"]);
    let first = told.lines().next().unwrap();
    assert!(first.ends_with("3 files, set/train/a/a.txt, set/train/a/b.webp, set/val/a/c.csv."));
}

/// A limit on file size stands in for a full disk: the system refuses to write on, in the middle of
/// a file.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_is_named_and_with_room_the_same_command_completes() {
    let folder = beside(&downloads());
    let cases = [
        (&PREPARE[..], ".JPEG: File too large"),
        (&["data", "prepare", "downloads", "out", "--to", "pack"], ".tar: File too large"),
        (&["data", "pack", "downloads", "out"], ".tar: File too large"),
    ];
    for (arguments, says) in cases {
        let program = env!("CARGO_BIN_EXE_alexnet");
        let script = format!("trap '' XFSZ; ulimit -f 1; exec {program} {}", arguments.join(" "));
        let mut bash = Command::new("bash");
        bash.current_dir(folder.path()).args(["-c", &script]);
        let words = ["cannot write out/", says, "; make room and repeat the command"];
        assert_refused(bash, &words, &script);
        let out = folder.path().join("out");
        let refused = open(&out, None).unwrap_err().to_string();
        assert!(refused.contains("out is not whole: repeat"), "{refused}");
        let half_written = all_files(&out).into_keys().find(|name| name.contains(".writing"));
        assert_eq!(half_written, None);
        succeed(folder.path(), arguments);
        assert_eq!(open(&out, None).unwrap().train.samples.len(), 7);
        fs::remove_dir_all(out).unwrap();
    }
}

/// A file system of its own that has room for a few files, where one may be mounted.
#[cfg(target_os = "linux")]
#[test]
fn a_file_system_without_room_is_named_and_with_room_the_same_command_completes() {
    const CANNOT_MOUNT: i32 = 77;
    let folder = beside(&downloads());
    fs::create_dir(folder.path().join("disk")).unwrap();
    let program = env!("CARGO_BIN_EXE_alexnet");
    for to in ["tree", "pack"] {
        let prepare = format!("{program} data prepare downloads disk/out --to {to}");
        let script = format!(
            "mount -t tmpfs -o size=32k tmpfs disk || exit {CANNOT_MOUNT}
             {prepare} 2> told && exit 3
             [ ! -e disk/out/train ] || exit 4
             mount -o remount,size=1m disk && {prepare} && cp -r disk/out {to}"
        );
        let mut unshare = Command::new("unshare");
        unshare.current_dir(folder.path()).args(["--user", "--map-root-user", "--mount"]);
        unshare.args(["bash", "-c", &script]);
        let Ok(output) = unshare.output() else {
            eprintln!("SKIPPED: there is no unshare here");
            return;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.starts_with("unshare: ") || output.status.code() == Some(CANNOT_MOUNT) {
            eprintln!("SKIPPED: no file system may be mounted here: {errors}");
            return;
        }
        assert!(output.status.success(), "{to}: {}: {errors}", output.status);
        let told = fs::read_to_string(folder.path().join("told")).unwrap();
        let line = told.lines().last().unwrap();
        let says = "No space left on device (os error 28); make room and repeat the command";
        assert!(line.starts_with("alexnet: cannot ") && line.ends_with(says), "{told}");
        assert!(line.contains(" disk/out/"), "{told}");
        let prepare = ["data", "prepare", "downloads", "whole", "--to", to];
        succeed(folder.path(), &prepare);
        let [found, whole] = [to, "whole"].map(|name| all_files(&folder.path().join(name)));
        assert!(found == whole, "{to}");
        fs::remove_dir_all(folder.path().join("whole")).unwrap();
    }
}
