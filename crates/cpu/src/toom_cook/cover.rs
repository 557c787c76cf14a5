//! How one dimension of an output is covered with tiles.
//!
//! Large tiles need fewer multiplications an output, but must fit: outputs computed beyond the edge
//! are wasted. Since tiles of different sizes share their kernels, a mixture covers nearly every
//! length exactly: 27 outputs of a 5-wide kernel are six tiles of 8 points (4 outputs each) and one
//! of 7 (3 outputs).

use super::points::{FEWEST, MOST};

const SIZES: usize = MOST + 1 - FEWEST;

/// Tiles in order, larger ones first: so the tiles that hold a point are always the first few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    kernel: usize,
    /// How many tiles there are of [`FEWEST`] points, of one more, and so on.
    counts: [usize; SIZES],
}

/// One tile of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Points, and inputs.
    pub(super) alpha: usize,
    /// The first output.
    pub(super) start: usize,
    /// Outputs, of which the last tile's may lie beyond the edge.
    pub(super) outputs: usize,
}

impl Cover {
    /// The cheapest cover of `outputs > 0` outputs of a kernel of `kernel` taps.
    pub(super) fn new(outputs: usize, kernel: usize) -> Self {
        // The cheapest covers of the last few lengths: a tile has at most `MOST` outputs.
        let mut cheapest = [(0, Self { kernel, counts: [0; SIZES] }); MOST];
        for length in 1..=outputs {
            let with = |alpha: usize| {
                let before = length.saturating_sub(alpha + 1 - kernel);
                let (cost, mut cover) = cheapest[before % MOST];
                cover.counts[alpha - FEWEST] += 1;
                (cost + Self::tile_cost(alpha), cover)
            };
            let best = (FEWEST.max(kernel)..=MOST).map(with).min_by_key(|(cost, _)| *cost);
            cheapest[length % MOST] = best.expect("a kernel of at most as many taps as points");
        }
        cheapest[outputs % MOST].1
    }

    /// The price of a tile: a multiplication each point, and its transforms, which take sums as
    /// long as the tile.
    fn tile_cost(alpha: usize) -> usize {
        10 * alpha + alpha * alpha
    }

    /// How many tiles.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Points of the largest tile: every tile's are among them.
    pub(super) fn points(&self) -> usize {
        let largest = self.counts.iter().rposition(|&count| count > 0);
        largest.map_or(0, |index| index + FEWEST)
    }

    /// How many of the first `tiles` tiles hold point `point`.
    pub(super) fn holding(&self, point: usize, tiles: usize) -> usize {
        let larger = |index: &usize| index + FEWEST > point;
        let holding: usize = (0..SIZES).filter(larger).map(|index| self.counts[index]).sum();
        holding.min(tiles)
    }

    /// Multiplications of this dimension: points of all tiles.
    pub(super) fn multiplications(&self) -> usize {
        self.counts.iter().enumerate().map(|(index, count)| count * (index + FEWEST)).sum()
    }

    /// Tile `tile`, counted from the first.
    pub(super) fn tile(&self, tile: usize) -> Tile {
        let (mut start, mut before) = (0, 0);
        for alpha in (FEWEST..=MOST).rev() {
            let (count, outputs) =
                (self.counts[alpha - FEWEST], (alpha + 1).saturating_sub(self.kernel));
            if tile < before + count {
                return Tile { alpha, start: start + (tile - before) * outputs, outputs };
            }
            before += count;
            start += count * outputs;
        }
        unreachable!("tile {tile} of {}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alexnets_layers_are_covered_exactly_and_cheaply() {
        // outputs, kernel, tiles of 4, 5, 6, 7, 8 points
        for (outputs, kernel, counts) in [
            (27, 5, [0, 0, 0, 1, 6]),
            (13, 3, [0, 0, 2, 1, 0]),
            (55, 3, [0, 0, 0, 11, 0]),
            (6, 3, [0, 0, 0, 0, 1]),
            (1, 3, [1, 0, 0, 0, 0]),
        ] {
            assert_eq!(Cover::new(outputs, kernel).counts, counts, "{outputs} of {kernel}");
        }
    }

    #[test]
    fn tiles_follow_each_other_and_reach_the_end() {
        for kernel in 1..MOST {
            for outputs in 1..100 {
                let cover = Cover::new(outputs, kernel);
                let mut end = 0;
                for tile in (0..cover.len()).map(|tile| cover.tile(tile)) {
                    assert!(tile.start == end && tile.start < outputs, "{outputs} of {kernel}");
                    assert_eq!(tile.outputs, tile.alpha + 1 - kernel);
                    end += tile.outputs;
                }
                assert!(end >= outputs, "{outputs} of {kernel}");
                let points: usize = (0..MOST).map(|p| cover.holding(p, cover.len())).sum();
                assert_eq!(points, cover.multiplications());
            }
        }
    }
}
