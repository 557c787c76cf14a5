//! Pictures and charts, drawn.
//!
//! ```text
//! pictures, captions  --ContactSheet::draw-->  Picture  --to_png-->  bytes of a file
//! ```
//!
//! Nothing here knows where pictures come from or where they go.

#![forbid(unsafe_code)]

mod contact_sheet;
mod picture;
mod text;

pub use contact_sheet::{ContactSheet, SHEET_PIXELS_MAX, SheetRow};
pub use picture::Picture;

/// Why something could not be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FigureError {
    /// More than memory should be asked for.
    #[error(
        "the sheet would have {width} x {height} pixels, the limit is {SHEET_PIXELS_MAX} in all: \
         ask for fewer or smaller pictures"
    )]
    TooLarge {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The encoder refuses.
    #[error("cannot be written as PNG: {0}")]
    Png(String),
}
