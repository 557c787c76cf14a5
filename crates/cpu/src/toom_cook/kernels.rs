//! Kernels transformed for tiles: made once an update, kept with the weights.
//!
//! For each group and each pair of points one matrix `(in channels, out channels)`, in panels of 32
//! output channels: a panel is what the micro-kernel reads from beginning to end.

use alexnet_ops::ConvShape;

use super::layer::Layer;
use super::tiling::{PANEL, Tiling, odd_lines};
use super::transform::{Lattice, Part, Sides, between, evaluate};
use crate::Context;
use crate::array::{Array, Direction, Form, FormGuard};
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::simd::Vector;

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
        odd_lines(self.panels * self.in_channels * PANEL)
    }

    /// Floats of one group.
    pub(super) fn group_len(&self) -> usize {
        self.points.0 * self.points.1 * self.stride()
    }

    /// Where panel `panel` of point pair `pair` of `group` begins.
    #[inline(always)]
    pub(super) fn panel(&self, group: usize, pair: usize, panel: usize) -> usize {
        group * self.group_len() + pair * self.stride() + panel * self.in_channels * PANEL
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
        let chunks = layout.in_channels.div_ceil(PANEL_ROWS);
        let pieces = tiling.layer.groups * layout.panels * chunks;
        context.threads.for_each(pieces, |worker, piece| {
            let mut taps = context.scratch.own(worker, TAPS_MOST * PANEL_ROWS * PANEL);
            context.isa.dispatch(Piece {
                to: &to,
                weights,
                taps: &mut taps,
                layout,
                layer: &tiling.layer,
                problem: (shape, direction),
                group: piece / chunks / layout.panels,
                panel: piece / chunks % layout.panels,
                first: piece % chunks * PANEL_ROWS,
            });
        });
    })
}

/// Taps of the largest kernel.
pub(super) const TAPS_MOST: usize = 7 * 7;

/// A few input channels of one panel.
struct Piece<'a> {
    to: &'a Disjoint<'a, f32>,
    weights: &'a [f32],
    /// (taps, `PANEL_ROWS`, `PANEL`)
    taps: &'a mut [f32],
    layout: KernelLayout,
    layer: &'a Layer,
    problem: (&'a ConvShape, Direction),
    group: usize,
    panel: usize,
    first: usize,
}

impl Kernel for Piece<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let rows = PANEL_ROWS.min(self.layout.in_channels - self.first);
        self.gather(rows);
        let kernel = self.layer.kernel;
        let from = |row: usize| Lattice {
            start: self.taps.as_ptr().wrapping_add(row * PANEL).cast_mut(),
            row_stride: kernel * PANEL_ROWS * PANEL,
            columns: std::array::from_fn(|tap| tap * PANEL_ROWS * PANEL),
        };
        let (stride, points) = (self.layout.stride(), self.layout.points);
        let first = self.layout.panel(self.group, 0, self.panel);
        let mut between = between::<V>();
        for row in 0..rows {
            let to = Lattice {
                start: self.to.at(first + (self.first + row) * PANEL),
                row_stride: points.1 * stride,
                columns: std::array::from_fn(|q| q * stride),
            };
            // SAFETY: the taps are this piece's, and these rows of the panel are written by no
            // other.
            unsafe {
                evaluate::<V>(
                    &mut between,
                    &to,
                    &from(row),
                    (points, Part::ALL),
                    (kernel, kernel),
                    PANEL,
                )
            };
        }
    }
}

impl Piece<'_> {
    /// Copies the taps to (taps, in channels, out channels); absent output channels are zero.
    #[inline(always)]
    fn gather(&mut self, rows: usize) {
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
