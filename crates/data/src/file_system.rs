//! What whole files ask of the system, as a trait: tests put a disk in its place that fails, tears
//! and forgets.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// How the names of files begin that are still being written.
pub(crate) const UNFINISHED_PREFIX: &str = ".writing-";

/// The calls by which files of value are written, read back, kept and cleared away. Each is one of
/// the system's, and fails as that fails.
pub trait FileSystem: Debug + Send + Sync {
    /// Makes a folder whose parent is there.
    ///
    /// # Errors
    /// When the system refuses, or something of that name is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes an empty file in `folder`, of a free name that says that it is unfinished.
    ///
    /// # Errors
    /// When the system refuses.
    fn create_unfinished(&self, folder: &Path) -> io::Result<(PathBuf, Box<dyn NewFile>)>;
    /// Gives a file or folder another name, that of another file too, in one step.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes what was created, renamed and removed in a folder last through a power cut.
    ///
    /// # Errors
    /// When the system refuses.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file, or a folder with all in it.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// What is in a folder, in any order.
    ///
    /// # Errors
    /// When the system refuses.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// A file to be read, and how long the system says it is.
    ///
    /// # Errors
    /// When the system refuses.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)>;
    /// Bytes that may still be written where `folder` is.
    ///
    /// # Errors
    /// When the system does not tell.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// A file that is being written.
pub trait NewFile: Write {
    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// When the system refuses.
    fn sync(&mut self) -> io::Result<()>;
}

/// The system's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create_unfinished(&self, folder: &Path) -> io::Result<(PathBuf, Box<dyn NewFile>)> {
        let mut builder = tempfile::Builder::new();
        let file = as_usual(builder.prefix(UNFINISHED_PREFIX), 0o666).tempfile_in(folder)?;
        let (file, path) = file.keep().map_err(|error| error.error)?;
        Ok((path, Box::new(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path)?.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((Box::new(file), len))
    }

    #[cfg(unix)]
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    #[cfg(not(unix))]
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl NewFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// As readable as anything the user makes (what is temporary is private unless told).
#[cfg(unix)]
pub(crate) fn as_usual<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
    mode: u32,
) -> &'c mut tempfile::Builder<'a, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode)) // less the user's umask
}

#[cfg(not(unix))]
pub(crate) fn as_usual<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
    _: u32,
) -> &'c mut tempfile::Builder<'a, 'b> {
    builder
}
