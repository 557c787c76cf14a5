//! Working memory of the threads, kept between calls so that a step allocates nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::buffer::Buffer;

/// A growing buffer for each worker, and some that all share.
pub(crate) struct Scratch {
    own: Vec<Mutex<Buffer<f32>>>,
    shared: [Mutex<Buffer<f32>>; SHARED],
}

/// Shared buffers an operation may hold at once.
const SHARED: usize = 3;

impl Scratch {
    pub(crate) fn new(workers: usize) -> Self {
        let empty = || Mutex::new(Buffer::zeroed(0));
        Self {
            own: (0..workers).map(|_| empty()).collect(),
            shared: std::array::from_fn(|_| empty()),
        }
    }

    /// Worker `worker`'s buffer, at least `len` long, with anything in it.
    pub(crate) fn own(&self, worker: usize, len: usize) -> MutexGuard<'_, Buffer<f32>> {
        grown(&self.own[worker], len)
    }

    /// Shared buffer `index`, at least `len` long, with anything in it.
    pub(crate) fn shared(&self, index: usize, len: usize) -> MutexGuard<'_, Buffer<f32>> {
        grown(&self.shared[index], len)
    }
}

/// A panic elsewhere cannot have spoilt a buffer: nothing in it is believed.
fn grown(buffer: &Mutex<Buffer<f32>>, len: usize) -> MutexGuard<'_, Buffer<f32>> {
    let mut guard = buffer.lock().unwrap_or_else(PoisonError::into_inner);
    guard.grow(len);
    if cfg!(test) {
        guard[..len].fill(f32::NAN);
    }
    guard
}
