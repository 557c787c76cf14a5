//! Normalisation, of batches and of local responses.
//!
//! ONNX has LRN across maps alone, and PyTorch writes that in parts too: `x / (k + alpha · Σ x²)^beta`
//! is then a chain of operators, another within maps and across them. It is recognised as a whole,
//! from the squares at its beginning.

use alexnet_network::Layer;
use alexnet_ops::LrnRegion;

use super::Walk;
use crate::formats::onnx::decimal;
use crate::formats::onnx::node::Node;
use crate::formats::onnx::windows::{POOL_SETTINGS, Window, size};
use crate::formats::onnx::write::BATCH_NORM_EPSILON;
use crate::protobuf::Fault;

/// What follows the squares in a normalisation within maps, as this program writes it, and in one
/// across maps, as PyTorch does.
const SAME_MAP: [&str; 5] = ["AveragePool", "Mul", "Add", "Pow", "Div"];
const ACROSS_MAPS: [&str; 8] =
    ["Reshape", "Pad", "AveragePool", "Squeeze", "Mul", "Add", "Pow", "Div"];

impl<'a> Walk<'_, 'a> {
    pub(super) fn batch_norm(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        node.only(&["epsilon", "momentum", "spatial", "training_mode"])?;
        let (channels, _) = self.maps(node)?;
        if !matches!(self.rows.last(), Some(Layer::Conv(_))) {
            return Err(node.fault("does not stand behind a convolution"));
        }
        let epsilon = node.float("epsilon", BATCH_NORM_EPSILON)?;
        if (epsilon - BATCH_NORM_EPSILON).abs() > 1e-3 * BATCH_NORM_EPSILON {
            return Err(node.fault(format!(
                "has epsilon {epsilon}, but this network's is {BATCH_NORM_EPSILON}"
            )));
        }
        if node.int("training_mode")?.unwrap_or(0) != 0 || node.int("spatial")?.unwrap_or(1) != 1 {
            return Err(node.fault("is set for training: export the model in evaluation mode"));
        }
        let number = self.learned;
        for (index, suffix) in
            ["weight", "bias", "running_mean", "running_var"].into_iter().enumerate()
        {
            self.keep_vector(node, index + 1, format!("bn{number}.{suffix}"), channels)?;
        }
        self.rows.push(Layer::BatchNorm);
        Ok(())
    }

    /// ONNX divides alpha by the window's size.
    pub(super) fn lrn(&mut self, node: &Node, groups: usize) -> Result<(), Fault> {
        node.only(&["alpha", "beta", "bias", "size"])?;
        self.maps(node)?;
        let size = node.int("size")?.and_then(size).filter(|size| !size.is_multiple_of(2));
        let size = size.ok_or_else(|| node.fault("has no odd window, the only ones read"))?;
        let alpha = decimal(node.float("alpha", 1e-4)?) / size as f64;
        let (beta, k) = (node.float("beta", 0.75)?, node.float("bias", 1.0)?);
        let region = LrnRegion::AcrossMaps { groups };
        self.rows.push(Layer::Lrn(region, size, alpha as f32, beta, k));
        Ok(())
    }

    /// `x / (k + alpha · Σ x²)^beta` in parts: squares, their average, times, plus, to the power,
    /// and what x is divided by.
    pub(super) fn lrn_of_parts(
        &mut self,
        node: &Node<'a>,
        behind: &[Node<'a>],
    ) -> Result<usize, Fault> {
        let (channels, _) = self.maps(node)?;
        let unread = || node.fault("squares its input, but is no normalisation that is read");
        let same_map = self.chain(node, behind, &SAME_MAP);
        let across = self.chain(node, behind, &ACROSS_MAPS);
        let (parts, region, size) = match (same_map, across) {
            (Some(parts), _) => (parts, LrnRegion::SameMap, same_map_size(&parts[0])?),
            (_, Some(parts)) => {
                let size = self.across_maps_size(parts, channels)?;
                (parts, LrnRegion::AcrossMaps { groups: 1 }, size)
            }
            _ => return Err(unread()),
        };
        let ([.., times, plus, power, _], Some(size)) = (parts, size) else { return Err(unread()) };
        let averaged = if region == LrnRegion::SameMap { size * size } else { size };
        let alpha = decimal(self.constant(times, 1)?.scalar()?) / averaged as f64;
        let k = self.constant(plus, 1)?.scalar()?;
        let beta = self.constant(power, 1)?.scalar()?;
        self.rows.push(Layer::Lrn(region, size, alpha as f32, beta, k));
        Ok(parts.len())
    }

    /// The nodes behind `node`, if they are these operators in turn and the last divides what came.
    fn chain<'n>(
        &self,
        node: &Node<'a>,
        behind: &'n [Node<'a>],
        ops: &[&str],
    ) -> Option<&'n [Node<'a>]> {
        let nodes = behind.get(..ops.len())?;
        let mut at = node.output();
        for (node, op) in nodes.iter().zip(ops) {
            let first = if *op == "Div" { self.at } else { at };
            let fits = node.op == *op && node.input(0) == first;
            if !fits || (*op == "Div" && node.input(1) != at) {
                return None;
            }
            at = node.output();
        }
        Some(nodes)
    }

    /// The window of PyTorch's normalisation across maps, which takes maps for a depth, pads it and
    /// averages along it.
    fn across_maps_size(
        &self,
        parts: &[Node<'a>],
        channels: usize,
    ) -> Result<Option<usize>, Fault> {
        let [deepen, pad, average, flatten, ..] = parts else { return Ok(None) };
        let shape = self.constant(deepen, 1)?.integers()?;
        let pads = self.constant(pad, 1)?.integers()?;
        let axes = self.constant(flatten, 1)?.integers()?;
        let kernel = average.ints("kernel_shape")?.unwrap_or_default();
        let ([_, 1, depth, _, _], &[length, 1, 1]) = (&shape[..], &kernel[..]) else {
            return Ok(None);
        };
        let Some(size) = size(length) else { return Ok(None) };
        let (before, after) = (length / 2, length - length / 2 - 1);
        let padded = pads == [0, 0, before, 0, 0, 0, 0, after, 0, 0];
        let zeros = pad.input(2).is_empty() || self.constant(pad, 2)?.scalar()? == 0.0;
        let constant = pad.text("mode")?.is_none_or(|mode| mode == "constant");
        let strides = average.ints("strides")?.is_none_or(|strides| strides == [1; 3]);
        let bare = average.ints("pads")?.is_none_or(|pads| pads == [0; 6]);
        let all = *depth == channels as i64 && axes == [1];
        Ok((padded && zeros && constant && strides && bare && all).then_some(size))
    }
}

/// The window of a normalisation within maps.
fn same_map_size(average: &Node) -> Result<Option<usize>, Fault> {
    average.only(&POOL_SETTINGS)?;
    let window = Window::read(average, None)?;
    let before = window.kernel / 2;
    let centred = window.pad == before && window.end == window.kernel - before - 1;
    let counted = average.int("count_include_pad")?.unwrap_or(0) == 1;
    let whole = centred && counted && window.stride == 1 && !window.ceil;
    Ok(whole.then_some(window.kernel))
}
