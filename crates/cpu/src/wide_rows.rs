//! A linear layer's weights in wide rows, for a few images: of one input the weights of a group of
//! outputs, one after another, and if it pays in fewer bits, to the bit.
//!
//! The highest byte of a number, its sign and all but one bit of its exponent, is one of 256, but of
//! weights nearly always one of few: those of both signs within sixteen powers of two of each other
//! have 16. So a table of a layer's 16 most frequent ones stands for them, and a weight keeps four
//! bits that say which: 28 bits of an `f32` are read in place of 32, and 12 of a bf16 in place of 16.
//! A weight with a rarer highest byte is kept whole, beside.
//!
//! A row is a row of blocks, two vectors of weights each. A shortened block is `[lowest two bytes of
//! each][third byte of each][four bits of each]`, in bf16 `[lower byte of each][four bits of each]`.

mod write;

use std::marker::PhantomData;

use alexnet_ops::LinearShape;

use crate::Context;
use crate::array::{Array, Form, FormGuard};
use crate::matmul::Matrix;
use crate::microkernel::VECTORS;
use crate::panels::{PANEL, Weight};
use crate::simd::{LANES_MAX, Vector};

/// Highest bytes that have a number.
pub(crate) const TOPS: usize = 16;

/// The 16 highest bytes that numbers below 16 stand for.
pub(crate) type Tops = [u8; TOPS];

/// Smaller layers stay in a cache, which gives weights as they are sooner than short ones.
const SHORT_BYTES_MIN: usize = if cfg!(test) { 1 } else { 4 << 20 };

/// Most outputs of a group: longer rows would be given no sooner.
const WIDTH_MAX: usize = 1024;

/// How the weights of a block are written.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    type Weight: Weight;
    /// Bytes of so many weights, whole blocks.
    fn bytes(weights: usize) -> usize;
    /// The block at `from`.
    ///
    /// # Safety
    /// It can be read there.
    unsafe fn load<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS];
    /// The block of `row` with the weights of `rare` that are its own; takes them and those before.
    #[inline(always)]
    fn mend<V: Vector>(
        block: [V; VECTORS],
        rare: &mut &[Rare<Self::Weight>],
        row: u32,
    ) -> [V; VECTORS] {
        let mut weights = [0.0; VECTORS * LANES_MAX];
        // SAFETY: there is room for two of the longest vectors.
        unsafe {
            block[0].store(weights.as_mut_ptr());
            block[1].store(weights.as_mut_ptr().add(V::LANES));
            while let [first, others @ ..] = *rare
                && first.row <= row
            {
                if first.row == row {
                    weights[first.output as usize] = first.weight.wide();
                }
                *rare = others;
            }
            [V::load(weights.as_ptr()), V::load(weights.as_ptr().add(V::LANES))]
        }
    }
}

/// Weights as they are.
#[derive(Clone, Copy)]
pub(crate) struct Plain<W>(PhantomData<W>);

impl<W: Weight> Format for Plain<W> {
    type Weight = W;
    #[inline(always)]
    fn bytes(weights: usize) -> usize {
        weights * size_of::<W>()
    }
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u8, _: &Tops) -> [V; VECTORS] {
        // SAFETY: the caller's promise; blocks of plain weights are aligned for them.
        unsafe { [W::load(from.cast::<W>()), W::load(from.cast::<W>().add(V::LANES))] }
    }
}

/// Weights with four bits for their highest bytes.
#[derive(Clone, Copy)]
pub(crate) struct Short<W>(PhantomData<W>);

impl<W: Shorten> Format for Short<W> {
    type Weight = W;
    #[inline(always)]
    fn bytes(weights: usize) -> usize {
        weights * (size_of::<W>() - 1) + weights / 2
    }
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { W::load_short(from, tops) }
    }
}

/// A number whose highest byte can be told by four bits.
pub(crate) trait Shorten: Weight {
    /// The highest byte.
    fn top(self) -> u8;
    /// Writes what is below the highest bytes of a block; gives the rest of `to`.
    fn write_low<'t>(to: &'t mut [u8], block: &[Self]) -> &'t mut [u8];
    /// Weight `index` of a block of `width` at `from`, but for its highest byte.
    ///
    /// # Safety
    /// The block can be read there.
    unsafe fn low(from: *const u8, index: usize, width: usize) -> u32;
    /// The block at `from`.
    ///
    /// # Safety
    /// It can be read there.
    unsafe fn load_short<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS];
}

