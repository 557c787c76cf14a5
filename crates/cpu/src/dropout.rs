//! Dropout, whose mask is a function of the element's index (`alexnet_ops::philox`).
//!
//! Philox turns a block of four words (c0, c1, c2, c3) ten times into
//! (high(c2·M1) ^ c1 ^ k0, low(c2·M1), high(c0·M0) ^ c3 ^ k1, low(c0·M0)). Kept as two 64-bit numbers,
//! c0 below c1 and c2 below c3, a round is two products with their halves exchanged and two shifts:
//! what vectors of 64-bit lanes do in four instructions each, so that the mask costs less than the
//! memory.

use alexnet_ops::{DropoutKey, philox};

use crate::Context;
use crate::elementwise::{Map, map};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Blocks of four words computed at once: several vectors, for a round waits for the one before.
const QUADS: usize = 32;

/// The elements they decide.
const GROUP: usize = 4 * QUADS;

/// `y = x · kept_scale` where the mask keeps the element, else 0.
pub(crate) fn dropout(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    rate: f32,
    kept_scale: f32,
    key: DropoutKey,
) {
    map(context, y, x, Dropout { key, threshold: philox::drop_threshold(rate), kept_scale });
}

#[derive(Clone, Copy)]
struct Dropout {
    key: DropoutKey,
    threshold: u32,
    kept_scale: f32,
}

impl Map for Dropout {
    #[inline(always)]
    fn apply(self, y: &mut [f32], x: &[f32], first: usize) {
        // Whole groups begin where a block of four words does.
        let first = self.key.first + first;
        let lead = (first.next_multiple_of(4) - first).min(y.len());
        let ((y_lead, y), (x_lead, x)) = (y.split_at_mut(lead), x.split_at(lead));
        if lead > 0 {
            self.select(y_lead, x_lead, &words(self.key, first / 4)[first % 4..]);
        }
        let first = first + lead;
        let whole = y.len() - y.len() % GROUP;
        let (y, y_rest) = y.split_at_mut(whole);
        let (x, x_rest) = x.split_at(whole);
        let groups = y.chunks_exact_mut(GROUP).zip(x.chunks_exact(GROUP));
        for (group, (y, x)) in groups.enumerate() {
            self.select(y, x, &words(self.key, first / 4 + group * QUADS));
        }
        self.select(y_rest, x_rest, &words(self.key, (first + whole) / 4));
    }
}

impl Dropout {
    #[inline(always)]
    fn select(self, y: &mut [f32], x: &[f32], words: &[u32]) {
        for ((y, &x), &word) in y.iter_mut().zip(x).zip(words) {
            *y = if word >= self.threshold { x * self.kept_scale } else { 0.0 };
        }
    }
}

/// The words that decide the elements from `4 · quad` on.
#[inline(always)]
fn words(key: DropoutKey, quad: usize) -> [u32; GROUP] {
    let layer = u64::from(key.layer) << 32;
    let mut low = [layer; QUADS];
    for (i, low) in low.iter_mut().enumerate() {
        *low |= u64::from((quad + i) as u32);
    }
    let mut high = [key.step; QUADS];
    let mut keys = [key.seed as u32, (key.seed >> 32) as u32];
    for _ in 0..ROUNDS {
        for (low, high) in low.iter_mut().zip(&mut high) {
            let products =
                [(*low & 0xFFFF_FFFF) * MULTIPLIERS[0], (*high & 0xFFFF_FFFF) * MULTIPLIERS[1]];
            *low = products[1].rotate_left(32) ^ (*low >> 32) ^ u64::from(keys[0]);
            *high = products[0].rotate_left(32) ^ (*high >> 32) ^ u64::from(keys[1]);
        }
        keys = [keys[0].wrapping_add(KEY_STEPS[0]), keys[1].wrapping_add(KEY_STEPS[1])];
    }
    let mut words = [0; GROUP];
    for (words, (low, high)) in words.chunks_exact_mut(4).zip(low.iter().zip(&high)) {
        words[0] = *low as u32;
        words[1] = (*low >> 32) as u32;
        words[2] = *high as u32;
        words[3] = (*high >> 32) as u32;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_contract() {
        let keys = [
            DropoutKey { seed: 0, step: 0, layer: 0, first: 0 },
            DropoutKey { seed: u64::MAX, step: u64::MAX, layer: u32::MAX, first: 0 },
            DropoutKey {
                seed: 0x0123_4567_89AB_CDEF,
                step: 0xFEDC_BA98_7654_3210,
                layer: 3,
                first: 0,
            },
        ];
        for key in keys {
            for first in [0, 32, 1 << 20, (1 << 32) - 32] {
                let found = words(key, first);
                for (quad, found) in found.chunks_exact(4).enumerate() {
                    let expected = philox::dropout_words(key, first + quad);
                    assert_eq!(found, expected, "{key:?}, quad {}", first + quad);
                }
            }
        }
    }
}
