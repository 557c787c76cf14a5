//! A table and its arrays become a graph.
//!
//! Each row is a node, or a few, between `images` (N, 3, S, S) and `logits` (N, classes). The
//! initialisers are the file's arrays under their own names, borrowed; every other number stands in
//! a Constant node.

use std::borrow::Cow;
use std::io::{self, Write};

use alexnet_data::{Image, Preprocess};
use alexnet_network::{
    Conv, DropoutForm, Initialisation, Layer, LayerSummary, Model, Plan, Purpose, TensorSpec,
};
use alexnet_ops::{LrnRegion, Rounding, Saturation};

use super::decimal;
use super::schema::{
    METADATA_KEY, attribute, data_type, entry, graph, model, node, operator_set, tensor, value,
};
use super::windows::{averaging_matrix, even_windows};
use crate::ModelFile;
use crate::protobuf::Message;

/// The operators as of this version: ONNX 1.12, July 2022. Nothing here needs a newer one.
const OPSET: u64 = 17;
/// The file format that came with them.
const IR_VERSION: u64 = 8;
/// Protobuf's own limit: other programs refuse larger files.
const FILE_BYTES_MAX: u64 = i32::MAX as u64;
/// As the plan has it: PyTorch's.
pub(super) const BATCH_NORM_EPSILON: f32 = 1e-5;

/// The graph's input.
const IMAGES: &str = "images";
/// The graph's output, and the other one.
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";

/// What may stand in the graph beside the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Normalisation: the input is then red, green and blue from 0 to 255, (N, 3, H, W).
    pub preprocess: bool,
    /// Softmax behind the logits: the output is then probabilities.
    pub softmax: bool,
}

/// Writes `file` as an ONNX model.
///
/// # Errors
/// As `out`, or when the file's table and arrays do not belong together or take over 2 GiB.
pub(crate) fn write(file: &ModelFile, options: OnnxOptions, out: &mut dyn Write) -> io::Result<()> {
    let message = model_message(file, options)?;
    fits(message.len())?;
    message.write_to(out)
}

fn fits(bytes: u64) -> io::Result<()> {
    if bytes <= FILE_BYTES_MAX {
        return Ok(());
    }
    Err(invalid(format!(
        "an ONNX file of {bytes} bytes would be over protobuf's limit of {FILE_BYTES_MAX}: keep it \
         as .safetensors, or train a smaller --width"
    )))
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.into())
}

fn model_message(file: &ModelFile, options: OnnxOptions) -> io::Result<Message<'_>> {
    let description = serde_json::to_string(&file.description())?;
    let operators = Message::new().text(operator_set::DOMAIN, "");
    Ok(Message::new()
        .varint(model::IR_VERSION, IR_VERSION)
        .text(model::PRODUCER_NAME, "alexnet")
        .text(model::PRODUCER_VERSION, env!("CARGO_PKG_VERSION"))
        .message(model::GRAPH, graph_message(file, options)?)
        .message(model::OPSET_IMPORT, operators.varint(operator_set::VERSION, OPSET))
        .message(
            model::METADATA_PROPS,
            Message::new().text(entry::KEY, METADATA_KEY).text(entry::VALUE, &description),
        ))
}

fn graph_message(file: &ModelFile, options: OnnxOptions) -> io::Result<Message<'_>> {
    let plan = Model::new(file.config)
        .and_then(|model| Plan::new(&model, 1, Purpose::Inference, Initialisation::Model))
        .map_err(|error| invalid(error.to_string()))?;
    let (side, classes) = (file.config.image_size as u64, file.config.classes as u64);
    let mut drawing =
        Drawing { file, nodes: Vec::new(), initialisers: Vec::new(), at: IMAGES.into() };
    if options.preprocess {
        drawing.preprocess(&file.preprocess)?;
    }
    drawing.network(&plan, options.softmax)?;
    let output = if options.softmax { PROBABILITIES } else { LOGITS };
    let mut message = Message::new().text(graph::NAME, file.config.model.as_str());
    for node in drawing.nodes {
        message = message.message(graph::NODE, node);
    }
    for initialiser in drawing.initialisers {
        message = message.message(graph::INITIALIZER, initialiser);
    }
    Ok(message
        .message(graph::INPUT, value_info(IMAGES, &[3, side, side]))
        .message(graph::OUTPUT, value_info(output, &[classes])))
}

/// An input or output of (N, `sizes`…).
fn value_info(name: &str, sizes: &[u64]) -> Message<'static> {
    let batch = Message::new().text(value::DIM_PARAM, "N");
    let mut shape = Message::new().message(value::DIM, batch);
    for &size in sizes {
        shape = shape.message(value::DIM, Message::new().varint(value::DIM_VALUE, size));
    }
    let tensor =
        Message::new().varint(value::ELEM_TYPE, data_type::FLOAT).message(value::SHAPE, shape);
    Message::new()
        .text(value::NAME, name)
        .message(value::TYPE, Message::new().message(value::TENSOR_TYPE, tensor))
}

