//! `data prepare` and `data pack` killed at any moment: what is left is never taken for whole, and
//! the same command completes it to the very bytes of a run that nothing disturbed.
//!
//! 48 kills; `ALEXNET_KILLS=1000 cargo test -p alexnet --test killed` for so many of each command.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.
#![allow(clippy::print_stderr)] // How many kills hit, and what was found out.

#[path = "support/program.rs"]
mod program;
#[path = "../../data/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alexnet_data::open;
use program::alexnet;
use support::ilsvrc::Downloads;
use support::matlab::{Synset, meta};
use support::{all_files, golden, tar};
use tempfile::TempDir;

/// Kills of each command unless told.
const KILLS: usize = 12;
const CLASSES: usize = 12;
const TRAIN_PER_CLASS: usize = 24;
const VAL: usize = 60;
/// Images that are not all of the same length.
const IMAGES: [&str; 4] = ["baseline.jpg", "grey.jpg", "cmyk.jpg", "wide.png"];

type Files = BTreeMap<String, Vec<u8>>;

/// A folder with `downloads/`: enough images for a run to be killed in the middle.
fn many_downloads() -> TempDir {
    let images = IMAGES.map(|name| golden(&format!("pixels/{name}")));
    let wnid = |class: usize| format!("n{class:08}");
    let tar_of = |names: &[String]| {
        let files = names.iter().zip(images.iter().cycle());
        tar(&files.map(|(name, image)| (&**name, &image[..])).collect::<Vec<_>>())
    };
    let synset = |class| Synset {
        wnid: wnid(class),
        words: String::new(),
        children: Vec::new(),
        images: TRAIN_PER_CLASS as u16,
    };
    let class_tar = |class| {
        let names: Vec<_> =
            (0..TRAIN_PER_CLASS).map(|n| format!("{}_{n}.JPEG", wnid(class))).collect();
        (format!("{}.tar", wnid(class)), tar_of(&names))
    };
    let val: Vec<_> = (1..=VAL).map(|n| format!("ILSVRC2012_val_{n:08}.JPEG")).collect();
    let downloads = Downloads {
        meta: Some(meta(&(0..CLASSES).map(synset).collect::<Vec<_>>(), true)),
        ground_truth: Some((0..VAL).map(|n| format!("{}\n", n % CLASSES + 1)).collect()),
        train: (0..CLASSES).map(class_tar).collect(),
        val: tar_of(&val),
    };
    let folder = tempfile::tempdir().unwrap();
    fs::rename(downloads.write().keep(), folder.path().join("downloads")).unwrap();
    folder
}

/// Moments at which to kill, as parts of a run: the same for each run of the test.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> f64 {
        // Knuth's MMIX generator; its upper bits are good enough.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What came of killing a command.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// Those after which the folder was begun and not whole.
    in_the_middle: usize,
    completed: usize,
}

