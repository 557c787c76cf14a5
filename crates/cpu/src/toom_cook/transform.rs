//! The transforms of one tile: straight-line sums over one dimension, applied to rows and then to
//! columns, a vector of channels at a time.
//!
//! The matrices are constants, so every sum is unrolled, zeros are left out, ones cost an addition,
//! and for opposite points ±p even and odd powers are summed once and combined twice.

use super::points::{FEWEST, MOST, Table, evaluation, interpolation, is_mirrored};
use std::marker::PhantomData;

use crate::simd::{Outlined, Vector};

/// As many vectors as a dimension can have.
pub(super) type Vectors<V> = [V; MOST];

/// A linear map of one dimension, known at compile time.
pub(super) trait Line {
    const INPUTS: usize;
    const OUTPUTS: usize;
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V>;
}

/// Inputs of a tile to their values at its points.
pub(super) struct Interpolate<const ALPHA: usize>;

/// Coefficients (of a kernel, or of a tile's output gradients) to values at the points.
pub(super) struct Evaluate<const ALPHA: usize, const COEFFICIENTS: usize>;

/// The transpose of [`Evaluate`]: values at the points to a tile's outputs, or to a kernel's
/// gradient.
pub(super) struct Collect<const ALPHA: usize, const COEFFICIENTS: usize>;

impl<const ALPHA: usize> Line for Interpolate<ALPHA> {
    const INPUTS: usize = ALPHA;
    const OUTPUTS: usize = ALPHA;
    #[inline(always)]
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V> {
        times::<V, Self>(inputs)
    }
}

impl<const ALPHA: usize, const COEFFICIENTS: usize> Line for Evaluate<ALPHA, COEFFICIENTS> {
    const INPUTS: usize = COEFFICIENTS;
    const OUTPUTS: usize = ALPHA;
    #[inline(always)]
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V> {
        times::<V, Self>(inputs)
    }
}

impl<const ALPHA: usize, const COEFFICIENTS: usize> Line for Collect<ALPHA, COEFFICIENTS> {
    const INPUTS: usize = ALPHA;
    const OUTPUTS: usize = COEFFICIENTS;
    #[inline(always)]
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V> {
        transposed_times::<V, Evaluate<ALPHA, COEFFICIENTS>>(inputs)
    }
}

trait Matrix {
    const TABLE: Table;
    const ROWS: usize;
    const COLUMNS: usize;
}

impl<const ALPHA: usize> Matrix for Interpolate<ALPHA> {
    const TABLE: Table = interpolation(ALPHA);
    const ROWS: usize = ALPHA;
    const COLUMNS: usize = ALPHA;
}

impl<const ALPHA: usize, const COEFFICIENTS: usize> Matrix for Evaluate<ALPHA, COEFFICIENTS> {
    const TABLE: Table = evaluation(ALPHA, COEFFICIENTS);
    const ROWS: usize = ALPHA;
    const COLUMNS: usize = COEFFICIENTS;
}

/// The body once for each of 0..8 as a constant.
macro_rules! unrolled {
    ($index:ident $body:block) => {
        unrolled!($index $body 0 1 2 3 4 5 6 7)
    };
    ($index:ident $body:block $($value:literal)*) => {
        $({
            const $index: usize = $value;
            $body
        })*
    };
}

/// `M · inputs`
#[inline(always)]
fn times<V: Vector, M: Matrix>(inputs: &Vectors<V>) -> Vectors<V> {
    let mut outputs = [V::zero(); MOST];
    unrolled!(I {
        if const { I < M::ROWS && is_mirrored(&M::TABLE, I) } {
            let even = sum(M::TABLE[I], [inputs[0], inputs[2], inputs[4], inputs[6]], 0);
            let odd = sum(M::TABLE[I], [inputs[1], inputs[3], inputs[5], inputs[7]], 1);
            outputs[I] = even.add(odd);
            outputs[(I + 1) % MOST] = even.sub(odd);
        } else if const { I < M::ROWS && !follows_mirrored(&M::TABLE, I) } {
            let mut total = None;
            unrolled!(K { total = plus(total, const { M::TABLE[I][K] }, inputs[K]) });
            outputs[I] = total.unwrap_or(V::zero());
        }
    });
    outputs
}

