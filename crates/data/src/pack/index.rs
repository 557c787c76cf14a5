//! The index of a shard: where each image lies in the tar.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::text::read_text;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The tar's name for it.
    pub(crate) name: String,
    /// Position of its first byte in the tar; of bare pixels, of the first pixel.
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Pixels in a row and rows of bare pixels; 0 of files.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) label: u32,
    /// Of the `len` bytes.
    pub(crate) crc32: u32,
    /// What it was packed from.
    pub(crate) path: String,
}

/// The rows as the text of a file.
pub(super) fn to_csv(rows: &[Row]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// Reads the index at `path` and its CRC-32.
pub(crate) fn read_index(path: &Path) -> Result<(Vec<Row>, u32), DataError> {
    let text = read_text(path)?;
    let rows: Result<Vec<Row>, csv::Error> =
        csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
    let rows = rows.map_err(|error| {
        let line = error.position().map_or(1, csv::Position::line);
        let reason = "it is not a row of a packed set's index: pack it anew".into();
        DataError::Malformed { path: path.to_path_buf(), place: format!("line {line}"), reason }
    })?;
    Ok((rows, crc32fast::hash(text.as_bytes())))
}
