//! The linear layer for a few images: `y (N, out) = x (N, in) · weightsᵀ` at the speed of memory,
//! and of only as much of it as counts.
//!
//! The weights lie in panels, `[input][outputs of the panel]`, and are read once for all N ≤ 8
//! images. What a ReLU has set to 0 takes no part: the inputs that are not 0 in some image are
//! listed first, and if they are few the others' weights are not even fetched. Sums run in the order
//! of [`matmul`](crate::matmul), so results have its bits.

use std::ops::Range;

use alexnet_ops::Activation;

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::matmul::{chunks, share};
use crate::microkernel::VECTORS;
use crate::panels::PANEL;
use crate::simd::Vector;

/// Largest batch.
pub(crate) const IMAGES: usize = 8;

/// Rows of a panel asked for ahead of use.
const AHEAD: usize = 32;

/// Only if no more than one input in so many counts are the others left out: memory gives runs of
/// lines faster than scattered ones, so that leaving out half of them takes longer than reading all.
const SPARSE: usize = 3;

/// A layer's weights as they are read here: in panels of outputs, a row for each input.
pub(crate) trait Rows: Copy + Sync {
    /// The rows of one panel.
    type Panel: Panel;
    /// Whether no weight is infinite or no number.
    fn are_finite(&self) -> bool;
    /// Vectors across the panel that begins where so many columns are left: 1 or [`VECTORS`].
    fn vectors<V: Vector>(columns: usize) -> usize;
    /// The panel of the output `first` and those behind it, `P` vectors wide.
    fn panel<V: Vector, const P: usize>(&self, first: usize) -> Self::Panel;
}

/// A panel, whose rows are read from the first on, with or without gaps.
pub(crate) trait Panel {
    /// Asks for a row, which may be one of the panel behind.
    fn prefetch<V: Vector, const P: usize>(&self, row: u32);
    /// # Safety
    /// The panel has such a row.
    unsafe fn load<V: Vector, const P: usize>(&mut self, row: u32) -> [V; P];
}

/// Asks for the cache lines in which so many bytes begin.
#[inline(always)]
pub(crate) fn prefetch_lines<V: Vector>(start: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(LINE_BYTES) {
        V::prefetch(start.wrapping_add(line * LINE_BYTES).cast());
    }
}

/// `y = activation(x · weightsᵀ + bias)` for `batch` images, at most [`IMAGES`].
pub(crate) fn forward<R: Rows>(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: R,
    (bias, activation): (&[f32], Activation),
    (batch, inputs): (usize, usize),
) {
    let outputs = bias.len();
    let chunks = chunks(inputs);
    let numbers = inputs + AHEAD + chunks;
    let mut list = context.scratch.shared(0, numbers + batch * inputs);
    let (rows, factors) = list.split_at_mut(numbers);
    // SAFETY: as many numbers of the same size; any bits are one.
    let rows = unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), numbers) };
    let (ends, rows) = rows.split_at_mut(chunks);
    let mut list = List { rows, factors, ends };
    let counting = |input: &usize| (0..batch).any(|n| x[n * inputs + input] != 0.0);
    let sparse = weights.are_finite() && (0..inputs).filter(counting).count() * SPARSE <= inputs;
    list.fill(x, (batch, inputs), |x| !sparse || x != 0.0);
    let layer =
        Layer { y: &Disjoint::new(&mut y[..batch * outputs]), list, weights, bias, activation };
    context.threads.for_each(outputs.div_ceil(PANEL), |_, piece| {
        let outputs = piece * PANEL..(piece * PANEL + PANEL).min(outputs);
        context.isa.dispatch(Piece { layer: &layer, batch, outputs });
    });
}

/// The inputs that count.
struct List<'a> {
    /// Their numbers, in order, and [`AHEAD`] more to ask for meanwhile.
    rows: &'a mut [u32],
    /// (listed input, image)
    factors: &'a mut [f32],
    /// How many are listed of all up to the end of each chunk.
    ends: &'a mut [u32],
}

