//! Matrix products of any size and stride: `C (m, n) = A (m, k) · B (k, n)`.
//!
//! The output is cut into pieces by its shape alone, and each is one thread's. A piece walks the
//! depth in chunks; of each chunk it copies both operands into its own scratch and runs the
//! micro-kernel over the copies, whose strides suit the caches whatever those of the operands:
//!
//! | copy | layout | of up to | why |
//! | --- | --- | --- | --- |
//! | A | as it lies, rows an odd number of lines apart | 256 x 256 | 14 rows fall into 14 sets |
//! | B | [panels](crate::panels) | 256 x 256 | read in order; one panel stays in the inner cache |
//! | sums | rows | 256 x 256 | added to by each chunk, then finished into C |
//!
//! Together they fill less than half of a 2 MiB outer cache. B must run along its columns to be
//! copied so. If it runs along the depth it is transposed into panels once, for all pieces, unless
//! it lies in them already; when A is the cheaper one to transpose, `Cᵀ = Bᵀ · Aᵀ` is computed in its
//! place. An element's sum is the same to the bit either way.

use std::ops::Range;

use alexnet_ops::Activation;

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::microkernel::{Finish, INTERVAL, Left, Right, Store, VECTORS, multiply_columns};
use crate::panels::{PANEL, panels_len, vectors, write_panels};
use crate::simd::Vector;

/// Rows and columns of the largest piece.
const PIECE: usize = 256;

/// A smaller piece than this spends too much on copies.
const PIECE_MIN: usize = 32;

/// Pieces wanted of one product, for many threads to share evenly.
const PIECES: usize = 32;

/// Terms of the sums between two visits to them.
const CHUNK: usize = 256;

/// Floats of a cache line.
pub(crate) const LINE: usize = 16;

/// Scratch, in shared buffers, that the transposed operand takes. Callers may use those below.
const SHARED: usize = 2;

/// A matrix laid over a slice: element (i, j) is at `i · row_stride + j · column_stride`, and one of
/// the strides is 1.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after another, `stride` apart.
    pub(crate) fn row_major(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let last = (rows - 1) * stride + columns;
        assert!(last <= data.len(), "a matrix of {last} elements over {}", data.len());
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The elements from (row, column) on.
    #[inline(always)]
    pub(crate) fn from(&self, row: usize, column: usize) -> &'a [f32] {
        &self.data[row * self.row_stride + column * self.column_stride..]
    }
}

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(crate) enum Into<'a> {
    /// It replaces the output.
    Overwrite,
    /// It is added to the output.
    Accumulate,
    /// It replaces the output after a bias per column and an activation.
    Layer(&'a [f32], Activation),
}

/// `c (m, n; rows `stride` apart) = a (m, k) · b (k, n)`, in the way `into` says.
pub(crate) fn matmul(
    context: &Context,
    c: &mut [f32],
    stride: usize,
    a: Matrix,
    b: Matrix,
    into: Into,
) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product differ");
    assert!((a.rows - 1) * stride + b.columns <= c.len() && b.columns <= stride);
    let exchanged = b.column_stride != 1 && (a.row_stride == 1 || a.rows < b.columns);
    let (a, b) = if exchanged { (b.transposed(), a.transposed()) } else { (a, b) };
    let output = Output { c: Disjoint::new(c), stride, exchanged, into };
    let columns = b.columns;
    if b.column_stride == 1 {
        return make(context, &output, a, Operand::Rows(b), columns);
    }
    let len = panels_len(b.rows, columns);
    let mut panels = context.scratch.shared(SHARED, len);
    write_panels(context, &mut panels[..len], b);
    make(context, &output, a, Operand::Panels(&panels), columns);
}

/// [`matmul`] with a B of `columns` columns in [panels](crate::panels).
pub(crate) fn matmul_panels(
    context: &Context,
    c: &mut [f32],
    stride: usize,
    a: Matrix,
    (panels, columns): (&[f32], usize),
    into: Into,
) {
    assert!(panels.len() >= panels_len(a.columns, columns));
    assert!((a.rows - 1) * stride + columns <= c.len() && columns <= stride);
    let output = Output { c: Disjoint::new(c), stride, exchanged: false, into };
    make(context, &output, a, Operand::Panels(panels), columns);
}

