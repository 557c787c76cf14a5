//! The only place where there is a learning rate: the loop, the update rules, the schedules,
//! evaluation, metrics, checkpoints and the run folder.
//!
//! Read [`Trainer::run`] first. The trainer tells an [`Observer`] what happens and asks it whether
//! to stop; it prints nothing itself.

#![forbid(unsafe_code)]

mod checkpoint;
mod checkpoints;
mod config;
mod evaluate;
mod metrics;
mod run_folder;
mod saving;
mod schedule;
mod trainer;

pub use checkpoint::{Checkpoint, Progress};
pub use checkpoints::Checkpoints;
pub use config::{SgdConfig, TrainConfig};
pub use evaluate::evaluate;
pub use metrics::{Metrics, Totals};
pub use run_folder::{EpochRow, RunFolder};
pub use saving::{SAVES_FAILED_MAX, SaveFailure, Saving, Shortage, checkpoint_bytes};
pub use schedule::{Schedule, ScheduleMemory};
pub use trainer::{Observer, Outcome, StepReport, TrainError, Trainer, training_plan};
