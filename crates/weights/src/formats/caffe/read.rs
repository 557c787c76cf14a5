//! A trained net becomes a table and its arrays.

use alexnet_network::Layer as Row;
use alexnet_network::{Array, Conv, DropoutForm, Fill, Linear, Units};
use alexnet_ops::{LrnRegion, Rounding, Saturation};

use super::blob::Blob;
use super::fields::{Settings, fields, name, put_numbers};
use super::schema::{
    self, DATA_CROP_SIZE, Dialect, INPUT_SHAPE, LAYER, LAYER_V1, RELU_NEGATIVE_SLOPE, SHAPE_DIM,
    TRANSFORM_CROP_SIZE, convolution, dropout, inner_product, lrn, net, pooling,
};
use super::{COLOURS, turn_colours};
use crate::formats::found::Found;
use crate::protobuf::{Fault, Field, Slice};

/// Most layers in a net: fifty times those of this one.
const LAYERS_MAX: usize = 1024;
/// Dimensions of a batch of images.
const IMAGE_DIMENSIONS: usize = 4;
/// Initial values are not read: the file has trained ones.
const NO_FILL: Fill = Fill::Constant(0.0);

/// What a `.caffemodel` says; kernels of the first convolution are turned from blue, green, red to
/// red, green, blue.
///
/// # Errors
/// When it is malformed, or its layers are not a sequence of this network's.
pub(crate) fn read(file: Slice) -> Result<Found, Fault> {
    let mut table = Table::default();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for field in fields(file)? {
        match field.number {
            net::LAYERS_V1 => old.push(field.bytes()?),
            net::LAYER => new.push(field.bytes()?),
            net::INPUT_DIM => put_numbers(&mut table.input, &field, IMAGE_DIMENSIONS)?,
            net::INPUT_SHAPE => put_shape(&mut table.input, field.bytes()?)?,
            _ => {}
        }
    }
    let (layers, dialect) = match (old.is_empty(), new.is_empty()) {
        (true, true) => return Err(file.fault("it has no layers: it is no trained net of Caffe's")),
        (false, false) => {
            return Err(file.fault("it has layers in the form of 2014 and in that of 2015"));
        }
        (true, false) => (new, &LAYER),
        (false, true) => (old, &LAYER_V1),
    };
    if layers.len() > LAYERS_MAX {
        let reason = format!("it has {} layers, at most {LAYERS_MAX} are read", layers.len());
        return Err(file.fault(reason));
    }
    for layer in layers {
        table.add(&Layer::new(layer, dialect)?)?;
    }
    table.found(file)
}

/// One layer, what is in it still bytes.
struct Layer<'a> {
    message: Slice<'a>,
    dialect: &'static Dialect,
    fields: Vec<Field<'a>>,
    name: &'a str,
    kind: &'a str,
}

impl<'a> Layer<'a> {
    fn new(message: Slice<'a>, dialect: &'static Dialect) -> Result<Self, Fault> {
        let mut layer = Self { message, dialect, fields: fields(message)?, name: "", kind: "" };
        let last = |number| layer.fields.iter().rev().find(|field| field.number == number).copied();
        let (named, kind) = (last(dialect.name), last(dialect.kind));
        if dialect.oldest.and_then(last).is_some() {
            let way_out = "Caffe's tool upgrade_net_proto_binary brings it up to date";
            return Err(message.fault(format!("a layer in the form of 2013: {way_out}")));
        }
        layer.name = named.map_or(Ok(""), |field| name(&field))?;
        layer.kind = match kind {
            None => return Err(layer.fault("has no type")),
            Some(kind) if dialect.input.is_some() => name(&kind)?,
            Some(kind) => {
                let number = kind.varint()?;
                let unknown = || layer.fault(&format!("is of type {number}, which none here has"));
                schema::kind_of_v1(number).ok_or_else(unknown)?
            }
        };
        Ok(layer)
    }

    fn fault(&self, reason: &str) -> Fault {
        self.message.fault(format!("layer {:?} {reason}", self.name))
    }

    fn all(&self, number: u32) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(move |field| field.number == number)
    }

    fn names(&self, number: u32) -> Result<Vec<&'a str>, Fault> {
        self.all(number).map(name).collect()
    }

    fn settings(&self, number: u32) -> Result<Settings<'a>, Fault> {
        Settings::new(self.name, self.message, &self.fields, number)
    }

    /// Weights and biases.
    fn blobs(&self) -> Result<[Blob<'a>; 2], Fault> {
        let number = self.dialect.blobs;
        let found = self.all(number).count();
        let mut blobs = self.all(number).take(2).enumerate().map(|(index, field)| {
            Blob::new(field.bytes()?, format!("layer {:?}, blob {index}", self.name))
        });
        match (found, blobs.next(), blobs.next()) {
            (2, Some(weights), Some(biases)) => Ok([weights?, biases?]),
            _ => Err(self.fault(&format!(
                "has {found} blobs of values, not weights and biases: a net is read from a \
                 .caffemodel, which has them, and not without biases (bias_term)"
            ))),
        }
    }
}

