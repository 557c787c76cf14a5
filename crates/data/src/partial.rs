//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// Ends the names of files that are not whole.
const PARTIAL: &str = "partial";
/// Bytes gathered before they are handed to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file that is there whole or not at all, whatever happens meanwhile.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let mut file = Partial::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// A file on its way: under another name until it is whole and on the disk. Removed if it is given
/// up.
pub(crate) struct Partial {
    file: Option<BufWriter<File>>,
    partial: PathBuf,
    path: PathBuf,
    position: u64,
}

impl Partial {
    pub(crate) fn create(path: &Path) -> Result<Self, DataError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(PARTIAL);
        let partial = PathBuf::from(name);
        let file = File::create(&partial).map_err(DataError::io("write", &partial))?;
        let file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(Self { file, partial, path: path.to_path_buf(), position: 0 })
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).map_err(DataError::io("write", &self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// The path it will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were written.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Brings the bytes to the disk and gives the file its name.
    pub(crate) fn finish(mut self) -> Result<(), DataError> {
        let failed = DataError::io("write", &self.path);
        let Some(file) = self.file.take() else { return Ok(()) };
        let renamed = file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .and_then(|()| sync_folder(&self.path));
        if renamed.is_err() {
            let _ = fs::remove_file(&self.partial);
        }
        renamed.map_err(failed)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// A new name lasts only once its folder is on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
