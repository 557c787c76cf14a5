//! Operations in which element i depends on element i alone, in blocks over the threads, and what is
//! asked of all elements together.
//!
//! All are bound by memory, so the loops are plain and the compiler makes vectors of them.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use alexnet_ops::{Saturation, SgdStep};

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::reduce::doubles;
use crate::sgd;
use crate::simd::Vector;

/// Elements one thread takes at a time: 64 KiB of each array, and whole groups of random words.
const BLOCK: usize = 16 << 10;

/// Shared scratch for a sum of each block.
const SCRATCH: usize = 0;

/// `max(0, value)` of a number. 0 times what is not finite is NaN.
#[inline(always)]
pub(crate) fn rectified(value: f32) -> f32 {
    (if value < 0.0 { 0.0 } else { value }) + value * 0.0
}

/// What becomes of a block of `y`, given the same block of `x` and the index of its first element.
pub(crate) trait Map: Copy + Sync {
    /// Must be `#[inline(always)]`.
    fn apply(self, y: &mut [f32], x: &[f32], first: usize);
}

struct MapBlock<'a, M> {
    map: M,
    y: &'a mut [f32],
    x: &'a [f32],
    first: usize,
}

impl<M: Map> Kernel for MapBlock<'_, M> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        self.map.apply(self.y, self.x, self.first);
    }
}

/// Applies `map` to all blocks.
pub(crate) fn map(context: &Context, y: &mut [f32], x: &[f32], map: impl Map) {
    assert_eq!(y.len(), x.len());
    let (len, y) = (y.len(), Disjoint::new(y));
    context.threads.for_each(len.div_ceil(BLOCK), |_, block| {
        let range = block_range(block, len);
        // SAFETY: blocks do not overlap.
        let y = unsafe { y.part(range.clone()) };
        context.isa.dispatch(MapBlock { map, y, x: &x[range.clone()], first: range.start });
    });
}

fn block_range(block: usize, len: usize) -> Range<usize> {
    block * BLOCK..((block + 1) * BLOCK).min(len)
}

#[derive(Clone, Copy)]
struct Relu;

impl Map for Relu {
    #[inline(always)]
    fn apply(self, y: &mut [f32], x: &[f32], _: usize) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = rectified(x);
        }
    }
}

pub(crate) fn relu(context: &Context, y: &mut [f32], x: &[f32]) {
    map(context, y, x, Relu);
}

#[derive(Clone, Copy)]
struct ReluBackward {
    factor: f32,
}

impl Map for ReluBackward {
    #[inline(always)]
    fn apply(self, d: &mut [f32], y: &[f32], _: usize) {
        for (d, &y) in d.iter_mut().zip(y) {
            *d = if y <= 0.0 { 0.0 } else { *d * self.factor };
        }
    }
}

pub(crate) fn relu_backward(context: &Context, d: &mut [f32], y: &[f32], factor: f32) {
    map(context, d, y, ReluBackward { factor });
}

/// Beyond it, tanh is 1 to the last bit but one.
const TANH_FLAT: f32 = 7.905_311;

/// tanh as a quotient of polynomials (Eigen's coefficients), within a few units in the last place:
/// without a call or a branch, so that it is done in vectors. A NaN stays one.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let x = if x > TANH_FLAT { TANH_FLAT } else { x };
    let x = if x < -TANH_FLAT { -TANH_FLAT } else { x };
    let square = x * x;
    let odd = [
        -2.760_768_4e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    let even = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    let polynomial = |terms: &[f32]| terms.iter().fold(0.0, |sum, term| sum * square + term);
    x * polynomial(&odd) / polynomial(&even)
}

#[derive(Clone, Copy)]
struct Saturate(Saturation);

impl Map for Saturate {
    #[inline(always)]
    fn apply(self, y: &mut [f32], x: &[f32], _: usize) {
        // What is no number stays so, infinities as well: see `rectified`.
        match self.0 {
            Saturation::Tanh => y.iter_mut().zip(x).for_each(|(y, &x)| *y = tanh(x) + x * 0.0),
            Saturation::Sigmoid => {
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = 1.0 / (1.0 + (-x).exp()) + x * 0.0);
            }
        }
    }
}

pub(crate) fn saturation(context: &Context, y: &mut [f32], x: &[f32], curve: Saturation) {
    map(context, y, x, Saturate(curve));
}

#[derive(Clone, Copy)]
struct SaturateBackward(Saturation);

impl Map for SaturateBackward {
    #[inline(always)]
    fn apply(self, d: &mut [f32], y: &[f32], _: usize) {
        match self.0 {
            Saturation::Tanh => d.iter_mut().zip(y).for_each(|(d, &y)| *d *= 1.0 - y * y),
            Saturation::Sigmoid => d.iter_mut().zip(y).for_each(|(d, &y)| *d *= y * (1.0 - y)),
        }
    }
}

pub(crate) fn saturation_backward(context: &Context, d: &mut [f32], y: &[f32], curve: Saturation) {
    map(context, d, y, SaturateBackward(curve));
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Map for Scale {
    #[inline(always)]
    fn apply(self, y: &mut [f32], x: &[f32], _: usize) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * self.0;
        }
    }
}

pub(crate) fn scale(context: &Context, y: &mut [f32], x: &[f32], factor: f32) {
    map(context, y, x, Scale(factor));
}