/// A graph while it grows.
struct Drawing<'f> {
    file: &'f ModelFile,
    nodes: Vec<Message<'f>>,
    initialisers: Vec<Message<'f>>,
    /// What the last node gave.
    at: String,
}

impl<'f> Drawing<'f> {
    /// `(level − mean) / std`, in the very operations of [`Preprocess::evaluate`].
    fn preprocess(&mut self, preprocess: &Preprocess) -> io::Result<()> {
        preprocess.check().map_err(|error| invalid(error.to_string()))?;
        let scale = preprocess.std.map(f32::recip).to_vec();
        if preprocess.mean_image.is_none() {
            let mean = self.floats("mean", &[1, 3, 1, 1], preprocess.mean.to_vec());
            self.node("Sub", "centred", &[&mean], vec![]);
            let scale = self.floats("scale", &[1, 3, 1, 1], scale);
            self.node("Mul", "normalised", &[&scale], vec![]);
            return Ok(());
        }
        // What a black image becomes is what is added to every other.
        let (resize, side) = (preprocess.resize, preprocess.crop as usize);
        let black = Image::new(resize, resize, vec![0; resize as usize * resize as usize * 3]);
        let black = black.ok_or_else(|| invalid("the mean image has no pixels"))?;
        let mut pixels = vec![0.0; preprocess.image_len()];
        preprocess.evaluate(&black, &mut pixels).map_err(|error| invalid(error.to_string()))?;
        let planes = (0..3).flat_map(|colour| pixels.iter().skip(colour).step_by(3));
        let planes = planes.copied().collect();
        let scale = self.floats("scale", &[1, 3, 1, 1], scale);
        self.node("Mul", "scaled", &[&scale], vec![]);
        let shift = self.floats("shift", &[1, 3, side, side], planes);
        self.node("Add", "normalised", &[&shift], vec![]);
        Ok(())
    }

    fn network(&mut self, plan: &Plan, softmax: bool) -> io::Result<()> {
        let mut tensors = plan.parameters.iter().flat_map(|parameter| &parameter.tensors);
        let side = self.file.config.image_size;
        let mut input = [side, side, 3];
        let last = plan.layers.len() - 1;
        for (index, (row, layer)) in plan.model.rows.iter().zip(&plan.layers).enumerate() {
            let output = if index == last && !softmax { LOGITS } else { &layer.name };
            let parameters = match row {
                Layer::Conv(_) | Layer::Linear(_) => 2,
                Layer::BatchNorm => 4,
                _ => 0,
            };
            let parameters = self.initialisers(tensors.by_ref().take(parameters))?;
            self.row(row, layer, output, input, &parameters)?;
            input = layer.output;
        }
        if softmax {
            self.node("Softmax", PROBABILITIES, &[], vec![int("axis", -1)]);
        }
        Ok(())
    }

    /// A row of `input` (height, width, channels), as one node or a few.
    fn row(
        &mut self,
        row: &Layer,
        layer: &LayerSummary,
        output: &str,
        input: [usize; 3],
        parameters: &[&str],
    ) -> io::Result<()> {
        let name = &layer.name;
        match row {
            Layer::Conv(conv) => {
                self.node("Conv", output, parameters, conv_attributes(conv, input, layer.output));
            }
            Layer::Linear(_) => {
                if input[..2] != [1, 1] {
                    self.node("Flatten", &format!("{name}.inputs"), &[], vec![int("axis", 1)]);
                }
                self.node("Gemm", output, parameters, vec![int("transB", 1)]);
            }
            Layer::BatchNorm => {
                let epsilon = vec![float("epsilon", BATCH_NORM_EPSILON)];
                self.node("BatchNormalization", output, parameters, epsilon);
            }
            Layer::Relu => self.node("Relu", output, &[], vec![]),
            Layer::Saturation(Saturation::Tanh) => self.node("Tanh", output, &[], vec![]),
            Layer::Saturation(Saturation::Sigmoid) => self.node("Sigmoid", output, &[], vec![]),
            &Layer::Lrn(LrnRegion::AcrossMaps { groups }, size, alpha, beta, k) => {
                self.lrn_across_maps(output, input, groups, (size, alpha, beta, k))?;
            }
            &Layer::Lrn(LrnRegion::SameMap, size, alpha, beta, k) => {
                self.lrn_same_map(output, size, alpha, beta, k);
            }
            &Layer::MaxPool(size, stride, rounding) => {
                let attributes = pool_attributes(size, stride, rounding, input[0], layer.output[0]);
                self.node("MaxPool", output, &[], attributes);
            }
            &Layer::AveragePool(side) => self.average_pool(output, input[0], side),
            &Layer::Dropout(rate, DropoutForm::Inverted) => {
                let ratio = self.floats(&format!("{name}.ratio"), &[], vec![rate]);
                self.node("Dropout", output, &[&ratio], vec![]);
            }
            &Layer::Dropout(rate, form @ DropoutForm::Classic) => {
                let kept = vec![form.evaluation_scale(rate)];
                let kept = self.floats(&format!("{name}.kept"), &[], kept);
                self.node("Mul", output, &[&kept], vec![]);
            }
        }
        Ok(())
    }