impl Shorten for f32 {
    #[inline(always)]
    fn top(self) -> u8 {
        (self.to_bits() >> 24) as u8
    }
    #[inline(always)]
    fn write_low<'t>(to: &'t mut [u8], block: &[Self]) -> &'t mut [u8] {
        let (words, to) = to.split_at_mut(2 * block.len());
        let (thirds, rest) = to.split_at_mut(block.len());
        for ((word, third), weight) in words.as_chunks_mut().0.iter_mut().zip(thirds).zip(block) {
            let bytes = weight.to_bits().to_le_bytes();
            (*word, *third) = ([bytes[0], bytes[1]], bytes[2]);
        }
        rest
    }
    #[inline(always)]
    unsafe fn low(from: *const u8, index: usize, width: usize) -> u32 {
        // SAFETY: the caller's promise.
        let (word, third) =
            unsafe { (from.add(2 * index).cast::<[u8; 2]>().read(), *from.add(2 * width + index)) };
        u32::from_le_bytes([word[0], word[1], third, 0])
    }
    #[inline(always)]
    unsafe fn load_short<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { V::load_short(from, tops) }
    }
}

/// bf16.
impl Shorten for u16 {
    #[inline(always)]
    fn top(self) -> u8 {
        (self >> 8) as u8
    }
    #[inline(always)]
    fn write_low<'t>(to: &'t mut [u8], block: &[Self]) -> &'t mut [u8] {
        let (low, rest) = to.split_at_mut(block.len());
        low.iter_mut().zip(block).for_each(|(to, weight)| *to = *weight as u8);
        rest
    }
    #[inline(always)]
    unsafe fn low(from: *const u8, index: usize, _width: usize) -> u32 {
        // SAFETY: the caller's promise.
        u32::from(unsafe { *from.add(index) }) << 16
    }
    #[inline(always)]
    unsafe fn load_short<V: Vector>(from: *const u8, tops: &Tops) -> [V; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { V::load_short_bf16(from, tops) }
    }
}

/// What [`Vector::load_short`] reads, weight by weight. A quarter of the block at a time has the same
/// bits of neighbouring words, so that a vector of words is shifted into place.
///
/// # Safety
/// A block of [`Short`] weights can be read at `from`.
#[inline(always)]
pub(crate) unsafe fn load_one_by_one<V: Vector, W: Shorten>(
    from: *const u8,
    tops: &Tops,
) -> [V; VECTORS] {
    let width = VECTORS * V::LANES;
    let (quarter, fours) = (width / 4, Short::<W>::bytes(width) - width / 2);
    let mut block = [0.0; VECTORS * LANES_MAX];
    for (index, weight) in block[..width].iter_mut().enumerate() {
        let (which, word) = (index / quarter, index % quarter);
        // SAFETY: all inside of the block.
        unsafe {
            let four = *from.add(fours + 2 * word + which / 2) >> (4 * (which % 2)) & 0xf;
            let top = u32::from(tops[usize::from(four)]) << 24;
            *weight = f32::from_bits(top | W::low(from, index, width));
        }
    }
    // SAFETY: there are so many.
    std::array::from_fn(|j| unsafe { V::load(block[j * V::LANES..].as_ptr()) })
}

/// A weight with a highest byte that has no number.
#[derive(Clone, Copy)]
pub(crate) struct Rare<W> {
    /// Its input.
    pub(crate) row: u32,
    /// Its output, counted from the block's first.
    pub(crate) output: u32,
    pub(crate) weight: W,
}

/// A layer's weights in wide rows, made anew when they were written.
pub(crate) struct WideRows<'a, W> {
    form: FormGuard<'a>,
    shape: LinearShape,
    width: usize,
    weight: PhantomData<W>,
}

/// What is kept beside the rows.
struct Beside<W> {
    /// Of short weights.
    tops: Option<Tops>,
    /// Of each block of outputs, in the order of rows.
    rare: Vec<Vec<Rare<W>>>,
    /// Whether no weight is infinite or no number.
    are_finite: bool,
}

impl<'a, W: Shorten> WideRows<'a, W> {
    pub(crate) fn of(context: &Context, weights: &'a Array, shape: &LinearShape) -> Self {
        let LinearShape { inputs, outputs, .. } = *shape;
        let own = outputs.div_ceil(context.threads.count());
        let width = own.next_multiple_of(PANEL).min(WIDTH_MAX);
        let form = weights.form_about(Self::form(shape), |to| {
            let matrix = Matrix::row_major(weights, outputs, inputs, inputs).transposed();
            write::write::<W>(context, to, matrix, width)
        });
        Self { form, shape: *shape, width, weight: PhantomData }
    }

    /// Which form of the weights they are.
    pub(crate) fn form(shape: &LinearShape) -> Form {
        Form::WideRows(LinearShape { batch: 0, ..*shape }, size_of::<W>())
    }

