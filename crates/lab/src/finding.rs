//! What an experiment found: figures beside the published ones, and drawings.

use serde::{Serialize, Serializer};

use crate::experiment::Experiment;
use crate::statistics::Estimate;

/// The result of one experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which.
    pub experiment: Experiment,
    /// Data, network, training, seeds here.
    pub here: String,
    /// And where the claim was published.
    pub there: String,
    /// What was measured.
    pub table: Table,
    /// What the claim is about.
    pub effects: Vec<Effect>,
    /// What else is to be said.
    pub remarks: Vec<String>,
    /// Pictures and charts.
    #[serde(skip)]
    pub drawings: Vec<Drawing>,
}

/// Rows of figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Headings, the first of the rows' names.
    pub columns: Vec<String>,
    /// A name and a cell for each further column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&text| text.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// One published figure, and the same measured here once for each seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// What is measured, and its unit.
    pub what: String,
    /// The published figure.
    pub published: String,
    /// What it would be without an effect: 0 of differences, 1 of ratios. The claim is that it is
    /// more.
    pub without: f64,
    /// By seed.
    pub values: Vec<f64>,
}

/// Whether an effect shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The 95 % interval lies on the claim's side of no effect.
    Shows,
    /// The interval reaches both sides, but the effect is larger than its standard error.
    Uncertain,
    /// The effect is smaller than its standard error.
    DoesNotShow,
    /// The interval lies on the other side.
    Reversed,
    /// Fewer than two values have no spread.
    TooFew,
}

impl Effect {
    /// Mean and spread.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        Estimate::of(&self.values)
    }

    /// Whether it shows here.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let estimate = self.estimate();
        let effect = estimate.mean - self.without;
        if estimate.count < 2 {
            Verdict::TooFew
        } else if effect > estimate.margin() {
            Verdict::Shows
        } else if effect < -estimate.margin() {
            Verdict::Reversed
        } else if effect.abs() > estimate.standard_error() {
            Verdict::Uncertain
        } else {
            Verdict::DoesNotShow
        }
    }
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Shows => "shows here",
            Self::Uncertain => {
                "uncertain here: larger than its standard error, within its 95 % interval"
            }
            Self::DoesNotShow => "does not show here: smaller than its standard error",
            Self::Reversed => "the other way round here",
            Self::TooFew => "too few runs for a spread: no verdict",
        }
    }
}

/// With what follows from the values.
impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'e> {
            what: &'e str,
            published: &'e str,
            without: f64,
            values: &'e [f64],
            mean: f64,
            deviation: f64,
            verdict: Verdict,
        }
        let Self { what, published, without, values } = self;
        let Estimate { mean, deviation, .. } = self.estimate();
        let (without, verdict) = (*without, self.verdict());
        Whole { what, published, without, values, mean, deviation, verdict }.serialize(serializer)
    }
}

/// A picture or chart, as bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// The file's name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_spread() {
        let cases: [(f64, &[f64], Verdict); 6] = [
            (0.0, &[1.0, 1.1, 0.9], Verdict::Shows),
            (1.0, &[6.0, 5.5, 6.5], Verdict::Shows),
            (0.0, &[1.0, 2.0, -0.5], Verdict::Uncertain),
            (0.0, &[1.0, -1.0, 0.1], Verdict::DoesNotShow),
            (1.0, &[0.5, 0.6, 0.55], Verdict::Reversed),
            (0.0, &[1.0], Verdict::TooFew),
        ];
        for (without, values, expected) in cases {
            let (what, published) = (String::new(), String::new());
            let effect = Effect { what, published, without, values: values.to_vec() };
            assert_eq!(effect.verdict(), expected, "{values:?}");
        }
    }
}
