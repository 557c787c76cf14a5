//! The folder of a run, in which one process at a time trains.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use alexnet_data::{Disk, FileSystem, create_folders_on, is_unfinished, quoted, write_beside};
use alexnet_train::RunFolder;
use anyhow::{Context, bail, ensure};

use crate::flags::TrainFlags;
use crate::machine::Environment;
use crate::settings::Settings;

const DEFAULT_PROJECT: &str = "runs/train";
/// Every setting of the run.
pub(crate) const SETTINGS: &str = "args.toml";
/// What the machine was.
const ENVIRONMENT: &str = "env.json";
const LOCK: &str = ".lock";

/// A run's folder, held against other processes for as long as this is there.
pub(crate) struct Claim {
    folder: PathBuf,
    /// The system lets go of it with this process, however that ends.
    #[expect(dead_code, reason = "an open file is what holds")]
    lock: File,
    /// Made by this process, for a run that has nothing to keep yet.
    fresh: bool,
}

impl Claim {
    /// The folder of a new run, made here: the one that was named, or the next that is free. Its
    /// settings are in it at once, so that a run which is killed from here on can be resumed. Unless
    /// [`Claim::keep`] is called, the folder goes when this is dropped.
    ///
    /// # Errors
    /// When the named folder is there already, or the system refuses.
    pub(crate) fn new(flags: &TrainFlags, settings: &str, device: String) -> anyhow::Result<Self> {
        let environment = serde_json::to_string_pretty(&Environment::of(device))? + "\n";
        let (folder, lock) = new_folder(flags)?;
        let claim = Self { folder, lock, fresh: true };
        claim.run_folder()?;
        claim.write(ENVIRONMENT, &environment)?;
        claim.write(SETTINGS, settings)?;
        Ok(claim)
    }

    /// The folder of a run that is resumed.
    ///
    /// # Errors
    /// When another process trains in it, or the system refuses.
    pub(crate) fn resumed(run: &Path) -> anyhow::Result<Self> {
        match hold(run).with_context(|| cannot_write(run))? {
            Hold::Held(lock) | Hold::NoLocks(lock) => {
                Ok(Self { folder: run.to_path_buf(), lock, fresh: false })
            }
            Hold::Refused => bail!(
                "{} is being trained by another process: wait for it or end it, or train under \
                 another --name",
                run.display()
            ),
        }
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folders in it, made where they are not there.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn run_folder(&self) -> anyhow::Result<RunFolder> {
        RunFolder::create(&self.folder).with_context(|| cannot_write(&self.folder))
    }

    /// From now on there is something to keep.
    pub(crate) fn keep(&mut self) {
        self.fresh = false;
    }

    /// What the run was told last is what it goes on with: its settings are written anew, whole or
    /// not at all, if they are others.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn tell(&self, settings: &str) -> anyhow::Result<()> {
        let table = |text: &str| toml::from_str::<toml::Table>(text).ok();
        let known = fs::read_to_string(self.folder.join(SETTINGS)).unwrap_or_default();
        if table(&known) == table(settings) { Ok(()) } else { self.write(SETTINGS, settings) }
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let written = write_beside(&self.folder.join(name), |file| file.write_all(text.as_bytes()));
        written.with_context(|| cannot_write(&self.folder))
    }
}

impl Drop for Claim {
    /// A run that failed before it had anything to keep leaves nothing in the way of the next.
    fn drop(&mut self) {
        if self.fresh
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!("cannot delete {}: {error}", self.folder.display());
        }
    }
}

/// `args.toml`, with full paths, so that a run resumes from any folder.
pub(crate) fn settings_text(settings: &Settings) -> anyhow::Result<String> {
    let data = full(&settings.data)?;
    let weights = settings.weights.as_deref().map(full).transpose()?;
    let text = toml::to_string(&Settings { data, weights, ..settings.clone() });
    let text = text.context("the settings cannot be written down")?;
    Ok(format!("# Every setting of this run. To repeat it: alexnet train -c {SETTINGS}\n{text}"))
}