/// `Mᵀ · inputs`
#[inline(always)]
fn transposed_times<V: Vector, M: Matrix>(inputs: &Vectors<V>) -> Vectors<V> {
    // Of an opposite pair the sum, in place of the first, and the difference, of the second.
    let mut pairs = *inputs;
    unrolled!(I {
        if const { is_pair::<M>(I) } {
            pairs[I] = inputs[I].add(inputs[(I + 1) % MOST]);
            pairs[(I + 1) % MOST] = inputs[I].sub(inputs[(I + 1) % MOST]);
        }
    });
    let mut outputs = [V::zero(); MOST];
    unrolled!(K {
        if const { K < M::COLUMNS } {
            let mut total = None;
            unrolled!(I {
                if const { I < M::ROWS && !(I > 0 && is_pair::<M>(I.saturating_sub(1))) } {
                    let odd_pair = const { is_pair::<M>(I) && K % 2 == 1 };
                    let value = pairs[(I + odd_pair as usize) % MOST];
                    total = plus(total, const { M::TABLE[I][K] }, value);
                }
            });
            outputs[K] = total.unwrap_or(V::zero());
        }
    });
    outputs
}

const fn is_pair<M: Matrix>(i: usize) -> bool {
    i + 1 < M::ROWS && is_mirrored(&M::TABLE, i)
}

const fn follows_mirrored(table: &Table, i: usize) -> bool {
    i > 0 && is_mirrored(table, i - 1)
}

/// Every second factor, from `first`, times its value.
#[inline(always)]
fn sum<V: Vector>(factors: [f32; MOST], values: [V; MOST / 2], first: usize) -> V {
    let mut total = None;
    total = plus(total, factors[first], values[0]);
    total = plus(total, factors[2 + first], values[1]);
    total = plus(total, factors[4 + first], values[2]);
    total = plus(total, factors[6 + first], values[3]);
    total.unwrap_or(V::zero())
}

/// `total + factor · value` with as little as the factor needs.
#[inline(always)]
fn plus<V: Vector>(total: Option<V>, factor: f32, value: V) -> Option<V> {
    if factor == 0.0 {
        return total;
    }
    Some(match total {
        None if factor == 1.0 => value,
        None => value.mul(V::splat(factor)),
        Some(total) if factor == 1.0 => total.add(value),
        Some(total) if factor == -1.0 => total.sub(value),
        Some(total) => value.mul_add(V::splat(factor), total),
    })
}

/// Where the values of a tile lie: an address for each row and column.
pub(super) trait Grid {
    fn at(&self, row: usize, column: usize) -> *mut f32;
}

/// Addresses one by one: an input tile, parts of which may lie outside the image.
pub(super) type Addresses = [[*mut f32; MOST]; MOST];

impl Grid for Addresses {
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> *mut f32 {
        self[row][column]
    }
}

/// Equally spaced rows.
pub(super) struct Lattice {
    pub(super) start: *mut f32,
    pub(super) row_stride: usize,
    pub(super) columns: [usize; MOST],
}

impl Grid for Lattice {
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.start.wrapping_add(row * self.row_stride + self.columns[column])
    }
}

/// What is done with results before they are stored.
pub(super) trait Finish<V> {
    /// Called before the results of these channels come.
    fn begin(&mut self, lanes: Lanes);
    fn finish(&self, value: V) -> V;
}

/// Nothing is done.
impl<V> Finish<V> for () {
    #[inline(always)]
    fn begin(&mut self, _: Lanes) {}
    #[inline(always)]
    fn finish(&self, value: V) -> V {
        value
    }
}

/// The channels of a vector: `count` from `offset`.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub(super) offset: usize,
    pub(super) count: usize,
}

/// Room for a tile between its two passes, row by row; it holds nothing between calls.
pub(super) type Between<V> = [Vectors<V>; MOST];

/// Such room.
#[inline(always)]
pub(super) fn between<V: Vector>() -> Between<V> {
    [[V::zero(); MOST]; MOST]
}

/// `L` applied to each of the first `rows` rows.
///
/// # Safety
/// The addresses of these rows and of `L::INPUTS` columns can be read.
#[inline(always)]
unsafe fn transform_rows<V: Vector, L: Line>(
    between: &mut Between<V>,
    rows: usize,
    from: &impl Grid,
    lanes: Lanes,
) {
    V::outline(Rows { between, rows, from, lanes, line: PhantomData::<L> });
}

struct Rows<'a, V, G, L> {
    between: &'a mut Between<V>,
    rows: usize,
    from: &'a G,
    lanes: Lanes,
    line: PhantomData<L>,
}

impl<V: Vector, G: Grid, L: Line> Outlined<V> for Rows<'_, V, G, L> {
    #[inline(always)]
    fn run(self) {
        for row in 0..self.rows {
            let mut inputs = [V::zero(); MOST];
            for column in 0..L::INPUTS {
                let at = self.from.at(row, column).wrapping_add(self.lanes.offset);
                // SAFETY: the promise to `transform_rows`.
                inputs[column] = unsafe { load::<V>(at, self.lanes) };
            }
            self.between[row] = L::apply(&inputs);
        }
    }
}

