//! Text files: lists, tables, indices.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::DataError;

/// Longest text file read, in bytes: ten million images with long names.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// A text file within the limit.
///
/// # Errors
/// One that cannot be read, is longer, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    let malformed = |place: String, reason: String| DataError::Malformed {
        path: path.to_path_buf(),
        place,
        reason,
    };
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let reason = "it is longer, which is the limit for a text file: split the set";
        return Err(malformed(format!("byte {TEXT_BYTES_MAX}"), reason.into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        malformed(format!("byte {at}"), "it is not UTF-8 text".into())
    })
}
