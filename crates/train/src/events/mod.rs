//! TensorBoard event files: the same figures as `results.csv`, and those of single steps.
//!
//! ```text
//! Event  --message::encode-->  protobuf  --Event::to_record-->  length, checksums, bytes of a file
//! ```
//!
//! One file a run, only ever added to, so that a TensorBoard that follows it never reads a byte that
//! changes. A run that is resumed from a step writes that what follows that step in the file did
//! not happen, as TensorFlow does after a crash; readers then drop it.

mod file;
mod message;
mod record;

pub use file::{EventError, EventFile};
pub use message::{Event, What};
pub use record::{Events, read_events};
