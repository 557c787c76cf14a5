//! The only place where a published claim is stated as an experiment.
//!
//! ```text
//! Experiment  --run on a Workbench-->  Finding: a table, effects beside the published ones, drawings
//! ```
//!
//! An experiment trains small networks, each with several seeds, on any data set `train` takes, and
//! says what it found with its spread: also that nothing shows at this scale, which is no argument
//! against the claim at the paper's. What is measured is a pure function of data, seeds and sizes;
//! times alone are not.

#![forbid(unsafe_code)]

mod chart;
mod experiment;
mod experiments;
mod finding;
mod models;
mod statistics;
mod training;
mod workbench;

pub use experiment::Experiment;
pub use finding::{Drawing, Effect, Finding, Table, Verdict};
pub use statistics::Estimate;
pub use workbench::{LabError, Progress, Size, Workbench};
