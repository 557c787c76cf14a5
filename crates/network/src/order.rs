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
pub(crate) fn to_device(values: &[f32], block: Block) -> Vec<f32> {
    transposed(values, block.channels, block.places)
}

/// From the device's order to a file's.
pub(crate) fn to_file(values: &[f32], block: Block) -> Vec<f32> {
    transposed(values, block.places, block.channels)
}

/// Every `rows · columns` block transposed.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    if rows == 1 || columns == 1 {
        return values.to_vec();
    }
    let mut moved = Vec::with_capacity(values.len());
    for block in values.chunks_exact(rows * columns) {
        for column in 0..columns {
            moved.extend((0..rows).map(|row| block[row * columns + column]));
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_goes_channels_last_and_comes_back() {
        // Two outputs, two channels, one row of three columns: value = 100·o + 10·c + w.
        let file = [0., 1., 2., 10., 11., 12., 100., 101., 102., 110., 111., 112.];
        let block = Block { channels: 2, places: 3 };
        let device = to_device(&file, block);
        assert_eq!(device, [0., 10., 1., 11., 2., 12., 100., 110., 101., 111., 102., 112.]);
        assert_eq!(to_file(&device, block), file);
    }
}