/// The product, piece by piece.
fn make(context: &Context, output: &Output, a: Matrix, b: Operand, columns: usize) {
    let cut = Cut::new(a.rows, columns);
    context.threads.for_each(cut.pieces(), |worker, piece| {
        let (rows, columns) = cut.piece(piece);
        let mut scratch = context.scratch.own(worker, SCRATCH);
        context.isa.dispatch(Piece { a, b, output, rows, columns, scratch: &mut scratch });
    });
}

/// Chunks that `depth` terms are summed in: the same wherever these sums are formed.
pub(crate) fn chunks(depth: usize) -> usize {
    depth.div_ceil(CHUNK)
}

/// How a product's output is cut into pieces.
struct Cut {
    rows: usize,
    columns: usize,
    /// Pieces side by side in each direction.
    down: usize,
    across: usize,
}

impl Cut {
    fn new(rows: usize, columns: usize) -> Self {
        let (mut height, mut width) = (PIECE, PIECE);
        let count = |height, width| rows.div_ceil(height) * columns.div_ceil(width);
        while count(height, width) < PIECES && height.max(width) > PIECE_MIN {
            // Cut along the longer side: the other's operand is copied once more for each cut.
            let cut_rows = height > PIECE_MIN && (rows > columns || width == PIECE_MIN);
            *(if cut_rows { &mut height } else { &mut width }) /= 2;
        }
        Self { rows, columns, down: rows.div_ceil(height), across: columns.div_ceil(width) }
    }

    fn pieces(&self) -> usize {
        self.down * self.across
    }

    /// Rows of nearly equal number; columns of whole panels.
    fn piece(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let columns = share(self.columns.div_ceil(PANEL), self.across, index / self.down);
        let columns = columns.start * PANEL..(columns.end * PANEL).min(self.columns);
        (share(self.rows, self.down, index % self.down), columns)
    }
}

/// Part `index` of `total` in `parts` nearly equal ones.
#[inline(always)]
pub(crate) fn share(total: usize, parts: usize, index: usize) -> Range<usize> {
    index * total / parts..(index + 1) * total / parts
}

/// Where a product goes.
struct Output<'a> {
    c: Disjoint<'a, f32>,
    stride: usize,
    /// Rows of the product are columns of `c`.
    exchanged: bool,
    into: Into<'a>,
}

impl Output<'_> {
    /// Writes the finished `sums` (rows `stride` apart) of a piece.
    ///
    /// # Safety
    /// Nobody else writes to the piece.
    #[inline(always)]
    unsafe fn write(&self, sums: &[f32], stride: usize, rows: Range<usize>, columns: Range<usize>) {
        if self.exchanged {
            for (j, row) in columns.enumerate() {
                let sums = sums[j..].iter().step_by(stride);
                // SAFETY: the caller's promise.
                unsafe { self.write_row(row, rows.clone(), sums) };
            }
        } else {
            for (i, row) in rows.enumerate() {
                // SAFETY: the caller's promise.
                unsafe { self.write_row(row, columns.clone(), sums[i * stride..].iter()) };
            }
        }
    }

    /// # Safety
    /// Nobody else writes to these columns of row `row`.
    #[inline(always)]
    unsafe fn write_row<'s>(
        &self,
        row: usize,
        columns: Range<usize>,
        sums: impl Iterator<Item = &'s f32>,
    ) {
        let start = row * self.stride;
        // SAFETY: the caller's promise.
        let to = unsafe { self.c.part(start + columns.start..start + columns.end) };
        match self.into {
            Into::Overwrite => to.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
            Into::Accumulate => to.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
            Into::Layer(bias, Activation::Identity) => {
                let sums = sums.zip(&bias[columns]);
                to.iter_mut().zip(sums).for_each(|(y, (sum, b))| *y = sum + b);
            }
            Into::Layer(bias, Activation::Relu) => {
                let sums = sums.zip(&bias[columns]);
                to.iter_mut().zip(sums).for_each(|(y, (sum, b))| {
                    *y = crate::elementwise::rectified(sum + b);
                });
            }
        }
    }
}

/// Sizes of the three parts of a piece's scratch.
const A_FLOATS: usize = PIECE * (CHUNK + LINE);
const B_FLOATS: usize = CHUNK * PIECE;
const SCRATCH: usize = A_FLOATS + B_FLOATS + PIECE * PIECE;

