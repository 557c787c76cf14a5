//! The transforms of one tile: straight-line sums over one dimension, applied to rows and then to
//! columns, a vector of channels at a time.
//!
//! The matrices are constants, so every sum is unrolled, zeros are left out, ones cost an addition,
//! and for opposite points ±p even and odd powers are summed once and combined twice. That is much
//! code, so it is compiled in one place for each set of instructions, and callers dispatch tile by
//! tile.

use std::mem::MaybeUninit;

use super::image::{Image, Lattice};
use super::points::{FEWEST, MOST, Table, evaluation, interpolation, is_mirrored};
use crate::isa::{Isa, Kernel};
use crate::simd::Vector;

/// A number for rows and one for columns.
pub(super) type Sides = (usize, usize);

/// As many vectors as a dimension can have.
type Vectors<V> = [V; MOST];

/// The first `ROWS` rows and `COLUMNS` columns of a table.
trait Matrix {
    const TABLE: Table;
    const ROWS: usize;
    const COLUMNS: usize;
}

/// Inputs of a tile to their values at its points.
struct Interpolation<const ALPHA: usize>;

impl<const ALPHA: usize> Matrix for Interpolation<ALPHA> {
    const TABLE: Table = interpolation(ALPHA);
    const ROWS: usize = ALPHA;
    const COLUMNS: usize = ALPHA;
}

/// Coefficients (of a kernel, or of a tile's output gradients) to values at the points.
struct Evaluation<const ALPHA: usize, const COEFFICIENTS: usize>;

impl<const ALPHA: usize, const COEFFICIENTS: usize> Matrix for Evaluation<ALPHA, COEFFICIENTS> {
    const TABLE: Table = evaluation(ALPHA, COEFFICIENTS);
    const ROWS: usize = ALPHA;
    const COLUMNS: usize = COEFFICIENTS;
}

/// Whether rows `i` and `i + 1` are those of an opposite pair of points.
const fn is_pair<M: Matrix>(i: usize) -> bool {
    i + 1 < M::ROWS && is_mirrored(&M::TABLE, i)
}

/// Whether row `i` is the second of such a pair.
const fn follows_pair<M: Matrix>(i: usize) -> bool {
    i > 0 && is_pair::<M>(i - 1)
}

/// A linear map of one dimension.
trait Line {
    const INPUTS: usize;
    const OUTPUTS: usize;
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V>;
}

/// The map of a matrix.
struct Times<M>(M);

/// The map of its transpose: from values at the points to a tile's outputs, or to a kernel's
/// gradient.
struct TransposedTimes<M>(M);

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

/// `$total += $factor · $value` with as little as the constant needs.
macro_rules! add_term {
    ($total:ident, $factor:expr, $value:expr) => {
        if const { $factor != 0.0 } {
            $total = Some(match $total {
                None if const { $factor == 1.0 } => $value,
                None => $value.mul(V::splat(const { $factor })),
                Some(total) if const { $factor == 1.0 } => V::add(total, $value),
                Some(total) => $value.mul_add(V::splat(const { $factor }), total),
            });
        }
    };
}

impl<M: Matrix> Line for Times<M> {
    const INPUTS: usize = M::COLUMNS;
    const OUTPUTS: usize = M::ROWS;
    #[inline(always)]
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V> {
        let mut outputs = [V::zero(); MOST];
        unrolled!(I {
            if const { is_pair::<M>(I) } {
                let (mut even, mut odd) = (None, None);
                unrolled!(K {
                    if const { K.is_multiple_of(2) } {
                        add_term!(even, M::TABLE[I][K], inputs[K]);
                    } else {
                        add_term!(odd, M::TABLE[I][K], inputs[K]);
                    }
                });
                let (even, odd) = (even.unwrap_or(V::zero()), odd.unwrap_or(V::zero()));
                outputs[I] = even.add(odd);
                outputs[(I + 1) % MOST] = even.sub(odd);
            } else if const { I < M::ROWS && !follows_pair::<M>(I) } {
                let mut total = None;
                unrolled!(K { add_term!(total, M::TABLE[I][K], inputs[K]) });
                outputs[I] = total.unwrap_or(V::zero());
            }
        });
        outputs
    }
}

impl<M: Matrix> Line for TransposedTimes<M> {
    const INPUTS: usize = M::ROWS;
    const OUTPUTS: usize = M::COLUMNS;
    #[inline(always)]
    fn apply<V: Vector>(inputs: &Vectors<V>) -> Vectors<V> {
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
                    if const { I < M::ROWS && !follows_pair::<M>(I) } {
                        let odd_pair = const { (is_pair::<M>(I) && K % 2 == 1) as usize };
                        add_term!(total, M::TABLE[I][K], pairs[(I + odd_pair) % MOST]);
                    }
                });
                outputs[K] = total.unwrap_or(V::zero());
            }
        });
        outputs
    }
}

