//! A linear layer's weights in fewer bits, and to the bit: with a few images, to read them is all
//! that takes time.
//!
//! The highest byte of a number, its sign and all but one bit of its exponent, is one of 256, but of
//! weights nearly always one of few: those of both signs within sixteen powers of two of each other
//! have 16. So a table of a layer's 16 most frequent ones stands for them, and a weight keeps four
//! bits that say which: 28 bits of an `f32` are read in place of 32, and 12 of a bf16 in place of 16.
//!
//! A row, the weights of one input in a panel of outputs that is two vectors wide, is
//! `[lowest two bytes of each][third byte of each][four bits of each]`, in bf16
//! `[lower byte of each][four bits of each]`. Rows with a rarer byte are kept as they are, beside,
//! in the order in which they come; if they are many, the layer is not shortened.

mod write;

use std::marker::PhantomData;

use alexnet_ops::LinearShape;

use crate::Context;
use crate::array::{Array, Form, FormGuard};
use crate::few_images::{Panel, Rows, prefetch_lines};
use crate::isa::Kernel;
use crate::matmul::Matrix;
use crate::microkernel::VECTORS;
use crate::panels::Weight;
use crate::simd::{LANES_MAX, Vector};

/// Highest bytes that have a number.
pub(crate) const TOPS: usize = 16;

/// Smaller layers stay in a cache, which gives numbers as they are sooner.
const BYTES_MIN: usize = if cfg!(test) { 0 } else { 4 << 20 };

/// The 16 highest bytes that numbers below 16 stand for.
pub(crate) type Tops = [u8; TOPS];

/// A number whose highest byte can be told by four bits.
pub(crate) trait Shorten: Weight {
    /// Bytes below the highest one.
    const LOW_BYTES: usize;
    /// The highest byte.
    fn top(self) -> u8;
    /// Writes what is below the highest bytes of a row.
    fn write_low(to: &mut [u8], row: &[Self]);
    /// The number of `index` in a row of `width` at `from`.
    ///
    /// # Safety
    /// The row can be read there.
    unsafe fn from_parts(top: u8, from: *const u8, index: usize, width: usize) -> f32;
    /// Two vectors of the row at `from`.
    ///
    /// # Safety
    /// A whole row can be read there.
    unsafe fn load_row<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS];
}

/// Bytes of a row of `width` weights.
#[inline(always)]
fn row_bytes<W: Shorten>(width: usize) -> usize {
    width * W::LOW_BYTES + width / 2
}

impl Shorten for f32 {
    const LOW_BYTES: usize = 3;
    #[inline(always)]
    fn top(self) -> u8 {
        (self.to_bits() >> 24) as u8
    }
    #[inline(always)]
    fn write_low(to: &mut [u8], row: &[Self]) {
        let (words, thirds) = to.split_at_mut(2 * row.len());
        for ((word, third), weight) in words.as_chunks_mut().0.iter_mut().zip(thirds).zip(row) {
            let bytes = weight.to_bits().to_le_bytes();
            (*word, *third) = ([bytes[0], bytes[1]], bytes[2]);
        }
    }
    #[inline(always)]
    unsafe fn from_parts(top: u8, from: *const u8, index: usize, width: usize) -> f32 {
        // SAFETY: the caller's promise.
        let (word, third) =
            unsafe { (from.add(2 * index).cast::<[u8; 2]>().read(), *from.add(2 * width + index)) };
        f32::from_le_bytes([word[0], word[1], third, top])
    }
    #[inline(always)]
    unsafe fn load_row<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { V::load_shortened(from, tops) }
    }
}

/// bf16.
impl Shorten for u16 {
    const LOW_BYTES: usize = 1;
    #[inline(always)]
    fn top(self) -> u8 {
        (self >> 8) as u8
    }
    #[inline(always)]
    fn write_low(to: &mut [u8], row: &[Self]) {
        to.iter_mut().zip(row).for_each(|(to, weight)| *to = *weight as u8);
    }
    #[inline(always)]
    unsafe fn from_parts(top: u8, from: *const u8, index: usize, _width: usize) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_le_bytes([0, 0, unsafe { *from.add(index) }, top])
    }
    #[inline(always)]
    unsafe fn load_row<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { V::load_shortened_bf16(from, tops) }
    }
}

