//! A graph's operators, one after the other, become rows and arrays.

use std::collections::HashSet;

use alexnet_network::models::IMAGE_SIZE_MAX;
use alexnet_network::{Array, Conv, DropoutForm, Fill, Layer, Linear, Units};
use alexnet_ops::{LrnRegion, Saturation};

use super::decimal;
use super::graph::Graph;
use super::node::Node;
use super::tensor::Tensor;
use super::windows::{POOL_SETTINGS, SIZE, Window, averaging_matrix, even_windows, size};
use super::write::BATCH_NORM_EPSILON;
use crate::protobuf::Fault;

/// Values of averaging shares differ by rounding alone.
const SHARE_TOLERANCE: f32 = 1e-5;
/// Red, green and blue.
const IMAGE_CHANNELS: usize = 3;
/// What a row's initial values are where a file has values.
const LEARNED: Fill = Fill::Constant(0.0);

/// What refused operators are told.
const OPERATORS: &str = "is no layer of this network: Conv, Gemm, MatMul, Relu, Tanh, Sigmoid, LRN, \
    MaxPool, AveragePool, GlobalAveragePool, BatchNormalization, Dropout, Flatten, Reshape and \
    Softmax are read";
/// What follows the squares in a normalisation within maps, as this program writes it, and in one
/// across maps, as PyTorch does.
const SAME_MAP: [&str; 5] = ["AveragePool", "Mul", "Add", "Pow", "Div"];
const ACROSS_MAPS: [&str; 8] =
    ["Reshape", "Pad", "AveragePool", "Squeeze", "Mul", "Add", "Pow", "Div"];
/// Operators that may stand between a tensor's shape and a Reshape.
const OF_SHAPES: [&str; 8] =
    ["Cast", "Concat", "Gather", "Mul", "ReduceProd", "Slice", "Squeeze", "Unsqueeze"];

/// The rows of a graph, and its arrays by layer.
///
/// # Errors
/// When it is not a sequence of this network's layers, or its arrays would take more values than
/// the file has `bytes`.
pub(super) fn walk(graph: &Graph, bytes: usize) -> Result<(Vec<Layer>, Vec<Array>), Fault> {
    let mut walk = Walk {
        graph,
        at: graph.input,
        place: Place::Maps { channels: IMAGE_CHANNELS, side: graph.image_size },
        shapes: HashSet::new(),
        rows: Vec::new(),
        arrays: Vec::new(),
        learned: 0,
        ended: false,
        budget: bytes,
    };
    let mut rest = &graph.nodes[..];
    while let [node, behind @ ..] = rest {
        let more = walk.step(node, behind)?;
        rest = behind.get(more..).unwrap_or_default();
    }
    if walk.at != graph.output {
        let reason = format!("the output '{}' is not what the last layer gives", graph.output);
        return Err(graph.slice.fault(reason));
    }
    match walk.rows.iter_mut().rev().find(|row| matches!(row, Layer::Conv(_) | Layer::Linear(_))) {
        Some(Layer::Linear(linear)) => linear.units = Units::Classes,
        _ => return Err(graph.slice.fault("the graph does not end in a linear layer (Gemm)")),
    }
    Ok((walk.rows, walk.arrays))
}

/// What one image is at a place of the graph.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// (channels, side, side), the side where it is known.
    Maps { channels: usize, side: Option<usize> },
    /// So many features.
    Features(Option<usize>),
}

struct Walk<'g, 'a> {
    graph: &'g Graph<'a>,
    /// What the last operator gave.
    at: &'a str,
    place: Place,
    /// Tensors made of the shapes of others.
    shapes: HashSet<&'a str>,
    rows: Vec<Layer>,
    arrays: Vec<Array>,
    /// Convolutions and linear layers so far.
    learned: usize,
    /// Whether the softmax was met.
    ended: bool,
    /// Values that arrays may still take: layers that share a tensor have a copy each.
    budget: usize,
}