/// The table that grows while layers are read.
#[derive(Default)]
struct Table<'a> {
    rows: Vec<Row>,
    arrays: Vec<Array>,
    /// Layers that learn.
    learned: usize,
    /// Under which names the last layer's output is known.
    tops: Vec<&'a str>,
    /// Dimensions of the input (images, channels, height, width), if they are said.
    input: Vec<u64>,
    /// Side of what is cut from an image.
    crop: Option<u64>,
}

impl<'a> Table<'a> {
    fn add(&mut self, layer: &Layer<'a>) -> Result<(), Fault> {
        let row = match layer.kind {
            "Convolution" => self.convolution(layer)?,
            "InnerProduct" => self.inner_product(layer)?,
            _ if layer.all(layer.dialect.blobs).next().is_some() => {
                let reason = format!("learns, and is of type {:?}: none here has that", layer.kind);
                return Err(layer.fault(&reason));
            }
            "ReLU" => {
                let slope = layer.settings(layer.dialect.relu)?;
                if slope.float(RELU_NEGATIVE_SLOPE, 0.0)? != 0.0 {
                    return Err(slope.fault(RELU_NEGATIVE_SLOPE, "negative_slope is not 0"));
                }
                Row::Relu
            }
            "Sigmoid" => Row::Saturation(Saturation::Sigmoid),
            "TanH" => Row::Saturation(Saturation::Tanh),
            "LRN" => lrn_row(&layer.settings(layer.dialect.lrn)?)?,
            "Pooling" => pooling_row(&layer.settings(layer.dialect.pooling)?)?,
            "Dropout" => dropout_row(&layer.settings(layer.dialect.dropout)?)?,
            _ => return self.pass_over(layer),
        };
        self.follow(layer)?;
        self.rows.push(row);
        Ok(())
    }

    /// A layer that changes nothing, or stands before or behind the network.
    fn pass_over(&mut self, layer: &Layer<'a>) -> Result<(), Fault> {
        match layer.kind {
            "Split" | "Flatten" => {
                let reads = layer.names(layer.dialect.bottom)?;
                if reads.iter().any(|bottom| self.tops.contains(bottom)) {
                    self.tops.extend(layer.names(layer.dialect.top)?);
                }
            }
            "Data" | "ImageData" | "WindowData" | "HDF5Data" | "MemoryData" | "DummyData" => {
                self.crop(layer)?;
            }
            "Input" => {
                for input in layer.dialect.input.iter().flat_map(|&number| layer.all(number)) {
                    for field in fields(input.bytes()?)? {
                        if field.number == INPUT_SHAPE && self.input.is_empty() {
                            put_shape(&mut self.input, field.bytes()?)?;
                        }
                    }
                }
            }
            "Softmax" | "SoftmaxWithLoss" | "Accuracy" | "Silence" => {}
            other => {
                let reason = format!("is of type {other:?}, which none of the networks has");
                return Err(layer.fault(&reason));
            }
        }
        Ok(())
    }

    fn crop(&mut self, layer: &Layer) -> Result<(), Fault> {
        let of = |number, field| layer.settings(number)?.number(field, 0);
        for side in [
            of(layer.dialect.transform, TRANSFORM_CROP_SIZE)?,
            of(layer.dialect.data[0], DATA_CROP_SIZE)?,
            of(layer.dialect.data[1], DATA_CROP_SIZE)?,
        ] {
            self.crop = self.crop.or(Some(side).filter(|&side| side > 0));
        }
        Ok(())
    }

    /// Looks whether a layer reads what the one before it writes.
    fn follow(&mut self, layer: &Layer<'a>) -> Result<(), Fault> {
        let bottoms = layer.names(layer.dialect.bottom)?;
        let tops = layer.names(layer.dialect.top)?;
        if bottoms.len() > 1 || tops.len() > 1 {
            return Err(layer.fault("has several inputs or outputs: only a sequence is read"));
        }
        if let Some(bottom) = bottoms.first()
            && !self.rows.is_empty()
            && !self.tops.contains(bottom)
        {
            let reason = format!("reads {bottom:?}, not what the layer before it writes");
            return Err(layer.fault(&reason));
        }
        self.tops = tops;
        Ok(())
    }

