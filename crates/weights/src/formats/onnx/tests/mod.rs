//! Models that go out and come back, files that are damaged, and files of other programs.

mod damaged;
mod foreign;
mod models;
mod round_trips;
mod runtimes;
mod toy;
