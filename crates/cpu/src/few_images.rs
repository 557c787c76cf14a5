//! The linear layer for a few images: `y (N, out) = x (N, in) · weightsᵀ` at the speed of memory.
//!
//! The weights are read once, in the order they lie in, and each is used for all N ≤ 8 images; the
//! sums of a few outputs run along the inputs, a vector wide, and are folded at the end. Weights
//! may be `f32` or bf16, which is half the bytes and so half the time.

use std::ops::Range;

use alexnet_ops::{Activation, LinearShape};

use crate::Context;
use crate::disjoint::Disjoint;
use crate::elementwise::rectified;
use crate::isa::Kernel;
use crate::matmul::share;
use crate::simd::Vector;

/// Largest batch: above it the sums no longer fit registers.
pub(crate) const IMAGES: usize = 8;

/// Outputs of a piece.
const PIECE: usize = 32;

/// Bytes of a row asked for ahead of use.
const AHEAD_BYTES: usize = 2048;

/// More lanes than any vector has.
const LANES_MAX: usize = 16;

/// Weights in one of their forms.
pub(crate) trait Weights: Copy + Sync {
    /// How many there are.
    fn count(self) -> usize;

    /// The `count` weights from `at` on; the other lanes are 0.
    ///
    /// # Safety
    /// They are there, and `count <= LANES`.
    unsafe fn load<V: Vector>(self, at: usize, count: usize) -> V;

    /// Asks for what will be read in a while.
    fn ask<V: Vector>(self, at: usize);
}

impl Weights for &[f32] {
    #[inline(always)]
    fn count(self) -> usize {
        self.len()
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(self, at: usize, count: usize) -> V {
        debug_assert!(at + count <= self.len());
        let from = self.as_ptr().wrapping_add(at);
        // SAFETY: the caller's promise.
        unsafe { if count == V::LANES { V::load(from) } else { V::load_part(from, count) } }
    }

    #[inline(always)]
    fn ask<V: Vector>(self, at: usize) {
        V::prefetch(self.as_ptr().wrapping_add(at).wrapping_byte_add(AHEAD_BYTES));
    }
}

/// bf16.
impl Weights for &[u16] {
    #[inline(always)]
    fn count(self) -> usize {
        self.len()
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(self, at: usize, count: usize) -> V {
        debug_assert!(at + count <= self.len());
        let mut part = [0; LANES_MAX];
        let mut from = self.as_ptr().wrapping_add(at);
        // SAFETY: the caller's promise.
        unsafe {
            if count < V::LANES {
                part.as_mut_ptr().copy_from_nonoverlapping(from, count);
                from = part.as_ptr();
            }
            V::load_bf16(from)
        }
    }

    #[inline(always)]
    fn ask<V: Vector>(self, at: usize) {
        V::prefetch(self.as_ptr().wrapping_add(at).wrapping_byte_add(AHEAD_BYTES).cast());
    }
}

/// `y = activation(x · weightsᵀ + bias)` for at most [`IMAGES`] images.
pub(crate) fn forward<W: Weights>(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: W,
    bias: &[f32],
    activation: Activation,
    shape: &LinearShape,
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    assert!(batch <= IMAGES && x.len() >= batch * inputs && weights.count() >= inputs * outputs);
    let y = Disjoint::new(&mut y[..batch * outputs]);
    let pieces = outputs.div_ceil(PIECE);
    context.threads.for_each(pieces, |_, piece| {
        let outputs = share(outputs, pieces, piece);
        context.isa.dispatch(Piece { y: &y, x, weights, bias, activation, shape, outputs });
    });
}

/// A few outputs of all images.
struct Piece<'a, W> {
    y: &'a Disjoint<'a, f32>,
    x: &'a [f32],
    weights: W,
    bias: &'a [f32],
    activation: Activation,
    shape: &'a LinearShape,
    outputs: Range<usize>,
}

impl<W: Weights> Kernel for Piece<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.shape.batch {
            1 => self.images::<V, 1, 4>(),
            2 => self.images::<V, 2, 4>(),
            3 => self.images::<V, 3, 2>(),
            4 => self.images::<V, 4, 2>(),
            5 => self.images::<V, 5, 2>(),
            6 => self.images::<V, 6, 2>(),
            7 => self.images::<V, 7, 2>(),
            _ => self.images::<V, 8, 2>(),
        }
    }
}

impl<W: Weights> Piece<'_, W> {
    /// `N` images, `ROWS` outputs at a time.
    #[inline(always)]
    fn images<V: Vector, const N: usize, const ROWS: usize>(&self) {
        let mut output = self.outputs.start;
        while output + ROWS <= self.outputs.end {
            self.rows::<V, N, ROWS>(output);
            output += ROWS;
        }
        for output in output..self.outputs.end {
            self.rows::<V, N, 1>(output);
        }
    }

    /// The outputs `first..first + ROWS`.
    #[inline(always)]
    fn rows<V: Vector, const N: usize, const ROWS: usize>(&self, first: usize) {
        let LinearShape { inputs, outputs, .. } = *self.shape;
        let mut sums = [[V::zero(); N]; ROWS];
        let whole = inputs - inputs % V::LANES;
        for i in (0..whole).step_by(V::LANES) {
            self.add::<V, N, ROWS>(&mut sums, first, i, V::LANES);
        }
        if whole < inputs {
            self.add::<V, N, ROWS>(&mut sums, first, whole, inputs - whole);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                let output = first + row;
                let sum = folded(sum) + self.bias[output];
                let at = n * outputs + output;
                // SAFETY: each piece has its own outputs.
                let y = unsafe { self.y.part(at..at + 1) };
                y[0] = match self.activation {
                    Activation::Identity => sum,
                    Activation::Relu => rectified(sum),
                };
            }
        }
    }

    /// Adds the products with the inputs `i..i + count`.
    #[inline(always)]
    fn add<V: Vector, const N: usize, const ROWS: usize>(
        &self,
        sums: &mut [[V; N]; ROWS],
        first: usize,
        i: usize,
        count: usize,
    ) {
        let inputs = self.shape.inputs;
        // SAFETY: `forward` has checked the sizes; `i + count <= inputs`.
        let x: [V; N] = std::array::from_fn(|n| unsafe { self.x.load(n * inputs + i, count) });
        for row in 0..ROWS {
            let at = (first + row) * inputs + i;
            self.weights.ask::<V>(at);
            // SAFETY: as above.
            let weights: V = unsafe { self.weights.load(at, count) };
            for n in 0..N {
                sums[row][n] = weights.mul_add(x[n], sums[row][n]);
            }
        }
    }
}

/// The sum of all lanes, in their order.
#[inline(always)]
fn folded<V: Vector>(sum: V) -> f32 {
    let mut lanes = [0.0; LANES_MAX];
    // SAFETY: no vector has more lanes.
    unsafe { sum.store(lanes.as_mut_ptr()) };
    lanes[..V::LANES].iter().sum()
}