/// A path that holds in any folder. What is not there (any more) is named as it was.
fn full(path: &Path) -> anyhow::Result<PathBuf> {
    let full = path.canonicalize().or_else(|_| std::path::absolute(path));
    let full = full.with_context(|| format!("cannot tell where {} is", path.display()))?;
    // The settings are text, and a path in them has to lead back.
    ensure!(full.to_str().is_some(), "{} is not valid UTF-8: rename it", full.display());
    Ok(full)
}

fn cannot_write(folder: &Path) -> String {
    format!("cannot write to {}", folder.display())
}

/// Makes the folder that was named, or else the next that is free, or takes what a run left there that
/// was killed while it began; and holds it. Of two processes that want the same one, the system gives it
/// to one.
fn new_folder(flags: &TrainFlags) -> anyhow::Result<(PathBuf, File)> {
    let project = flags.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.into());
    let names: Box<dyn Iterator<Item = String>> = match &flags.name {
        Some(name) => Box::new(std::iter::once(name.clone())),
        None => Box::new((1..).map(|n: u64| format!("exp{n}"))),
    };
    // What is gone by now, or another user's beside which there are other names.
    let is_passed_by = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => true,
        io::ErrorKind::PermissionDenied => flags.name.is_none(),
        _ => false,
    };
    let mut taken = project.clone();
    for folder in names.map(|name| project.join(name)) {
        let made = create_folders_on(&Disk, &project).and_then(|()| Disk.create_folder(&folder));
        let is_there = match made.and_then(|()| Disk.sync_folder(&project)) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
            Err(error) => return Err(error).with_context(|| cannot_write(&folder)),
        };
        match take(&folder, is_there) {
            Ok(Some(lock)) => return Ok((folder, lock)),
            Err(error) if !is_passed_by(&error) => {
                return Err(error).with_context(|| format!("cannot begin in {}", folder.display()));
            }
            _ => taken = folder,
        }
    }
    let way_out = match taken.join(SETTINGS).is_file() {
        true => format!("continue that run with --resume {}", quoted(&taken)),
        false if is_left_over(&taken).unwrap_or(false) => {
            "wait for the run that another process begins there".into()
        }
        false => "delete it, for it holds no run".to_owned(),
    };
    bail!("{} exists: choose another --name, or {way_out}", taken.display())
}

/// Holds a folder that was made here, or that `is_there` and is left over; `None` if it is another's: a
/// process was faster, or may be about to begin there.
fn take(folder: &Path, is_there: bool) -> io::Result<Option<File>> {
    if is_there && !is_left_over(folder)? {
        return Ok(None);
    }
    Ok(match hold(folder)? {
        Hold::Held(lock) => is_left_over(folder)?.then_some(lock),
        Hold::NoLocks(lock) => (!is_there).then_some(lock),
        Hold::Refused => None,
    })
}

/// Whether it is a folder in which nothing is but what a run makes there before its settings.
fn is_left_over(folder: &Path) -> io::Result<bool> {
    let run = RunFolder::at(folder);
    let is_beginning = |entry: &fs::DirEntry| -> io::Result<bool> {
        let (name, path) = (entry.file_name(), entry.path());
        let is_own = |known: &PathBuf| known.file_name() == Some(&*name);
        match path.is_dir() {
            true => Ok([run.weights(), run.checkpoints()].iter().any(is_own)
                && fs::read_dir(path)?.next().is_none()),
            false => Ok([LOCK, ENVIRONMENT].iter().any(|it| name == *it) || is_unfinished(&name)),
        }
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if !is_beginning(&entry?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What comes of holding a folder.
enum Hold {
    /// Other processes are kept from training in it while the file is open.
    Held(File),
    /// Some network file systems have no locks: there nobody is kept out.
    NoLocks(File),
    /// Another process holds it.
    Refused,
}

fn hold(folder: &Path) -> io::Result<Hold> {
    let file = OpenOptions::new().create(true).append(true).open(folder.join(LOCK))?;
    Ok(match file.try_lock() {
        Ok(()) => Hold::Held(file),
        Err(TryLockError::Error(_)) => Hold::NoLocks(file),
        Err(TryLockError::WouldBlock) => Hold::Refused,
    })
}
