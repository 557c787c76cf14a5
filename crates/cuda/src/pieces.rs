//! Long arrays in pieces. Kernels find their place by dividing an element's number, and division is
//! much cheaper in 32 bits than in 64; so no launch of these counts further than that.

use std::ops::Range;

/// How long pieces may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Elements that a 32-bit kernel counts.
    pub(crate) elements: usize,
    /// Elements of a convolution's unfolded inputs: what is not unfolded at a time takes no memory.
    /// At 2²⁵, 128 MiB of `f32`, each product still has thousands of rows.
    pub(crate) columns: usize,
    /// Elements of a linear layer's gradient formed at a time: 2²³ are 32 MiB, of which much is
    /// still in the second cache when the update reads it.
    pub(crate) gradient: usize,
    /// Blocks from which on sums are begun where a bias is added: fewer would leave processors idle, where
    /// inference of a few images would wait for them.
    pub(crate) blocks: usize,
}

impl Limits {
    pub(crate) const USUAL: Self =
        Self { elements: 1 << 31, columns: 1 << 25, gradient: 1 << 23, blocks: 256 };
    /// So small that the smallest layers are taken in many pieces.
    pub(crate) const TINY: Self =
        Self { elements: 1_000, columns: 2_000, gradient: 100, blocks: 1 };
}

/// `0..count` in pieces of whole items of `each` elements, at most `limit` elements or one item.
pub(crate) fn pieces(
    count: usize,
    each: usize,
    limit: usize,
) -> impl Iterator<Item = Range<usize>> {
    let items = (limit / each.max(1)).max(1);
    (0..count).step_by(items).map(move |first| first..count.min(first + items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once_and_hold_the_limit_where_one_item_does() {
        for (count, each, limit, expected) in [
            (10, 3, 9, vec![0..3, 3..6, 6..9, 9..10]),
            (2, 50, 9, vec![0..1, 1..2]),
            (12, 0, 9, vec![0..9, 9..12]),
            (0, 3, 9, vec![]),
        ] {
            assert_eq!(pieces(count, each, limit).collect::<Vec<_>>(), expected);
        }
    }
}
