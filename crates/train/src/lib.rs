//! The only place where there is a learning rate: the loop, the update rules, the schedules,
//! evaluation, metrics, checkpoints and the run folder.
//!
//! Read [`Trainer::run`] first. The trainer tells an [`Observer`] what happens and asks it whether
//! to stop; it prints nothing itself.

#![forbid(unsafe_code)]

mod alarms;
mod checkpoint;
mod checkpoints;
mod config;
mod confusion;
mod error;
mod evaluate;
mod events;
mod layer_update;
pub mod limits;
mod metrics;
mod observer;
mod recipes;
mod run_folder;
mod saving;
mod schedule;
mod trainer;

pub use alarms::{Alarm, Alarms};
pub use checkpoint::{Checkpoint, Progress};
pub use checkpoints::Checkpoints;
pub use config::{LayerRate, SgdConfig, TrainConfig};
pub use confusion::{ClassResult, Confused, Confusion};
pub use error::TrainError;
pub use evaluate::{Answer, Ranked, evaluate, evaluate_each};
pub use events::{Event, EventError, EventFile, Events, What, read_events};
pub use layer_update::LayerUpdate;
pub use metrics::{Metrics, TOP, Totals};
pub use observer::{Observer, StepReport};
pub use recipes::{Recipe, RecipeMean};
pub use run_folder::{EpochRow, RunFolder};
pub use saving::{SAVES_FAILED_MAX, SaveFailure, Saving, Shortage, checkpoint_bytes};
pub use schedule::{Schedule, ScheduleMemory};
pub use trainer::{Outcome, Trainer, training_plan};