/// What [`Vector::load_shortened`] reads, weight by weight: `low` bytes of each, then the four bits
/// that say which of `tops` is above. A quarter of the row at a time has the same bits of neighbouring
/// words, so that a vector of words is shifted into place.
///
/// # Safety
/// A row of two vectors can be read at `from`.
#[inline(always)]
pub(crate) unsafe fn load_one_by_one<V: Vector, W: Shorten>(
    from: *const u8,
    tops: &Tops,
) -> [V; VECTORS] {
    let (width, quarter) = (VECTORS * V::LANES, VECTORS * V::LANES / 4);
    let mut row = [0.0; VECTORS * LANES_MAX];
    for (index, weight) in row[..width].iter_mut().enumerate() {
        let (which, word) = (index / quarter, index % quarter);
        // SAFETY: all inside of the row.
        unsafe {
            let fours = *from.add(width * W::LOW_BYTES + 2 * word + which / 2);
            let top = tops[usize::from(fours >> (4 * (which % 2)) & 0xf)];
            *weight = W::from_parts(top, from, index, width);
        }
    }
    // SAFETY: the row has so many.
    std::array::from_fn(|j| unsafe { V::load(row[j * V::LANES..].as_ptr()) })
}

/// A layer's weights shortened, made anew when they were written.
pub(crate) struct Shortened<'a, W> {
    form: FormGuard<'a>,
    inputs: usize,
    weight: PhantomData<W>,
}

/// What is kept beside the rows.
struct Beside<W> {
    tops: Tops,
    finite: bool,
    /// Of each panel.
    rare: Vec<RareRows<W>>,
}

/// A panel's rows that are kept as they are.
#[derive(Default)]
struct RareRows<W> {
    /// Their inputs, in order, and [`NO_ROW`] behind them.
    rows: Vec<u32>,
    /// (row, output)
    weights: Vec<W>,
}

/// Behind every row.
const NO_ROW: u32 = u32::MAX;

impl<'a, W: Shorten> Shortened<'a, W> {
    /// `None` where that does not pay: the layer is small, many of its rows are rare, or these
    /// instructions have no quick way back.
    pub(crate) fn of(context: &Context, weights: &'a Array, shape: &LinearShape) -> Option<Self> {
        let LinearShape { inputs, outputs, .. } = *shape;
        let width = context.isa.dispatch(Width)?;
        if inputs * outputs * size_of::<W>() < BYTES_MIN {
            return None;
        }
        let form = Form::Shortened(LinearShape { batch: 0, ..*shape }, size_of::<W>());
        let form = weights.form_about(form, |to| {
            let matrix = Matrix::row_major(weights, outputs, inputs, inputs).transposed();
            write::shorten::<W>(context, to, matrix, width)
        });
        let pays = form.about::<Option<Beside<W>>>().is_some();
        pays.then_some(Self { form, inputs, weight: PhantomData })
    }

    /// What [`few_images`](crate::few_images) reads.
    pub(crate) fn rows(&self) -> ShortRows<'_, W> {
        let beside = self.form.about::<Option<Beside<W>>>().as_ref().expect("`of` has looked");
        // SAFETY: the same bytes.
        let rows = unsafe {
            std::slice::from_raw_parts(self.form.as_ptr().cast(), size_of_val(&*self.form))
        };
        ShortRows { rows, beside, inputs: self.inputs }
    }
}

/// Outputs of a panel, where rows are read as quickly as memory gives them.
struct Width;

impl Kernel for Width {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<V: Vector>(self) -> Option<usize> {
        V::SHORTENS.then_some(VECTORS * V::LANES)
    }
}

/// See [`Rows`].
#[derive(Clone, Copy)]
pub(crate) struct ShortRows<'a, W> {
    rows: &'a [u8],
    beside: &'a Beside<W>,
    inputs: usize,
}

impl<'a, W: Shorten> Rows for ShortRows<'a, W> {
    type Panel = ShortPanel<'a, W>;

