//! Whatever call of a save fails, and wherever the power is cut: the checkpoint that was saved last
//! is there whole, or the one that was being saved.

#[path = "support/fake_disk.rs"]
mod fake_disk;
#[path = "support/state.rs"]
mod state;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alexnet_network::Array;
use alexnet_train::{Checkpoint, Checkpoints, EpochRow, RunFolder};
use alexnet_weights::ModelFile;
use fake_disk::{Call, Careless, Failure, FakeDisk, power_cuts};
use state::config;

const RUN: &str = "/runs/exp1";
/// Saves in a row: enough for old checkpoints to go.
const SAVES: u64 = 4;

/// A few sectors.
fn checkpoint(step: u64) -> Checkpoint {
    state::checkpoint(step, 60)
}

fn model_file(step: u64) -> ModelFile {
    ModelFile {
        config: config().model,
        classes: vec!["cat".into(), "dog".into()],
        preprocess: config().preprocess,
        weights: checkpoint(step).weights,
    }
}

fn row(step: u64) -> EpochRow {
    EpochRow {
        epoch: step,
        step,
        time_s: 0.0,
        train_loss: 1.0,
        val_loss: 1.0,
        top1_accuracy: 0.5,
        top5_accuracy: 0.5,
        lr: 0.01,
        images_per_s: 1.0,
        data_wait: 0.0,
    }
}

/// Saves as a run does at an epoch's end: lines, weights over the last ones, then a checkpoint of
/// its own name.
fn save(folder: &RunFolder, step: u64, kept: usize) -> Result<(), Box<dyn std::error::Error>> {
    let unsaved: Vec<_> = (1..=step).map(row).collect();
    folder.add_rows(&unsaved)?;
    model_file(step).save_on(folder.disk(), &folder.last())?;
    folder.kept().save(&checkpoint(step), kept)?;
    Ok(())
}

/// Saves in a row, those that succeed and how many calls were done when each of these returned.
fn saves(disk: &FakeDisk, kept: usize) -> Vec<(u64, usize)> {
    let Ok(folder) = RunFolder::create_on(Arc::new(disk.clone()), Path::new(RUN)) else {
        return Vec::new();
    };
    let done = (1..=SAVES).filter(|&step| save(&folder, step, kept).is_ok());
    done.map(|step| (step, disk.calls().len())).collect()
}

/// That what was saved last, or something newer, is found on a disk when the run is resumed.
fn judge(disk: &FakeDisk, saved: u64) -> Result<(), String> {
    let folder = RunFolder::create_on(Arc::new(disk.clone()), Path::new(RUN));
    let folder = folder.map_err(|error| error.to_string())?;
    let found = folder.kept().newest().map_err(|error| error.to_string())?;
    let step = found.as_ref().map_or(0, |found| found.progress.step);
    if step < saved || found.is_some_and(|found| found != checkpoint(step)) {
        return Err(format!("checkpoint {saved} was saved, {step} is found"));
    }
    let rows = folder.rows().map_err(|error| format!("results: {error}"))?;
    if rows.len() < step as usize || rows.iter().zip(1..).any(|(found, step)| found != &row(step)) {
        return Err(format!("results: {} lines for checkpoint {step}", rows.len()));
    }
    match ModelFile::load_from(disk, &folder.last()) {
        Ok(found) if (saved.max(1)..=SAVES).any(|step| found == model_file(step)) => Ok(()),
        Err(_) if saved == 0 => Ok(()),
        found => Err(format!("weights {saved} were saved, {:?} is found", found.err())),
    }
}

/// Cuts the power after each of the calls from `first` on and counts the disks that are then found,
/// or says what is wrong with one, be it about `what`.
fn cut_everywhere(
    calls: &[Call],
    done: &[(u64, usize)],
    first: usize,
    what: &str,
) -> Result<usize, String> {
    let mut disks = 0;
    for count in first..=calls.len() {
        let saved = done.iter().rev().find(|done| done.1 <= count).map_or(0, |done| done.0);
        power_cuts(&calls[..count], &mut |disk| {
            disks += 1;
            match judge(&disk, saved) {
                Err(fault) if fault.starts_with(what) => Err(format!(
                    "{fault}, after {count} calls, {:?} the last",
                    calls[..count].last()
                )),
                _ => Ok(()),
            }
        })?;
    }
    Ok(disks)
}

