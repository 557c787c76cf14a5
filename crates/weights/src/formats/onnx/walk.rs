//! A graph's operators, one after the other, become rows and arrays.
//!
//! Each operator must read what the one before it gave; beside it only constants are read, and shapes
//! that lead to a Reshape. Layers with weights, pooling and normalisation, which take several
//! operators where ONNX has no single one, are in files of their own.

mod learned;
mod normalisation;
mod pooling;

use std::collections::HashSet;

use alexnet_network::{Array, DropoutForm, Layer, Units};
use alexnet_ops::Saturation;

use super::decimal;
use super::graph::Graph;
use super::node::Node;
use super::tensor::Tensor;
use super::windows::size;
use crate::protobuf::Fault;

/// Red, green and blue.
const IMAGE_CHANNELS: usize = 3;

/// What refused operators are told.
const OPERATORS: &str = "is no layer of this network: Conv, Gemm, MatMul, Relu, Tanh, Sigmoid, LRN, \
    MaxPool, AveragePool, GlobalAveragePool, BatchNormalization, Dropout, Flatten, Reshape and \
    Softmax are read";
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

    fn softmax(&mut self, node: &Node) -> Result<(), Fault> {
        node.only(&["axis"])?;
        if !matches!(node.int("axis")?.unwrap_or(-1), 1 | -1) {
            return Err(node.fault("is not over the classes (axis 1)"));
        }
        self.ended = true;
        Ok(())
    }
}
