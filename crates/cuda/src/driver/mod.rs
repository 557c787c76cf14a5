//! The floor that touches CUDA: everything `unsafe` of this crate is here, behind functions that
//! are safe to call.
//!
//! - `libraries` finds the libraries at run time, or says what is missing.
//! - `cache` keeps from run to run what takes time to find out.
//! - `compiler` has NVRTC make a program of the kernels' sources.
//! - `declaration` reads what arguments each kernel takes, from the same sources.
//! - `memory` has arrays on the device, and borrowed parts of them.
//! - `gpu` opens a device; copies and launches on it.
//! - `launch` says what a kernel is called with, and by how many threads it is run.
//! - `lanes` has streams beside each other, and sees to it that nothing comes too early.
//! - `graph` has the driver remember operations, and do them again.
//! - `clock` says what each operation takes.
//! - `products` has cuBLAS multiply.
//! - `crossing` brings images beside what is computed.
//! - `convolutions` has cuDNN convolve, where it is at hand.

#![expect(unsafe_code, reason = "the one place that calls into CUDA's libraries")]

mod cache;
mod clock;
mod compiler;
mod convolutions;
mod crossing;
mod declaration;
mod error;
mod gpu;
mod graph;
mod lanes;
mod launch;
mod libraries;
mod memory;
mod products;

pub use compiler::{Architecture, compile};

pub(crate) use convolutions::Convolutions;
pub(crate) use crossing::{Crossing, PIECE, grown, read, room_of};
pub use error::{CudaError, catch};
pub(crate) use gpu::Gpu;
pub(crate) use graph::Tape;
pub(crate) use lanes::{Lane, Touch};
pub(crate) use launch::{Argument, BLOCK, EIGHT, Launch};
pub use libraries::{Library, Source, find};
pub use memory::Buffer;
pub(crate) use memory::{Element, Reals, RealsMut, View, ViewMut};
pub(crate) use products::{Matrix, Product};
