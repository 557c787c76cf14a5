//! The one place where the order of weights changes between files and devices.
//!
//! Files keep the field's order: kernels `(O, I, H, W)`, and the first linear layer's columns as a
//! `(C, H, W)` block flattened. Devices hold channels last: kernels `(O, H, W, I)`, and that linear
//! layer's columns as `(H, W, C)`. Both are the same move: each output's block of `(channels,
//! places)` is transposed to `(places, channels)`.

/// One output's weights: `channels` values at each of `places` positions. A matrix of plain
/// features has one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) channels: usize,
    pub(crate) places: usize,
}

/// From a file's order to the device's.
pub(crate) fn to_device(values: &mut [f32], block: Block) {
    transpose(values, block.channels, block.places);
}

/// From the device's order to a file's.
pub(crate) fn to_file(values: &mut [f32], block: Block) {
    transpose(values, block.places, block.channels);
}

/// Transposes every `rows · columns` block where it stands: what a whole network has learned is not to
/// be there twice.
fn transpose(values: &mut [f32], rows: usize, columns: usize) {
    if rows == 1 || columns == 1 {
        return;
    }
    let mut before = vec![0.0; rows * columns];
    for block in values.chunks_exact_mut(rows * columns) {
        before.copy_from_slice(block);
        for (column, to) in block.chunks_exact_mut(rows).enumerate() {
            let from = before[column..].iter().step_by(columns);
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_goes_channels_last_and_comes_back() {
        // Two outputs, two channels, one row of three columns: value = 100·o + 10·c + w.
        let file = [0., 1., 2., 10., 11., 12., 100., 101., 102., 110., 111., 112.];
        let block = Block { channels: 2, places: 3 };
        let mut values = file;
        to_device(&mut values, block);
        assert_eq!(values, [0., 10., 1., 11., 2., 12., 100., 110., 101., 111., 102., 112.]);
        to_file(&mut values, block);
        assert_eq!(values, file);
    }
}
