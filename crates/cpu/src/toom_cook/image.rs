//! Where values lie: images of pixels, and the places of a tile's values.

use super::points::MOST;
use super::transform::Sides;

/// Places in equally spaced rows; columns lie anywhere.
#[derive(Clone, Copy)]
pub(super) struct Lattice {
    pub(super) start: *mut f32,
    pub(super) row_stride: usize,
    pub(super) columns: [usize; MOST],
}

impl Lattice {
    #[inline(always)]
    pub(super) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.start.wrapping_add(row * self.row_stride + self.columns[column])
    }
}

/// An image of a group's channels.
pub(super) struct Image {
    /// The first pixel.
    pub(super) start: *mut f32,
    pub(super) sides: Sides,
    /// Floats from a pixel to the next.
    pub(super) pixel_stride: usize,
    pub(super) pad: isize,
}

impl Image {
    /// The addresses of the pixels under a window of `sides` that begins at (`row`, `column`) less
    /// the padding; outside of the image `zeros`.
    #[inline(always)]
    pub(super) fn window(
        &self,
        (row, column): Sides,
        sides: Sides,
        zeros: *const f32,
    ) -> [[*const f32; MOST]; MOST] {
        let mut addresses = [[zeros; MOST]; MOST];
        let first = column as isize - self.pad;
        let columns = (-first).clamp(0, sides.1 as isize)
            ..(self.sides.1 as isize - first).clamp(0, sides.1 as isize);
        for (i, addresses) in addresses.iter_mut().enumerate().take(sides.0) {
            let row = (row + i) as isize - self.pad;
            if (0..self.sides.0 as isize).contains(&row) {
                for j in columns.clone() {
                    let pixel = row * self.sides.1 as isize + first + j;
                    let offset = pixel * self.pixel_stride as isize;
                    addresses[j as usize] = self.start.wrapping_offset(offset).cast_const();
                }
            }
        }
        addresses
    }

    /// The first pixel of a window inside the image, and the distances to the others.
    #[inline(always)]
    pub(super) fn lattice(&self, (row, column): Sides) -> Lattice {
        let pixel = row * self.sides.1 + column;
        Lattice {
            start: self.start.wrapping_add(pixel * self.pixel_stride),
            row_stride: self.sides.1 * self.pixel_stride,
            columns: std::array::from_fn(|column| column * self.pixel_stride),
        }
    }
}
