//! Pictures and charts, drawn.
//!
//! ```text
//! pictures, captions  --ContactSheet::draw, Gallery::draw-->  Picture  --to_png-->  bytes of a file
//! weights, shares     --Filters::draw, HeatMap::draw------->  Picture
//! series, bars        --LineChart::to_svg, BarChart::to_svg-->  text of a file
//! ```
//!
//! Nothing here knows where pictures come from or where they go.

#![forbid(unsafe_code)]

mod chart;
mod contact_sheet;
mod filters;
mod gallery;
mod heat_map;
mod legible;
mod picture;
mod text;

pub use chart::{BARS_NAMED_MAX, BarChart, LINES_MAX, LineChart, Mark, Scale, Series};
pub use contact_sheet::{ContactSheet, SHEET_PIXELS_MAX, SheetRow};
pub use filters::Filters;
pub use gallery::Gallery;
pub use heat_map::HeatMap;
pub use legible::legible;
pub use picture::Picture;
pub use text::label;

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
    /// The chart library refuses.
    #[error("cannot be drawn as SVG: {0}")]
    Svg(String),
}
