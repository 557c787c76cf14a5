//! Randomness as a pure function of what it is for.
//!
//! No generator is ever shared or carried on, so that neither the number of threads nor a
//! resumed run changes what is drawn.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Keeps the draws for one purpose apart from those for another under the same seed.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augment = 2,
    SampleSet = 3,
    Colour = 4,
    Replacement = 5,
}

/// The generator for one thing: (seed, purpose, group) is its key, `member` its stream.
pub(crate) fn generator(seed: u64, purpose: Purpose, group: u64, member: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&group.to_le_bytes());
    key[24..].copy_from_slice(b"alexnet\0");
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(member);
    generator
}