/// The second factor.
#[derive(Clone, Copy)]
enum Operand<'a> {
    /// Rows, of which each piece copies what it needs.
    Rows(Matrix<'a>),
    /// All of it, in panels.
    Panels(&'a [f32]),
}

/// One thread's part of a product.
struct Piece<'a> {
    a: Matrix<'a>,
    b: Operand<'a>,
    output: &'a Output<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut [f32],
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { a, b, output, rows, columns, scratch } = self;
        let width = VECTORS * V::LANES;
        let (copy_a, rest) = scratch.split_at_mut(A_FLOATS);
        let (copy_b, sums) = rest.split_at_mut(B_FLOATS);
        let stride = columns.len().next_multiple_of(width);
        sums[..rows.len() * stride].fill(0.0);
        let depth = a.columns;
        let chunks = chunks(depth);
        for chunk in 0..chunks {
            let steps = share(depth, chunks, chunk);
            let left = copy_left(copy_a, a, &rows, &steps);
            if let Operand::Rows(b) = b {
                copy_panels::<V>(copy_b, b, &steps, &columns);
            }
            let next_left = (chunk + 1 < chunks && a.column_stride == 1)
                .then(|| (a.from(rows.start, steps.end).as_ptr(), a.row_stride));
            for (panel, column) in columns.clone().step_by(width).enumerate() {
                let store = Store { start: sums[panel * width..].as_mut_ptr(), stride };
                let sums = Sums { store, next_left: next_left.filter(|_| panel == 0) };
                let (start, vectors) = match b {
                    Operand::Rows(_) => (&copy_b[panel * steps.len() * width..], VECTORS),
                    Operand::Panels(panels) => {
                        let vectors = vectors::<V>(columns.end - column);
                        (&panels[column * depth + steps.start * vectors * V::LANES..], vectors)
                    }
                };
                let right = Right { start: start.as_ptr(), depth_stride: vectors * V::LANES };
                let (rows, depth) = (rows.len(), steps.len());
                // SAFETY: A's copy and the panel hold the chunk, the sums all rows and panels.
                unsafe {
                    match vectors {
                        1 => multiply_columns::<V, 1>(rows, depth, left, &right, &sums),
                        _ => multiply_columns::<V, VECTORS>(rows, depth, left, &right, &sums),
                    }
                }
            }
        }
        // SAFETY: pieces do not overlap.
        unsafe { output.write(sums, stride, rows, columns) };
    }
}

/// Sums that are added to a piece's.
struct Sums {
    store: Store<true>,
    /// Where the next chunk of A begins, and its row stride, if it is to be asked for meanwhile.
    next_left: Option<(*const f32, usize)>,
}

impl<V: Vector> Finish<V> for Sums {
    #[inline(always)]
    unsafe fn finish<const W: usize>(&self, row: usize, sums: [V; W]) {
        // SAFETY: the caller's promise.
        unsafe { self.store.finish(row, sums) };
    }

    #[inline(always)]
    fn interval(&self, rows: Range<usize>, interval: usize) {
        const INTERVALS: usize = LINE / INTERVAL;
        if let Some((start, stride)) = self.next_left
            && interval.is_multiple_of(INTERVALS)
        {
            for row in rows {
                V::prefetch(start.wrapping_add(row * stride + interval * INTERVAL));
            }
        }
    }
}

/// Copies a block of A as it lies, its runs an odd number of lines apart.
#[inline(always)]
pub(crate) fn copy_left(
    to: &mut [f32],
    a: Matrix,
    rows: &Range<usize>,
    steps: &Range<usize>,
) -> Left {
    let along_depth = a.column_stride == 1;
    let (runs, len, from_stride) = if along_depth {
        (rows.len(), steps.len(), a.row_stride)
    } else {
        (steps.len(), rows.len(), a.column_stride)
    };
    let from = a.from(rows.start, steps.start);
    let stride = len.next_multiple_of(LINE) | LINE;
    for run in 0..runs {
        to[run * stride..][..len].copy_from_slice(&from[run * from_stride..][..len]);
    }
    let (row_stride, depth_stride) = if along_depth { (stride, 1) } else { (1, stride) };
    Left { start: to.as_ptr(), row_stride, depth_stride }
}

