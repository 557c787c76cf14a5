//! One file a command.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod figures;
pub(crate) mod info;
pub(crate) mod lab;
pub(crate) mod pack;
pub(crate) mod predict;
pub(crate) mod prepare;
pub(crate) mod preview;
pub(crate) mod sample;
pub(crate) mod statistics;
pub(crate) mod summary;
pub(crate) mod train;

use std::ops::Range;
use std::path::Path;

use alexnet_data::{PassedOver, quoted};
use alexnet_figures::legible;
use alexnet_network::ModelConfig;
use alexnet_ops::Device;
use alexnet_predict::{Predictor, inference_plan};
use alexnet_weights::ModelFile;
use alexnet_weights::formats::{self, Known};
use comfy_table::CellAlignment::Right;
use serde::Serialize;

use crate::machine::check_room;
use crate::terminal::{hand_over_json, note, print};

/// Reads weights of any form, and says what was taken for what where the file does not.
pub(crate) fn open_weights(path: &Path, known: &Known) -> anyhow::Result<ModelFile> {
    let opened = formats::open(path, known)?;
    opened.taken.iter().for_each(|line| note(line));
    Ok(opened.file)
}

/// The network in a weights file of any form, for up to `batch` images at a time, and what it is.
fn open_predictor<D: Device>(
    device: D,
    path: &Path,
    batch: usize,
) -> anyhow::Result<(ModelConfig, Predictor<D>)> {
    let file = open_weights(path, &Known::default())?;
    let plan = inference_plan(path, &file, batch)?;
    check_room(&device, &plan, 0, &path.display().to_string(), &["--batch-size"])?;
    Ok((file.config, Predictor::new(device, path, file, plan)?))
}

/// What of a data set is not read though it was perhaps meant to be, if anything.
fn passed_over(files: &PassedOver, data: &Path) -> Option<String> {
    let line = || format!("{files}; alexnet data check {} names all", quoted(data));
    (!files.is_empty()).then(line)
}

/// Prints a result as JSON to standard output.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    hand_over_json(value)
}

/// A table without frames, as the commands print them.
fn table(header: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    Table(table)
}

/// A table for a person. Names in it are shown on one line, as [`legible`] has them.
struct Table(comfy_table::Table);

impl Table {
    fn add_row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.0.add_row(cells.into_iter().map(|cell| legible(cell.as_ref()).into_owned()));
    }

    /// Figures stand below each other.
    fn align_right(&mut self, columns: Range<usize>) {
        for index in columns {
            self.0.column_mut(index).into_iter().for_each(|column| {
                column.set_cell_alignment(Right);
            });
        }
    }
}

/// Prints a table to standard output, without spaces at line ends.
fn print_table(table: &Table) -> anyhow::Result<()> {
    let text = table.0.trim_fmt();
    text.lines().try_for_each(|line| print(line.strip_prefix(' ').unwrap_or(line)))
}

/// 62378344 as `62,378,344`.
fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for (index, digit) in digits[first..].chars().enumerate() {
        if index % 3 == 0 && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (62_378_344, "62,378,344")];
        for (number, expected) in cases {
            assert_eq!(super::with_commas(number), expected);
        }
    }
}
