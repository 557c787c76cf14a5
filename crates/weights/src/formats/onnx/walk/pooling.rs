//! Pooling: the largest of windows, and the averages of adaptive pooling.
//!
//! Averages over windows that are all alike are an operator. Adaptive pooling of a side that does not
//! divide evenly has none: this program writes it as a product from either side, with the matrix of
//! each cell's shares of the rows and of the columns.

use alexnet_network::Layer;
use alexnet_network::models::IMAGE_SIZE_MAX;

use super::{Place, Walk};
use crate::formats::onnx::node::Node;
use crate::formats::onnx::windows::{POOL_SETTINGS, Window, averaging_matrix, even_windows};
use crate::protobuf::Fault;

/// Values of averaging shares differ by rounding alone.
const SHARE_TOLERANCE: f32 = 1e-5;

impl<'a> Walk<'_, 'a> {
    pub(super) fn max_pool(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        node.only(&POOL_SETTINGS)?;
        let (channels, side) = self.maps(node)?;
        let window = Window::read(node, None)?;
        if window.pad != 0 {
            return Err(node.fault("pads before the first window: only behind the last is read"));
        }
        let (rounding, side) = window.rounding(node, side)?;
        self.rows.push(Layer::MaxPool(window.kernel, window.stride, rounding));
        self.place = Place::Maps { channels, side };
        Ok(())
    }

    /// Windows as adaptive pooling has them.
    pub(super) fn average_pool(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        node.only(&POOL_SETTINGS)?;
        let (_, side) = self.maps(node)?;
        let window = Window::read(node, None)?;
        let (_, cells) = window.rounding(node, side)?;
        let even = side.zip(cells).and_then(|(side, cells)| even_windows(side, cells));
        let as_here =
            |(size, stride)| size == window.kernel && (stride == window.stride || cells == Some(1));
        let padded = window.pad != 0 || window.end != 0;
        match cells {
            Some(cells) if even.is_some_and(as_here) && !padded => self.pooled(node, cells),
            _ => Err(node
                .fault("is no adaptive pooling of an image of fixed size, the only averages read")),
        }
    }

    pub(super) fn pooled(&mut self, node: &Node, cells: usize) -> Result<(), Fault> {
        let (channels, _) = self.maps(node)?;
        self.rows.push(Layer::AveragePool(cells));
        self.place = Place::Maps { channels, side: Some(cells) };
        Ok(())
    }

    /// Shares of rows · x · shares of columns, as this program writes uneven windows.
    pub(super) fn averaging(
        &mut self,
        node: &Node<'a>,
        side: Option<usize>,
        behind: &[Node<'a>],
    ) -> Result<usize, Fault> {
        let unread = || node.fault("multiplies maps by a matrix, which is read as pooling alone");
        let (Some(side), [columns, ..]) = (side, behind) else { return Err(unread()) };
        let reads = node.input(1) == self.at && columns.input(0) == node.output();
        let left = self.constant(node, 0)?;
        let &[cells, inputs] = &left.shape[..] else { return Err(unread()) };
        if columns.op != "MatMul"
            || !reads
            || inputs != side
            || !(1..=IMAGE_SIZE_MAX).contains(&cells)
        {
            return Err(unread());
        }
        let right = self.constant(columns, 1)?;
        if right.shape[..] != [side, cells] {
            return Err(unread());
        }
        let shares = averaging_matrix(side, cells);
        let near =
            |found: &[f32]| shares.iter().zip(found).all(|(a, b)| (a - b).abs() <= SHARE_TOLERANCE);
        let right = right.array(String::new(), true)?.values;
        if !near(&left.floats()?) || !near(&right) {
            return Err(unread());
        }
        self.pooled(node, cells)?;
        Ok(1)
    }
}
