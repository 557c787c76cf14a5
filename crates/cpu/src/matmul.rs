//! Matrix products over the `gemm` crate's kernels, cut into tiles of fixed size.
//!
//! The crate could thread a product itself, but where it cuts depends on the number of threads.
//! Here the tiles depend on the shape alone and each is one single-threaded product, so an
//! element's sum runs in the same order always.

use alexnet_ops::Activation;
use rayon::prelude::*;

/// Tile of the output one thread computes at a time. Large enough that packing the operands again
/// for each tile costs a few percent, small enough that AlexNet's layers give every core several.
const TILE_ROWS: usize = 384;
const TILE_COLUMNS: usize = 256;

/// A matrix laid over a slice: element (i, j) is at `i · row_stride + j · column_stride`.
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

    fn pointer(&self, row: usize, column: usize) -> *const f32 {
        &raw const self.data[row * self.row_stride + column * self.column_stride]
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
pub(crate) fn matmul(c: &mut [f32], stride: usize, a: Matrix, b: Matrix, into: Into) {
    let (rows, columns) = (a.rows, b.columns);
    assert_eq!(a.columns, b.rows, "inner sizes of a product differ");
    assert!((rows - 1) * stride + columns <= c.len() && columns <= stride);
    let output = SharedOutput(c.as_mut_ptr());
    let tiles_across = columns.div_ceil(TILE_COLUMNS);
    (0..rows.div_ceil(TILE_ROWS) * tiles_across).into_par_iter().for_each(|index| {
        let (row, column) = (index / tiles_across * TILE_ROWS, index % tiles_across * TILE_COLUMNS);
        let tile = Tile {
            row,
            column,
            rows: TILE_ROWS.min(rows - row),
            columns: TILE_COLUMNS.min(columns - column),
        };
        // SAFETY: the assertions above keep every tile inside `c`, and no two tiles share an
        // element.
        unsafe { tile.compute(output.at(row * stride + column), stride, a, b, into) };
    });
}

struct Tile {
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
}

impl Tile {
    /// # Safety
    /// `output` must point to `self.rows` rows of `self.columns` floats, `stride` apart, that
    /// nobody else touches.
    unsafe fn compute(&self, output: *mut f32, stride: usize, a: Matrix, b: Matrix, into: Into) {
        let accumulate = matches!(into, Into::Accumulate);
        // SAFETY: `Matrix` has checked that its elements lie in its slice and the tile lies in the
        // product; the output is the caller's promise. `read_dst` is off unless accumulating, so
        // poison in it is never read.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                a.columns,
                output,
                1,
                stride as isize,
                accumulate,
                a.pointer(self.row, 0),
                a.column_stride as isize,
                a.row_stride as isize,
                b.pointer(0, self.column),
                b.column_stride as isize,
                b.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        let Into::Layer(bias, activation) = into else { return };
        for row in 0..self.rows {
            // SAFETY: a row of the tile, by the caller's promise.
            let row =
                unsafe { std::slice::from_raw_parts_mut(output.add(row * stride), self.columns) };
            finish(row, &bias[self.column..], activation);
        }
    }
}

/// Adds the bias and applies the activation.
fn finish(row: &mut [f32], bias: &[f32], activation: Activation) {
    match activation {
        Activation::Identity => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
        Activation::Relu => {
            row.iter_mut().zip(bias).for_each(|(y, b)| *y = crate::elementwise::rectified(*y + b));
        }
    }
}

/// The output's address, sharable because threads write to disjoint tiles of it.
struct SharedOutput(*mut f32);

// SAFETY: only `matmul` makes one, and its tiles are disjoint.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    /// # Safety
    /// `offset` must lie inside the output.
    unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}