/// One thread copies at a third of the memory's speed.
pub(crate) fn copy(context: &Context, y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len());
    let (len, y) = (y.len(), Disjoint::new(y));
    context.threads.for_each(len.div_ceil(BLOCK), |_, block| {
        let range = block_range(block, len);
        // SAFETY: blocks do not overlap.
        unsafe { y.part(range.clone()) }.copy_from_slice(&x[range]);
    });
}

struct SgdBlock<'a> {
    weights: &'a mut [f32],
    velocity: &'a mut [f32],
    gradient: &'a [f32],
    step: &'a SgdStep,
}

impl Kernel for SgdBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let len = self.weights.len();
        for at in (0..len).step_by(V::LANES) {
            let count = V::LANES.min(len - at);
            // SAFETY: `count` elements are there from `at` on, in all three.
            unsafe {
                let gradient = V::load_part(self.gradient[at..].as_ptr(), count);
                let (weights, velocity) =
                    (self.weights[at..].as_mut_ptr(), self.velocity[at..].as_mut_ptr());
                let (w, v) = (V::load_part(weights, count), V::load_part(velocity, count));
                let (w, v) = sgd::updated(self.step, w, v, gradient);
                w.store_part(weights, count);
                v.store_part(velocity, count);
            }
        }
    }
}

pub(crate) fn sgd(
    context: &Context,
    weights: &mut [f32],
    velocity: &mut [f32],
    gradient: &[f32],
    step: &SgdStep,
) {
    assert!(weights.len() == velocity.len() && weights.len() == gradient.len());
    let len = weights.len();
    let (weights, velocity) = (Disjoint::new(weights), Disjoint::new(velocity));
    context.threads.for_each(len.div_ceil(BLOCK), |_, block| {
        let range = block_range(block, len);
        // SAFETY: blocks do not overlap.
        let (weights, velocity) =
            unsafe { (weights.part(range.clone()), velocity.part(range.clone())) };
        let gradient = &gradient[range];
        context.isa.dispatch(SgdBlock { weights, velocity, gradient, step });
    });
}

#[derive(Clone, Copy)]
struct Add;

impl Map for Add {
    #[inline(always)]
    fn apply(self, y: &mut [f32], x: &[f32], _: usize) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

/// `sums += values`.
pub(crate) fn add(context: &Context, sums: &mut [f32], values: &[f32]) {
    map(context, sums, values, Add);
}

/// Without its sign, a larger number has larger bits, infinity larger ones than any, and NaN still
/// larger: so the largest magnitude is a maximum of integers.
struct LargestBits<'a>(&'a [f32]);

impl Kernel for LargestBits<'_> {
    type Output = u32;
    #[inline(always)]
    fn run<V: Vector>(self) -> u32 {
        self.0.iter().fold(0, |largest, value| largest.max(value.abs().to_bits()))
    }
}

/// The largest magnitude; NaN if there is one.
pub(crate) fn largest(context: &Context, values: &[f32]) -> f32 {
    let largest = AtomicU32::new(0);
    context.threads.for_each(values.len().div_ceil(BLOCK), |_, block| {
        let bits = context.isa.dispatch(LargestBits(&values[block_range(block, values.len())]));
        largest.fetch_max(bits, Relaxed);
    });
    f32::from_bits(largest.into_inner())
}

/// Sums formed side by side, whatever the vectors' length: so all instructions give the same bits.
const SUMS: usize = 32;

struct SquaresBlock<'a>(&'a [f32]);

impl Kernel for SquaresBlock<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<V: Vector>(self) -> f64 {
        let mut sums = [0.0; SUMS];
        let (whole, rest) = self.0.as_chunks::<SUMS>();
        for values in whole {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        for (sum, &value) in sums.iter_mut().zip(rest) {
            *sum += f64::from(value) * f64::from(value);
        }
        sums.iter().sum()
    }
}

/// Σ value², each block's by itself and then those of all blocks in their order.
pub(crate) fn sum_of_squares(context: &Context, values: &[f32]) -> f64 {
    let blocks = values.len().div_ceil(BLOCK);
    let mut scratch = context.scratch.shared(SCRATCH, 2 * blocks);
    let sums = &mut doubles(&mut scratch)[..blocks];
    let parts = Disjoint::new(sums);
    context.threads.for_each(blocks, |_, block| {
        let sum = context.isa.dispatch(SquaresBlock(&values[block_range(block, values.len())]));
        // SAFETY: every block has its own sum.
        unsafe { parts.part(block..block + 1)[0] = sum };
    });
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::tanh;

    #[test]
    fn tanh_is_right_where_it_is_steep_where_it_is_flat_and_next_to_zero() {
        let mut x = 1e-30_f32;
        while x < 1e3 {
            for x in [x, -x] {
                let exact = f64::from(x).tanh();
                let error = (f64::from(tanh(x)) - exact).abs() / exact.abs();
                assert!(error < 5e-7, "tanh({x}) is {}, not {exact}", tanh(x));
            }
            x *= 1.01;
        }
        assert_eq!(tanh(0.0), 0.0);
        assert!(tanh(f32::NAN).is_nan());
        assert!((1.0 - tanh(f32::INFINITY)).abs() < 5e-7);
    }
}
