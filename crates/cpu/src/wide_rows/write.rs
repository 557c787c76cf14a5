//! Writing wide rows: the highest bytes are counted, the most frequent ones numbered, and each group
//! is transposed into panels first, which are rows of blocks already.

use std::cmp::Reverse;
use std::marker::PhantomData;

use super::{Beside, Format, Plain, Rare, SHORT_BYTES_MIN, Short, Shorten, TOPS, Tops};
use crate::Context;
use crate::buffer::Buffer;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::matmul::Matrix;
use crate::microkernel::VECTORS;
use crate::panels::{PANEL, Transpose, vectors};
use crate::simd::Vector;

/// At most one weight in so many may be rare: a row with one takes longer.
const RARE: usize = 1024;

/// How often each highest byte comes.
type Counts = [u64; 256];

/// The number of each highest byte, or [`NO_NUMBER`].
type Numbers = [u8; 256];

/// More than any number, in every one of its bits.
const NO_NUMBER: u8 = 0xff;

/// Writes `matrix` (input, output) to `to`, in groups of `width` outputs; short, if that pays.
pub(super) fn write<W: Shorten>(
    context: &Context,
    to: &mut Buffer<f32>,
    matrix: Matrix,
    width: usize,
) -> Beside<W> {
    let numbered = numbered_tops::<W>(context, matrix);
    let bytes = if numbered.is_some() { Short::<W>::bytes } else { Plain::<W>::bytes };
    let (groups, group_bytes) = (matrix.columns().div_ceil(width), matrix.rows() * bytes(width));
    to.grow((groups * group_bytes).div_ceil(size_of::<f32>()));
    // SAFETY: the same bytes, of which any are a number.
    let rows =
        unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), size_of_val(&**to)) };
    let mut written = Vec::new();
    written.resize_with(groups * width / PANEL, Written::default);
    let (rows, all) = (Disjoint::new(rows), Disjoint::new(&mut written));
    context.threads.for_each(groups * width / PANEL, |_, panel| {
        // SAFETY: each piece has its own.
        let written = unsafe { &mut all.part(panel..panel + 1)[0] };
        let numbers = numbered.as_ref().map(|(_, numbers)| numbers);
        let weight = PhantomData;
        let part = Part { to: &rows, numbers, matrix, panel, width, weight };
        *written = context.isa.dispatch(part);
    });
    let are_finite = written.iter().all(|part| part.are_finite);
    let rare = written.into_iter().flat_map(|part| part.rare).collect();
    Beside { tops: numbered.map(|(tops, _)| tops), rare, are_finite }
}

/// The most frequent highest bytes, and what number each has, if that makes weights shorter.
fn numbered_tops<W: Shorten>(context: &Context, matrix: Matrix) -> Option<(Tops, Numbers)> {
    let len = matrix.rows() * matrix.columns();
    if len * size_of::<W>() < SHORT_BYTES_MIN || !context.isa.dispatch(IsQuick) {
        return None;
    }
    let counts = count_tops::<W>(context, matrix);
    let mut by_count: Vec<u8> = (0..=u8::MAX).collect();
    by_count.sort_by_key(|&top| Reverse(counts[usize::from(top)]));
    let tops: Tops = std::array::from_fn(|number| by_count[number]);
    let mut numbers = [NO_NUMBER; 256];
    for (number, &top) in (0..).zip(&tops) {
        numbers[usize::from(top)] = number;
    }
    let usual: u64 = tops.iter().map(|&top| counts[usize::from(top)]).sum();
    ((len - usual as usize) * RARE <= len).then_some((tops, numbers))
}

/// Whether short weights can be read as quickly as memory gives them.
struct IsQuick;

impl Kernel for IsQuick {
    type Output = bool;
    #[inline(always)]
    fn run<V: Vector>(self) -> bool {
        V::READS_SHORT
    }
}

