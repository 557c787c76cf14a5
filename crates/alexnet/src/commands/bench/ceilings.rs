//! What the machine does at most, measured beside what it is asked to do.

use std::hint::black_box;
use std::time::Instant;

use alexnet_ops::conformance::values;
use alexnet_ops::{Activation, Device, LinearShape};
use serde::Serialize;

use crate::machine::memory_bytes;

/// Of a matrix this part is drawn, and the rest repeats it.
const DRAWN_SHARE: usize = 16;
/// Each ceiling is the best of so many tries.
const ROUNDS: usize = 5;

/// The most arithmetic and the most memory traffic.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ceilings {
    /// Of one large matrix product on the device.
    pub(super) matrix_product_gflops: f64,
    /// Of all threads reading memory, and nothing else; on a GPU of reading and writing its own.
    pub(super) memory_read_gb_per_s: f64,
}

impl Ceilings {
    pub(super) fn measure<D: Device>(device: &D, threads: usize) -> Self {
        Self {
            matrix_product_gflops: matrix_product_gflops(device),
            memory_read_gb_per_s: if device.is_asynchronous() {
                device_memory_gb_per_s(device)
            } else {
                memory_read_gb_per_s(threads)
            },
        }
    }
}

/// Square matrices that do not fit the inner caches; larger ones where a device is done with them in
/// no time, for it was not full then.
fn matrix_product_gflops<D: Device>(device: &D) -> f64 {
    largest_worth(&[1536, 4096, 8192], |side| {
        let shape = LinearShape { batch: side, inputs: side, outputs: side };
        let filled = |mut array, salt| {
            let drawn = values(side * side / DRAWN_SHARE, salt, 1.0);
            device.upload(&mut array, &drawn.repeat(DRAWN_SHARE));
            array
        };
        let x = filled(device.values(side * side), 1);
        let weights = filled(device.weights(side * side), 2);
        let (mut y, bias) = (device.values(side * side), device.floats(side));
        let seconds = best_seconds(|| {
            device.linear_forward(&mut y, &x, &weights, &bias, Activation::Identity, &shape);
            device.finish();
        });
        (2e-9 * (side as f64).powi(3) / seconds, seconds)
    })
}

/// Two arrays of a device, one added to the other.
fn device_memory_gb_per_s<D: Device>(device: &D) -> f64 {
    largest_worth(&[1 << 24, 1 << 28], |len| {
        let (mut y, x) = (device.floats(len), device.floats(len));
        let seconds = best_seconds(|| {
            device.add(&mut y, &x, len);
            device.finish();
        });
        // Both are read, and one is written.
        (3e-9 * (len * size_of::<f32>()) as f64 / seconds, seconds)
    })
}

/// The rate of the first size that takes long enough to tell, or of the last. `measure` gives a rate
/// and the seconds it took.
fn largest_worth(sizes: &[usize], measure: impl Fn(usize) -> (f64, f64)) -> f64 {
    const LONG_ENOUGH_S: f64 = 2e-3;
    let mut rate = 0.0;
    for &size in sizes {
        let (found, seconds) = measure(size);
        rate = found;
        if seconds > LONG_ENOUGH_S {
            break;
        }
    }
    rate
}

/// An array that no cache holds, fetched once by all threads together.
fn memory_read_gb_per_s(threads: usize) -> f64 {
    const BYTES: u64 = 1 << 29;
    const SHARE_OF_MEMORY: u64 = 8;
    let bytes = memory_bytes().map_or(BYTES, |all| (all / SHARE_OF_MEMORY).min(BYTES));
    // Not zeros: those may share one page until they are written.
    let words = vec![1_u64; (bytes as usize / size_of::<u64>()).max(threads)];
    let seconds = best_seconds(|| {
        std::thread::scope(|scope| {
            for part in words.chunks(words.len().div_ceil(threads)) {
                scope.spawn(move || black_box(fetch(part)));
            }
        });
    });
    1e-9 * size_of_val(&words[..]) as f64 / seconds
}

/// One word of every cache line, so that adding does not hold up fetching, from several places in
/// turn, since one place alone keeps too few fetches under way.
fn fetch(words: &[u64]) -> u64 {
    const LINE: usize = 64 / size_of::<u64>();
    const PLACES: usize = 4;
    let place = words.len() / PLACES;
    let mut sum = 0_u64;
    for at in (0..place).step_by(LINE) {
        for first in (0..PLACES).map(|index| index * place) {
            sum = sum.wrapping_add(words[first + at]);
        }
    }
    sum
}

fn best_seconds(mut work: impl FnMut()) -> f64 {
    let seconds = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        work();
        begin.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}