    fn beside(&self) -> &Beside<W> {
        self.form.about()
    }

    /// Whether they are [`Short`], not [`Plain`].
    pub(crate) fn are_short(&self) -> bool {
        self.beside().tops.is_some()
    }

    /// The rows, which must be of that format.
    pub(crate) fn rows<F: Format<Weight = W>>(&self) -> Rows<'_, F> {
        let Beside { tops, rare, are_finite } = self.beside();
        let (inputs, width) = (self.shape.inputs, self.width);
        let len = self.shape.outputs.div_ceil(width) * inputs * F::bytes(width);
        assert!(len <= size_of_val(&*self.form));
        // SAFETY: as many bytes are there. After longer rows that were there before, there are more.
        let bytes = unsafe { std::slice::from_raw_parts(self.form.as_ptr().cast(), len) };
        let (tops, are_finite) = (tops.unwrap_or_default(), *are_finite);
        Rows { bytes, rare, tops, are_finite, inputs, width }
    }
}

/// What [`few_images`](crate::few_images) reads.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, F: Format> {
    bytes: &'a [u8],
    rare: &'a [Vec<Rare<F::Weight>>],
    pub(crate) tops: Tops,
    /// Whether no weight is infinite or no number.
    pub(crate) are_finite: bool,
    pub(crate) inputs: usize,
    /// Outputs of a group: whole blocks.
    pub(crate) width: usize,
}

impl<'a, F: Format> Rows<'a, F> {
    pub(crate) fn groups(&self) -> usize {
        self.bytes.len() / (self.inputs * F::bytes(self.width))
    }

    /// Where a group's rows begin: [`Self::inputs`], one after another.
    #[inline(always)]
    pub(crate) fn start(&self, group: usize) -> *const u8 {
        let bytes = self.inputs * F::bytes(self.width);
        self.bytes[group * bytes..][..bytes].as_ptr()
    }

    /// The rare weights of a block of outputs from `row` on, in the order of rows.
    #[inline(always)]
    pub(crate) fn rare(&self, block: usize, row: u32) -> &'a [Rare<F::Weight>] {
        let rare = &self.rare[block];
        &rare[rare.partition_point(|rare| rare.row < row)..]
    }
}

#[cfg(test)]
mod tests {
    use alexnet_ops::conformance::values;
    use alexnet_ops::{Activation, Precision};

    use super::write::shorten;
    use super::*;
    use crate::few_images::{self, IMAGES};
    use crate::isa::Kernel;
    use crate::matmul::{Into, matmul};
    use crate::{Cpu, Isa};

    /// Bits of a vector's lanes.
    fn bits<V: Vector>(vector: V) -> Vec<u32> {
        let mut lanes = [0.0; LANES_MAX];
        // SAFETY: no vector is longer.
        unsafe { vector.store(lanes.as_mut_ptr()) };
        lanes[..V::LANES].iter().map(|lane| lane.to_bits()).collect()
    }

    /// A block with all of 16 highest bytes, as it is loaded, short and plain, and of which bits of a
    /// float weights are made.
    struct Block<W>(fn(u32) -> W);

    impl<W: Shorten> Kernel for Block<W> {
        type Output = [Vec<Vec<u32>>; 2];
        #[inline(always)]
        fn run<V: Vector>(self) -> Self::Output {
            let tops: Tops = std::array::from_fn(|number| (number * 17 + 3) as u8);
            let mut numbers = [u8::MAX; 256];
            (0..).zip(tops).for_each(|(number, top)| numbers[usize::from(top)] = number);
            let weight = |at: usize| {
                let low = (at as u32 + 1).wrapping_mul(0x9e37_79b9) >> 8;
                (self.0)(u32::from(tops[at * 7 % TOPS]) << 24 | low)
            };
            let width = VECTORS * V::LANES;
            let block: Vec<W> = (0..width).map(weight).collect();
            let mut short = vec![0; Short::<W>::bytes(width)];
            assert!(shorten(&mut short, &block, &numbers));
            // SAFETY: both are whole blocks.
            let [short, plain] = unsafe {
                let short = Short::<W>::load::<V>(short.as_ptr(), &tops);
                [short, Plain::<W>::load::<V>(block.as_ptr().cast(), &tops)]
            };
            [short, plain].map(|block| block.map(bits).to_vec())
        }
    }

    #[test]
    fn a_short_block_comes_back_to_the_bit_on_every_isa() {
        for isa in Isa::available() {
            for [found, expected] in [
                isa.dispatch(Block(f32::from_bits)),
                isa.dispatch(Block(|bits| (bits >> 16) as u16)),
            ] {
                assert_eq!(found, expected, "{isa}");
            }
        }
    }