#[test]
fn a_power_cut_after_any_call_leaves_the_checkpoint_before_or_the_new_one() {
    for kept in [1, 2, 3] {
        let disk = FakeDisk::new(Careless::Not);
        let done = saves(&disk, kept);
        assert_eq!(done.len() as u64, SAVES);
        let disks = cut_everywhere(&disk.calls(), &done, 0, "").expect("nothing is lost");
        assert!(disks > 150, "only {disks} disks were looked at");
    }
}

#[test]
fn programs_that_are_careless_are_found_out() {
    use Careless::{NoFolderSync, NoSync, RenameBeforeSync, UnlinkFirst};
    const FILES: [&str; 3] = ["checkpoint", "weights", "results"];
    for (careless, noticed_by) in [
        (NoSync, &FILES[..]),
        (NoFolderSync, &FILES),
        // A checkpoint of its own name leaves the one before alone, which saves it.
        (RenameBeforeSync, &FILES[1..]),
        (UnlinkFirst, &FILES),
    ] {
        let disk = FakeDisk::new(careless);
        let done = saves(&disk, 1);
        assert_eq!(done.len() as u64, SAVES, "{careless:?} works while nothing happens");
        judge(&disk, SAVES).expect("and leaves what it should");
        for what in noticed_by {
            let found = cut_everywhere(&disk.calls(), &done, 0, what);
            assert!(found.is_err(), "{careless:?} was not noticed by its {what}");
        }
    }
}

/// A system that fails in all ways that systems fail. `Interrupted` is to be asked again.
const FAILURES: [Failure; 5] = [
    Failure::Kind(ErrorKind::Other), // EIO has no kind of its own.
    Failure::Kind(ErrorKind::StorageFull),
    Failure::Kind(ErrorKind::Interrupted),
    Failure::Kind(ErrorKind::PermissionDenied),
    Failure::HalfWritten,
];

#[test]
fn any_call_may_fail_and_the_power_be_cut_then() {
    let undisturbed = FakeDisk::new(Careless::Not);
    saves(&undisturbed, 2);
    for how in FAILURES {
        let mut failed = 0;
        for nth in 0..undisturbed.asked() {
            let disk = FakeDisk::new(Careless::Not);
            disk.fail(nth, false, how);
            let done = saves(&disk, 2);
            disk.recover();
            let case = format!("{how:?} at call {nth}");
            failed += usize::from(done.len() < SAVES as usize);
            let saved = done.last().map_or(0, |done| done.0);
            judge(&disk, saved).unwrap_or_else(|fault| panic!("{case}: {fault}"));
            // Up to there all is as in the run that nothing disturbed.
            let same = std::iter::zip(disk.calls(), undisturbed.calls());
            let first = same.take_while(|(a, b)| a == b).count();
            let cut = cut_everywhere(&disk.calls(), &done, first, "");
            cut.unwrap_or_else(|fault| panic!("{case}: {fault}"));
        }
        assert!(failed > 0, "{how:?} never failed a save");
    }
}

#[test]
fn a_disk_that_fails_from_any_call_on_keeps_what_it_had_and_takes_more_once_it_is_mended() {
    let undisturbed = FakeDisk::new(Careless::Not);
    saves(&undisturbed, 2);
    for nth in 0..undisturbed.asked() {
        let disk = FakeDisk::new(Careless::Not);
        disk.fail(nth, true, Failure::HalfWritten);
        let done = saves(&disk, 2);
        disk.recover();
        let saved = done.last().map_or(0, |done| done.0);
        judge(&disk, saved).unwrap_or_else(|fault| panic!("from call {nth} on: {fault}"));
        let done = saves(&disk, 2);
        assert_eq!(done.last().map(|done| done.0), Some(SAVES), "from call {nth} on");
        judge(&disk, SAVES).unwrap_or_else(|fault| panic!("from call {nth} on, mended: {fault}"));
    }
}

fn names(disk: &FakeDisk) -> Vec<String> {
    let paths = alexnet_data::FileSystem::list(disk, &checkpoints_folder()).expect("listed");
    let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.into_iter().map(name).collect()
}

fn checkpoints_folder() -> PathBuf {
    Path::new(RUN).join("checkpoints")
}

fn path_of(step: u64) -> PathBuf {
    checkpoints_folder().join(format!("step-{step:010}.checkpoint"))
}