/// `$run` with `$line` as the map `$map` of [`Interpolation`] for so many points.
macro_rules! with_interpolation {
    ($alpha:expr, $line:ident => $run:expr) => {
        with_interpolation!($alpha, $line => $run, 4 5 6 7 8)
    };
    ($alpha:expr, $line:ident => $run:expr, $($a:literal)*) => {
        match $alpha {
            $($a => {
                type $line = Times<Interpolation<$a>>;
                $run
            })*
            _ => unreachable!("tiles have 4 to 8 points"),
        }
    };
}

/// `$run` with `$line` as the map `$map` of [`Evaluation`] for so many points and coefficients.
macro_rules! with_evaluation {
    ($map:ident, $alpha:expr, $coefficients:expr, $line:ident => $run:expr) => {
        with_evaluation!(
            $map, $alpha, $coefficients, $line => $run,
            (4 1) (4 2) (4 3) (4 4) (5 1) (5 2) (5 3) (5 4) (5 5) (6 1) (6 2) (6 3) (6 4) (6 5)
            (6 6) (7 1) (7 2) (7 3) (7 4) (7 5) (7 6) (7 7) (8 1) (8 2) (8 3) (8 4) (8 5) (8 6)
            (8 7)
        )
    };
    (
        $map:ident, $alpha:expr, $coefficients:expr, $line:ident => $run:expr,
        $(($a:literal $n:literal))*
    ) => {
        match ($alpha, $coefficients) {
            $(($a, $n) => {
                type $line = $map<Evaluation<$a, $n>>;
                $run
            })*
            _ => unreachable!("kernels have 2 to 7 taps and fit their tiles"),
        }
    };
}

/// Taps of a side of the kernels that are kept half transformed.
pub(super) const HALF_TAPS: usize = 3;

/// The value at a point of rows, from what [`EvaluateRows`] leaves.
#[derive(Clone, Copy)]
pub(super) enum ValueOfHalf {
    /// This row.
    Row(usize),
    /// The first row and two others, each times its factor, added in this order.
    Sum([(usize, f32); 2]),
}

/// The second half of [`Evaluate`] for point `point` of `alpha`. Values have the bits of its sums:
/// they are added in its order, and factors are powers of two, so no term is rounded.
pub(super) fn value_of_half(alpha: usize, point: usize) -> ValueOfHalf {
    let table = &EVALUATIONS[HALF_TAPS - 1];
    match table[point] {
        [0.0, 0.0, ..] => ValueOfHalf::Row(2),
        [_, 0.0, 0.0, ..] => ValueOfHalf::Row(0),
        [_, first, second, ..] => {
            // Of an opposite pair even powers come first.
            let pair = |i| i + 1 < alpha && is_mirrored(table, i);
            let terms = [(1, first), (2, second)];
            let is_of_pair = pair(point) || pair(point - 1);
            ValueOfHalf::Sum(if is_of_pair { [terms[1], terms[0]] } else { terms })
        }
    }
}

/// A tile between its two passes, row by row; what was not written is not read.
type Between<V> = [[MaybeUninit<V>; MOST]; MOST];

#[inline(always)]
fn between<V: Vector>() -> Between<V> {
    [const { [const { MaybeUninit::uninit() }; MOST] }; MOST]
}

/// `count` lanes at `at`.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn load<V: Vector>(at: *const f32, count: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe { if count == V::LANES { V::load(at) } else { V::load_part(at, count) } }
}

/// `L` applied to each of the first `rows` rows, of which `at(row, column)` is read.
///
/// # Safety
/// `count` floats of these rows and of `L::INPUTS` columns can be read.
#[inline(always)]
unsafe fn transform_rows<V: Vector, L: Line>(
    between: &mut Between<V>,
    rows: usize,
    at: impl Fn(usize, usize) -> *const f32,
    count: usize,
) {
    for row in 0..rows {
        let mut inputs = [V::zero(); MOST];
        for column in 0..L::INPUTS {
            // SAFETY: the caller's promise.
            inputs[column] = unsafe { load(at(row, column), count) };
        }
        let outputs = L::apply(&inputs);
        for column in 0..L::OUTPUTS {
            between[row][column].write(outputs[column]);
        }
    }
}