    fn are_finite(&self) -> bool {
        self.beside.finite
    }
    #[inline(always)]
    fn vectors<V: Vector>(_: usize) -> usize {
        VECTORS
    }
    #[inline(always)]
    fn panel<V: Vector, const P: usize>(&self, first: usize) -> ShortPanel<'a, W> {
        let (index, bytes) = (first / (P * V::LANES), self.inputs * row_bytes::<W>(P * V::LANES));
        let rare = &self.beside.rare[index];
        ShortPanel {
            rows: self.rows[index * bytes..][..bytes].as_ptr(),
            tops: &self.beside.tops,
            rare: &rare.rows,
            weights: &rare.weights,
        }
    }
}

/// See [`Panel`].
pub(crate) struct ShortPanel<'a, W> {
    rows: *const u8,
    tops: &'a Tops,
    /// The rare rows from the next one on.
    rare: &'a [u32],
    weights: &'a [W],
}

impl<W: Shorten> ShortPanel<'_, W> {
    /// The weights of a row that is not before the next rare one, if it is rare itself.
    #[cold]
    fn rare(&mut self, row: u32, width: usize) -> Option<*const W> {
        while self.rare[0] < row {
            (self.rare, self.weights) = (&self.rare[1..], &self.weights[width..]);
        }
        (self.rare[0] == row).then(|| self.weights[..width].as_ptr())
    }
}

impl<W: Shorten> Panel for ShortPanel<'_, W> {
    #[inline(always)]
    fn prefetch<V: Vector, const P: usize>(&self, row: u32) {
        let bytes = row_bytes::<W>(P * V::LANES);
        prefetch_lines::<V>(self.rows.wrapping_add(row as usize * bytes), bytes);
    }
    #[inline(always)]
    unsafe fn load<V: Vector, const P: usize>(&mut self, row: u32) -> [V; P] {
        let width = P * V::LANES;
        if row >= self.rare[0]
            && let Some(weights) = self.rare(row, width)
        {
            // SAFETY: a rare row has as many weights.
            return std::array::from_fn(|j| unsafe { W::load(weights.add(j * V::LANES)) });
        }
        let row = self.rows.wrapping_add(row as usize * row_bytes::<W>(width));
        // SAFETY: the caller's promise.
        let vectors = unsafe { W::load_row::<V>(row, self.tops) };
        std::array::from_fn(|j| vectors[j])
    }
}

#[cfg(test)]
mod tests {
    use alexnet_ops::conformance::values;
    use alexnet_ops::{Activation, Precision};

    use super::write::write_row;
    use super::*;
    use crate::few_images::{self, IMAGES};
    use crate::panels::Panels;
    use crate::{Cpu, Isa};

    /// Bits of a vector's lanes.
    fn bits<V: Vector>(vector: V) -> Vec<u32> {
        let mut lanes = [0.0; LANES_MAX];
        // SAFETY: no vector is longer.
        unsafe { vector.store(lanes.as_mut_ptr()) };
        lanes[..V::LANES].iter().map(|lane| lane.to_bits()).collect()
    }

    /// A row with these highest bytes in turns: as it is loaded, shortened and plain.
    struct Row<W>(fn(u32) -> W);

    impl<W: Shorten> Kernel for Row<W> {
        type Output = [Vec<Vec<u32>>; 2];
        #[inline(always)]
        fn run<V: Vector>(self) -> Self::Output {
            let tops: Tops = std::array::from_fn(|number| (number * 17 + 3) as u8);
            let mut numbers = [u8::MAX; 256];
            (0..).zip(tops).for_each(|(number, top)| numbers[usize::from(top)] = number);
            let width = VECTORS * V::LANES;
            let weight = |at: usize| {
                let low = (at as u32).wrapping_mul(0x9e37_79b9) >> 8;
                (self.0)(u32::from(tops[at * 7 % TOPS]) << 24 | low)
            };
            let row: Vec<W> = (0..width).map(weight).collect();
            let mut short = vec![0; row_bytes::<W>(width)];
            assert!(write_row(&mut short, &row, &numbers));
            // SAFETY: both are whole rows.
            unsafe {
                let plain = [0, V::LANES].map(|at| W::load::<V>(row[at..].as_ptr()));
                [W::load_row::<V>(short.as_ptr(), &tops), plain].map(|row| row.map(bits).to_vec())
            }
        }
    }

