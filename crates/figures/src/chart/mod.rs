//! Charts, as SVG. Each brings its own white ground, so that it reads the same on a dark page, and
//! colours that colour-blind eyes tell apart.

mod axis;
mod bars;
mod lines;
mod paper;

pub use bars::{BARS_NAMED_MAX, BarChart};
pub use lines::{LINES_MAX, LineChart, Series};

/// How values stand along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps are equally long.
    #[default]
    Linear,
    /// Equal factors are equally long; what is not above zero has no place.
    Log,
}

/// A value to compare with, drawn as a dashed line across the chart: a published figure, chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Stands at the line.
    pub name: String,
    /// Where, on the axis of values.
    pub value: f64,
}