fn count_tops<W: Shorten>(context: &Context, matrix: Matrix) -> Counts {
    let pieces = matrix.columns().div_ceil(PANEL);
    let mut counts: Vec<Counts> = vec![[0; 256]; pieces];
    let all = Disjoint::new(&mut counts);
    context.threads.for_each(pieces, |_, piece| {
        // SAFETY: each piece has its own.
        let counts = unsafe { &mut all.part(piece..piece + 1)[0] };
        for column in piece * PANEL..(piece * PANEL + PANEL).min(matrix.columns()) {
            for &weight in &matrix.from(0, column)[..matrix.rows()] {
                counts[usize::from(W::of(weight).top())] += 1;
            }
        }
    });
    std::array::from_fn(|top| counts.iter().map(|counts| counts[top]).sum())
}

/// What is to be said of a part.
struct Written<W> {
    /// Of each of its blocks.
    rare: Vec<Vec<Rare<W>>>,
    are_finite: bool,
}

impl<W> Default for Written<W> {
    fn default() -> Self {
        Self { rare: Vec::new(), are_finite: true }
    }
}

/// So many outputs of a group as the widest panel has, of all inputs.
struct Part<'a, W> {
    to: &'a Disjoint<'a, u8>,
    /// If they are to be short.
    numbers: Option<&'a Numbers>,
    matrix: Matrix<'a>,
    panel: usize,
    width: usize,
    weight: PhantomData<W>,
}

impl<W: Shorten> Kernel for Part<'_, W> {
    type Output = Written<W>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Written<W> {
        let Self { matrix, panel, .. } = self;
        let (inputs, width) = (matrix.rows(), VECTORS * V::LANES);
        let columns = panel * PANEL..(panel * PANEL + PANEL).min(matrix.columns());
        let mut plain = vec![W::default(); PANEL * inputs];
        let transpose = Transpose { to: &mut plain, matrix, columns: columns.clone() };
        let mut written = Written { are_finite: transpose.run::<V>(), ..Written::default() };
        let mut block = vec![W::default(); width];
        for first in (0..PANEL).step_by(width) {
            // Panels of the last columns may be narrower, or missing.
            let left = columns.len().saturating_sub(first);
            let there = if left == 0 { 0 } else { vectors::<V>(left) * V::LANES };
            let mut rare = Vec::new();
            for input in 0..inputs {
                let from = first * inputs + input * there;
                block[..there].copy_from_slice(&plain[from..from + there]);
                self.write_block(&mut rare, &block, input, first);
            }
            written.rare.push(rare);
        }
        written
    }
}

impl<W: Shorten> Part<'_, W> {
    /// Writes the block of a row that begins `first` outputs behind the part's own first one.
    #[inline(always)]
    fn write_block(&self, rare: &mut Vec<Rare<W>>, block: &[W], input: usize, first: usize) {
        let Self { to, numbers, matrix, panel, width, .. } = *self;
        let (group, output) = (panel * PANEL / width, panel * PANEL % width + first);
        let bytes = if numbers.is_some() { Short::<W>::bytes } else { Plain::<W>::bytes };
        let row = (group * matrix.rows() + input) * bytes(width) + bytes(output);
        // SAFETY: nobody else writes the block.
        let to = unsafe { to.part(row..row + bytes(block.len())) };
        let Some(numbers) = numbers else {
            // SAFETY: the same bytes.
            let bytes =
                unsafe { std::slice::from_raw_parts(block.as_ptr().cast(), size_of_val(block)) };
            return to.copy_from_slice(bytes);
        };
        if !shorten(to, block, numbers) {
            for (at, &weight) in block.iter().enumerate() {
                if numbers[usize::from(weight.top())] == NO_NUMBER {
                    rare.push(Rare { row: input as u32, output: at as u32, weight });
                }
            }
        }
    }
}

/// Whether every highest byte has a number.
#[inline(always)]
pub(super) fn shorten<W: Shorten>(to: &mut [u8], block: &[W], numbers: &Numbers) -> bool {
    let quarter = block.len() / 4;
    let fours = W::write_low(to, block);
    let mut all = 0;
    for (word, fours) in fours.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let [a, b, c, d] =
            std::array::from_fn(|which| numbers[usize::from(block[which * quarter + word].top())]);
        *fours = [a & 0xf | b << 4, c & 0xf | d << 4];
        all |= a | b | c | d;
    }
    all < TOPS as u8
}
