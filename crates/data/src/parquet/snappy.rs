//! Where the blocks of a Snappy stream begin: its writers pack 64 KiB at a time, each for itself,
//! so that a few of them can be unpacked alone.

use std::ops::Range;

/// How many bytes writers pack at a time.
const BLOCK_BYTES: usize = 1 << 16;

/// The blocks of a stream.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Where each begins in the stream, and where the last ends.
    starts: Box<[u32]>,
    /// How long the whole is, unpacked.
    len: usize,
}

/// Some blocks, to be unpacked alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where they lie in the stream.
    pub(super) packed: Range<u64>,
    /// How long they are, unpacked.
    pub(super) len: usize,
    /// Where the bytes that were asked for are in them.
    pub(super) wanted: Range<usize>,
}

impl Blocks {
    /// Finds the blocks by the stream's tags alone; `None` if there is but one, or they need each
    /// other.
    pub(super) fn find(stream: &[u8]) -> Option<Blocks> {
        let (len, mut rest) = super::page::varint(stream)?;
        let len = usize::try_from(len).ok()?;
        let (mut starts, mut unpacked) = (Vec::new(), 0_usize);
        while !rest.is_empty() {
            if unpacked % BLOCK_BYTES == 0 {
                starts.push(u32::try_from(stream.len() - rest.len()).ok()?);
            }
            let within = unpacked % BLOCK_BYTES;
            let (len, behind) = element(rest, within)?;
            // Over the end of a block.
            if within + len > BLOCK_BYTES {
                return None;
            }
            (unpacked, rest) = (unpacked + len, behind);
        }
        starts.push(u32::try_from(stream.len()).ok()?);
        (unpacked == len && starts.len() > 2).then(|| Blocks { starts: starts.into(), len })
    }

    /// The blocks that hold these bytes, of which there is one at least.
    pub(super) fn piece(&self, bytes: &Range<u32>) -> Piece {
        let (start, end) = (bytes.start as usize, bytes.end as usize);
        let (first, last) = (start / BLOCK_BYTES, (end - 1) / BLOCK_BYTES);
        let before = first * BLOCK_BYTES;
        Piece {
            packed: self.starts[first].into()..self.starts[last + 1].into(),
            len: ((last + 1) * BLOCK_BYTES).min(self.len) - before,
            wanted: start - before..end - before,
        }
    }
}

/// How many bytes an element of the stream unpacks to, and what is behind it. `None` if it reaches
/// back more than `within`, the bytes of the block that are there, or is cut short.
fn element(bytes: &[u8], within: usize) -> Option<(usize, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let number = usize::from(tag >> 2);
    let little = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, &b| sum << 8 | usize::from(b));
    if tag & 3 == 0 {
        // A literal: its length less one stands in the tag, or in up to 4 bytes behind it.
        let (len, rest) = rest.split_at_checked(number.saturating_sub(59))?;
        let len = 1 + if number < 60 { number } else { little(len) };
        return Some((len, rest.get(len..)?));
    }
    let (back, rest) = rest.split_at_checked([0, 1, 2, 4][usize::from(tag & 3)])?;
    let (len, back) = match tag & 3 {
        1 => (4 + (number & 7), (number >> 3 << 8) + little(back)),
        _ => (1 + number, little(back)),
    };
    (back <= within).then_some((len, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that can be packed a little.
    fn bytes(len: usize) -> Vec<u8> {
        let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> (at / 1000 % 13)) as u8;
        (0..len).map(byte).collect()
    }

    #[test]
    fn any_part_of_a_stream_is_unpacked_from_its_blocks_alone() {
        for len in [BLOCK_BYTES + 1, 3 * BLOCK_BYTES, 5 * BLOCK_BYTES + 123] {
            let whole = bytes(len);
            let stream = snap::raw::Encoder::new().compress_vec(&whole).unwrap();
            let blocks = Blocks::find(&stream).unwrap();
            for start in (0..len).step_by(20_011) {
                for end in [start + 1, start + 70_000, len].map(|end| end.min(len)) {
                    let piece = blocks.piece(&(start as u32..end as u32));
                    let packed = &stream[piece.packed.start as usize..piece.packed.end as usize];
                    assert!(end - start > 2 * BLOCK_BYTES || packed.len() < 4 * BLOCK_BYTES);
                    let unpacked = super::super::codec::unpack_blocks(packed, piece.len).unwrap();
                    assert!(unpacked[piece.wanted] == whole[start..end], "{start} to {end}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_row_of_blocks_is_left_alone() {
        let stream = snap::raw::Encoder::new().compress_vec(&bytes(3 * BLOCK_BYTES)).unwrap();
        for len in 0..stream.len().min(4000) {
            assert!(Blocks::find(&stream[..len]).is_none(), "cut at {len}");
        }
        let small = snap::raw::Encoder::new().compress_vec(&bytes(1000)).unwrap();
        assert!(Blocks::find(&small).is_none());
        // A literal of 64 KiB, then a copy of what is 4 bytes before the second block.
        let literal = [&[0xf4, 0xff, 0xff][..], &vec![7; BLOCK_BYTES]].concat();
        let reaching = [&[0x88, 0x80, 0x04][..], &literal, &[0b1_0001, 4]].concat();
        assert_eq!(
            snap::raw::Decoder::new().decompress_vec(&reaching).unwrap().len(),
            BLOCK_BYTES + 8
        );
        assert!(Blocks::find(&reaching).is_none());
    }
}
