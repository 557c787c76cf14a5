//! A table and its arrays become a trained net.

use std::borrow::Cow;
use std::io::{self, Write};

use alexnet_network::Layer as Row;
use alexnet_network::{
    Array, Conv, DropoutForm, Initialisation, Model, ModelName, Plan, Purpose, TensorSpec,
};
use alexnet_ops::{LrnRegion, Rounding};

use super::schema::{
    INPUT_SHAPE, LAYER, SHAPE_DIM, blob, convolution, dropout, inner_product, lrn, net, pooling,
};
use super::{COLOURS, turn_colours};
use crate::ModelFile;
use crate::formats::PROTOBUF_BYTES_MAX;
use crate::protobuf::Message;

/// The layer that names the input, and its output.
const DATA: &str = "data";

/// Writes `file`, of model `caffe` or `caffenet`, as Caffe would, with the names of its published
/// definitions (`models/bvlc_alexnet/deploy.prototxt`).
///
/// # Errors
/// As `out`, or when the file's table and arrays do not belong together.
pub(crate) fn write(file: &ModelFile, out: &mut dyn Write) -> io::Result<()> {
    let title = match file.config.model {
        ModelName::Caffe => "AlexNet",
        ModelName::Caffenet => "CaffeNet",
        other => {
            return Err(refused(format!(
                "Caffe has no layers for model {other}: of model caffe and caffenet such a file can \
                 be written"
            )));
        }
    };
    let model = Model::new(file.config).map_err(|error| refused(error.to_string()))?;
    let plan = Plan::new(&model, 1, Purpose::Inference, Initialisation::Model);
    let plan = plan.map_err(|error| refused(error.to_string()))?;
    let mut chain = Chain { tensors: Tensors::new(&plan, &file.weights)?, ..Chain::default() };
    let message = Message::new().text(net::NAME, title);
    let mut message = message.message(net::LAYER, input(file.config.image_size));
    for row in &model.rows {
        message = message.message(net::LAYER, chain.layer(row)?);
    }
    message = message.message(net::LAYER, chain.next("prob", "Softmax"));
    if message.len() > PROTOBUF_BYTES_MAX {
        let len = message.len();
        return Err(refused(format!(
            "it would have {len} bytes, and Caffe reads at most {PROTOBUF_BYTES_MAX}"
        )));
    }
    message.write_to(out)
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// The input: one image.
fn input(side: usize) -> Message<'static> {
    let side = side as u64;
    let shape = Message::new().varints(SHAPE_DIM, [1, COLOURS as u64, side, side]);
    let parameter = Message::new().message(INPUT_SHAPE, shape);
    let layer =
        Message::new().text(LAYER.name, DATA).text(LAYER.kind, "Input").text(LAYER.top, DATA);
    match LAYER.input {
        Some(number) => layer.message(number, parameter),
        None => layer,
    }
}

/// The arrays in the order of the layers, each of the shape its layer has.
#[derive(Default)]
struct Tensors<'a>(std::vec::IntoIter<&'a Array>);

impl<'a> Tensors<'a> {
    fn new(plan: &Plan, arrays: &'a [Array]) -> io::Result<Self> {
        let specs = plan.parameters.iter().flat_map(|of| &of.tensors);
        let found = specs.map(|TensorSpec { name, shape, .. }| {
            let array = arrays.iter().find(|array| array.name == *name);
            let fits = |array: &&Array| {
                array.shape == *shape && array.values.len() == shape.iter().product::<usize>()
            };
            array
                .filter(fits)
                .ok_or_else(|| refused(format!("it has no tensor {name} of shape {shape:?}")))
        });
        Ok(Self(found.collect::<io::Result<Vec<_>>>()?.into_iter()))
    }

    fn next(&mut self) -> io::Result<&'a Array> {
        self.0.next().ok_or_else(|| refused("it has a layer without tensors".to_owned()))
    }
}

/// Layers that follow one another.
#[derive(Default)]
struct Chain<'a> {
    tensors: Tensors<'a>,
    /// Layers that learn so far: the others are numbered after them, relu1 and relu6.
    learned: usize,
    /// The last layer's output.
    top: Option<String>,
}

