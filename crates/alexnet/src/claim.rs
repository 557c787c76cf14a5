//! The folder of a run, in which one process at a time trains.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use alexnet_data::{Disk, FileSystem, create_folders_on, quoted, write_beside};
use alexnet_train::RunFolder;
use anyhow::{Context, bail};

use crate::flags::TrainFlags;
use crate::machine::Environment;
use crate::settings::Settings;

const DEFAULT_PROJECT: &str = "runs/train";
/// Every setting of the run.
pub(crate) const SETTINGS: &str = "args.toml";

/// A run's folder, held against other processes for as long as this is there.
pub(crate) struct Claim {
    folder: PathBuf,
    /// The system lets go of it with this process, however that ends.
    lock: Option<File>,
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
        let mut claim = Self { folder: new_folder(flags)?, lock: None, fresh: true };
        claim.lock = Some(hold(&claim.folder)?);
        claim.run_folder()?;
        claim.write("env.json", &environment)?;
        claim.write(SETTINGS, settings)?;
        Ok(claim)
    }

    /// The folder of a run that is resumed.
    ///
    /// # Errors
    /// When another process trains in it, or the system refuses.
    pub(crate) fn resumed(run: &Path) -> anyhow::Result<Self> {
        Ok(Self { folder: run.to_path_buf(), lock: Some(hold(run)?), fresh: false })
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
    full.with_context(|| format!("cannot tell where {} is", path.display()))
}

fn cannot_write(folder: &Path) -> String {
    format!("cannot write to {}", folder.display())
}

/// Makes the folder that was named, or else the next that is free. Of two processes that want the
/// same one, the system gives it to one.
fn new_folder(flags: &TrainFlags) -> anyhow::Result<PathBuf> {
    let project = flags.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.into());
    let names: Box<dyn Iterator<Item = String>> = match &flags.name {
        Some(name) => Box::new(std::iter::once(name.clone())),
        None => Box::new((1..).map(|n: u64| format!("exp{n}"))),
    };
    let mut taken = project.clone();
    for folder in names.map(|name| project.join(name)) {
        let made = create_folders_on(&Disk, &project).and_then(|()| Disk.create_folder(&folder));
        match made.and_then(|()| Disk.sync_folder(&project)) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = folder,
            Err(error) => return Err(error).with_context(|| cannot_write(&folder)),
        }
    }
    let way_out = match taken.join(SETTINGS).is_file() {
        true => format!("continue that run with --resume {}", quoted(&taken)),
        false => "delete it, for it holds no run".to_owned(),
    };
    bail!("{} exists: choose another --name, or {way_out}", taken.display())
}

/// Keeps other processes from training in `folder` while the file is open.
fn hold(folder: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(folder.join(".lock"));
    let file = file.with_context(|| cannot_write(folder))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!(
            "{} is being trained by another process: wait for it or end it, or train under another \
             --name",
            folder.display()
        ),
        // Some network file systems have no locks: there nobody is kept out.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