/// Two rows of `table` applied to each of the first `rows` rows of `inputs` columns: the sums of
/// [`transform_rows`] for two points only, with factors that are read.
///
/// # Safety
/// As [`transform_rows`], for `inputs` columns.
#[inline(always)]
unsafe fn transform_rows_to_pair<V: Vector>(
    between: &mut Between<V>,
    (rows, inputs): Sides,
    at: impl Fn(usize, usize) -> *const f32,
    table: &[[f32; MOST]],
    count: usize,
) {
    for row in 0..rows {
        let (mut first, mut second) = (V::zero(), V::zero());
        for column in 0..inputs {
            // SAFETY: the caller's promise.
            let input: V = unsafe { load(at(row, column), count) };
            first = input.mul_add(V::splat(table[0][column]), first);
            second = input.mul_add(V::splat(table[1][column]), second);
        }
        between[row][0].write(first);
        between[row][1].write(second);
    }
}

/// `L` applied to each of the first `columns` columns; `put(row, column, result)` takes results.
///
/// # Safety
/// `L::INPUTS` rows of these columns were written.
#[inline(always)]
unsafe fn transform_columns<V: Vector, L: Line>(
    columns: usize,
    between: &Between<V>,
    put: impl Fn(usize, usize, V),
) {
    for column in 0..columns {
        let mut inputs = [V::zero(); MOST];
        for row in 0..L::INPUTS {
            // SAFETY: the caller's promise.
            inputs[row] = unsafe { between[row][column].assume_init() };
        }
        let outputs = L::apply(&inputs);
        for row in 0..L::OUTPUTS {
            put(row, column, outputs[row]);
        }
    }
}

/// Those of a tile's points of columns that are computed: `count` from `first`. The weight gradient
/// takes two at a time.
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

/// A window of an image: its first pixel (less the padding), and zeros for pixels outside.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) image: &'a Image,
    pub(super) at: Sides,
    pub(super) zeros: *const f32,
}

/// Channels ahead that are asked for: pixels come from an outer cache.
const AHEAD: usize = 64;

/// Matrices for every size of tile.
static INTERPOLATIONS: [Table; MOST + 1 - FEWEST] =
    [interpolation(4), interpolation(5), interpolation(6), interpolation(7), interpolation(8)];

/// Matrices for every number of coefficients from 1; they do not depend on the points.
static EVALUATIONS: [Table; MOST - 1] = [
    evaluation(MOST, 1),
    evaluation(MOST, 2),
    evaluation(MOST, 3),
    evaluation(MOST, 4),
    evaluation(MOST, 5),
    evaluation(MOST, 6),
    evaluation(MOST, 7),
];

/// An input tile's values at all points of rows and those of `part` of columns.
pub(super) struct Interpolate<'a> {
    pub(super) to: Lattice,
    pub(super) from: Window<'a>,
    pub(super) alphas: Sides,
    pub(super) part: Part,
    pub(super) channels: usize,
}

impl Interpolate<'_> {
    /// # Safety
    /// The window's image can be read, and `channels` zeros; at the addresses of `to`, `channels`
    /// rounded up to whole vectors can be written.
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.dispatch(self);
    }
}

impl Kernel for Interpolate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { to, from, alphas, part, channels } = self;
        let pixels = from.image.window(from.at, alphas, from.zeros);
        let mut between = between::<V>();
        let columns = part.of(alphas.1);
        for first in (0..channels).step_by(V::LANES) {
            let count = V::LANES.min(channels - first);
            let at = |row: usize, column: usize| {
                V::prefetch(pixels[row][column].wrapping_add(first + AHEAD));
                pixels[row][column].wrapping_add(first)
            };
            // SAFETY: the promise of `Self::run`.
            let put = |row, column, value: V| unsafe {
                value.store(to.at(row, column).wrapping_add(first));
            };
            // SAFETY: as above.
            unsafe {
                if part.count == 2 {
                    let table = &INTERPOLATIONS[alphas.1 - FEWEST][part.first..];
                    transform_rows_to_pair(&mut between, alphas, at, table, count);
                } else {
                    with_interpolation!(alphas.1, L => {
                        transform_rows::<V, L>(&mut between, alphas.0, at, count);
                    });
                }
                with_interpolation!(alphas.0, L => {
                    transform_columns::<V, L>(columns, &between, put);
                });
            }
        }
    }
}

/// The values of `coefficients` by `coefficients` at all points of rows and those of `part` of
/// columns: those of a kernel, or those of an output tile's gradient.
pub(super) struct Evaluate<'a> {
    pub(super) to: Lattice,
    pub(super) from: Window<'a>,
    pub(super) alphas: Sides,
    pub(super) part: Part,
    pub(super) coefficients: Sides,
    pub(super) channels: usize,
}

impl Evaluate<'_> {
    /// # Safety
    /// As [`Interpolate::run`].
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.dispatch(self);
    }
}