impl<'a> Walk<'_, 'a> {
    /// Follows one operator; how many of those `behind` it were followed too.
    fn step(&mut self, node: &Node<'a>, behind: &[Node<'a>]) -> Result<usize, Fault> {
        if node.op == "Shape" {
            self.shapes.insert(node.output());
            return Ok(0);
        }
        if !node.inputs.contains(&self.at) {
            self.shape_step(node)?;
            return Ok(0);
        }
        if self.ended {
            return Err(node.fault("stands behind the softmax, which ends the network"));
        }
        let mut more = 0;
        match node.op {
            "Conv" => self.conv(node)?,
            "Gemm" => self.gemm(node)?,
            "MatMul" => more = self.product(node, behind)?,
            "Relu" => self.plain(node, &["consumed_inputs"], Layer::Relu)?,
            "Tanh" => self.plain(node, &[], Layer::Saturation(Saturation::Tanh))?,
            "Sigmoid" => self.plain(node, &[], Layer::Saturation(Saturation::Sigmoid))?,
            "LRN" => self.lrn(node, 1)?,
            "MaxPool" => self.max_pool(node)?,
            "AveragePool" => self.average_pool(node)?,
            "GlobalAveragePool" => self.pooled(node, 1)?,
            "BatchNormalization" => self.batch_norm(node)?,
            "Dropout" => self.dropout(node)?,
            "Flatten" => self.flatten(node)?,
            "Reshape" => more = self.reshape(node, behind)?,
            "Softmax" => self.softmax(node)?,
            "Identity" | "Cast" => {}
            "Mul" if node.input(0) == node.input(1) => more = self.lrn_of_parts(node, behind)?,
            "Sub" | "Div" | "Mul" | "Add" => self.arithmetic(node)?,
            _ => return Err(node.fault(OPERATORS)),
        }
        let last = if more == 0 { node } else { &behind[more - 1] };
        if last.output().is_empty() {
            return Err(last.fault("gives nothing"));
        }
        self.at = last.output();
        Ok(more)
    }

    /// An operator that does not read what the last one gave: it may compute a shape.
    fn shape_step(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        let known = |name: &&str| {
            name.is_empty() || self.shapes.contains(name) || self.graph.constants.contains_key(name)
        };
        if let Some(other) = node.inputs.iter().find(|name| !known(name)) {
            return Err(node.fault(format!(
                "reads '{other}', not what the layer before it gives: graphs with branches, or out \
                 of order, are not read"
            )));
        }
        if !OF_SHAPES.contains(&node.op) {
            return Err(node.fault("computes a constant: fold constants first (onnxsim does)"));
        }
        self.shapes.insert(node.output());
        Ok(())
    }

    /// A row without anything to read.
    fn plain(&mut self, node: &Node, settings: &[&str], row: Layer) -> Result<(), Fault> {
        node.only(settings)?;
        self.rows.push(row);
        Ok(())
    }

    fn maps(&self, node: &Node) -> Result<(usize, Option<usize>), Fault> {
        match self.place {
            Place::Maps { channels, side } => Ok((channels, side)),
            Place::Features(_) => Err(node.fault("reads maps, but they are flattened by then")),
        }
    }

    /// The constant that is input `index`.
    fn constant(&self, node: &Node<'a>, index: usize) -> Result<&Tensor<'a>, Fault> {
        let name = node.input(index);
        self.graph.constants.get(name).ok_or_else(|| {
            node.fault(format!("reads '{name}', which is no initialiser: its values are missing"))
        })
    }

    /// Keeps a tensor's values as `layer.suffix`; as a vector of `len`, where there is one.
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
    fn keep_vector(
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

    fn conv(&mut self, node: &Node<'a>) -> Result<(), Fault> {
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

    fn max_pool(&mut self, node: &Node<'a>) -> Result<(), Fault> {
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
    fn average_pool(&mut self, node: &Node<'a>) -> Result<(), Fault> {
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

    fn pooled(&mut self, node: &Node, cells: usize) -> Result<(), Fault> {
        let (channels, _) = self.maps(node)?;
        self.rows.push(Layer::AveragePool(cells));
        self.place = Place::Maps { channels, side: Some(cells) };
        Ok(())
    }

    fn batch_norm(&mut self, node: &Node<'a>) -> Result<(), Fault> {
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
    fn lrn(&mut self, node: &Node, groups: usize) -> Result<(), Fault> {
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
    fn lrn_of_parts(&mut self, node: &Node<'a>, behind: &[Node<'a>]) -> Result<usize, Fault> {
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

    fn dropout(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        node.only(&["is_test", "ratio", "seed"])?;
        let mut rate = node.float("ratio", 0.5)?;
        if !node.input(1).is_empty() {
            rate = self.constant(node, 1)?.scalar()?;
        }
        if !node.input(2).is_empty() && self.constant(node, 2)?.integers()? != [0] {
            return Err(node.fault("is set for training: export the model in evaluation mode"));
        }
        if !(0.0..1.0).contains(&rate) {
            return Err(node.fault(format!("drops {rate}: from 0 to below 1 is read")));
        }
        self.rows.push(Layer::Dropout(rate, DropoutForm::Inverted));
        Ok(())
    }

    /// With a constant: normalisation of the images, which is passed over, or classic dropout.
    fn arithmetic(&mut self, node: &Node<'a>) -> Result<(), Fault> {
        let other = usize::from(node.input(0) == self.at);
        let constant = self.constant(node, other)?;
        if other == 0 && matches!(node.op, "Sub" | "Div") {
            return Err(node.fault("subtracts from a constant or divides one"));
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        if node.op != "Mul" {
            return Err(node.fault(format!("between layers {OPERATORS}")));
        }
        let kept = constant.scalar()?;
        if !(kept > 0.0 && kept <= 1.0) {
            return Err(node.fault(format!("multiplies by {kept}, which no dropout does")));
        }
        self.rows.push(Layer::Dropout((1.0 - decimal(kept)) as f32, DropoutForm::Classic));
        Ok(())
    }

    fn flatten(&mut self, node: &Node) -> Result<(), Fault> {
        node.only(&["axis"])?;
        if node.int("axis")?.unwrap_or(1) != 1 {
            return Err(node.fault("does not keep the images apart (axis 1)"));
        }
        self.flattened();
        Ok(())
    }

    fn flattened(&mut self) {
        if let Place::Maps { channels, side } = self.place {
            let features = side.and_then(|side| channels.checked_mul(side.checked_mul(side)?));
            self.place = Place::Features(features);
        }
    }

    /// To features, or to towers that are normalised apart.
    fn reshape(&mut self, node: &Node<'a>, behind: &[Node<'a>]) -> Result<usize, Fault> {
        node.only(&["allowzero", "shape"])?;
        let computed = self.shapes.contains(node.input(1));
        let sizes = match node.ints("shape")? {
            _ if computed => vec![-1, -1],
            Some(sizes) => sizes,
            None => self.constant(node, 1)?.integers()?,
        };
        let unread = || node.fault(format!("makes {sizes:?}: only flattening is read"));
        match (&sizes[..], self.place, behind) {
            (&[_, features], ..) => {
                self.flattened();
                match self.place {
                    Place::Features(Some(known)) if features > 0 && known as i64 != features => {
                        Err(unread())
                    }
                    _ => Ok(0),
                }
            }
            ([_, tower, _, _], Place::Maps { channels, .. }, [lrn, back, ..])
                if lrn.op == "LRN"
                    && back.op == "Reshape"
                    && lrn.input(0) == node.output()
                    && back.input(0) == lrn.output() =>
            {
                let whole = self.constant(back, 1)?.integers()?;
                let tower = size(*tower).filter(|&tower| channels.is_multiple_of(tower));
                let tower = tower.ok_or_else(unread)?;
                let again = whole.len() == 4 && whole[1] == channels as i64;
                if !again || whole[2..] != sizes[2..] {
                    return Err(unread());
                }
                self.lrn(lrn, channels / tower)?;
                Ok(2)
            }
            _ => Err(unread()),
        }
    }

    fn gemm(&mut self, node: &Node<'a>) -> Result<(), Fault> {
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
    fn product(&mut self, node: &Node<'a>, behind: &[Node<'a>]) -> Result<usize, Fault> {
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

    /// Shares of rows · x · shares of columns, as this program writes uneven windows.
    fn averaging(
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

    fn softmax(&mut self, node: &Node) -> Result<(), Fault> {
        node.only(&["axis"])?;
        if !matches!(node.int("axis")?.unwrap_or(-1), 1 | -1) {
            return Err(node.fault("is not over the classes (axis 1)"));
        }
        self.ended = true;
        Ok(())
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
