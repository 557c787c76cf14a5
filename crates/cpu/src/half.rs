//! Weights rounded to bf16, a form of them that is half the bytes to read.

use alexnet_ops::LinearShape;

use crate::Context;
use crate::array::{Array, Direction, Form, FormGuard};
use crate::disjoint::Disjoint;

/// Weights rounded by one thread at a time.
const PIECE: usize = 1 << 16;

/// A linear layer's weights in bf16, row by row as they lie, and made anew when they were written.
pub(crate) struct HalfWeights<'a> {
    form: FormGuard<'a>,
    len: usize,
}

impl<'a> HalfWeights<'a> {
    pub(crate) fn of(context: &Context, weights: &'a Array, shape: &LinearShape) -> Self {
        let len = shape.inputs * shape.outputs;
        let form = Form::Half(LinearShape { batch: 0, ..*shape }, Direction::Forward);
        let form =
            weights.form(form, len.div_ceil(2), |half| round(context, half, &weights[..len]));
        Self { form, len }
    }

    pub(crate) fn values(&self) -> &[u16] {
        // SAFETY: two bf16 in the place of each float, aligned as floats are; any bits are a value.
        unsafe { std::slice::from_raw_parts(self.form.as_ptr().cast(), self.len) }
    }
}

fn round(context: &Context, half: &mut [f32], weights: &[f32]) {
    let len = weights.len();
    // SAFETY: as in `values`.
    let half = unsafe { std::slice::from_raw_parts_mut(half.as_mut_ptr().cast::<u16>(), len) };
    let half = Disjoint::new(half);
    context.threads.for_each(len.div_ceil(PIECE), |_, piece| {
        let range = piece * PIECE..((piece + 1) * PIECE).min(len);
        // SAFETY: each piece has its own weights.
        let half = unsafe { half.part(range.clone()) };
        half.iter_mut().zip(&weights[range]).for_each(|(half, &weight)| *half = rounded(weight));
    });
}

/// The nearest bf16, of two the even one; a NaN stays one.
#[inline(always)]
fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    let quiet_nan = (bits >> 16) | 0x40;
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if value.is_nan() { quiet_nan } else { nearest }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_rounded_to_the_nearest_bf16_and_ties_to_even() {
        let cases = [
            (0x3f80_0000, 0x3f80), // 1
            (0x3f80_7fff, 0x3f80), // below half
            (0x3f80_8000, 0x3f80), // a tie, down to even
            (0x3f81_8000, 0x3f82), // a tie, up to even
            (0x3f80_8001, 0x3f81),
            (0x7f7f_ffff, 0x7f80), // the largest number becomes infinite
            (0xff80_0000, 0xff80), // −∞
            (0x7f80_0001, 0x7fc0), // a NaN whose payload is in the lower half
        ];
        for (bits, half) in cases {
            assert_eq!(rounded(f32::from_bits(bits)), half, "{bits:#x}");
        }
    }
}
