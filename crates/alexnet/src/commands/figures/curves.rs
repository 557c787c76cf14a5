//! Charts of `results.csv`, of one run or of several.

use std::path::PathBuf;

use alexnet_figures::{LineChart, Scale, Series};
use alexnet_train::{EpochRow, RunFolder};
use anyhow::{Context, ensure};

use super::Figures;

/// What runs did, epoch by epoch.
pub(super) struct Curves {
    /// By the run's name; of a single run it is left out.
    runs: Vec<(String, Vec<EpochRow>)>,
}

/// One figure of an epoch.
type Value = fn(&EpochRow) -> f64;

impl Curves {
    /// The results of these runs.
    pub(super) fn of(folders: &[PathBuf]) -> anyhow::Result<Self> {
        let names = names(folders);
        let mut runs = Vec::new();
        for (folder, name) in folders.iter().zip(names) {
            let place = RunFolder::at(folder).results();
            let rows = RunFolder::at(folder).rows();
            let rows = rows.with_context(|| format!("cannot read {}", place.display()))?;
            ensure!(!rows.is_empty(), "{} holds no epoch", place.display());
            runs.push((name, rows));
        }
        Ok(Self { runs })
    }

    pub(super) fn draw(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let loss = self.chart(
            ("Loss", "cross-entropy"),
            &[("training", |row| row.train_loss), ("validation", |row| row.val_loss)],
        );
        figures.write("loss.svg", loss.to_svg()?.as_bytes())?;
        let accuracies: [(&str, Value); 2] = [
            ("top-1", |row| row.top1_accuracy * 100.0),
            ("top-5", |row| row.top5_accuracy * 100.0),
        ];
        // Of several runs, one curve each says more than two.
        let shown = if self.runs.len() > 1 { &accuracies[..1] } else { &accuracies };
        let accuracy = self.chart(("Validation accuracy", "%"), shown);
        figures.write("accuracy.svg", accuracy.to_svg()?.as_bytes())?;
        let rate = self.chart(("Learning rate", "learning rate"), &[("", |row| row.lr)]);
        let rate = LineChart { y_scale: Scale::Log, ..rate };
        figures.write("learning_rate.svg", rate.to_svg()?.as_bytes())
    }

    /// A chart of some figures of each run, by epoch.
    fn chart(&self, (title, unit): (&str, &str), values: &[(&str, Value)]) -> LineChart {
        let mut series = Vec::new();
        for (name, rows) in &self.runs {
            for (kind, value) in values {
                let points = rows.iter().map(|row| (row.epoch as f64, value(row)));
                let kind = if self.runs.len() > 1 && values.len() == 1 { "" } else { kind };
                let name = format!("{name} {kind}").trim().to_owned();
                series.push(Series { name, points: points.collect() });
            }
        }
        LineChart {
            title: title.into(),
            x_label: "epoch".into(),
            y_label: unit.into(),
            series,
            ..LineChart::default()
        }
    }
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