    fn convolution(&mut self, layer: &Layer) -> Result<Row, Fault> {
        let settings = layer.settings(layer.dialect.convolution)?;
        refuse_no_bias(&settings, convolution::BIAS_TERM)?;
        settings.only(convolution::AXIS, 1, "axis")?;
        let kernel = settings.side(
            convolution::KERNEL_SIZE,
            convolution::KERNEL_HW,
            None,
            "the kernel's size",
        )?;
        let stride =
            settings.side(convolution::STRIDE, convolution::STRIDE_HW, Some(1), "the stride")?;
        let pad = settings.side(convolution::PAD, convolution::PAD_HW, Some(0), "the padding")?;
        if settings.side(convolution::DILATION, [convolution::DILATION; 2], Some(1), "dilation")?
            != 1
        {
            let reason = "its kernel is dilated: none of the networks has that";
            return Err(settings.fault(convolution::DILATION, reason));
        }
        let [weights, biases] = layer.blobs()?;
        let [maps, channels, height, width] = weights.shape[..] else {
            return Err(weights.fault(&format!("has shape {:?}, not a kernel's", weights.shape)));
        };
        if (height, width) != (kernel, kernel) || stride == 0 {
            return Err(weights.fault(&format!(
                "has shape {:?}, but the layer a kernel of {kernel} and a stride of {stride}",
                weights.shape
            )));
        }
        let groups = settings.number(convolution::GROUP, 1)?;
        let in_groups = usize::try_from(groups).ok().filter(|&g| g > 0 && maps.is_multiple_of(g));
        let Some(groups) = in_groups else {
            let reason = format!("{maps} maps are not {groups} groups");
            return Err(settings.fault(convolution::GROUP, &reason));
        };
        let is_first = self.learned == 0;
        if is_first && channels != COLOURS {
            let reason = format!("reads {channels} channels, but images have {COLOURS}");
            return Err(weights.fault(&reason));
        }
        check_outputs(&settings, convolution::NUM_OUTPUT, maps, &biases)?;
        let mut kernels = weights.values()?;
        if is_first {
            turn_colours(&mut kernels, kernel * kernel);
        }
        let shape = weights.shape.clone();
        self.learn("conv", shape, kernels, biases.values()?);
        let (rounding, weights, bias) = (Rounding::Floor, NO_FILL, NO_FILL);
        Ok(Row::Conv(Conv { maps, kernel, stride, pad, groups, rounding, weights, bias }))
    }

    fn inner_product(&mut self, layer: &Layer) -> Result<Row, Fault> {
        let settings = layer.settings(layer.dialect.inner_product)?;
        refuse_no_bias(&settings, inner_product::BIAS_TERM)?;
        settings.only(inner_product::AXIS, 1, "axis")?;
        let [weights, biases] = layer.blobs()?;
        let (rows, columns) = match weights.shape[..] {
            [rows, columns] | [1, 1, rows, columns] => (rows, columns),
            ref shape => {
                return Err(weights.fault(&format!("has shape {shape:?}, not a matrix's")));
            }
        };
        let is_transposed = settings.truth(inner_product::TRANSPOSE, false)?;
        let (outputs, inputs) = if is_transposed { (columns, rows) } else { (rows, columns) };
        check_outputs(&settings, inner_product::NUM_OUTPUT, outputs, &biases)?;
        let mut matrix = weights.values()?;
        if is_transposed {
            matrix = transposed(&matrix, columns);
        }
        self.learn("fc", vec![outputs, inputs], matrix, biases.values()?);
        let units = Units::Hidden(outputs);
        Ok(Row::Linear(Linear { units, weights: NO_FILL, bias: NO_FILL }))
    }

    /// Keeps a layer's values under the name its place gives it, whatever the file calls it.
    fn learn(&mut self, stem: &str, shape: Vec<usize>, weights: Vec<f32>, biases: Vec<f32>) {
        self.learned += 1;
        let layer = format!("{stem}{}", self.learned);
        self.arrays.push(Array { name: format!("{layer}.weight"), shape, values: weights });
        let (name, shape) = (format!("{layer}.bias"), vec![biases.len()]);
        self.arrays.push(Array { name, shape, values: biases });
    }

    fn found(mut self, file: Slice) -> Result<Found, Fault> {
        let last = self.rows.iter_mut().rev().find_map(|row| match row {
            Row::Linear(linear) => Some(linear),
            _ => None,
        });
        match last {
            Some(linear) => linear.units = Units::Classes,
            None => return Err(file.fault("it has no InnerProduct layer: it classifies nothing")),
        }
        let image_size = match self.input[..] {
            [] => self.crop,
            [_, _, height, width] if height == width => Some(height),
            ref input => {
                let reason = format!("its input is {input:?}: only one of square images is read");
                return Err(file.fault(reason));
            }
        };
        let (arrays, rows) = (self.arrays, Some(self.rows));
        let image_size = image_size.and_then(|side| usize::try_from(side).ok());
        Ok(Found { arrays, rows, image_size, ..Found::default() })
    }
}