/// Runs `command` again and again to make `out`, kills it at moments of a run's `usual` time, and
/// begins anew whenever it has completed, until it was killed `kills` times. Judges what is there
/// after each kill and each end against `whole`.
fn torment(
    command: &dyn Fn() -> Command,
    out: &Path,
    whole: &Files,
    usual: Duration,
    kills: usize,
) -> Result<Tally, String> {
    let (mut tally, mut moments) = (Tally::default(), Moments(42));
    while tally.kills < kills {
        let mut child = command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        if ends_within(&mut child, usual.mul_f64(moments.next())) {
            let output = child.wait_with_output().unwrap();
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            differs(out, whole).map_or(Ok(()), Err)?;
            fs::remove_dir_all(out).unwrap();
            tally.completed += 1;
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        tally.kills += 1;
        tally.in_the_middle += usize::from(judge(out, whole)?);
    }
    let output = command().output().unwrap();
    match differs(out, whole) {
        None if output.status.success() => Ok(tally),
        None => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Some(difference) => Err(difference),
    }
}

/// Whether the program has ended by itself.
fn ends_within(child: &mut Child, time: Duration) -> bool {
    let start = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if start.elapsed() >= time {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Whether a folder is begun and not whole. A part of it that is taken for the whole is a fault.
fn judge(out: &Path, whole: &Files) -> Result<bool, String> {
    if !out.is_dir() {
        return Ok(false);
    }
    if open(out, None).is_ok() {
        return differs(out, whole).map_or(Ok(false), |it| Err(format!("accepted, but {it}")));
    }
    // Other programs know no plan: they take a folder of the right name for a split.
    for split in ["train/", "val/"] {
        let of_split = |files: &Files| -> Files {
            files.clone().into_iter().filter(|(name, _)| name.starts_with(split)).collect()
        };
        let found = of_split(&all_files(out));
        if !found.is_empty() && found != of_split(whole) {
            return Err(format!("{split} is there and not whole"));
        }
    }
    Ok(["preparing.json", "packing.json"].iter().any(|plan| out.join(plan).is_file()))
}

fn differs(out: &Path, whole: &Files) -> Option<String> {
    let found = all_files(out);
    let unlike = found.iter().find(|(name, bytes)| whole.get(*name) != Some(bytes));
    let missing = whole.keys().find(|name| !found.contains_key(*name));
    let name = unlike.map(|(name, _)| name).or(missing)?;
    Some(format!("{name} is not as in a run that nothing disturbed"))
}

/// Makes `out` once undisturbed: what is in it then, and how long that takes.
fn undisturbed(command: &dyn Fn() -> Command, out: &Path) -> (Files, Duration) {
    let start = Instant::now();
    let output = command().output().unwrap();
    let usual = start.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = all_files(out);
    fs::remove_dir_all(out).unwrap();
    (whole, usual)
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_set_and_the_same_command_completes_it() {
    let kills = std::env::var("ALEXNET_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = many_downloads();
    let commands: [&[&str]; 4] = [
        &["data", "prepare", "downloads", "out"],
        &["data", "prepare", "downloads", "out", "--to", "pack", "--shard-images", "16"],
        &["data", "pack", "downloads", "out", "--resize-size", "32", "--shard-images", "16"],
        &["data", "pack", "downloads", "out", "--encoding", "original", "--shard-images", "16"],
    ];
    for arguments in commands {
        let command = || alexnet(folder.path(), arguments);
        let out = folder.path().join("out");
        let (whole, usual) = undisturbed(&command, &out);
        let tally = torment(&command, &out, &whole, usual, kills);
        let tally = tally.unwrap_or_else(|fault| panic!("{arguments:?}: {fault}"));
        eprintln!("{arguments:?}: {usual:?} a run, {tally:?}");
        assert!(10 * tally.in_the_middle >= 3 * kills, "too few in the middle: {tally:?}");
        fs::remove_dir_all(out).unwrap();
    }
}

/// What `whole/` holds, copied to `out` as a careless program would: the manifest first, then the
/// images of all classes in turns.
const MANIFEST_FIRST: &str = "
    mkdir -p out && cp whole/$MANIFEST out/
    for file in $(cd whole && find . -type f | rev | sort | rev); do
        mkdir -p out/${file%/*} && cp whole/$file out/$file
    done";
/// What has its final name is taken for whole when the work is taken up.
const IN_PLACE: &str = "
    mkdir -p out && cp whole/$MANIFEST out/$PLAN
    for file in $(cd whole && find . -type f ! -name $MANIFEST); do
        [ -e out/.preparing/$file ] && continue
        mkdir -p out/.preparing/${file%/*}
        { head -c 100 whole/$file; sleep 0.01; tail -c +101 whole/$file; } > out/.preparing/$file
    done
    mv out/.preparing/* out/ && rmdir out/.preparing && mv out/$PLAN out/$MANIFEST";
/// The plan says that the folder is not whole, but others do not read it.
const IN_THE_OPEN: &str = "
    mkdir -p out && cp whole/$MANIFEST out/$PLAN
    for file in $(cd whole && find . -type f ! -name $MANIFEST); do
        mkdir -p out/${file%/*} && cp whole/$file out/$file
    done
    mv out/$PLAN out/$MANIFEST";

#[test]
fn programs_that_are_careless_are_found_out() {
    const ACCEPTED: &str = "accepted, but ";
    const NOT_WHOLE: &str = "train/ is there and not whole";
    const UNLIKE: &str = "is not as in a run that nothing disturbed";
    let folder = many_downloads();
    let prepare = ["data", "prepare", "downloads", "whole"];
    let pack = ["--to", "pack", "--shard-images", "16"];
    let tree_names = ["preparing.json", "prepared.json"];
    for (to, [plan, manifest], script, faults) in [
        // Killed early, it has not all classes yet and is refused for that.
        (&[][..], tree_names, MANIFEST_FIRST, &[ACCEPTED, NOT_WHOLE][..]),
        (&[], tree_names, IN_THE_OPEN, &[NOT_WHOLE]),
        (&[], tree_names, IN_PLACE, &[UNLIKE]),
        (&pack, ["packing.json", "pack.json"], IN_PLACE, &[UNLIKE]),
    ] {
        let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
        let arguments = [&prepare[..], to].concat();
        assert!(alexnet(folder.path(), &arguments).output().unwrap().status.success());
        let command = || {
            let mut bash = Command::new("bash");
            bash.current_dir(folder.path()).args(["-ec", script]);
            bash.envs([("PLAN", plan), ("MANIFEST", manifest)]);
            bash
        };
        let (files, usual) = undisturbed(&command, &out);
        assert!(files == all_files(&whole), "undisturbed it is right: {script}");
        let found = torment(&command, &out, &files, usual, KILLS).expect_err(script);
        eprintln!("found out: {found}");
        assert!(faults.iter().any(|fault| found.contains(fault)), "{found}");
        fs::remove_dir_all(whole).unwrap();
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn a_user_who_stops_it_gets_130_and_the_same_command_goes_on() {
    let folder = many_downloads();
    let out = folder.path().join("out");
    let arguments = ["data", "prepare", "downloads", "out", "--workers", "1"];
    let (whole, _) = undisturbed(&|| alexnet(folder.path(), &arguments), &out);
    let mut child = alexnet(folder.path(), &arguments).stderr(Stdio::piped()).spawn().unwrap();
    let first = out.join(".preparing/train/n00000000");
    while !first.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_micros(200));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("repeat the command"), "{told}");
    assert_eq!(judge(&out, &whole), Ok(true));
    let output = alexnet(folder.path(), &arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("class folders were there"), "{told}");
    assert_eq!(differs(&out, &whole), None);
}
