//! Windows: those of a node, and those of adaptive average pooling in terms ONNX has.

use alexnet_network::models::IMAGE_SIZE_MAX;
use alexnet_ops::{AveragePoolShape, Rounding, output_size};

use super::node::Node;
use crate::protobuf::Fault;

/// Settings of poolings.
pub(super) const POOL_SETTINGS: [&str; 8] = [
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "dilations",
    "kernel_shape",
    "pads",
    "storage_order",
    "strides",
];
/// What settings that are no size are told.
pub(super) const SIZE: &str = "has a size, stride, pad or number of groups that no layer has";

/// A size of at least one, and none that no image has.
pub(super) fn size(value: i64) -> Option<usize> {
    usize::try_from(value).ok().filter(|size| (1..=IMAGE_SIZE_MAX).contains(size))
}

/// A square window and how it moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Before the first row and column.
    pub(super) pad: usize,
    /// Behind the last ones.
    pub(super) end: usize,
    pub(super) ceil: bool,
}

impl Window {
    /// Of a convolution with this `kernel`, or of a pooling.
    pub(super) fn read(node: &Node, kernel: Option<[usize; 2]>) -> Result<Self, Fault> {
        let bad = || node.fault(SIZE);
        let uneven = || node.fault("has windows that are no squares, or move unevenly");
        let pair = |name, default: Option<i64>| match node.ints(name)? {
            Some(values) => match values[..] {
                [rows, columns] if rows == columns => Ok(Some(rows)),
                _ => Err(uneven()),
            },
            None => Ok(default),
        };
        let mut side = pair("kernel_shape", None)?;
        if let Some([rows, columns]) = kernel {
            let rows = i64::try_from(rows).map_err(|_| bad())?;
            if side.is_some_and(|side| side != rows) || columns as i64 != rows {
                return Err(uneven());
            }
            side = Some(rows);
        }
        if pair("dilations", Some(1))? != Some(1) {
            return Err(node.fault("has windows with gaps (dilations), which are not read"));
        }
        let pads = node.ints("pads")?.unwrap_or_else(|| vec![0; 4]);
        let [top, left, bottom, right] = pads[..] else { return Err(uneven()) };
        if top != left || bottom != right {
            return Err(uneven());
        }
        let pad = |pad: i64| usize::try_from(pad).ok().filter(|&pad| pad <= IMAGE_SIZE_MAX);
        match node.text("auto_pad")? {
            None | Some("NOTSET") => {}
            Some("VALID") if pads == [0; 4] => {}
            Some(other) => {
                return Err(node.fault(format!("pads by '{other}': write the pads out instead")));
            }
        }
        Ok(Self {
            kernel: side.and_then(size).ok_or_else(bad)?,
            stride: pair("strides", Some(1))?.and_then(size).ok_or_else(bad)?,
            pad: pad(top).ok_or_else(bad)?,
            end: pad(bottom).ok_or_else(bad)?,
            ceil: node.int("ceil_mode")?.unwrap_or(0) != 0,
        })
    }

    /// How the last windows end, and the side of what they give from `side`.
    pub(super) fn rounding(
        &self,
        node: &Node,
        side: Option<usize>,
    ) -> Result<(Rounding, Option<usize>), Fault> {
        let Self { kernel, stride, pad, end, ceil } = *self;
        if end == pad {
            let rounding = if ceil { Rounding::Ceil } else { Rounding::Floor };
            let Some(side) = side else { return Ok((rounding, None)) };
            let out = output_size(side, kernel, stride, pad, rounding);
            let out = out.ok_or_else(|| {
                node.fault(format!("has windows of {kernel}, but maps of {side} come"))
            })?;
            return Ok((rounding, Some(out)));
        }
        let Some(side) = side else {
            return Err(node.fault("pads its ends unevenly: export it with a fixed image size"));
        };
        let span = (side + pad + end).checked_sub(kernel).filter(|_| !ceil);
        let out = span.map(|span| span / stride + 1);
        [Rounding::Floor, Rounding::Ceil]
            .into_iter()
            .find(|&rounding| {
                out.is_some() && out == output_size(side, kernel, stride, pad, rounding)
            })
            .map(|rounding| (rounding, out))
            .ok_or_else(|| node.fault("pads its ends as no layer of this network does"))
    }
}

/// Size and stride of the windows of `cells` cells over `input` places, if all are alike.
pub(super) fn even_windows(input: usize, cells: usize) -> Option<(usize, usize)> {
    let window = |cell| AveragePoolShape::window(cell, cells, input);
    let size = window(0).len();
    let stride = if cells == 1 { size } else { window(1).start };
    let even = |cell: usize| window(cell) == (cell * stride..cell * stride + size);
    (stride > 0 && (0..cells).all(even)).then_some((size, stride))
}

/// The share of each of `input` places in each of `cells` cells, (cells, input).
pub(super) fn averaging_matrix(input: usize, cells: usize) -> Vec<f32> {
    let mut shares = vec![0.0; cells * input];
    for cell in 0..cells {
        let window = AveragePoolShape::window(cell, cells, input);
        let share = 1.0 / window.len() as f32;
        shares[cell * input..][window].fill(share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_even_where_a_plain_pooling_has_them() {
        let cases = [
            ((6, 6), Some((1, 1))),
            ((12, 6), Some((2, 2))),
            ((7, 6), Some((2, 1))),
            ((13, 1), Some((13, 13))),
            ((8, 6), None),
            ((5, 6), None),
            ((1, 6), None),
        ];
        for ((input, cells), expected) in cases {
            assert_eq!(even_windows(input, cells), expected, "{input} to {cells}");
        }
    }

    #[test]
    fn every_cell_s_shares_add_up_to_one() {
        for (input, cells) in [(1, 6), (5, 6), (8, 6), (13, 6), (9, 2)] {
            for row in averaging_matrix(input, cells).chunks(input) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{input} to {cells}");
            }
        }
    }
}
