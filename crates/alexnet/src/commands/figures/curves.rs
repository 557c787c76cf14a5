//! Charts of `results.csv`, of one run or of several.

use std::path::{Path, PathBuf};

use alexnet_figures::{LINES_MAX, LineChart, Scale, Series};
use alexnet_train::{EpochRow, RunFolder};
use anyhow::{Context, ensure};

use super::Figures;
use crate::measuring::top_k;
use crate::one_line;
use crate::terminal::note;

/// What runs did, epoch by epoch.
pub(super) struct Curves {
    /// By the run's name; of a single run it is left out.
    runs: Vec<(String, Vec<EpochRow>)>,
    /// Whether several were asked for, curves or not.
    is_of_several: bool,
}

/// One figure of an epoch.
type Value = fn(&EpochRow) -> f64;

impl Curves {
    /// The results of these runs; a run that has none is named on one line and left out.
    pub(super) fn of(folders: &[PathBuf]) -> Self {
        let mut runs = Vec::new();
        for (folder, name) in folders.iter().zip(names(folders)) {
            match epochs(folder) {
                Ok(rows) => runs.push((name, rows)),
                Err(error) => {
                    let run = if name.is_empty() { name } else { format!(" of {name}") };
                    note(&format!("alexnet: no curves{run}: {}", one_line(&error)));
                }
            }
        }
        Self { runs, is_of_several: folders.len() > 1 }
    }

    /// Draws them, if there are any. `classes` is how many the run has, if that is known.
    pub(super) fn draw(&self, figures: &mut Figures, classes: Option<usize>) -> anyhow::Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        if self.runs.len() > LINES_MAX {
            let (drawn, of) = (LINES_MAX, self.runs.len());
            note(&format!(
                "alexnet: curves of the first {drawn} of {of} runs: more cannot be told apart"
            ));
        }
        let loss = self.chart(
            ("Loss", "cross-entropy"),
            &[("training", |row| row.train_loss), ("validation", |row| row.val_loss)],
        );
        figures.write("loss.svg", loss.to_svg()?.as_bytes())?;
        let top = classes.map_or("top-5 (or all)".to_owned(), |it| format!("top-{}", top_k(it)));
        let accuracies: [(&str, Value); 2] =
            [("top-1", |row| row.top1_accuracy * 100.0), (&top, |row| row.top5_accuracy * 100.0)];
        // Of several runs, one curve each says more than two.
        let shown = if self.is_of_several { &accuracies[..1] } else { &accuracies };
        let accuracy = self.chart(("Validation accuracy", "%"), shown);
        figures.write("accuracy.svg", accuracy.to_svg()?.as_bytes())?;
        let rate = self.chart(("Learning rate", "learning rate"), &[("", |row| row.lr)]);
        let rate = LineChart { y_scale: Scale::Log, ..rate };
        figures.write("learning_rate.svg", rate.to_svg()?.as_bytes())
    }

    /// A chart of one or two figures of each run, by epoch. Figures of one run have a colour each;
    /// several runs have, and the first figure of two is faint.
    fn chart(&self, (title, unit): (&str, &str), values: &[(&str, Value)]) -> LineChart {
        let mut series = Vec::new();
        for (name, rows) in &self.runs {
            for (index, (kind, value)) in values.iter().enumerate() {
                let points = rows.iter().map(|row| (row.epoch as f64, value(row))).collect();
                let name = if self.is_of_several { name.as_str() } else { kind };
                let is_faint = self.is_of_several && index + 1 < values.len();
                series.push(Series { name: name.to_owned(), points, is_faint });
            }
        }
        let strengths = match values {
            [faint, strong] if self.is_of_several => Some([strong, faint].map(|it| it.0.into())),
            _ => None,
        };
        LineChart {
            title: title.into(),
            x_label: "epoch".into(),
            y_label: unit.into(),
            series,
            strengths,
            ..LineChart::default()
        }
    }
}

/// The epochs of a run, of which there is at least one.
fn epochs(folder: &Path) -> anyhow::Result<Vec<EpochRow>> {
    let run = RunFolder::at(folder);
    let place = run.results();
    let rows = run.rows().with_context(|| format!("cannot read {}", place.display()))?;
    ensure!(!rows.is_empty(), "{} holds no epoch", place.display());
    Ok(rows)
}

/// The names of runs in a legend: those of their folders, or whole paths if two are alike.
fn names(folders: &[PathBuf]) -> Vec<String> {
    if folders.len() == 1 {
        return vec![String::new()];
    }
    let short = |path: &PathBuf| path.file_name().map(|name| name.display().to_string());
    let mut names: Vec<_> = folders.iter().filter_map(short).collect();
    names.sort();
    names.dedup();
    let whole = |path: &PathBuf| path.display().to_string();
    let distinct = names.len() == folders.len();
    folders
        .iter()
        .map(|path| short(path).filter(|_| distinct).unwrap_or_else(|| whole(path)))
        .collect()
}