    /// ONNX divides alpha by the window's size. Towers become images of their own for the time.
    fn lrn_across_maps(
        &mut self,
        output: &str,
        [height, width, channels]: [usize; 3],
        groups: usize,
        (size, alpha, beta, k): (usize, f32, f32, f32),
    ) -> io::Result<()> {
        if size.is_multiple_of(2) {
            // ONNX has one map more behind than before, this network one more before.
            return Err(invalid(format!(
                "ONNX has no normalisation over {size} maps: make it odd"
            )));
        }
        let alpha = (decimal(alpha) * size as f64) as f32;
        let attributes = vec![
            float("alpha", alpha),
            float("beta", beta),
            float("bias", k),
            int("size", size as i64),
        ];
        if groups == 1 {
            self.node("LRN", output, &[], attributes);
            return Ok(());
        }
        let (towers, normalised) = (format!("{output}.towers"), format!("{output}.normalised"));
        self.reshape(&towers, [channels / groups, height, width]);
        self.node("LRN", &normalised, &[], attributes);
        self.reshape(output, [channels, height, width]);
        Ok(())
    }

    /// To (…, `sizes`).
    fn reshape(&mut self, output: &str, sizes: [usize; 3]) {
        let sizes = std::iter::once(-1).chain(sizes.map(|size| size as i64)).collect::<Vec<_>>();
        let shape = format!("{output}.shape");
        let bytes = sizes.iter().flat_map(|size| size.to_le_bytes()).collect::<Vec<_>>();
        self.constant(&shape, tensor_message("", &[4], data_type::INT64, bytes));
        self.node("Reshape", output, &[&shape], vec![]);
    }

    /// `x / (k + alpha · Σ x²)^beta` over a square window: the sum is an average times its places.
    fn lrn_same_map(&mut self, output: &str, size: usize, alpha: f32, beta: f32, k: f32) {
        let input = self.at.clone();
        let part = |suffix: &str| format!("{output}.{suffix}");
        let (before, after) = (size / 2, size - size / 2 - 1);
        let window = vec![
            int("count_include_pad", 1),
            ints("kernel_shape", &[size; 2]),
            ints("pads", &[before, before, after, after]),
            ints("strides", &[1; 2]),
        ];
        let alpha = (decimal(alpha) * (size * size) as f64) as f32;
        let alpha = self.floats(&part("alpha"), &[], vec![alpha]);
        let k = self.floats(&part("k"), &[], vec![k]);
        let beta = self.floats(&part("beta"), &[], vec![beta]);
        self.node("Mul", &part("squares"), &[&input], vec![]);
        self.node("AveragePool", &part("average"), &[], window);
        self.node("Mul", &part("scaled"), &[&alpha], vec![]);
        self.node("Add", &part("sum"), &[&k], vec![]);
        self.node("Pow", &part("power"), &[&beta], vec![]);
        let power = std::mem::replace(&mut self.at, input);
        self.node("Div", output, &[&power], vec![]);
    }

    /// Adaptive: where the windows are uneven, a product with their shares from both sides.
    fn average_pool(&mut self, output: &str, input: usize, cells: usize) {
        if let Some((size, stride)) = even_windows(input, cells) {
            let attributes = vec![ints("kernel_shape", &[size; 2]), ints("strides", &[stride; 2])];
            self.node("AveragePool", output, &[], attributes);
            return;
        }
        let part = |suffix: &str| format!("{output}.{suffix}");
        let matrix = averaging_matrix(input, cells);
        let transposed = (0..input).flat_map(|at| matrix.iter().skip(at).step_by(input)).copied();
        let right = self.floats(&part("columns"), &[input, cells], transposed.collect());
        let left = self.floats(&part("rows"), &[cells, input], matrix);
        let rows = part("averaged_rows");
        let inputs = [left, self.at.clone()];
        self.put("MatMul", &rows, &inputs.each_ref().map(String::as_str), vec![]);
        self.node("MatMul", output, &[&right], vec![]);
    }

