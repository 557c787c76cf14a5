//! The list of experiments: what each claims, where that was published, and what it takes.

use alexnet_ops::Device;
use serde::Serialize;

use crate::experiments;
use crate::finding::Finding;
use crate::workbench::{LabError, Workbench};

/// A claim that can be put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Experiment {
    /// ReLU against tanh.
    Relu,
    /// Gradients through ten layers.
    Gradients,
    /// Dropout's two forms, its price and its gain.
    Dropout,
    /// Local response normalisation.
    Lrn,
    /// Overlapping pooling.
    Pooling,
    /// Two towers, one, and two apart.
    Towers,
    /// Crops, in training and evaluation.
    Crops,
    /// A layer removed.
    Depth,
    /// Several networks averaged.
    Ensemble,
    /// First-layer filters by tower.
    Filters,
    /// Nearest neighbours by fc7.
    Neighbours,
}

/// What `lab list` says of an experiment.
struct Facts {
    name: &'static str,
    question: &'static str,
    published: &'static str,
    minutes: f64,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Relu,
        Self::Gradients,
        Self::Dropout,
        Self::Lrn,
        Self::Pooling,
        Self::Towers,
        Self::Crops,
        Self::Depth,
        Self::Ensemble,
        Self::Filters,
        Self::Neighbours,
    ];

    /// The name as typed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// What is asked.
    #[must_use]
    pub fn question(self) -> &'static str {
        self.facts().question
    }

    /// The published answer, and where.
    #[must_use]
    pub fn published(self) -> &'static str {
        self.facts().published
    }

    /// About how many minutes of one core it takes, with the sample set and the default number of
    /// seeds (records/2026-11-25-lab-defaults).
    #[must_use]
    pub fn minutes(self) -> f64 {
        self.facts().minutes
    }

    /// Does it.
    ///
    /// # Errors
    /// An image that cannot be read, too few of them, or the watcher's wish to stop.
    pub fn run<D: Device + Clone>(self, bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
        match self {
            Self::Relu => experiments::relu::run(bench),
            Self::Gradients => experiments::gradients::run(bench),
            Self::Dropout => experiments::dropout::run(bench),
            Self::Lrn => experiments::ablations::lrn(bench),
            Self::Pooling => experiments::ablations::pooling(bench),
            Self::Towers => experiments::ablations::towers(bench),
            Self::Crops => experiments::crops::run(bench),
            Self::Depth => experiments::ablations::depth(bench),
            Self::Ensemble => experiments::ensemble::run(bench),
            Self::Filters => experiments::filters::run(bench),
            Self::Neighbours => experiments::neighbours::run(bench),
        }
    }

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }
}

/// In the order of [`Experiment::ALL`].
static FACTS: [Facts; 11] = [
    Facts {
        name: "relu",
        question: "How much sooner does a network with ReLU reach 25 % training error than with tanh?",
        published: "6 times (paper, figure 1)",
        minutes: 6.5,
    },
    Facts {
        name: "gradients",
        question: "What is left of a gradient behind ten layers of sigmoid, tanh or ReLU?",
        published: "9.54e-08 after ten sigmoids (often printed; it is 5.137e-07)",
        minutes: 0.1,
    },
    Facts {
        name: "dropout",
        question: "Do dropout's two forms agree, what does it cost, what does it give?",
        published: "twice the iterations, much less overfitting (paper, §4.2)",
        minutes: 9.0,
    },
    Facts {
        name: "lrn",
        question: "What does local response normalisation give?",
        published: "1.4 points of top-1, 1.2 of top-5 (paper, §3.3)",
        minutes: 5.0,
    },
    Facts {
        name: "pooling",
        question: "What do pooling windows that overlap give?",
        published: "0.4 points of top-1, 0.3 of top-5 (paper, §3.4)",
        minutes: 5.0,
    },
    Facts {
        name: "towers",
        question: "What do two towers give over one, and their meeting over none?",
        published: "1.7 points of top-1 (paper, §3.2); 1.2 (2012 code, config #150)",
        minutes: 7.0,
    },
    Facts {
        name: "crops",
        question: "What do random crops give in training, and ten crops in evaluation?",
        published: "less overfitting (paper, §4.1); 1.5 points of top-1 (paper, §4.1)",
        minutes: 5.5,
    },
    Facts {
        name: "depth",
        question: "What does a network lose without one of its middle layers?",
        published: "about 2 points of top-1 (paper, §7)",
        minutes: 7.0,
    },
    Facts {
        name: "ensemble",
        question: "What does it give to average several networks?",
        published: "2.6 points of top-1 for five (paper, table 2)",
        minutes: 4.0,
    },
    Facts {
        name: "filters",
        question: "Do the two towers' first layers share out the work, one grey and one colour?",
        published: "in every run (paper, §6.1, figure 3)",
        minutes: 4.0,
    },
    Facts {
        name: "neighbours",
        question: "Are images near by their last hidden layer alike to people, where pixels are not?",
        published: "by eye (paper, §6.1, figure 4)",
        minutes: 2.5,
    },
];

impl std::fmt::Display for Experiment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Experiment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|experiment| experiment.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|experiment| experiment.as_str()).collect();
            format!("no experiment is called '{text}': choose one of {}", names.join(", "))
        })
    }
}