#[test]
fn the_newest_so_many_are_kept() {
    for kept in [1, 2, 3, 9] {
        let disk = FakeDisk::new(Careless::Not);
        saves(&disk, kept);
        let expected = (SAVES - SAVES.min(kept as u64) + 1..=SAVES).map(path_of);
        let expected: Vec<_> = expected
            .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect();
        assert_eq!(names(&disk), expected, "{kept} kept");
    }
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken() {
    let disk = FakeDisk::new(Careless::Not);
    saves(&disk, 3);
    let checkpoints = Checkpoints::new(Arc::new(disk.clone()), checkpoints_folder());
    for damaged in [SAVES, SAVES - 1] {
        disk.damage(&path_of(damaged));
        let found = checkpoints.newest().expect("read").expect("the one before");
        assert_eq!(found, checkpoint(damaged - 1));
    }
    // The same step is saved and damaged again: neither takes the other's name.
    checkpoints.save(&checkpoint(SAVES), 3).expect("saved");
    disk.damage(&path_of(SAVES));
    assert_eq!(checkpoints.newest().expect("read").expect("one").progress.step, SAVES - 2);
    let [last, before, first] = [SAVES, SAVES - 1, SAVES - 2].map(path_of);
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let expected =
        [name(&first), name(&before) + ".bad", name(&last) + ".bad", name(&last) + ".bad2"];
    assert_eq!(names(&disk), expected);
}

#[test]
fn a_checkpoint_that_only_cannot_be_read_now_is_passed_over_and_not_set_aside() {
    let disk = FakeDisk::new(Careless::Not);
    saves(&disk, 3);
    let before = names(&disk);
    let checkpoints = Checkpoints::new(Arc::new(disk.clone()), checkpoints_folder());
    // The second call opens the newest, the third reads it.
    for call in [1, 2] {
        disk.fail(disk.asked() + call, false, Failure::Kind(ErrorKind::Other));
        let found = checkpoints.newest().expect("read").expect("the one before");
        disk.recover();
        assert_eq!((found.progress.step, names(&disk)), (SAVES - 1, before.clone()));
    }
    assert_eq!(checkpoints.newest().expect("read"), Some(checkpoint(SAVES)));
}

/// A disk that damages whatever gets the name of a checkpoint.
#[derive(Debug)]
struct Lying(FakeDisk);

impl alexnet_data::FileSystem for Lying {
    fn create_folder(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_folder(path)
    }
    fn create_unfinished(
        &self,
        folder: &Path,
    ) -> std::io::Result<(PathBuf, Box<dyn alexnet_data::NewFile>)> {
        self.0.create_unfinished(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)?;
        if to.extension().is_some_and(|extension| extension == "checkpoint") {
            self.0.damage(to);
        }
        Ok(())
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        self.0.sync_folder(folder)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.0.remove(path)
    }
    fn list(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        self.0.list(folder)
    }
    fn open(&self, path: &Path) -> std::io::Result<(Box<dyn std::io::Read>, u64)> {
        self.0.open(path)
    }
    fn free_bytes(&self, folder: &Path) -> std::io::Result<u64> {
        self.0.free_bytes(folder)
    }
}

#[test]
fn no_checkpoint_goes_before_a_newer_one_was_read_back() {
    let disk = FakeDisk::new(Careless::Not);
    saves(&disk, 1);
    let lying = Checkpoints::new(Arc::new(Lying(disk.clone())), checkpoints_folder());
    for step in SAVES + 1..SAVES + 4 {
        let error = lying.save(&checkpoint(step), 1).expect_err("noticed").to_string();
        assert!(error.contains("does not come back"), "{error}");
        assert!(names(&disk).contains(&format!("step-{step:010}.checkpoint.bad")));
    }
    let checkpoints = Checkpoints::new(Arc::new(disk), checkpoints_folder());
    assert_eq!(checkpoints.newest().expect("read"), Some(checkpoint(SAVES)));
}

#[test]
fn a_checkpoint_of_another_version_is_neither_passed_over_nor_set_aside() {
    #[derive(serde::Serialize)]
    struct Other {
        format: u32,
    }
    let disk = FakeDisk::new(Careless::Not);
    saves(&disk, 3);
    let nothing = std::iter::empty::<(String, &Array)>();
    let path = path_of(SAVES + 1);
    alexnet_weights::container::write(&disk, &path, nothing, &Other { format: 9 })
        .expect("written");
    let checkpoints = Checkpoints::new(Arc::new(disk.clone()), checkpoints_folder());
    let error = checkpoints.newest().expect_err("refused").to_string();
    assert!(error.contains("another version") && error.contains("format"), "{error}");
    assert!(disk.has(&path.display().to_string()));
}
