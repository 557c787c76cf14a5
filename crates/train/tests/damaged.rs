//! A checkpoint that was damaged anywhere is noticed, set aside, and the one before it taken.

#[path = "support/fake_disk.rs"]
mod fake_disk;
#[path = "support/state.rs"]
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alexnet_data::FileSystem;
use alexnet_train::Checkpoints;
use fake_disk::{Careless, FakeDisk};
use state::checkpoint;

/// Bytes that a disk loses or mixes up together.
const BLOCK: usize = 4096;
/// Values of each array that make some forty blocks in all.
const MANY: usize = 10_000;
const FEW: usize = 60;

/// A disk with the checkpoints of steps 1 and 2.
struct Saved {
    disk: FakeDisk,
    checkpoints: Checkpoints,
    before: PathBuf,
    newest: PathBuf,
    /// The newest, as it was written.
    whole: Vec<u8>,
    values: usize,
}

impl Saved {
    fn new(values: usize) -> Self {
        let disk = FakeDisk::new(Careless::Not);
        disk.create_folder(Path::new("/run")).expect("made");
        let checkpoints = Checkpoints::new(Arc::new(disk.clone()), "/run".into());
        let before = checkpoints.save(&checkpoint(1, values), 2).expect("saved");
        let newest = checkpoints.save(&checkpoint(2, values), 2).expect("saved");
        let whole = disk.get(&newest).expect("there");
        Self { disk, checkpoints, before, newest, whole, values }
    }

    /// Whether the newest is noticed to be damaged when these are its bytes: set aside as it is, and
    /// the one before taken.
    fn is_noticed(&self, bytes: &[u8]) -> bool {
        self.disk.put(&self.newest, bytes.to_vec());
        let found = self.checkpoints.newest().expect("read").expect("one");
        let aside = self.newest.with_extension("checkpoint.bad");
        let is_aside = self.disk.get(&aside).is_some_and(|aside| aside == bytes);
        let _ = self.disk.remove(&aside);
        found == checkpoint(1, self.values) && is_aside && self.disk.get(&self.newest).is_none()
    }

    fn header(&self) -> usize {
        let length = self.whole.first_chunk().expect("a length");
        8 + u64::from_le_bytes(*length) as usize
    }
}

#[test]
fn what_is_not_damaged_is_taken() {
    let saved = Saved::new(FEW);
    assert!(!saved.is_noticed(&saved.whole));
    let found = saved.checkpoints.newest().expect("read");
    assert_eq!(found, Some(checkpoint(2, FEW)));
}

#[test]
fn every_bit_of_the_header_counts() {
    let saved = Saved::new(FEW);
    assert!(saved.header() > 1000);
    for place in 0..saved.header() {
        for bit in 0..8 {
            let mut bytes = saved.whole.clone();
            bytes[place] ^= 1 << bit;
            assert!(saved.is_noticed(&bytes), "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn a_bit_of_any_block_counts() {
    let saved = Saved::new(MANY);
    let blocks = saved.whole.len().div_ceil(BLOCK);
    assert!(blocks >= 39, "{blocks} blocks");
    for block in 0..blocks {
        let mut bytes = saved.whole.clone();
        let end = bytes.len().min((block + 1) * BLOCK);
        // Another place in each block, another bit.
        let place = block * BLOCK + (block * 1031) % (end - block * BLOCK);
        bytes[place] ^= 1 << (block % 8);
        assert!(saved.is_noticed(&bytes), "bit {} of byte {place}", block % 8);
    }
}

#[test]
fn a_file_that_ends_early_or_late_or_in_zeros_is_noticed() {
    let saved = Saved::new(MANY);
    let len = saved.whole.len();
    let blocks = (0..len).step_by(BLOCK);
    for end in blocks.chain(len - 64..len) {
        assert!(saved.is_noticed(&saved.whole[..end]), "cut at {end} of {len}");
        let zeroed = [&saved.whole[..end], &vec![0; len - end]].concat();
        // Zeros where there were zeros are no damage.
        if zeroed != saved.whole {
            assert!(saved.is_noticed(&zeroed), "zeros from {end} of {len} on");
        }
    }
    assert!(saved.is_noticed(&[&saved.whole[..], b"\0"].concat()), "a byte more");
}

#[test]
fn two_checkpoints_in_one_are_noticed() {
    let saved = Saved::new(MANY);
    let older = saved.disk.get(&saved.before).expect("there");
    assert_eq!(older.len(), saved.whole.len(), "of one form");
    for cut in (BLOCK..older.len()).step_by(BLOCK) {
        for [head, tail] in [[&saved.whole, &older], [&older, &saved.whole]] {
            let spliced = [&head[..cut], &tail[cut..]].concat();
            assert!(saved.is_noticed(&spliced), "spliced at {cut}");
        }
    }
}