    /// The file's arrays that `specs` ask for; their names.
    fn initialisers<'s>(
        &mut self,
        specs: impl Iterator<Item = &'s TensorSpec>,
    ) -> io::Result<Vec<&'s str>> {
        let mut names = Vec::new();
        for spec in specs {
            let array = self.file.weights.iter().find(|array| array.name == spec.name);
            let array = array.ok_or_else(|| invalid(format!("tensor {} is missing", spec.name)))?;
            if array.shape != spec.shape || array.values.len() != spec.len() {
                return Err(invalid(format!(
                    "tensor {} has shape {:?}, but this network needs {:?}",
                    spec.name, array.shape, spec.shape
                )));
            }
            let bytes: &'f [u8] = bytemuck::cast_slice(&array.values);
            let message = tensor_message(&spec.name, &spec.shape, data_type::FLOAT, bytes);
            self.initialisers.push(message);
            names.push(spec.name.as_str());
        }
        Ok(names)
    }

    /// A constant of floats; its name.
    fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> String {
        let bytes = bytemuck::cast_slice(&values).to_vec();
        self.constant(name, tensor_message("", shape, data_type::FLOAT, bytes));
        name.to_owned()
    }

    fn constant(&mut self, name: &str, tensor: Message<'f>) {
        let value = attribute_message("value", attribute::TYPE_TENSOR);
        let value = value.message(attribute::TENSOR, tensor);
        let before = std::mem::take(&mut self.at);
        self.put("Constant", name, &[], vec![value]);
        self.at = before;
    }

    /// An operator on what the last one gave, and on `others`.
    fn node(&mut self, op: &str, output: &str, others: &[&str], attributes: Vec<Message<'f>>) {
        let at = self.at.clone();
        let inputs: Vec<_> = std::iter::once(at.as_str()).chain(others.iter().copied()).collect();
        self.put(op, output, &inputs, attributes);
    }

    /// An operator, named as its output.
    fn put(&mut self, op: &str, output: &str, inputs: &[&str], attributes: Vec<Message<'f>>) {
        let mut message = Message::new();
        for input in inputs {
            message = message.text(node::INPUT, input);
        }
        message = message.text(node::OUTPUT, output).text(node::NAME, output);
        message = message.text(node::OP_TYPE, op);
        for attribute in attributes {
            message = message.message(node::ATTRIBUTE, attribute);
        }
        self.nodes.push(message);
        output.clone_into(&mut self.at);
    }
}

fn tensor_message<'a>(
    name: &str,
    shape: &[usize],
    data_type: u64,
    bytes: impl Into<Cow<'a, [u8]>>,
) -> Message<'a> {
    let mut message = Message::new();
    for &dim in shape {
        message = message.varint(tensor::DIMS, dim as u64);
    }
    message = message.varint(tensor::DATA_TYPE, data_type);
    if !name.is_empty() {
        message = message.text(tensor::NAME, name);
    }
    message.bytes(tensor::RAW_DATA, bytes)
}

/// Zeros go all round; what windows stick out further at the end is more of them.
fn conv_attributes(conv: &Conv, input: [usize; 3], output: [usize; 3]) -> Vec<Message<'static>> {
    let Conv { kernel, stride, pad, groups, .. } = *conv;
    let reach = |input: usize, output: usize| (output - 1) * stride + kernel - input;
    let end = |axis: usize| match conv.rounding {
        Rounding::Floor => pad,
        Rounding::Ceil => reach(input[axis] + pad, output[axis]).max(pad),
    };
    vec![
        int("group", groups as i64),
        ints("kernel_shape", &[kernel; 2]),
        ints("pads", &[pad, pad, end(0), end(1)]),
        ints("strides", &[stride; 2]),
    ]
}

/// ONNX rounds up as this network does, but where its windows do not touch; there the end is padded.
fn pool_attributes(
    size: usize,
    stride: usize,
    rounding: Rounding,
    input: usize,
    output: usize,
) -> Vec<Message<'static>> {
    let mut attributes = vec![ints("kernel_shape", &[size; 2]), ints("strides", &[stride; 2])];
    if rounding == Rounding::Ceil && stride <= size {
        attributes.push(int("ceil_mode", 1));
    } else if rounding == Rounding::Ceil {
        let end = ((output - 1) * stride + size).saturating_sub(input);
        attributes.push(ints("pads", &[0, 0, end, end]));
    }
    attributes
}

fn attribute_message(name: &str, kind: u64) -> Message<'static> {
    Message::new().text(attribute::NAME, name).varint(attribute::TYPE, kind)
}

fn int(name: &str, value: i64) -> Message<'static> {
    attribute_message(name, attribute::TYPE_INT).varint(attribute::INT, value as u64)
}

fn ints(name: &str, values: &[usize]) -> Message<'static> {
    let message = attribute_message(name, attribute::TYPE_INTS);
    values.iter().fold(message, |message, &value| message.varint(attribute::INTS, value as u64))
}

fn float(name: &str, value: f32) -> Message<'static> {
    attribute_message(name, attribute::TYPE_FLOAT).float(attribute::FLOAT, value)
}
