//! Kernels transformed for tiles: made once an update, kept with the weights.
//!
//! For each group and each pair of points one matrix `(in channels, out channels)`, in panels of 32
//! output channels: a panel is what the micro-kernel reads from beginning to end. Those of all pairs
//! follow one another: that is how they are read where there is only an image, and fetching them
//! is most of the work.
//!
//! There kernels of three taps are kept half transformed, along rows only: for each group, panel and
//! point of columns a matrix `(in channels, 3 rows, 32 out channels)`, less than half as much.

use alexnet_ops::ConvShape;

use super::image::{Image, Lattice};
use super::layer::Layer;
use super::tiling::{PANEL, Tiling, odd_lines};
use super::transform::{Evaluate, EvaluateRows, HALF_TAPS, Part, Sides, Window};
use crate::Context;
use crate::array::{Array, Direction, Form, FormGuard};
use crate::disjoint::Disjoint;
use crate::isa::Isa;

/// Input channels that a piece of the work transforms: so many rows of a panel are written in one
/// run.
pub(super) const PANEL_ROWS: usize = 16;

/// Where transformed kernels lie.
#[derive(Clone, Copy)]
pub(super) struct KernelLayout {
    points: Sides,
    in_channels: usize,
    panels: usize,
}

impl KernelLayout {
    pub(super) fn new(tiling: &Tiling) -> Self {
        let Layer { in_channels, out_channels, .. } = tiling.layer;
        Self { points: tiling.points(), in_channels, panels: out_channels.div_ceil(PANEL) }
    }

    /// Floats from one point pair to the next.
    fn stride(&self) -> usize {
        odd_lines(self.in_channels * PANEL)
    }

    /// Floats from one panel of a point pair to the next.
    pub(super) fn panel_stride(&self) -> usize {
        self.points.0 * self.points.1 * self.stride()
    }

    /// Floats of one group.
    pub(super) fn group_len(&self) -> usize {
        self.panels * self.panel_stride()
    }

    /// Where panel `panel` of point pair `pair` of `group` begins.
    pub(super) fn panel(&self, group: usize, pair: usize, panel: usize) -> usize {
        group * self.group_len() + panel * self.panel_stride() + pair * self.stride()
    }
}

/// Where half transformed kernels lie.
#[derive(Clone, Copy)]
pub(super) struct HalfLayout {
    /// Of columns.
    points: usize,
    in_channels: usize,
    panels: usize,
}

impl HalfLayout {
    /// Floats from an input channel to the next.
    pub(super) const DEPTH_STRIDE: usize = HALF_TAPS * PANEL;

    pub(super) fn new(tiling: &Tiling) -> Self {
        let Layer { in_channels, out_channels, .. } = tiling.layer;
        Self { points: tiling.points().1, in_channels, panels: out_channels.div_ceil(PANEL) }
    }

    /// Floats from one point to the next.
    pub(super) fn stride(&self) -> usize {
        odd_lines(self.in_channels * Self::DEPTH_STRIDE)
    }

    /// Floats of one group.
    fn group_len(&self) -> usize {
        self.panels * self.points * self.stride()
    }

    /// Where point `q` of panel `panel` of `group` begins.
    pub(super) fn matrix(&self, group: usize, panel: usize, q: usize) -> usize {
        ((group * self.panels + panel) * self.points + q) * self.stride()
    }
}

/// The transformed kernels of `weights`.
pub(super) fn kernels<'a>(
    context: &Context,
    weights: &'a Array,
    tiling: &Tiling,
    (shape, direction): (&ConvShape, Direction),
) -> FormGuard<'a> {
    let layout = KernelLayout::new(tiling);
    let form = Form::ToomCook(ConvShape { batch: 0, ..*shape }, direction);
    weights.form(form, tiling.layer.groups * layout.group_len(), |to| {
        let to = Disjoint::new(to);
        for_each_piece(context, weights, tiling, (shape, direction), |piece| {
            piece.transform(context.isa, &to, &layout);
        });
    })
}

/// The kernels of `weights` transformed along rows only: of kernels of three taps less than half as
/// much to read.
pub(super) fn half_kernels<'a>(
    context: &Context,
    weights: &'a Array,
    tiling: &Tiling,
    (shape, direction): (&ConvShape, Direction),
) -> FormGuard<'a> {
    let layout = HalfLayout::new(tiling);
    let form = Form::ToomCookHalf(ConvShape { batch: 0, ..*shape }, direction);
    weights.form(form, tiling.layer.groups * layout.group_len(), |to| {
        let to = Disjoint::new(to);
        for_each_piece(context, weights, tiling, (shape, direction), |piece| {
            piece.transform_rows(context.isa, &to, &layout);
        });
    })
}

