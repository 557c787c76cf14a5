//! Where pixels lie when images are laid out for the matrix unit.
//!
//! All images follow each other in one line of pixels, row by row. Rows are followed by as many
//! zero pixels as a window can look beyond an edge (one at least), and images by as many zero rows: one gap serves
//! as the right border of a row and the left border of the next. So the input pixel under tap (r, s)
//! of output place `i` is `i + r · pitch + s` less a constant, for every place and tap, without any
//! test for borders.

use alexnet_ops::ConvShape;

/// Pixels a tile may read beyond the last place.
const TILE_SLACK: usize = 32;

/// Line of pixels for a convolution with stride 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raster {
    /// Pixels from row to row.
    pub(super) pitch: usize,
    /// Rows from image to image.
    pub(super) rows: usize,
    /// Zero pixels before the first image.
    pub(super) front: usize,
    /// Zero pixels after the last.
    pub(super) back: usize,
    pad: usize,
}

impl Raster {
    pub(super) fn new(shape: &ConvShape) -> Self {
        let ConvShape { in_h, in_w, out_h, out_w, kernel, pad, .. } = *shape;
        assert_eq!(shape.stride, 1);
        let beyond =
            |input: usize, output: usize| (output + kernel - 1).saturating_sub(input + pad);
        let pitch = (in_w + pad.max(beyond(in_w, out_w)).max(1)).max(out_w);
        let rows = (in_h + pad.max(beyond(in_h, out_h))).max(out_h);
        let front = pad * pitch + pad;
        Self { pitch, rows, front, back: kernel * pitch + kernel + TILE_SLACK, pad }
    }

    /// Pixels of an image with its gaps.
    pub(super) fn image(&self) -> usize {
        self.pitch * self.rows
    }

    /// Pixels of the whole line for `images`.
    pub(super) fn len(&self, images: usize) -> usize {
        self.front + images * self.image() + self.back
    }

    /// Where input pixel (h, w) of image `image` lies in the line.
    pub(super) fn input(&self, image: usize, h: usize, w: usize) -> usize {
        self.front + image * self.image() + h * self.pitch + w
    }

    /// The place of output (p, q) among outputs laid out alike.
    pub(super) fn output(&self, image: usize, p: usize, q: usize) -> usize {
        image * self.image() + p * self.pitch + q
    }

    /// What to add to an output's place to find the input pixel under tap (r, s).
    pub(super) fn tap(&self, r: usize, s: usize) -> usize {
        self.front + r * self.pitch + s - self.pad * (self.pitch + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tap_of_every_output_finds_its_input_pixel_or_a_gap() {
        for (in_h, in_w, kernel, pad) in [
            (13, 13, 3, 1),
            (27, 27, 5, 2),
            (57, 57, 3, 0),
            (1, 1, 3, 1),
            (4, 9, 2, 3),
            (5, 6, 5, 4),
        ] {
            let size = |input: usize| input + 2 * pad + 1 - kernel;
            let (out_h, out_w) = (size(in_h), size(in_w));
            let (batch, in_c, out_c, stride, groups) = (3, 1, 1, 1, 1);
            let shape = ConvShape {
                batch,
                in_h,
                in_w,
                in_c,
                out_h,
                out_w,
                out_c,
                kernel,
                stride,
                pad,
                groups,
            };
            let raster = Raster::new(&shape);
            let mut line = vec![None; raster.len(batch)];
            for (image, h, w) in places(batch, in_h, in_w) {
                line[raster.input(image, h, w)] = Some((image, h, w));
            }
            for (image, p, q) in places(batch, out_h, out_w) {
                for (_, r, s) in places(1, kernel, kernel) {
                    let expected = shape.tap(p, r, in_h).zip(shape.tap(q, s, in_w));
                    let found = line[raster.output(image, p, q) + raster.tap(r, s)];
                    assert_eq!(
                        found,
                        expected.map(|(h, w)| (image, h, w)),
                        "{shape:?} {p} {q} {r} {s}"
                    );
                }
            }
        }
    }

    fn places(n: usize, h: usize, w: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..n * h * w).map(move |i| (i / (h * w), i / w % h, i % w))
    }
}
