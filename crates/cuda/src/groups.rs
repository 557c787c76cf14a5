//! Channels in groups, each group's apart: `kernels/groups.cu`.

use alexnet_ops::ConvShape;

use crate::driver::{EIGHT, Gpu, Launch, Reals, RealsMut};
use crate::reduce::word;

/// Rows that a thread takes: `GROUP_ROWS` of `groups.cu`.
pub(crate) const GROUP_ROWS: usize = 4;

/// An array whose rows are the channels of a place, in groups: `struct Groups` of the kernels.
pub(crate) struct Groups {
    rows: usize,
    channels: usize,
    /// Of a group.
    each: usize,
}

impl Groups {
    pub(crate) fn of_inputs(shape: &ConvShape) -> Self {
        let (rows, channels) = (shape.batch * shape.in_h * shape.in_w, shape.in_c);
        Self { rows, channels, each: channels / shape.groups }
    }

    pub(crate) fn of_outputs(shape: &ConvShape) -> Self {
        let (rows, channels) = (shape.batch * shape.out_h * shape.out_w, shape.out_c);
        Self { rows, channels, each: channels / shape.groups }
    }

    pub(crate) fn part(&self, gpu: &Gpu, parts: RealsMut<'_>, x: Reals<'_>) {
        self.launch(gpu, "part_groups", parts, x);
    }

    pub(crate) fn join(&self, gpu: &Gpu, y: RealsMut<'_>, parts: Reals<'_>) {
        self.launch(gpu, "join_groups", y, parts);
    }

    fn launch(&self, gpu: &Gpu, kernel: &str, to: RealsMut<'_>, from: Reals<'_>) {
        let Self { rows, channels, each } = *self;
        assert!([to.len(), from.len()] == [rows * channels; 2] && each.is_multiple_of(EIGHT));
        let threads = rows.div_ceil(GROUP_ROWS) * (channels / EIGHT);
        let numbers = [rows, channels, each].map(word);
        let arguments = [to.into(), from.into(), (&numbers).into()];
        gpu.launch(kernel, Launch::threads(threads), &arguments);
    }
}