    /// Numbers whose highest bytes are none of a layer's usual ones.
    const ODD: [f32; 8] = [
        f32::INFINITY,
        f32::MAX,
        f32::NAN,
        -f32::MIN_POSITIVE,
        f32::NEG_INFINITY,
        1e30,
        -1e-30,
        f32::from_bits(1),
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

    /// Of what is no number, all bits are alike.
    fn of_number(y: &f32) -> u32 {
        if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() }
    }

    /// Whether weights are short, and the bits of the outputs by them and by a plain product.
    fn outputs_by<W: Shorten>(
        cpu: &Cpu,
        weights: &Array,
        x: &[f32],
        shape: &LinearShape,
    ) -> (bool, [Vec<u32>; 2]) {
        let LinearShape { batch, inputs, outputs } = *shape;
        let (context, bias) = (&*cpu.context, values(outputs, 4, 1.0));
        let layer = (&*bias, Activation::Identity);
        let kept: Vec<f32> = weights.iter().map(|&weight| W::of(weight).wide()).collect();
        let mut plain = vec![0.0; batch * outputs];
        let x_matrix = Matrix::row_major(x, batch, inputs, inputs);
        let matrix = Matrix::row_major(&kept, outputs, inputs, inputs).transposed();
        let into = Into::Layer(layer.0, layer.1);
        matmul(context, &mut plain, outputs, x_matrix, matrix, into);
        let mut y = vec![f32::NAN; batch * outputs];
        let wide = WideRows::<W>::of(context, weights, shape);
        if wide.are_short() {
            few_images::forward(context, &mut y, x, wide.rows::<Short<W>>(), layer, batch);
        } else {
            few_images::forward(context, &mut y, x, wide.rows::<Plain<W>>(), layer, batch);
        }
        (wide.are_short(), [y, plain].map(|y| y.iter().map(of_number).collect()))
    }

    #[test]
    fn wide_rows_give_the_bits_of_a_product() {
        let sizes = [(1, 1), (3, 40), (257, 31), (600, 33), (300, 129), (70, 1100)];
        let vector_units = Isa::available().into_iter().filter(|isa| *isa != Isa::Portable);
        for cpu in vector_units.map(|isa| Cpu::with(2, isa, Precision::F32).expect("threads")) {
            for (case, (inputs, outputs)) in sizes.into_iter().cycle().take(24).enumerate() {
                let shape = LinearShape { batch: 1 + case % IMAGES, inputs, outputs };
                // None is odd, or one in so many; every input counts, or one in so many.
                let (odd, stride) = ([usize::MAX, 2000][case / 6 % 2], [1, 2, 5][case / 8]);
                let weights = weights(&shape, odd);
                let mut x = values(shape.batch * inputs, 5, 1.0);
                let others = x.iter_mut().enumerate().filter(|(at, _)| at % inputs % stride > 0);
                others.for_each(|(_, x)| *x = 0.0);
                for (short, [found, expected]) in [
                    outputs_by::<f32>(&cpu, &weights, &x, &shape),
                    outputs_by::<u16>(&cpu, &weights, &x, &shape),
                ] {
                    let name = format!("{shape:?} on {}, odd {odd}, stride {stride}", cpu.isa());
                    assert_eq!(short, cpu.isa() >= Isa::Avx2, "{name}");
                    assert!(found == expected, "{name}");
                }
            }
        }
    }

    #[test]
    fn rows_follow_the_weights_from_plain_ones_to_short_ones_and_back() {
        let cpu = Cpu::new(2).expect("threads");
        let shape = LinearShape { batch: 2, inputs: 70, outputs: 40 * 1024 };
        let x = values(2 * shape.inputs, 5, 1.0);
        let mut kept = Array::zeroed(shape.inputs * shape.outputs);
        for odd in [300, usize::MAX, 300] {
            kept.copy_from_slice(&weights(&shape, odd));
            let (short, [found, expected]) = outputs_by::<f32>(&cpu, &kept, &x, &shape);
            assert_eq!(short, odd > 300 && cpu.isa() >= Isa::Avx2);
            assert!(found == expected, "odd {odd}");
        }
    }

    #[test]
    fn a_layer_with_many_odd_weights_is_not_shortened_and_gives_the_same_bits() {
        let cpu = Cpu::new(2).expect("threads");
        let shape = LinearShape { batch: 2, inputs: 300, outputs: 64 };
        let x = values(2 * shape.inputs, 5, 1.0);
        let (short, [found, expected]) = outputs_by::<f32>(&cpu, &weights(&shape, 300), &x, &shape);
        assert!(!short && found == expected);
    }
}