/// Appends the dimensions of a `BlobShape`.
fn put_shape(dimensions: &mut Vec<u64>, shape: Slice) -> Result<(), Fault> {
    for field in fields(shape)? {
        if field.number == SHAPE_DIM {
            put_numbers(dimensions, &field, IMAGE_DIMENSIONS)?;
        }
    }
    Ok(())
}

fn refuse_no_bias(settings: &Settings, bias_term: u32) -> Result<(), Fault> {
    if settings.truth(bias_term, true)? {
        return Ok(());
    }
    Err(settings.fault(bias_term, "it has no biases (bias_term), and all here have"))
}

/// Whether a layer has as many outputs as it says, and a bias for each.
fn check_outputs(
    settings: &Settings,
    num_output: u32,
    outputs: usize,
    biases: &Blob,
) -> Result<(), Fault> {
    settings.only(num_output, outputs as u64, "num_output")?;
    match biases.shape[..] {
        [len] | [1, 1, 1, len] if len == outputs => Ok(()),
        ref shape => {
            let reason = format!("has shape {shape:?}, not that of {outputs} biases");
            Err(biases.fault(&reason))
        }
    }
}

/// Rows of a matrix of so many columns as columns.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns)).copied().collect()
}

/// Caffe's alpha is divided by the window's size, ours multiplies the plain sum.
fn lrn_row(settings: &Settings) -> Result<Row, Fault> {
    let region = settings.number(lrn::NORM_REGION, lrn::ACROSS_CHANNELS)?;
    if region != lrn::ACROSS_CHANNELS {
        let reason = "it normalises within a channel: only ACROSS_CHANNELS is read";
        return Err(settings.fault(lrn::NORM_REGION, reason));
    }
    let size = settings.side(lrn::LOCAL_SIZE, [lrn::LOCAL_SIZE; 2], Some(5), "local_size")?;
    if size % 2 == 0 {
        return Err(settings.fault(lrn::LOCAL_SIZE, &format!("local_size {size} is not odd")));
    }
    let alpha = settings.float(lrn::ALPHA, 1.0)? / size as f32;
    let (beta, k) = (settings.float(lrn::BETA, 0.75)?, settings.float(lrn::K, 1.0)?);
    Ok(Row::Lrn(LrnRegion::AcrossMaps { groups: 1 }, size, alpha, beta, k))
}

fn pooling_row(settings: &Settings) -> Result<Row, Fault> {
    if settings.number(pooling::POOL, pooling::MAX)? != pooling::MAX {
        return Err(settings.fault(pooling::POOL, "it takes no maximum: only MAX is read"));
    }
    if settings.truth(pooling::GLOBAL_POOLING, false)? {
        let reason = "it pools over the whole map: none of the networks does";
        return Err(settings.fault(pooling::GLOBAL_POOLING, reason));
    }
    let what = "the window's size";
    let size = settings.side(pooling::KERNEL_SIZE, pooling::KERNEL_HW, None, what)?;
    let stride = settings.side(pooling::STRIDE, pooling::STRIDE_HW, Some(1), "the stride")?;
    if size == 0 || stride == 0 {
        let reason = format!("a window of {size} every {stride}");
        return Err(settings.fault(pooling::KERNEL_SIZE, &reason));
    }
    if settings.side(pooling::PAD, pooling::PAD_HW, Some(0), "the padding")? != 0 {
        return Err(settings.fault(pooling::PAD, "its input is padded: none of the networks' is"));
    }
    let rounding = match settings.number(pooling::ROUND_MODE, pooling::CEIL)? {
        pooling::CEIL => Rounding::Ceil,
        pooling::FLOOR => Rounding::Floor,
        other => {
            return Err(settings.fault(pooling::ROUND_MODE, &format!("round_mode is {other}")));
        }
    };
    Ok(Row::MaxPool(size, stride, rounding))
}

fn dropout_row(settings: &Settings) -> Result<Row, Fault> {
    let rate = settings.float(dropout::RATIO, 0.5)?;
    if !(0.0..1.0).contains(&rate) {
        return Err(settings.fault(dropout::RATIO, &format!("dropout_ratio is {rate}")));
    }
    let is_inverted = settings.truth(dropout::SCALE_TRAIN, true)?;
    let form = if is_inverted { DropoutForm::Inverted } else { DropoutForm::Classic };
    Ok(Row::Dropout(rate, form))
}