/// Calls `transform` for each piece of the kernels, with its taps gathered.
fn for_each_piece(
    context: &Context,
    weights: &Array,
    tiling: &Tiling,
    problem: (&ConvShape, Direction),
    transform: impl Fn(Piece) + Sync,
) {
    let layer = &tiling.layer;
    let chunks = layer.in_channels.div_ceil(PANEL_ROWS);
    let panels = layer.out_channels.div_ceil(PANEL);
    context.threads.for_each(layer.groups * panels * chunks, |worker, piece| {
        let mut taps = context.scratch.own(worker, TAPS_MOST * PANEL_ROWS * PANEL);
        let first = piece % chunks * PANEL_ROWS;
        let mut piece = Piece {
            weights,
            taps: &mut taps,
            layer,
            problem,
            group: piece / chunks / panels,
            panel: piece / chunks % panels,
            first,
            rows: PANEL_ROWS.min(layer.in_channels - first),
        };
        piece.gather();
        transform(piece);
    });
}

/// Taps of the largest kernel.
pub(super) const TAPS_MOST: usize = 7 * 7;

/// The taps of one row of `(taps, PANEL_ROWS, PANEL)` as an image.
pub(super) fn taps_image(taps: &mut [f32], kernel: usize) -> Image {
    let (start, sides) = (taps.as_mut_ptr(), (kernel, kernel));
    Image { start, sides, pixel_stride: PANEL_ROWS * PANEL, pad: 0 }
}

/// A few input channels of one panel.
struct Piece<'a> {
    weights: &'a [f32],
    /// (taps, `PANEL_ROWS`, `PANEL`)
    taps: &'a mut [f32],
    layer: &'a Layer,
    problem: (&'a ConvShape, Direction),
    group: usize,
    panel: usize,
    /// The first input channel, and how many.
    first: usize,
    rows: usize,
}

impl Piece<'_> {
    fn transform(self, isa: Isa, to: &Disjoint<f32>, layout: &KernelLayout) {
        let (kernel, stride, alphas) = (self.layer.kernel, layout.stride(), layout.points);
        let first = layout.panel(self.group, 0, self.panel);
        for row in 0..self.rows {
            let to = Lattice {
                start: to.at(first + (self.first + row) * PANEL),
                row_stride: alphas.1 * stride,
                columns: std::array::from_fn(|q| q * stride),
            };
            let image = taps_image(&mut self.taps[row * PANEL..], kernel);
            let from = Window { image: &image, at: (0, 0), zeros: std::ptr::null() };
            let (part, coefficients) = (Part::ALL, (kernel, kernel));
            let evaluate = Evaluate { to, from, alphas, part, coefficients, channels: PANEL };
            // SAFETY: the taps are this piece's, and these rows of the panel are written by no
            // other.
            unsafe { evaluate.run(isa) };
        }
    }

    fn transform_rows(self, isa: Isa, to: &Disjoint<f32>, layout: &HalfLayout) {
        let first = layout.matrix(self.group, self.panel, 0);
        for row in 0..self.rows {
            let to = Lattice {
                start: to.at(first + (self.first + row) * HalfLayout::DEPTH_STRIDE),
                row_stride: PANEL,
                columns: std::array::from_fn(|q| q * layout.stride()),
            };
            let image = taps_image(&mut self.taps[row * PANEL..], HALF_TAPS);
            let from = Window { image: &image, at: (0, 0), zeros: std::ptr::null() };
            let evaluate = EvaluateRows { to, from, alpha: layout.points, channels: PANEL };
            // SAFETY: as above.
            unsafe { evaluate.run(isa) };
        }
    }

    /// Copies the taps to (taps, in channels, out channels); absent output channels are zero.
    fn gather(&mut self) {
        let rows = self.rows;
        let (shape, direction) = self.problem;
        let kernel = self.layer.kernel;
        let columns = PANEL.min(self.layer.out_channels - self.panel * PANEL);
        for tap in 0..kernel * kernel {
            let at = (tap / kernel, tap % kernel);
            let to = &mut self.taps[tap * PANEL_ROWS * PANEL..][..PANEL_ROWS * PANEL];
            if columns < PANEL {
                to.fill(0.0);
            }
            let weight = |from, out| {
                let channels = (self.group, self.first + from, self.panel * PANEL + out);
                Layer::weight(shape, direction, at, channels)
            };
            match direction {
                // Channels that follow each other in memory are walked in the inner loop.
                Direction::Backward => {
                    for from in 0..rows {
                        let start = weight(from, 0).expect("every tap of stride 1 is there");
                        to[from * PANEL..][..columns]
                            .copy_from_slice(&self.weights[start..start + columns]);
                    }
                }
                Direction::Forward if shape.stride == 1 => {
                    for out in 0..columns {
                        let start = weight(0, out).expect("every tap of stride 1 is there");
                        for (from, value) in self.weights[start..start + rows].iter().enumerate() {
                            to[from * PANEL + out] = *value;
                        }
                    }
                }
                Direction::Forward => {
                    for out in 0..columns {
                        for from in 0..rows {
                            let at = weight(from, out);
                            to[from * PANEL + out] = at.map_or(0.0, |at| self.weights[at]);
                        }
                    }
                }
            }
        }
    }
}
