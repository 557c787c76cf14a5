//! Layers with weights: convolutions, and linear layers as Gemm or as a product with a sum behind it.
//!
//! Their arrays are constants of the graph. A constant that several layers share is copied for each,
//! so what all arrays take together is held to the file's own length.

use alexnet_network::{Array, Conv, Fill, Layer, Linear, Units};

use super::{Place, Walk};
use crate::formats::onnx::node::Node;
use crate::formats::onnx::tensor::Tensor;
use crate::formats::onnx::windows::{SIZE, Window, size};
use crate::protobuf::Fault;

/// What a row's initial values are where a file has values.
const LEARNED: Fill = Fill::Constant(0.0);

impl<'a> Walk<'_, 'a> {
    pub(super) fn conv(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        node.only(&["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"])?;
        let (channels, side) = self.maps(node)?;
        let weights = self.constant(node, 1)?.clone();
        let &[maps, group_channels, kernel, columns] = &weights.shape[..] else {
            return Err(weights.fault("is no kernel (out, in, height, width)"));
        };
        let groups = size(node.int("group")?.unwrap_or(1)).ok_or_else(|| node.fault(SIZE))?;
        let fits = group_channels.checked_mul(groups) == Some(channels);
        if !fits || maps == 0 || !maps.is_multiple_of(groups) {
            let shape = &weights.shape;
            return Err(node.fault(format!(
                "has kernels {shape:?} in {groups} groups, but reads {channels} channels"
            )));
        }
        let window = Window::read(node, Some([kernel, columns]))?;
        let (rounding, side) = window.rounding(node, side)?;
        self.learned += 1;
        let layer = format!("conv{}", self.learned);
        self.keep(&weights, format!("{layer}.weight"), false)?;
        self.keep_bias(node, 2, &layer, maps)?;
        let Window { kernel, stride, pad, .. } = window;
        let (weights, bias) = (LEARNED, LEARNED);
        let row = Conv { maps, kernel, stride, pad, groups, rounding, weights, bias };
        self.rows.push(Layer::Conv(row));
        self.place = Place::Maps { channels: maps, side };
        Ok(())
    }

    pub(super) fn gemm(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        node.only(&["alpha", "beta", "broadcast", "transA", "transB"])?;
        let factors = [node.float("alpha", 1.0)?, node.float("beta", 1.0)?];
        if factors != [1.0; 2] || node.int("transA")?.unwrap_or(0) != 0 || node.input(0) != self.at
        {
            return Err(node.fault("is no plain linear layer: alpha and beta must be 1"));
        }
        let as_ours = node.int("transB")?.unwrap_or(0) != 0;
        let layer = self.linear(node, !as_ours)?;
        let len = self.outputs();
        self.keep_bias(node, 2, &layer, len)
    }

    /// Features times a matrix, with what is added behind it; or adaptive pooling from both sides.
    pub(super) fn product(&mut self, node: &Node<'a>, behind: &[Node<'a>]) -> Result<usize, Fault> {
        node.only(&[])?;
        if let Place::Maps { side, .. } = self.place {
            return self.averaging(node, side, behind);
        }
        if node.input(0) != self.at {
            return Err(node.fault("multiplies from the left: only x · W is read"));
        }
        let layer = self.linear(node, true)?;
        let len = self.outputs();
        match behind {
            [add, ..] if add.op == "Add" && add.inputs.contains(&node.output()) => {
                let other = usize::from(add.input(0) == node.output());
                self.keep_bias(add, other, &layer, len)?;
                Ok(1)
            }
            _ => self.keep_bias(node, 2, &layer, len).map(|()| 0),
        }
    }

    /// A linear layer's weights, `transposed` where they are (in, out); its name.
    fn linear(&mut self, node: &Node<'a>, transposed: bool) -> Result<String, Fault> {
        let Place::Features(features) = self.place else {
            return Err(node.fault("reads maps: they must be flattened first"));
        };
        let weights = self.constant(node, 1)?.clone();
        let (units, inputs) = match (&weights.shape[..], transposed) {
            (&[units, inputs], false) | (&[inputs, units], true) => (units, inputs),
            _ => return Err(weights.fault("is no matrix")),
        };
        if units == 0 || features.is_some_and(|features| features != inputs) {
            let found = features.unwrap_or_default();
            return Err(node.fault(format!("takes {inputs} features to {units}, but {found} come")));
        }
        self.learned += 1;
        let layer = format!("fc{}", self.learned);
        self.keep(&weights, format!("{layer}.weight"), transposed)?;
        let units_row = Units::Hidden(units);
        self.rows.push(Layer::Linear(Linear { units: units_row, weights: LEARNED, bias: LEARNED }));
        self.place = Place::Features(Some(units));
        Ok(layer)
    }

    /// Outputs of the last linear layer.
    fn outputs(&self) -> usize {
        match self.place {
            Place::Features(Some(units)) => units,
            _ => 0,
        }
    }

    /// Keeps a tensor's values under this name, `transposed` where they are (in, out).
    fn keep(&mut self, tensor: &Tensor, name: String, transposed: bool) -> Result<(), Fault> {
        self.spend(tensor.len(), || {
            tensor.fault("is shared by more layers than the file is long")
        })?;
        self.arrays.push(tensor.array(name, transposed)?);
        Ok(())
    }

    fn spend(&mut self, values: usize, fault: impl FnOnce() -> Fault) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(values).ok_or_else(fault)?;
        Ok(())
    }

    /// Keeps a vector of `len` values.
    pub(super) fn keep_vector(
        &mut self,
        node: &Node<'a>,
        index: usize,
        name: String,
        len: usize,
    ) -> Result<(), Fault> {
        let tensor = self.constant(node, index)?.clone();
        if tensor.len() != len || tensor.shape.iter().filter(|&&size| size != 1).count() > 1 {
            let reason = format!("has shape {:?}, but {len} values are needed", tensor.shape);
            return Err(tensor.fault(reason));
        }
        self.keep(&tensor, name, false)?;
        if let Some(array) = self.arrays.last_mut() {
            array.shape = vec![len];
        }
        Ok(())
    }

    /// Keeps input `index` as a layer's biases; zeros where it has none.
    fn keep_bias(
        &mut self,
        node: &Node<'a>,
        index: usize,
        layer: &str,
        len: usize,
    ) -> Result<(), Fault> {
        let name = format!("{layer}.bias");
        if !node.input(index).is_empty() {
            return self.keep_vector(node, index, name, len);
        }
        self.spend(len, || node.fault("has more maps than the file has bytes"))?;
        self.arrays.push(Array { name, shape: vec![len], values: vec![0.0; len] });
        Ok(())
    }
}