/// `L` applied to each of the first `columns` columns; the first `rows` of its results are finished
/// and stored, as many lanes as `lanes` has.
///
/// # Safety
/// The addresses of these rows and columns can be written.
#[inline(always)]
unsafe fn transform_columns<V: Vector, L: Line>(
    to: &impl Grid,
    sides: Sides,
    between: &Between<V>,
    lanes: Lanes,
    finish: &impl Finish<V>,
) {
    V::outline(Columns { to, sides, between, lanes, finish, line: PhantomData::<L> });
}

struct Columns<'a, V, G, F, L> {
    to: &'a G,
    sides: Sides,
    between: &'a Between<V>,
    lanes: Lanes,
    finish: &'a F,
    line: PhantomData<L>,
}

impl<V: Vector, G: Grid, F: Finish<V>, L: Line> Outlined<V> for Columns<'_, V, G, F, L> {
    #[inline(always)]
    fn run(self) {
        let (rows, columns) = self.sides;
        for column in 0..columns {
            let mut inputs = [V::zero(); MOST];
            for row in 0..L::INPUTS {
                inputs[row] = self.between[row][column];
            }
            let outputs = L::apply(&inputs);
            for row in 0..L::OUTPUTS {
                if row < rows {
                    let at = self.to.at(row, column).wrapping_add(self.lanes.offset);
                    let output = self.finish.finish(outputs[row]);
                    // SAFETY: the promise to `transform_columns`.
                    unsafe {
                        if self.lanes.count == V::LANES {
                            output.store(at);
                        } else {
                            output.store_part(at, self.lanes.count);
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// `lanes.count` floats can be read.
#[inline(always)]
unsafe fn load<V: Vector>(at: *const f32, lanes: Lanes) -> V {
    // SAFETY: the caller's promise.
    unsafe { if lanes.count == V::LANES { V::load(at) } else { V::load_part(at, lanes.count) } }
}

/// Those of a tile's points of columns that are computed: `count` from `first`. The weight gradient
/// takes a few at a time.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Part {
    /// Every point.
    pub(super) const ALL: Self = Self { first: 0, count: MOST };

    /// How many of them a tile of `alpha` points has.
    #[inline(always)]
    pub(super) fn of(self, alpha: usize) -> usize {
        self.count.min(alpha.saturating_sub(self.first))
    }
}

/// Two rows of `table` from `part.first` applied to each of the first `rows` rows: the sums of
/// [`Interpolate`] and [`Evaluate`] for two points only, with factors that are read.
///
/// # Safety
/// As [`transform_rows`], for `inputs` columns.
#[inline(always)]
unsafe fn transform_rows_to_pair<V: Vector>(
    between: &mut Between<V>,
    (rows, inputs): Sides,
    from: &impl Grid,
    table: &[[f32; MOST]],
    lanes: Lanes,
) {
    for row in 0..rows {
        let (mut first, mut second) = (V::zero(), V::zero());
        for column in 0..inputs {
            let at = from.at(row, column).wrapping_add(lanes.offset);
            // SAFETY: the caller's promise.
            let input = unsafe { load::<V>(at, lanes) };
            first = input.mul_add(V::splat(table[0][column]), first);
            second = input.mul_add(V::splat(table[1][column]), second);
        }
        between[row][0] = first;
        between[row][1] = second;
    }
}

impl Lanes {
    /// All lanes of the vector.
    fn whole<V: Vector>(self) -> Self {
        Self { count: V::LANES, ..self }
    }
}

/// The vectors of so many channels; the last may not be whole.
#[inline(always)]
fn vectors<V: Vector>(channels: usize) -> impl Iterator<Item = Lanes> {
    (0..channels)
        .step_by(V::LANES)
        .map(move |offset| Lanes { offset, count: V::LANES.min(channels - offset) })
}

/// `$run` with `$line` as the type for so many points.
macro_rules! with_interpolation {
    ($alpha:expr, $line:ident => $run:expr) => {
        with_interpolation!($alpha, $line => $run, 4 5 6 7 8)
    };
    ($alpha:expr, $line:ident => $run:expr, $($a:literal)*) => {
        match $alpha {
            $($a => {
                type $line = Interpolate<$a>;
                $run
            })*
            _ => unreachable!("tiles have 4 to 8 points"),
        }
    };
}

/// `$run` with `$line` as the type `$map` for so many points and coefficients.
macro_rules! with_evaluation {
    ($map:ident, $alpha:expr, $coefficients:expr, $line:ident => $run:expr) => {
        with_evaluation!(
            $map, $alpha, $coefficients, $line => $run,
            (4 1) (4 2) (4 3) (4 4) (5 1) (5 2) (5 3) (5 4) (5 5) (6 1) (6 2) (6 3) (6 4) (6 5)
            (6 6) (7 1) (7 2) (7 3) (7 4) (7 5) (7 6) (7 7) (8 1) (8 2) (8 3) (8 4) (8 5) (8 6)
            (8 7)
        )
    };
    ($map:ident, $alpha:expr, $coefficients:expr, $line:ident => $run:expr, $(($a:literal $n:literal))*) => {
        match ($alpha, $coefficients) {
            $(($a, $n) => {
                type $line = $map<$a, $n>;
                $run
            })*
            _ => unreachable!("kernels have 2 to 7 taps and fit their tiles"),
        }
    };
}

/// A number for rows and one for columns.
pub(super) type Sides = (usize, usize);

/// An input tile's values at all points of rows and those of `part` of columns, written as whole
/// vectors.
///
/// # Safety
/// `channels` floats can be read at the addresses of `from`, and so many rounded up to vectors be
/// written at those of `to`.
#[inline(always)]
pub(super) unsafe fn interpolate<V: Vector>(
    between: &mut Between<V>,
    to: &impl Grid,
    from: &impl Grid,
    alphas: Sides,
    part: Part,
    channels: usize,
) {
    let columns = part.of(alphas.1);
    let table = &INTERPOLATIONS[alphas.1 - FEWEST][part.first..];
    for lanes in vectors::<V>(channels) {
        // SAFETY: the caller's promise.
        unsafe {
            if part.count == 2 {
                transform_rows_to_pair::<V>(between, alphas, from, table, lanes);
            } else {
                with_interpolation!(alphas.1, L => {
                    transform_rows::<V, L>(between, alphas.0, from, lanes);
                });
            }
            with_interpolation!(alphas.0, L => {
                transform_columns::<V, L>(to, (alphas.0, columns), between, lanes.whole::<V>(), &());
            });
        }
    }
}

/// For every size of tile.
static INTERPOLATIONS: [Table; MOST + 1 - FEWEST] =
    [interpolation(4), interpolation(5), interpolation(6), interpolation(7), interpolation(8)];

/// For every number of coefficients from 1; infinity's is the last.
static EVALUATIONS: [Table; MOST - 1] = [
    evaluation(8, 1),
    evaluation(8, 2),
    evaluation(8, 3),
    evaluation(8, 4),
    evaluation(8, 5),
    evaluation(8, 6),
    evaluation(8, 7),
];

/// The values of `coefficients` by `coefficients` at all points of rows and those of `part` of
/// columns, written as whole vectors: those of a kernel, or those of an output tile's gradient.
///
/// # Safety
/// As [`interpolate`].
#[inline(always)]
pub(super) unsafe fn evaluate<V: Vector>(
    between: &mut Between<V>,
    to: &impl Grid,
    from: &impl Grid,
    (alphas, part): (Sides, Part),
    coefficients: Sides,
    channels: usize,
) {
    let columns = part.of(alphas.1);
    let table = &EVALUATIONS[coefficients.1 - 1][part.first..];
    for lanes in vectors::<V>(channels) {
        // SAFETY: the caller's promise.
        unsafe {
            if part.count == 2 {
                transform_rows_to_pair::<V>(between, coefficients, from, table, lanes);
            } else {
                with_evaluation!(Evaluate, alphas.1, coefficients.1, L => {
                    transform_rows::<V, L>(between, coefficients.0, from, lanes);
                });
            }
            with_evaluation!(Evaluate, alphas.0, coefficients.0, L => {
                transform_columns::<V, L>(to, (alphas.0, columns), between, lanes.whole::<V>(), &());
            });
        }
    }
}

/// The transpose of [`evaluate`]: of `coefficients` results those in the first `kept` rows and
/// columns are finished and stored.
///
/// # Safety
/// `channels` rounded up to vectors can be read at the addresses of `from`, and `channels` be
/// written at those of `to`.
#[inline(always)]
pub(super) unsafe fn collect<V: Vector>(
    between: &mut Between<V>,
    (to, kept): (&impl Grid, Sides),
    from: &impl Grid,
    alphas: Sides,
    coefficients: Sides,
    channels: usize,
    finish: &mut impl Finish<V>,
) {
    for lanes in vectors::<V>(channels) {
        finish.begin(lanes);
        // SAFETY: the caller's promise.
        unsafe {
            with_evaluation!(Collect, alphas.1, coefficients.1, L => {
                transform_rows::<V, L>(between, alphas.0, from, lanes);
            });
            with_evaluation!(Collect, alphas.0, coefficients.0, L => {
                transform_columns::<V, L>(to, kept, between, lanes, &*finish);
            });
        }
    }
}
