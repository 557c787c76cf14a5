//! Shortening a layer: the highest bytes are counted, the most frequent numbered, the panels written.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Beside, NO_ROW, RareRows, Shorten, TOPS, Tops, row_bytes};
use crate::Context;
use crate::buffer::Buffer;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::matmul::Matrix;
use crate::microkernel::VECTORS;
use crate::panels::{PANEL, Transpose, panels_len, vectors};
use crate::simd::Vector;

/// At most one row in so many may be rare: each is read in another place, and in vain in its own.
const RARE: usize = 16;

/// How often each highest byte comes.
type Counts = [u32; 256];

/// The number of each highest byte, or [`NO_NUMBER`].
type Numbers = [u8; 256];

/// More than any number, in every one of its bits.
const NO_NUMBER: u8 = 0xff;

/// Writes the panels of `matrix` (input, output), so many outputs wide, to `to`, unless many rows are
/// rare.
pub(super) fn shorten<W: Shorten>(
    context: &Context,
    to: &mut Buffer<f32>,
    matrix: Matrix,
    width: usize,
) -> Option<Beside<W>> {
    let (inputs, panels) = (matrix.rows(), matrix.columns().div_ceil(width));
    let counts = count_tops::<W>(context, matrix, width);
    let (tops, numbers) = most_frequent(&counts);
    let rare: usize = counts.iter().map(|counts| rare_weights(counts, &numbers).min(inputs)).sum();
    if rare * RARE > panels * inputs {
        return None;
    }
    let panel_bytes = inputs * row_bytes::<W>(width);
    to.grow((panels * panel_bytes).div_ceil(size_of::<f32>()));
    // SAFETY: the same bytes, of which any are a number.
    let bytes =
        unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), size_of_val(&**to)) };
    let (bytes, mut rare) = (Disjoint::new(bytes), Vec::new());
    rare.resize_with(panels, RareRows::default);
    let (rare_rows, finite) = (Disjoint::new(&mut rare), AtomicBool::new(true));
    let group = PANEL / width;
    context.threads.for_each(panels.div_ceil(group), |_, piece| {
        let panels = piece * group..(piece * group + group).min(panels);
        let columns = panels.start * width..(panels.end * width).min(matrix.columns());
        // SAFETY: each piece has its own panels.
        let (to, rare) = unsafe {
            let bytes = bytes.part(panels.start * panel_bytes..panels.end * panel_bytes);
            (bytes, rare_rows.part(panels))
        };
        if !context.isa.dispatch(Write { to, rare, numbers: &numbers, matrix, columns }) {
            finite.store(false, Ordering::Relaxed);
        }
    });
    Some(Beside { tops, finite: finite.into_inner(), rare })
}

/// The highest bytes of each panel.
fn count_tops<W: Shorten>(context: &Context, matrix: Matrix, width: usize) -> Vec<Counts> {
    let (columns, panels) = (matrix.columns(), matrix.columns().div_ceil(width));
    let mut counts = vec![[0; 256]; panels];
    let all = Disjoint::new(&mut counts);
    context.threads.for_each(panels, |_, panel| {
        // SAFETY: each piece has its own.
        let counts = unsafe { &mut all.part(panel..panel + 1)[0] };
        for column in panel * width..(panel * width + width).min(columns) {
            for &weight in &matrix.from(0, column)[..matrix.rows()] {
                counts[usize::from(W::of(weight).top())] += 1;
            }
        }
    });
    counts
}

/// The most frequent of all, and what number each has.
fn most_frequent(counts: &[Counts]) -> (Tops, Numbers) {
    let of = |top: u8| counts.iter().map(|counts| u64::from(counts[usize::from(top)])).sum();
    let mut by_count: Vec<(u64, u8)> = (0..=u8::MAX).map(|top| (of(top), top)).collect();
    by_count.sort_unstable_by_key(|&(count, top)| (Reverse(count), top));
    let tops: Tops = std::array::from_fn(|number| by_count[number].1);
    let mut numbers = [NO_NUMBER; 256];
    for (number, &top) in tops.iter().enumerate() {
        numbers[usize::from(top)] = number as u8;
    }
    (tops, numbers)
}

/// Of a panel, the weights whose highest bytes have no number.
fn rare_weights(counts: &Counts, numbers: &Numbers) -> usize {
    let rare = counts.iter().zip(numbers).filter(|&(_, &number)| number == NO_NUMBER);
    rare.map(|(&count, _)| count as usize).sum()
}

/// Writes neighbouring panels; tells whether they are finite.
struct Write<'a, W> {
    to: &'a mut [u8],
    rare: &'a mut [RareRows<W>],
    numbers: &'a Numbers,
    matrix: Matrix<'a>,
    columns: Range<usize>,
}

impl<W: Shorten> Kernel for Write<'_, W> {
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector>(self) -> bool {
        let Self { to, rare, numbers, matrix, columns } = self;
        let (inputs, width) = (matrix.rows(), VECTORS * V::LANES);
        let mut plain = vec![W::default(); panels_len(inputs, columns.len())];
        let finite = Transpose { to: &mut plain, matrix, columns: columns.clone() }.run::<V>();
        let panel_bytes = inputs * row_bytes::<W>(width);
        let mut row = vec![W::default(); width];
        for (index, (to, rare)) in to.chunks_exact_mut(panel_bytes).zip(rare).enumerate() {
            let plain = &plain[index * width * inputs..];
            // The last panel may be narrower there.
            let there = vectors::<V>(columns.len() - index * width) * V::LANES;
            let rows = to.chunks_exact_mut(row_bytes::<W>(width)).zip(plain.chunks_exact(there));
            for (input, (to, plain)) in rows.enumerate() {
                row[..there].copy_from_slice(plain);
                if !write_row(to, &row, numbers) {
                    rare.rows.push(input as u32);
                    rare.weights.extend_from_slice(&row);
                }
            }
            rare.rows.push(NO_ROW);
        }
        finite
    }
}

/// Whether every highest byte has a number; if not, what was written means nothing.
#[inline(always)]
pub(super) fn write_row<W: Shorten>(to: &mut [u8], row: &[W], numbers: &Numbers) -> bool {
    let quarter = row.len() / 4;
    let (low, fours) = to.split_at_mut(row.len() * W::LOW_BYTES);
    W::write_low(low, row);
    let mut all = 0;
    for (word, fours) in fours.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let [a, b, c, d] =
            std::array::from_fn(|which| numbers[usize::from(row[which * quarter + word].top())]);
        *fours = [a | b << 4, c | d << 4];
        all |= a | b | c | d;
    }
    all < TOPS as u8
}
