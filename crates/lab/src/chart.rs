//! Curves as experiments draw them.

use alexnet_figures::{FigureError, LineChart, Mark, Scale, Series};

use crate::finding::Drawing;
use crate::training::Run;

/// A chart of lines as the file `name`.svg.
pub(crate) fn lines(
    name: &str,
    title: &str,
    x: &str,
    y: &str,
    series: Vec<Series>,
) -> Result<Drawing, FigureError> {
    drawn(name, &chart(title, x, y, series))
}

/// The same with a dashed line at a value that is to be reached.
pub(crate) fn lines_to_goal(
    name: &str,
    title: &str,
    x: &str,
    y: &str,
    series: Vec<Series>,
    goal: (&str, f64),
) -> Result<Drawing, FigureError> {
    let marks = vec![Mark { name: goal.0.to_owned(), value: goal.1 }];
    drawn(name, &LineChart { marks, ..chart(title, x, y, series) })
}

/// The same with powers of ten upwards.
pub(crate) fn logarithmic_lines(
    name: &str,
    title: &str,
    x: &str,
    y: &str,
    series: Vec<Series>,
) -> Result<Drawing, FigureError> {
    drawn(name, &LineChart { y_scale: Scale::Log, ..chart(title, x, y, series) })
}

fn chart(title: &str, x: &str, y: &str, series: Vec<Series>) -> LineChart {
    let (title, x_label, y_label) = (title.to_owned(), x.to_owned(), y.to_owned());
    LineChart { title, x_label, y_label, series, ..LineChart::default() }
}

fn drawn(name: &str, chart: &LineChart) -> Result<Drawing, FigureError> {
    Ok(Drawing { name: format!("{name}.svg"), bytes: chart.to_svg()?.into_bytes() })
}

/// One line.
pub(crate) fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), points, is_faint: false }
}

/// The mean over runs of a figure of each epoch, in per cent, as far as all runs went.
pub(crate) fn mean_curve(
    name: impl Into<String>,
    runs: &[Run],
    of: impl Fn(&crate::training::Epoch) -> f64,
) -> Series {
    let epochs = runs.iter().map(|run| run.epochs.len()).min().unwrap_or(0);
    let mean = |epoch: usize| {
        let sum: f64 = runs.iter().map(|run| of(&run.epochs[epoch])).sum();
        (epoch as f64 + 1.0, 100.0 * sum / runs.len() as f64)
    };
    line(name, (0..epochs).map(mean).collect())
}
