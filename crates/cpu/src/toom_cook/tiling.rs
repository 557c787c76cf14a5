//! A layer cut into tiles, tiles gathered in blocks, and where a block's values lie.
//!
//! A block is a range of tile rows of a few images. Its values are one matrix for each pair of
//! points: a row for each tile that holds the pair, a column for each channel. Tile rows come
//! larger tiles first and tile by tile, so those that hold a point are the first ones, and a tile's row in
//! the matrix is known without a table.

use super::cover::{Cover, Tile};
use super::image::Lattice;
use super::layer::Layer;
use super::points::MOST;
use super::transform::{Part, Sides};

/// Floats of a cache line.
pub(super) const LINE: usize = 16;

/// Columns that matrices are padded to: those of the widest micro-kernel.
pub(super) const PANEL: usize = 32;

/// `len` floats rounded up to an odd number of cache lines: so far apart, things do not compete for
/// the same few lines of the caches.
pub(super) const fn odd_lines(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

/// A layer and the covers of its output.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    pub(super) layer: Layer,
    pub(super) rows: Cover,
    pub(super) columns: Cover,
}

impl Tiling {
    pub(super) fn new(layer: Layer) -> Self {
        let cover = |outputs| Cover::new(outputs, layer.kernel);
        Self { layer, rows: cover(layer.output.0), columns: cover(layer.output.1) }
    }

    /// Points of rows and of columns.
    pub(super) fn points(&self) -> Sides {
        (self.rows.points(), self.columns.points())
    }

    /// Values of all of an image's tiles: multiplications for each pair of channels.
    pub(super) fn multiplications(&self) -> usize {
        self.rows.multiplications() * self.columns.multiplications()
    }

    /// The tiles of row `row` with the outputs that lie inside the image.
    pub(super) fn kept(&self, row: &Tile, column: &Tile) -> Sides {
        let (height, width) = self.layer.output;
        (row.outputs.min(height - row.start), column.outputs.min(width - column.start))
    }

    /// Floats of a block's matrices for all points of rows and those in `part` of columns.
    pub(super) fn field_len(&self, tile_rows: usize, part: Part, channels: usize) -> usize {
        let (p, q) = self.points();
        p * part.of(q) * odd_lines(tile_rows * self.columns.len() * odd_lines(channels))
    }
}

/// Tile rows `first_row..first_row + rows` of images `first_image..first_image + images`.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) group: usize,
    pub(super) first_image: usize,
    pub(super) images: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
}

impl Block {
    /// Tile rows.
    pub(super) fn len(&self) -> usize {
        self.rows * self.images
    }
}

/// How images are cut into blocks: several whole images, or nearly equal parts of one.
#[derive(Clone, Copy)]
pub(super) struct Blocking {
    images: usize,
    parts: usize,
}

impl Blocking {
    /// Blocks of at most `tile_rows` tile rows, or of one.
    pub(super) fn of(tile_rows: usize, tiling: &Tiling) -> Self {
        let image = tiling.rows.len();
        if tile_rows >= image {
            let groups = tiling.layer.images.div_ceil(tile_rows / image).max(1);
            return Self { images: tiling.layer.images.div_ceil(groups).max(1), parts: 1 };
        }
        Self { images: 1, parts: image.div_ceil(tile_rows.max(1)) }
    }

    /// Tile rows of an image in the largest block.
    pub(super) fn rows(&self, tiling: &Tiling) -> usize {
        tiling.rows.len().div_ceil(self.parts)
    }

    /// Tile rows of the largest block.
    pub(super) fn tile_rows(&self, tiling: &Tiling) -> usize {
        self.images * self.rows(tiling)
    }

    /// Blocks of `images` images of one group.
    pub(super) fn count(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.parts
    }

    /// Block `index` of images `images` of group `group`, image after image.
    pub(super) fn block(
        &self,
        index: usize,
        images: std::ops::Range<usize>,
        group: usize,
        tiling: &Tiling,
    ) -> Block {
        let first_image = images.start + index / self.parts * self.images;
        let row = |part| part * tiling.rows.len() / self.parts;
        let first_row = row(index % self.parts);
        Block {
            group,
            first_image,
            images: self.images.min(images.end - first_image),
            first_row,
            rows: row(index % self.parts + 1) - first_row,
        }
    }
}

/// A block's matrices, one for each pair of points.
#[derive(Clone, Copy)]
pub(super) struct Field {
    start: *mut f32,
    points: Sides,
    /// Floats from a matrix to the next.
    stride: usize,
    /// Floats from a row of a matrix to the next.
    pub(super) row_stride: usize,
    /// Tile rows of the block that hold each point of rows.
    rows_holding: [usize; MOST],
    /// Tiles of a row that hold each point of columns.
    columns_holding: [usize; MOST],
}

/// One matrix.
pub(super) struct Matrix {
    pub(super) start: *mut f32,
    pub(super) rows: usize,
}

impl Field {
    /// The matrices of `block`, of at most `tile_rows`, with `channels` columns at `start`, for the
    /// points of columns in `part`.
    pub(super) fn new(
        start: *mut f32,
        tiling: &Tiling,
        (block, tile_rows): (&Block, usize),
        part: Part,
        channels: usize,
    ) -> Self {
        let row_stride = odd_lines(channels);
        let rows_holding = |point| {
            let until = |row| tiling.rows.holding(point, row);
            (until(block.first_row + block.rows) - until(block.first_row)) * block.images
        };
        let columns_holding =
            |point| tiling.columns.holding(part.first + point, tiling.columns.len());
        let (rows, columns) = tiling.points();
        Self {
            start,
            points: (rows, part.of(columns)),
            stride: odd_lines(tile_rows * tiling.columns.len() * row_stride),
            row_stride,
            rows_holding: std::array::from_fn(rows_holding),
            columns_holding: std::array::from_fn(columns_holding),
        }
    }

    /// The matrix of point pair `pair`.
    pub(super) fn matrix(&self, pair: usize) -> Matrix {
        let (p, q) = (pair / self.points.1, pair % self.points.1);
        Matrix {
            start: self.start.wrapping_add(pair * self.stride),
            rows: self.rows_holding[p] * self.columns_holding[q],
        }
    }

    /// Where the values of the tile at tile row `row` of the block and tile column `column` lie.
    pub(super) fn tile(&self, row: usize, column: usize) -> Lattice {
        Lattice {
            start: self.start,
            row_stride: self.points.1 * self.stride,
            columns: std::array::from_fn(|q| {
                q * self.stride + (row * self.columns_holding[q] + column) * self.row_stride
            }),
        }
    }
}