impl<'a> Chain<'a> {
    /// A layer that reads what the last one writes, and writes under its own name.
    fn next(&mut self, name: &str, kind: &str) -> Message<'a> {
        let bottom = self.top.replace(name.to_owned());
        Message::new()
            .text(LAYER.name, name)
            .text(LAYER.kind, kind)
            .text(LAYER.bottom, bottom.as_deref().unwrap_or(DATA))
            .text(LAYER.top, name)
    }

    /// A layer that writes over what the last one wrote.
    fn in_place(&self, stem: &str, kind: &str) -> Message<'a> {
        let top = self.top.as_deref().unwrap_or(DATA);
        Message::new()
            .text(LAYER.name, &format!("{stem}{}", self.learned))
            .text(LAYER.kind, kind)
            .text(LAYER.bottom, top)
            .text(LAYER.top, top)
    }

    fn layer(&mut self, row: &Row) -> io::Result<Message<'a>> {
        let number = self.learned;
        Ok(match *row {
            Row::Conv(conv) if conv.rounding == Rounding::Floor => self.convolution(&conv)?,
            Row::Linear(_) => self.inner_product()?,
            Row::Relu => self.in_place("relu", "ReLU"),
            Row::Lrn(LrnRegion::AcrossMaps { groups: 1 }, size, alpha, beta, k) => {
                // Of three figures the division leaves an error beyond the seventh.
                let alpha = (f64::from(alpha) * size as f64 * 1e9).round() / 1e9;
                let settings = Message::new()
                    .varint(lrn::LOCAL_SIZE, size as u64)
                    .float(lrn::ALPHA, alpha as f32)
                    .float(lrn::BETA, beta)
                    .float(lrn::K, k);
                self.next(&format!("norm{number}"), "LRN").message(LAYER.lrn, settings)
            }
            Row::MaxPool(size, stride, Rounding::Ceil) => {
                let settings = Message::new()
                    .varint(pooling::POOL, pooling::MAX)
                    .varint(pooling::KERNEL_SIZE, size as u64)
                    .varint(pooling::STRIDE, stride as u64);
                self.next(&format!("pool{number}"), "Pooling").message(LAYER.pooling, settings)
            }
            Row::Dropout(rate, DropoutForm::Inverted) => {
                let settings = Message::new().float(dropout::RATIO, rate);
                self.in_place("drop", "Dropout").message(LAYER.dropout, settings)
            }
            other => return Err(refused(format!("Caffe has no layer for {other:?}"))),
        })
    }

    fn convolution(&mut self, conv: &Conv) -> io::Result<Message<'a>> {
        let (weights, biases) = (self.tensors.next()?, self.tensors.next()?);
        let mut kernels = Cow::Borrowed(&weights.values[..]);
        if self.learned == 0 {
            turn_colours(kernels.to_mut(), conv.kernel * conv.kernel);
        }
        self.learned += 1;
        let settings = Message::new()
            .varint(convolution::NUM_OUTPUT, conv.maps as u64)
            .varint(convolution::PAD, conv.pad as u64)
            .varint(convolution::KERNEL_SIZE, conv.kernel as u64)
            .varint(convolution::GROUP, conv.groups as u64)
            .varint(convolution::STRIDE, conv.stride as u64);
        let layer = self.next(&format!("conv{}", self.learned), "Convolution");
        let layer = layer.message(LAYER.blobs, values(&weights.shape, kernels));
        let layer = layer.message(LAYER.blobs, values(&biases.shape, (&biases.values[..]).into()));
        Ok(layer.message(LAYER.convolution, settings))
    }

    fn inner_product(&mut self) -> io::Result<Message<'a>> {
        let (weights, biases) = (self.tensors.next()?, self.tensors.next()?);
        self.learned += 1;
        let outputs = biases.values.len() as u64;
        let settings = Message::new().varint(inner_product::NUM_OUTPUT, outputs);
        let layer = self.next(&format!("fc{}", self.learned), "InnerProduct");
        let layer =
            layer.message(LAYER.blobs, values(&weights.shape, (&weights.values[..]).into()));
        let layer = layer.message(LAYER.blobs, values(&biases.shape, (&biases.values[..]).into()));
        Ok(layer.message(LAYER.inner_product, settings))
    }
}

/// A blob.
fn values<'a>(shape: &[usize], values: Cow<'a, [f32]>) -> Message<'a> {
    let sizes = shape.iter().map(|&size| size as u64);
    let bytes: Cow<[u8]> = match values {
        Cow::Borrowed(values) => bytemuck::cast_slice(values).into(),
        Cow::Owned(values) => bytemuck::cast_slice::<f32, u8>(&values).to_vec().into(),
    };
    Message::new()
        .message(blob::SHAPE, Message::new().varints(SHAPE_DIM, sizes))
        .bytes(blob::DATA, bytes)
}
