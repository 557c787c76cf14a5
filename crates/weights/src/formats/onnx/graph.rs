//! A graph: what comes in, what goes out, its operators and constants.

use std::collections::HashMap;

use alexnet_network::models::IMAGE_SIZE_MAX;

use super::node::Node;
use super::schema::{data_type, graph as field, value};
use super::tensor::Tensor;
use crate::protobuf::{Fault, Slice};

/// Nodes, and initialisers: 170 times what the largest of our models has.
const LIST_MAX: usize = 4096;
/// Red, green and blue.
const IMAGE_CHANNELS: usize = 3;

/// What was found in a graph. Values stay in the file.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) slice: Slice<'a>,
    /// Operators in their order, but for those that only name a constant.
    pub(super) nodes: Vec<Node<'a>>,
    /// Initialisers and constants, by name.
    pub(super) constants: HashMap<&'a str, Tensor<'a>>,
    /// The images.
    pub(super) input: &'a str,
    /// Their side, if it is fixed.
    pub(super) image_size: Option<usize>,
    /// The logits or probabilities.
    pub(super) output: &'a str,
}

impl<'a> Graph<'a> {
    /// Everything but the meaning.
    ///
    /// # Errors
    /// When it is malformed, has more or fewer ends than two, or is too large.
    pub(super) fn read(slice: Slice<'a>) -> Result<Self, Fault> {
        let mut graph = Self {
            slice,
            nodes: Vec::new(),
            constants: HashMap::new(),
            input: "",
            image_size: None,
            output: "",
        };
        // Initialisers may stand behind the nodes that read them.
        for part in slice.fields() {
            let part = part?;
            match part.number {
                field::INITIALIZER => graph.add_initialiser(part.bytes()?)?,
                field::SPARSE_INITIALIZER => {
                    return Err(part.bytes()?.fault("a sparse tensor: make it a dense one"));
                }
                _ => {}
            }
        }
        graph.add_ends()?;
        let mut count = 0;
        for part in slice.fields() {
            let part = part?;
            if part.number == field::NODE {
                count += 1;
                if count > LIST_MAX {
                    return Err(part.bytes()?.fault(format!("over {LIST_MAX} nodes")));
                }
                graph.add_node(Node::read(part.bytes()?)?)?;
            }
        }
        Ok(graph)
    }

    fn add_initialiser(&mut self, slice: Slice<'a>) -> Result<(), Fault> {
        if self.constants.len() >= LIST_MAX {
            return Err(slice.fault(format!("over {LIST_MAX} initialisers")));
        }
        let tensor = Tensor::read(slice)?;
        if tensor.name.is_empty() {
            return Err(slice.fault("an initialiser without a name"));
        }
        self.add_constant(tensor.name, tensor)
    }

    fn add_constant(&mut self, name: &'a str, tensor: Tensor<'a>) -> Result<(), Fault> {
        if self.constants.contains_key(name) {
            return Err(tensor.fault(format!("is there twice (as '{name}'): keep one of them")));
        }
        self.constants.insert(name, tensor);
        Ok(())
    }

    /// The one input that is no initialiser (older files list those too), and the one output.
    fn add_ends(&mut self) -> Result<(), Fault> {
        let (mut input, mut output) = (None, None);
        for part in self.slice.fields() {
            let part = part?;
            let end = match part.number {
                field::INPUT => &mut input,
                field::OUTPUT => &mut output,
                _ => continue,
            };
            let slice = part.bytes()?;
            let name = end_name(slice)?;
            let is_input = part.number == field::INPUT;
            if is_input && self.constants.contains_key(name) {
                continue;
            }
            if end.replace((name, slice)).is_some() {
                let which = if is_input { "input" } else { "output" };
                return Err(slice.fault(format!("'{name}' is a second {which}: keep one")));
            }
        }
        let missing = |which| self.slice.fault(format!("the graph has no {which}"));
        let (input, slice) = input.ok_or_else(|| missing("input"))?;
        let (output, _) = output.ok_or_else(|| missing("output"))?;
        (self.input, self.output) = (input, output);
        self.image_size = image_size(slice)?;
        Ok(())
    }

