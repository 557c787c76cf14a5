//! Pictures that are there more than once.

use super::report::{Case, Cases, FindingKind};
use super::scan::{Listed, Scan};
use crate::sources::TRAIN;

/// Copies within a class, between classes, and between what is learnt from and what is measured
/// with.
pub(super) fn find<'s>(scan: &Scan<'s>, found: &mut Cases<'s>) {
    let mut by_hash: Vec<(u128, usize)> =
        scan.readable().map(|(index, _, read)| (read.hash, index)).collect();
    by_hash.sort_unstable();
    let mut groups: Vec<&[(u128, usize)]> =
        by_hash.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1).collect();
    // In the order of the data set, not of the hashes.
    groups.sort_unstable_by_key(|group| group[0].1);
    for group in groups {
        let copies: Vec<Listed> = group.iter().map(|&(_, index)| scan.images[index]).collect();
        for kind in kinds(scan, &copies) {
            let images = copies.iter().map(|&copy| scan.reference(copy)).collect();
            found.add(kind, Case { images, ..Case::default() });
        }
    }
}

fn kinds(scan: &Scan, copies: &[Listed]) -> Vec<FindingKind> {
    let first = copies[0];
    let contradicts = copies.iter().any(|copy| copy.sample.label != first.sample.label);
    // Splits are in order, that to learn from first.
    let leaks =
        scan.split_name(first) == TRAIN && copies.iter().any(|copy| copy.split != first.split);
    match (contradicts, leaks) {
        (true, true) => vec![FindingKind::Contradiction, FindingKind::Leak],
        (true, false) => vec![FindingKind::Contradiction],
        (false, true) => vec![FindingKind::Leak],
        (false, false) => vec![FindingKind::Duplicate],
    }
}
