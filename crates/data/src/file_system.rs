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
    /// Where what is written for `path` goes. On a disk without links and devices it is the path.
    ///
    /// # Errors
    /// When a folder is there, or the system refuses.
    fn place(&self, path: &Path) -> io::Result<Place> {
        Ok(Place::File(path.to_path_buf()))
    }
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

/// Where what is written for a path goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, there or not, that is replaced whole: the path's, or the one its links lead to.
    File(PathBuf),
    /// A device, a pipe or a socket, or the file that standard output or error already goes to:
    /// nothing replaces it, it is written to.
    Stream,
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
        // As readable as anything the user makes; an error that names no path of ours.
        let create = |path: &Path| File::options().write(true).create_new(true).open(path);
        let file = builder.prefix(UNFINISHED_PREFIX).make_in(folder, create)?;
        let (file, path) = file.keep().map_err(|error| error.error)?;
        Ok((path, Box::new(file)))
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() || own_stream(&found).is_some() => Ok(Place::Stream),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                Err(io::ErrorKind::NotADirectory.into())
            }
            _ => Ok(Place::File(end_of_links(path))),
        }
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

/// Most links that are followed, as on Linux.
const LINKS_MAX: usize = 40;

/// Where a file is, or would be, that is opened by this path.
fn end_of_links(path: &Path) -> PathBuf {
    let mut end = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&end) else { break };
        end = folder_of(&end).join(next);
    }
    end
}

/// The folder that a path lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A device, a pipe or a socket, to be written to.
pub(crate) fn open_stream(path: &Path) -> io::Result<File> {
    match own_stream(&fs::metadata(path)?) {
        Some(stream) => Ok(stream),
        None => File::options().write(true).open(path),
    }
}

/// Standard output or standard error, if that is what was found: opened anew, a file would be
/// written from its beginning, over what was printed.
#[cfg(unix)]
fn own_stream(found: &fs::Metadata) -> Option<File> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let (out, error) = (io::stdout(), io::stderr());
    [out.as_fd(), error.as_fd()].into_iter().find_map(|stream| {
        let stream = File::from(stream.try_clone_to_owned().ok()?);
        let own = stream.metadata().ok()?;
        ((own.dev(), own.ino()) == (found.dev(), found.ino())).then_some(stream)
    })
}

#[cfg(not(unix))]
fn own_stream(_: &fs::Metadata) -> Option<File> {
    None
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