impl List<'_> {
    /// Lists the inputs that `count` in some image.
    fn fill(&mut self, x: &[f32], (batch, inputs): (usize, usize), counts: impl Fn(f32) -> bool) {
        let (mut listed, chunks) = (0, self.ends.len());
        for chunk in 0..chunks {
            for input in share(inputs, chunks, chunk) {
                let mut any = false;
                let factors = &mut self.factors[listed * batch..][..batch];
                for (n, factor) in factors.iter_mut().enumerate() {
                    *factor = x[n * inputs + input];
                    any |= counts(*factor);
                }
                self.rows[listed] = input as u32;
                listed += usize::from(any);
            }
            self.ends[chunk] = listed as u32;
        }
        // The panel that follows begins with the same rows.
        for i in 0..AHEAD {
            self.rows[listed + i] = inputs as u32 + if i < listed { self.rows[i] } else { 0 };
        }
    }
}

/// What all pieces read.
struct Layer<'a, R> {
    y: &'a Disjoint<'a, f32>,
    list: List<'a>,
    weights: R,
    bias: &'a [f32],
    activation: Activation,
}

/// A panel's outputs of all images.
struct Piece<'a, R> {
    layer: &'a Layer<'a, R>,
    batch: usize,
    outputs: Range<usize>,
}

impl<R: Rows> Kernel for Piece<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.batch {
            1 => self.images::<V, 1>(),
            2 => self.images::<V, 2>(),
            3 => self.images::<V, 3>(),
            4 => self.images::<V, 4>(),
            5 => self.images::<V, 5>(),
            6 => self.images::<V, 6>(),
            7 => self.images::<V, 7>(),
            _ => self.images::<V, 8>(),
        }
    }
}

impl<R: Rows> Piece<'_, R> {
    #[inline(always)]
    fn images<V: Vector, const N: usize>(&self) {
        for output in self.outputs.clone().step_by(VECTORS * V::LANES) {
            let columns = self.outputs.end - output;
            match R::vectors::<V>(columns) {
                1 => self.panel::<V, N, 1>(output, columns),
                _ => self.panel::<V, N, VECTORS>(output, columns.min(VECTORS * V::LANES)),
            }
        }
    }

    /// The outputs `first..first + columns`, a panel of `P` vectors.
    #[inline(always)]
    fn panel<V: Vector, const N: usize, const P: usize>(&self, first: usize, columns: usize) {
        let Layer { y, list, activation, .. } = self.layer;
        let mut sums = [[V::zero(); P]; N];
        let mut weights = self.layer.weights.panel::<V, P>(first);
        let mut listed = 0..0;
        for &end in &*list.ends {
            listed = listed.end..end as usize;
            let of_chunk = self.chunk::<V, N, P>(&mut weights, listed.clone());
            for n in 0..N {
                for j in 0..P {
                    sums[n][j] = sums[n][j].add(of_chunk[n][j]);
                }
            }
        }
        for (n, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate().take(columns.div_ceil(V::LANES)) {
                let at = first + j * V::LANES;
                let count = V::LANES.min(columns - j * V::LANES);
                // SAFETY: the piece's own outputs, of which the layer has so many.
                unsafe {
                    let sum = sum.add(V::load_lanes(self.layer.bias[at..].as_ptr(), count));
                    let sum = match activation {
                        Activation::Identity => sum,
                        Activation::Relu => sum.rectified(),
                    };
                    sum.store_lanes(y.at(n * self.layer.bias.len() + at), count);
                }
            }
        }
    }

    /// The sums over some of the listed inputs.
    #[inline(always)]
    fn chunk<V: Vector, const N: usize, const P: usize>(
        &self,
        panel: &mut R::Panel,
        listed: Range<usize>,
    ) -> [[V; P]; N] {
        let List { rows, factors, .. } = &self.layer.list;
        let mut sums = [[V::zero(); P]; N];
        for i in listed {
            panel.prefetch::<V, P>(rows[i + AHEAD]);
            // SAFETY: the panel has a row for each input.
            let weights: [V; P] = unsafe { panel.load(rows[i]) };
            for n in 0..N {
                let factor = V::splat(factors[i * N + n]);
                for j in 0..P {
                    sums[n][j] = factor.mul_add(weights[j], sums[n][j]);
                }
            }
        }
        sums
    }
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
