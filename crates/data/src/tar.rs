//! The members of a tar file: where each lies, without reading what it holds.
//!
//! ```text
//! header, 512 bytes | contents, padded to 512 | header | ... | 512 zeros | 512 zeros | zeros
//! ```
//!
//! The `tar` crate reads the headers, long names of GNU and PAX among them. What it would take for
//! the end, a file that stops between two members or a hole of zeros that a broken download left,
//! is told from a real end here: a list of members is whole or an error.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::DataError;

/// Longest header with its long name and attributes, in bytes.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Most zeros behind the last member, in bytes: GNU tar pads to 10 KiB unless told otherwise.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// A regular file in a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its path, without a leading `./`.
    pub(crate) name: String,
    /// Position of its first byte in the file that was opened, the outermost.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// The regular files of the tar file at `path`, in its order. Folders, links, devices and sparse
/// files are passed over.
///
/// # Errors
/// [`DataError::Io`] if it cannot be read, [`DataError::Cut`] or [`DataError::Malformed`] if it is
/// not whole, is no tar, or has a name that is no text.
pub(crate) fn members(path: &Path) -> Result<Vec<Member>, DataError> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let len = file.metadata().map_err(DataError::io("read", path))?.len();
    index(Window::new(file, 0, len), path)
}

/// The members of a tar file that is itself a member of the one at `path`.
///
/// # Errors
/// As [`members`]; they name both.
pub(crate) fn inner_members(path: &Path, inner: &Member) -> Result<Vec<Member>, DataError> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    index(Window::new(file, inner.start, inner.len), &path.join(&inner.name))
}

/// The members of a tar file that was unpacked from the one at `path`.
///
/// # Errors
/// As [`members`].
pub(crate) fn unpacked_members(path: &Path, bytes: &[u8]) -> Result<Vec<Member>, DataError> {
    index(Window::new(Cursor::new(bytes), 0, bytes.len() as u64), path)
}

/// Why a list of members cannot be had.
enum Fault {
    /// The crate or the system gave up.
    Unreadable(io::Error),
    /// A member of this name should end at this byte.
    Cut(String, u64),
    /// The name of the member whose header is here is no text.
    Name(u64),
}

/// Lists what `window` holds; `shown` is what messages call it.
fn index<R: Read + Seek>(window: Window<R>, shown: &Path) -> Result<Vec<Member>, DataError> {
    let (start, len) = (window.start, window.len);
    let mut archive = tar::Archive::new(window);
    let found = regular_files(&mut archive, start, len);
    let mut window = archive.into_inner();
    let malformed = |at: u64, reason: &str| DataError::Malformed {
        path: shown.to_path_buf(),
        place: format!("byte {}", start + at),
        reason: reason.to_owned(),
    };
    let found = match found {
        Ok(_) | Err(Fault::Unreadable(_)) if window.ended => {
            let reason =
                "it ends here, before the zeros that close a tar: it is not whole, restore it";
            return Err(malformed(len, reason));
        }
        Err(Fault::Unreadable(reason)) if reason.raw_os_error().is_some() => {
            return Err(DataError::io("read", shown)(reason));
        }
        Err(Fault::Unreadable(_)) => {
            let reason = "no tar member starts here: it is damaged or no tar, restore it";
            return Err(malformed(window.header, reason));
        }
        Err(Fault::Cut(name, end)) => {
            return Err(DataError::Cut { path: shown.to_path_buf(), name, end: start + end });
        }
        Err(Fault::Name(at)) => {
            return Err(malformed(at, "a name that is not plain UTF-8 text: pack it anew"));
        }
        Ok(found) => found,
    };
    match window.rest_is_zeros().map_err(DataError::io("read", shown))? {
        true => Ok(found),
        false => {
            let reason = "more follows the zeros that close a tar: it has a hole or is several in \
                          one, restore it or take them apart";
            Err(malformed(window.header, reason))
        }
    }
}

fn regular_files<R: Read + Seek>(
    archive: &mut tar::Archive<Window<R>>,
    start: u64,
    len: u64,
) -> Result<Vec<Member>, Fault> {
    let mut found = Vec::new();
    for entry in archive.entries_with_seek().map_err(Fault::Unreadable)? {
        let entry = entry.map_err(Fault::Unreadable)?;
        let name = entry.path_bytes();
        let kind = entry.header().entry_type();
        // Before POSIX a folder was a file whose name ends so.
        if !(kind.is_file() || kind.is_contiguous()) || name.ends_with(b"/") {
            continue;
        }
        let plain = str::from_utf8(&name).ok().filter(|name| !name.contains(char::is_control));
        let name = plain.ok_or_else(|| Fault::Name(entry.raw_header_position()))?;
        let name = name.trim_start_matches("./").to_owned();
        let (at, size) = (entry.raw_file_position(), entry.size());
        match at.checked_add(size) {
            Some(end) if end <= len => found.push(Member { name, start: start + at, len: size }),
            end => return Err(Fault::Cut(name, end.unwrap_or(u64::MAX - start))),
        }
    }
    Ok(found)
}

/// The part of a file in which a tar lies. It lends a header at most [`HEADER_BYTES_MAX`], and
/// remembers where that began and whether the end was met.
struct Window<R> {
    file: R,
    start: u64,
    len: u64,
    /// Where the next byte comes from, counted from `start`, as all below.
    at: u64,
    /// Where the header being read began.
    header: u64,
    /// A byte was wanted behind the last.
    ended: bool,
}

impl<R: Read + Seek> Window<R> {
    fn new(file: R, start: u64, len: u64) -> Self {
        Self { file, start, len, at: 0, header: 0, ended: false }
    }

    /// Whether nothing but the padding of a tar is left.
    fn rest_is_zeros(&mut self) -> io::Result<bool> {
        let left = self.len - self.at;
        if left > TAIL_BYTES_MAX {
            return Ok(false);
        }
        let mut rest = vec![0; left as usize];
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        self.file.read_exact(&mut rest)?;
        Ok(rest.iter().all(|&byte| byte == 0))
    }
}

impl<R: Read + Seek> Read for Window<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let lent = (self.header + HEADER_BYTES_MAX).saturating_sub(self.at);
        if lent == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let wanted = (out.len() as u64).min(lent).min(self.len - self.at) as usize;
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let got = self.file.read(&mut out[..wanted])?;
        self.ended |= got == 0 && !out.is_empty();
        self.at += got as u64;
        Ok(got)
    }
}

/// The crate seeks forward to each header, and for nothing else.
impl<R: Read + Seek> Seek for Window<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(by) = to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        match self.at.checked_add_signed(by) {
            Some(at) if at <= self.len => {
                (self.at, self.header) = (at, at);
                Ok(at)
            }
            _ => {
                self.ended = true;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}
