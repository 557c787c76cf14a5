//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011). Number i of a stream is a function of i, so any thread,
//! device or resumed run finds the same.

use crate::DropoutKey;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Fractional parts of the golden ratio and of √3: the key's increments between rounds.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The block of four random words at `counter` under `key`.
pub fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..ROUNDS {
        let first = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [
            (second >> 32) as u32 ^ c[1] ^ k[0],
            second as u32,
            (first >> 32) as u32 ^ c[3] ^ k[1],
            first as u32,
        ];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The four words that decide elements `4·quad .. 4·quad + 4` of a dropout mask.
pub fn dropout_words(key: DropoutKey, quad: usize) -> [u32; 4] {
    let halves = |value: u64| [value as u32, (value >> 32) as u32];
    let ([seed_low, seed_high], [step_low, step_high]) = (halves(key.seed), halves(key.step));
    block([quad as u32, key.layer, step_low, step_high], [seed_low, seed_high])
}

/// Words below this drop their element: `rate` of all words.
pub fn drop_threshold(rate: f32) -> u32 {
    (f64::from(rate) * 4_294_967_296.0).min(4_294_967_295.0) as u32
}

/// Whether dropout keeps element `key.first + index` of the layer's output in this step.
pub fn keeps(key: DropoutKey, rate: f32, index: usize) -> bool {
    let element = key.first + index;
    dropout_words(key, element / 4)[element % 4] >= drop_threshold(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_equal_the_published_test_vectors() {
        // Random123's kat_vectors, philox4x32 with 10 rounds.
        let all = u32::MAX;
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([all; 4], [all; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(block(counter, key), expected, "counter {counter:x?}, key {key:x?}");
        }
    }

    #[test]
    fn the_share_of_kept_elements_is_what_the_rate_says() {
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let key = DropoutKey { seed: 7, step: 3, layer: 2, first: 0 };
            let kept = (0..100_000).filter(|&i| keeps(key, rate, i)).count() as f32 / 100_000.0;
            // Five standard deviations of a binomial of 100,000.
            assert!((kept - (1.0 - rate)).abs() < 0.008, "rate {rate}: kept {kept}");
        }
    }

    #[test]
    fn every_part_of_the_key_changes_the_mask() {
        let base = DropoutKey { seed: 1, step: 1, layer: 1, first: 0 };
        let mask = |key| (0..256).map(|i| keeps(key, 0.5, i)).collect::<Vec<_>>();
        for other in [
            DropoutKey { seed: 2, ..base },
            DropoutKey { step: 2, ..base },
            DropoutKey { layer: 2, ..base },
            DropoutKey { first: 1, ..base },
            DropoutKey { step: 1 + (1 << 32), ..base },
        ] {
            assert_ne!(mask(base), mask(other), "{other:?}");
        }
    }
}