impl Kernel for Evaluate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { to, from, alphas, part, coefficients, channels } = self;
        let pixels = from.image.window(from.at, coefficients, from.zeros);
        let mut between = between::<V>();
        let columns = part.of(alphas.1);
        for first in (0..channels).step_by(V::LANES) {
            let count = V::LANES.min(channels - first);
            let at = |row: usize, column: usize| {
                V::prefetch(pixels[row][column].wrapping_add(first + AHEAD));
                pixels[row][column].wrapping_add(first)
            };
            // SAFETY: the promise of `Self::run`.
            let put = |row, column, value: V| unsafe {
                value.store(to.at(row, column).wrapping_add(first));
            };
            // SAFETY: as above.
            unsafe {
                if part.count == 2 {
                    let table = &EVALUATIONS[coefficients.1 - 1][part.first..];
                    transform_rows_to_pair(&mut between, coefficients, at, table, count);
                } else {
                    with_evaluation!(Times, alphas.1, coefficients.1, L => {
                        transform_rows::<V, L>(&mut between, coefficients.0, at, count);
                    });
                }
                with_evaluation!(Times, alphas.0, coefficients.0, L => {
                    transform_columns::<V, L>(columns, &between, put);
                });
            }
        }
    }
}

/// The first half of [`Evaluate`]: the values of [`HALF_TAPS`] by as many coefficients at all points
/// of columns, row by row.
pub(super) struct EvaluateRows<'a> {
    pub(super) to: Lattice,
    pub(super) from: Window<'a>,
    /// Points of columns.
    pub(super) alpha: usize,
    pub(super) channels: usize,
}

impl EvaluateRows<'_> {
    /// # Safety
    /// As [`Interpolate::run`].
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.dispatch(self);
    }
}

impl Kernel for EvaluateRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { to, from, alpha, channels } = self;
        let pixels = from.image.window(from.at, (HALF_TAPS, HALF_TAPS), from.zeros);
        let mut between = between::<V>();
        for first in (0..channels).step_by(V::LANES) {
            let count = V::LANES.min(channels - first);
            let at = |row: usize, column: usize| pixels[row][column].wrapping_add(first);
            // SAFETY: the promise of `Self::run`; all points of all rows were written.
            unsafe {
                with_evaluation!(
                    Times, alpha, HALF_TAPS, L => {
                        transform_rows::<V, L>(&mut between, HALF_TAPS, at, count);
                    },
                    (4 3) (5 3) (6 3) (7 3) (8 3)
                );
                for (row, column) in
                    (0..HALF_TAPS).flat_map(|row| (0..alpha).map(move |q| (row, q)))
                {
                    let at = to.at(row, column).wrapping_add(first);
                    between[row][column].assume_init().store(at);
                }
            }
        }
    }
}

/// The transpose of [`Evaluate`]: of `coefficients` results those in the first `kept` rows and
/// columns are added to the bias, rectified, and stored in place of the pixels from `at` on.
pub(super) struct Collect<'a> {
    pub(super) to: (&'a Image, Sides),
    pub(super) kept: Sides,
    pub(super) from: Lattice,
    pub(super) alphas: Sides,
    pub(super) coefficients: Sides,
    pub(super) channels: usize,
    /// Empty for none.
    pub(super) bias: &'a [f32],
    pub(super) rectify: bool,
}

impl Collect<'_> {
    /// # Safety
    /// At the addresses of `from`, `channels` rounded up to whole vectors can be read; the image's
    /// pixels can be written, and those kept lie in it.
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.dispatch(self);
    }
}

impl Kernel for Collect<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { to: (image, at), kept, from, alphas, coefficients, channels, .. } = self;
        let to = image.lattice(at);
        let mut between = between::<V>();
        for first in (0..channels).step_by(V::LANES) {
            let count = V::LANES.min(channels - first);
            let bias = if self.bias.is_empty() {
                V::zero()
            } else {
                let bias = &self.bias[first..][..count];
                // SAFETY: so many floats.
                unsafe { load(bias.as_ptr(), count) }
            };
            let at = |row, column| from.at(row, column).wrapping_add(first).cast_const();
            let put = |row, column, value: V| {
                if row < kept.0 {
                    let sum = value.add(bias);
                    let value = if self.rectify { sum.rectified() } else { sum };
                    let at = to.at(row, column).wrapping_add(first);
                    // SAFETY: the promise of `Self::run`.
                    unsafe {
                        if count == V::LANES {
                            value.store(at)
                        } else {
                            value.store_part(at, count)
                        }
                    }
                }
            };
            // SAFETY: as above.
            unsafe {
                with_evaluation!(TransposedTimes, alphas.1, coefficients.1, L => {
                    transform_rows::<V, L>(&mut between, alphas.0, at, V::LANES);
                });
                with_evaluation!(TransposedTimes, alphas.0, coefficients.0, L => {
                    transform_columns::<V, L>(kept.1, &between, put);
                });
            }
        }
    }
}