    /// Keeps a node, or the constant that is all it gives.
    fn add_node(&mut self, node: Node<'a>) -> Result<(), Fault> {
        let tensor = match node.op {
            "Constant" => {
                let tensor = node.tensor("value")?;
                Some(tensor.ok_or_else(|| node.fault("holds no tensor: only tensors are read"))?)
            }
            "Identity" => self.constants.get(node.input(0)).cloned(),
            _ => None,
        };
        match tensor {
            Some(tensor) if !node.output().is_empty() => self.add_constant(node.output(), tensor),
            Some(_) => Err(node.fault("gives nothing")),
            None => {
                self.nodes.push(node);
                Ok(())
            }
        }
    }
}

fn end_name(slice: Slice<'_>) -> Result<&str, Fault> {
    for part in slice.fields() {
        let part = part?;
        if part.number == value::NAME {
            return part.bytes()?.text();
        }
    }
    Err(slice.fault("an input or output without a name"))
}

/// The side of an input of (N, 3, side, side).
fn image_size(slice: Slice) -> Result<Option<usize>, Fault> {
    let Some(tensor) = inner(slice, &[value::TYPE, value::TENSOR_TYPE])? else {
        return Err(slice.fault("the input is no tensor: images (N, 3, H, W) are read"));
    };
    for part in tensor.fields() {
        let part = part?;
        if part.number == value::ELEM_TYPE {
            let kind = part.varint()?;
            if ![data_type::FLOAT, data_type::FLOAT16, data_type::BFLOAT16].contains(&kind) {
                let kind = data_type::name(kind);
                return Err(slice.fault(format!("the images are {kind}: make them FLOAT")));
            }
        }
    }
    let Some(shape) = inner(tensor, &[value::SHAPE])? else { return Ok(None) };
    // At most one more than are read.
    let (mut sizes, mut count) = ([None; 4], 0);
    for dimension in shape.fields() {
        let dimension = dimension?;
        if dimension.number != value::DIM {
            continue;
        }
        if let Some(size) = sizes.get_mut(count) {
            *size = fixed_size(dimension.bytes()?)?;
        }
        count += 1;
    }
    let [_, channels, height, width] = sizes;
    if count != sizes.len() || channels.is_some_and(|channels| channels != IMAGE_CHANNELS as u64) {
        return Err(slice.fault("the input is not (N, 3, H, W): red, green and blue are read"));
    }
    match (height, width) {
        (Some(height), Some(width)) if height != width => {
            Err(slice.fault(format!("images of {height} by {width}: only squares are read")))
        }
        (Some(side), Some(_)) => match usize::try_from(side) {
            Ok(side) if (1..=IMAGE_SIZE_MAX).contains(&side) => Ok(Some(side)),
            _ => {
                Err(slice.fault(format!("images of {side} pixels: 1 to {IMAGE_SIZE_MAX} are read")))
            }
        },
        _ => Ok(None),
    }
}

/// The message in a message in a message.
fn inner<'a>(mut slice: Slice<'a>, numbers: &[u32]) -> Result<Option<Slice<'a>>, Fault> {
    'next: for &number in numbers {
        for part in slice.fields() {
            let part = part?;
            if part.number == number {
                slice = part.bytes()?;
                continue 'next;
            }
        }
        return Ok(None);
    }
    Ok(Some(slice))
}

/// A dimension, if it is a number. Zero and below are what some programs write for "any".
fn fixed_size(dimension: Slice) -> Result<Option<u64>, Fault> {
    for part in dimension.fields() {
        let part = part?;
        if part.number == value::DIM_VALUE {
            let size = part.varint()?;
            return Ok((size as i64 > 0).then_some(size));
        }
    }
    Ok(None)
}