    #[test]
    fn a_row_comes_back_to_the_bit_on_every_isa() {
        for isa in Isa::available() {
            for [found, expected] in
                [isa.dispatch(Row(f32::from_bits)), isa.dispatch(Row(|bits| (bits >> 16) as u16))]
            {
                assert_eq!(found, expected, "{isa}");
            }
        }
    }

    /// Numbers whose highest bytes are none of a layer's usual ones.
    const ODD: [f32; 8] = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e30,
        -1e-30,
        -0.0,
    ];

    /// (outputs, inputs), of which one in so many is odd.
    fn weights(shape: &LinearShape, odd: usize) -> Array {
        let len = shape.inputs * shape.outputs;
        let mut array = Array::zeroed(len);
        array.copy_from_slice(&values(len, 3, 1.0));
        let every = array.iter_mut().skip(odd / 2).step_by(odd);
        every.zip(ODD.iter().cycle()).for_each(|(weight, odd)| *weight = *odd);
        array
    }

    /// The outputs by shortened weights, if they can be, and by plain ones.
    fn outputs_of<W: Shorten>(
        cpu: &Cpu,
        weights: &Array,
        x: &[f32],
        shape: &LinearShape,
    ) -> (Option<Vec<u32>>, Vec<u32>) {
        let LinearShape { batch, inputs, outputs } = *shape;
        let (context, bias) = (&*cpu.context, values(outputs, 4, 1.0));
        let bits = |y: Vec<f32>| y.iter().map(|y| y.to_bits()).collect();
        let (layer, size) = ((&*bias, Activation::Identity), (batch, inputs));
        let plain = {
            let (mut y, panels) =
                (vec![0.0; batch * outputs], Panels::<W>::of(context, weights, shape));
            few_images::forward(context, &mut y, x, panels.rows(inputs), layer, size);
            bits(y)
        };
        let short = Shortened::<W>::of(context, weights, shape).map(|short| {
            let mut y = vec![0.0; batch * outputs];
            few_images::forward(context, &mut y, x, short.rows(), layer, size);
            bits(y)
        });
        (short, plain)
    }

    #[test]
    fn shortened_weights_give_the_bits_of_plain_ones() {
        let sizes = [(1, 1), (3, 40), (257, 31), (600, 33), (300, 129)];
        for isa in Isa::available() {
            let cpu = Cpu::with(2, isa, Precision::F32).expect("threads start");
            for (case, (inputs, outputs)) in sizes.into_iter().enumerate() {
                let shape = LinearShape { batch: 1 + case * 5 % IMAGES, inputs, outputs };
                for odd in [usize::MAX, 1000] {
                    let weights = weights(&shape, odd);
                    // Every input counts, or one in five.
                    for stride in [1, 5] {
                        let mut x = values(shape.batch * inputs, 5, 1.0);
                        let rest =
                            x.iter_mut().enumerate().filter(|(at, _)| at % inputs % stride > 0);
                        rest.for_each(|(_, x)| *x = 0.0);
                        for (short, plain) in [
                            outputs_of::<f32>(&cpu, &weights, &x, &shape),
                            outputs_of::<u16>(&cpu, &weights, &x, &shape),
                        ] {
                            let name = format!("{shape:?} on {isa}, one in {odd} odd, {stride}");
                            assert_eq!(short.is_some(), isa >= Isa::Avx2, "{name}");
                            assert!(short.is_none_or(|short| short == plain), "{name}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_layer_is_left_as_it_is_if_many_of_its_rows_are_odd() {
        let cpu = Cpu::new(2).expect("threads start");
        let shape = LinearShape { batch: 1, inputs: 300, outputs: 64 };
        let x = values(shape.inputs, 5, 1.0);
        let (short, _) = outputs_of::<f32>(&cpu, &weights(&shape, 50), &x, &shape);
        assert_eq!(short, None);
    }
}