/// Copies a block of B, which runs along its columns, into panels `[k][2 · LANES]` that end in
/// zeros.
#[inline(always)]
pub(crate) fn copy_panels<V: Vector>(
    to: &mut [f32],
    b: Matrix,
    steps: &Range<usize>,
    columns: &Range<usize>,
) {
    let width = VECTORS * V::LANES;
    let panel_len = steps.len() * width;
    assert!(columns.len().div_ceil(width) * panel_len <= to.len());
    for (k, step) in steps.clone().enumerate() {
        let row = &b.from(step, columns.start)[..columns.len()];
        for first in (0..row.len()).step_by(V::LANES) {
            let at = first / width * panel_len + k * width + first % width;
            let count = V::LANES.min(row.len() - first);
            // SAFETY: `count` floats of the row; inside a panel, which the assertion covers.
            unsafe { V::load_part(row[first..].as_ptr(), count).store(to[at..].as_mut_ptr()) };
        }
        // An odd number of vectors leaves the last panel half written.
        if row.len().div_ceil(V::LANES) % VECTORS == 1 {
            let at = row.len() / width * panel_len + k * width + V::LANES;
            to[at..][..V::LANES].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use alexnet_ops::Precision;
    use alexnet_ops::conformance::{value, values};

    use super::*;
    use crate::Cpu;
    use crate::isa::Isa;

    /// A matrix over `data` whose rows, or columns if `down`, lie one after another with gaps.
    fn matrix(data: &[f32], rows: usize, columns: usize, down: bool) -> Matrix<'_> {
        if down {
            Matrix::row_major(data, columns, rows, rows + 1).transposed()
        } else {
            Matrix::row_major(data, rows, columns, columns + 3)
        }
    }

    #[test]
    fn every_size_layout_and_use_gives_the_product_and_writes_nothing_else() {
        let data = values(350 * 350, 1, 1.0);
        let sizes =
            [(1, 1, 1), (15, 33, 7), (29, 64, 65), (300, 31, 270), (9, 290, 300), (70, 70, 520)];
        for (isa, (m, n, k)) in
            Isa::available().into_iter().flat_map(|isa| sizes.map(|size| (isa, size)))
        {
            let cpu = Cpu::with(2, isa, Precision::F32).expect("threads start");
            for (a_down, b_down) in [(false, false), (false, true), (true, false), (true, true)] {
                // From odd places, so that nothing is aligned.
                let (a, b) = (matrix(&data[1..], m, k, a_down), matrix(&data[3..], k, n, b_down));
                for into in [
                    Into::Overwrite,
                    Into::Accumulate,
                    Into::Layer(&data[5..], Activation::Identity),
                    Into::Layer(&data[5..], Activation::Relu),
                ] {
                    let case = format!("{m} x {n} x {k}, {a_down} {b_down}, {isa}");
                    check(&cpu, a, b, into, &case);
                }
            }
        }
    }

    fn check(cpu: &Cpu, a: Matrix, b: Matrix, into: Into, case: &str) {
        let (m, n, k, stride) = (a.rows, b.columns, a.columns, b.columns + 2);
        let accumulating = matches!(into, Into::Accumulate);
        let before = |at: usize| if accumulating { value(at, 9) } else { f32::NAN };
        let mut c: Vec<f32> = (0..m * stride).map(before).collect();
        matmul(&cpu.context, &mut c, stride, a, b, into);
        for (i, j) in (0..m).flat_map(|i| (0..stride).map(move |j| (i, j))) {
            let at = i * stride + j;
            if j >= n {
                assert_eq!(c[at].to_bits(), before(at).to_bits(), "{case}: written beside");
                continue;
            }
            let sum = (0..k).map(|k| f64::from(a.from(i, k)[0]) * f64::from(b.from(k, j)[0]));
            let sum = sum.sum::<f64>() as f32;
            let expected = match into {
                Into::Overwrite => sum,
                Into::Accumulate => before(at) + sum,
                Into::Layer(bias, Activation::Identity) => sum + bias[j],
                Into::Layer(bias, Activation::Relu) => (sum + bias[j]).max(0.0),
            };
            let error = (c[at] - expected).abs();
            assert!(error <= 1e-6 * k as f32, "{case}: {} is not {expected} at {i}, {j}", c[at]);
        }
    }
}
