use std::slice::from_ref;

use alexnet_data::{Fit, Preprocess};
use alexnet_network::{
    Array, Conv, DropoutForm, Fill, Initialisation, Layer, Linear, Model, ModelConfig, ModelName,
    Plan, Purpose, Units,
};
use alexnet_ops::conformance::values;

use super::schema::{
    INPUT_SHAPE, LAYER, LAYER_V1, SHAPE_DIM, TRANSFORM_CROP_SIZE, blob, convolution, dropout,
    inner_product, kind_of_v1, lrn, net, pooling,
};
use super::{read, read_mean, write, write_mean};
use crate::ModelFile;
use crate::formats::found::Found;
use crate::protobuf::{Fault, Field, Message, Slice};

const BOTH: [ModelName; 2] = [ModelName::Caffe, ModelName::Caffenet];

/// A network of random weights.
fn network(model: ModelName, width: f32, image_size: usize) -> ModelFile {
    let config =
        ModelConfig { model, classes: 3, image_size, width, batch_norm: false, dropout: None };
    let model = Model::new(config).expect("a model");
    let plan = Plan::new(&model, 1, Purpose::Inference, Initialisation::Model).expect("a plan");
    let specs = plan.parameters.iter().flat_map(|of| &of.tensors).zip(1..);
    let weights = specs.map(|(of, salt)| Array {
        name: of.name.clone(),
        shape: of.shape.clone(),
        values: values(of.len(), salt, 1.0),
    });
    let crop = image_size as u32;
    let preprocess = Preprocess {
        fit: Fit::Warp,
        resize: crop,
        crop,
        mean: [0.0; 3],
        std: [1.0; 3],
        mean_image: None,
    };
    let classes = ["cat", "dog", "eel"].map(str::to_owned).to_vec();
    ModelFile { config, classes, preprocess, weights: weights.collect() }
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write_to(&mut bytes).expect("a vector takes all");
    bytes
}

fn written(file: &ModelFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(file, &mut bytes).expect("written");
    bytes
}

/// A model's table without initial values.
fn table(config: ModelConfig) -> Vec<Layer> {
    let (weights, bias) = (Fill::Constant(0.0), Fill::Constant(0.0));
    let rows = Model::new(config).expect("a model").rows.into_iter();
    rows.map(|row| match row {
        Layer::Conv(conv) => Layer::Conv(Conv { weights, bias, ..conv }),
        Layer::Linear(linear) => Layer::Linear(Linear { weights, bias, ..linear }),
        other => other,
    })
    .collect()
}

/// The network that was read is the one that was written.
fn check(found: &Found, file: &ModelFile) {
    assert_eq!(found.arrays, file.weights);
    assert_eq!(found.rows.as_deref(), Some(&table(file.config)[..]));
    assert_eq!(found.image_size, Some(file.config.image_size));
}

fn fields(bytes: &[u8]) -> Vec<Field<'_>> {
    Slice::of_file(bytes).fields().collect::<Result<_, _>>().expect("sound")
}

#[test]
fn both_nets_come_back_as_they_were_written() {
    for model in BOTH {
        let file = network(model, 0.1, 227);
        let bytes = written(&file);
        check(&read(Slice::of_file(&bytes)).expect("read"), &file);
    }
}

/// The same net as Caffe wrote it in 2014.
fn in_old_form(bytes: &[u8]) -> Vec<u8> {
    let mut net = Message::new();
    for field in fields(bytes).iter().filter(|field| field.number == net::LAYER) {
        let layer = field.bytes().expect("bytes").bytes;
        net = net.message(net::LAYERS_V1, layer_in_old_form(layer));
    }
    bytes_of(&net)
}

fn layer_in_old_form(bytes: &[u8]) -> Message<'static> {
    let mut layer = Message::new();
    for field in fields(bytes) {
        let slice = field.bytes().expect("all fields written are bytes");
        let value = slice.bytes.to_vec();
        layer = match field.number {
            number if number == LAYER.kind => match slice.text() {
                Ok("Input") => {
                    let crop = Message::new().varint(TRANSFORM_CROP_SIZE, 67);
                    layer.varint(LAYER_V1.kind, 5).message(LAYER_V1.transform, crop)
                }
                kind => {
                    let kind = kind.ok();
                    let number = (0..40).find(|&number| kind_of_v1(number) == kind);
                    layer.varint(LAYER_V1.kind, number.expect("a kind"))
                }
            },
            number if number == LAYER.blobs => layer.message(LAYER_V1.blobs, blob_of_four(slice)),
            number => {
                let pairs = [
                    (LAYER.name, LAYER_V1.name),
                    (LAYER.bottom, LAYER_V1.bottom),
                    (LAYER.top, LAYER_V1.top),
                    (LAYER.convolution, LAYER_V1.convolution),
                    (LAYER.inner_product, LAYER_V1.inner_product),
                    (LAYER.lrn, LAYER_V1.lrn),
                    (LAYER.pooling, LAYER_V1.pooling),
                    (LAYER.dropout, LAYER_V1.dropout),
                ];
                match pairs.iter().find(|(new, _)| *new == number) {
                    Some((_, old)) => layer.bytes(*old, value),
                    None => layer,
                }
            }
        };
    }
    layer
}

/// A blob of four dimensions, those of a matrix and of biases after ones.
fn blob_of_four(slice: Slice) -> Message<'static> {
    let fields: Vec<_> = slice.fields().map(Result::unwrap).collect();
    let shape = fields[0].bytes().unwrap().fields().next().unwrap().unwrap();
    let sizes = shape.bytes().unwrap().varints().unwrap();
    let four: Vec<u64> = std::iter::repeat_n(1, 4 - sizes.len()).chain(sizes).collect();
    (blob::NUM..)
        .zip(four)
        .fold(Message::new(), |blob, (number, size)| blob.varint(number, size))
        .bytes(blob::DATA, fields[1].bytes().unwrap().bytes.to_vec())
}

#[test]
fn nets_of_2014_are_read_too() {
    for model in BOTH {
        let file = network(model, 0.05, 67);
        let bytes = in_old_form(&written(&file));
        check(&read(Slice::of_file(&bytes)).expect("read"), &file);
    }
}

#[test]
fn what_comes_before_the_numbers_is_as_in_the_published_definition() {
    let bytes = written(&network(ModelName::Caffenet, 0.05, 67));
    let name = |field: &Field, number| {
        let layer = field.bytes().expect("bytes").bytes;
        let field = fields(layer).into_iter().find(|field| field.number == number).expect("there");
        field.bytes().expect("bytes").text().expect("a text").to_owned()
    };
    let layers: Vec<_> = fields(&bytes).into_iter().filter(|f| f.number == net::LAYER).collect();
    let names: Vec<_> = layers.iter().map(|layer| name(layer, LAYER.name)).collect();
    let expected = "data conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 \
                    conv5 relu5 pool5 fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob";
    assert_eq!(names.join(" "), expected);
    let tops: Vec<_> = layers.iter().map(|layer| name(layer, LAYER.top)).collect();
    assert_eq!(
        tops.join(" "),
        "data conv1 conv1 pool1 norm1 conv2 conv2 pool2 norm2 conv3 conv3 conv4 conv4 conv5 conv5 \
         pool5 fc6 fc6 fc6 fc7 fc7 fc7 fc8 prob"
    );
    let norm1 = fields(layers[4].bytes().expect("bytes").bytes).pop().expect("its settings");
    let alpha = norm1.bytes().expect("bytes").fields().nth(1).expect("two").expect("sound");
    assert_eq!(alpha.float(), Ok(1e-4));
}

#[test]
fn models_that_caffe_has_no_layers_for_are_not_written() {
    for model in ModelName::ALL.into_iter().filter(|model| !BOTH.contains(model)) {
        let error = write(&network(model, 0.05, 227), &mut Vec::new()).expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains("caffe and caffenet") && text.contains(model.as_str()), "{text}");
    }
    let mut file = network(ModelName::Caffe, 0.05, 67);
    file.weights[2].shape[0] += 1;
    let error = write(&file, &mut Vec::new()).expect_err("refused").to_string();
    assert!(error.contains("it has no tensor conv2.weight of shape [16, 4, 5, 5]"), "{error}");
}

fn shaped(sizes: &[u64]) -> Message<'static> {
    Message::new().message(blob::SHAPE, Message::new().varints(SHAPE_DIM, sizes.iter().copied()))
}

fn packed(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A blob of this shape: 0, 1, 2…
fn counted(sizes: &[u64]) -> Message<'static> {
    let len = sizes.iter().product::<u64>();
    shaped(sizes).bytes(blob::DATA, packed((0..len).map(|value| value as f32)))
}

fn layer(name: &str, kind: &str, from: &str) -> Message<'static> {
    let layer = Message::new().text(LAYER.name, name).text(LAYER.kind, kind);
    layer.text(LAYER.bottom, from).text(LAYER.top, name)
}

fn conv_settings() -> Message<'static> {
    Message::new().varint(convolution::NUM_OUTPUT, 2).varint(convolution::KERNEL_SIZE, 2)
}

fn conv_with(settings: Message<'static>, blobs: &[Message<'static>]) -> Message<'static> {
    let layer = layer("c", "Convolution", "data").message(LAYER.convolution, settings);
    blobs.iter().cloned().fold(layer, |layer, blob| layer.message(LAYER.blobs, blob))
}

fn conv(settings: Message<'static>) -> Message<'static> {
    conv_with(settings, &[counted(&[2, 3, 2, 2]), counted(&[2])])
}

fn linear(blobs: [Message<'static>; 2], settings: Message<'static>) -> Message<'static> {
    let [weights, biases] = blobs;
    layer("f", "InnerProduct", "c")
        .message(LAYER.blobs, weights)
        .message(LAYER.blobs, biases)
        .message(LAYER.inner_product, settings)
}

fn sound_linear() -> Message<'static> {
    linear([counted(&[2, 3]), counted(&[2])], Message::new())
}

fn read_net(layers: impl IntoIterator<Item = Message<'static>>) -> Result<Found, Fault> {
    let net = layers.into_iter().fold(Message::new(), |net, layer| net.message(net::LAYER, layer));
    read(Slice::of_file(&bytes_of(&net)))
}

#[test]
fn values_are_read_however_protobuf_lays_them_out() {
    let doubles = (0..6).flat_map(|value| f64::from(value).to_le_bytes()).collect::<Vec<u8>>();
    let one_by_one = |blob, from: u32, to: u32| {
        (from..to).fold(blob, |blob: Message<'static>, v| blob.float(blob::DATA, v as f32))
    };
    let doubles_one_by_one = (0..6)
        .fold(shaped(&[2, 3]), |blob, value| blob.double(blob::DOUBLE_DATA, f64::from(value)));
    let two_packs = shaped(&[2, 3]).bytes(blob::DATA, packed([0.0, 1.0]));
    let forms = [
        counted(&[2, 3]),
        counted(&[1, 1, 2, 3]),
        shaped(&[2, 3]).bytes(blob::DOUBLE_DATA, doubles),
        doubles_one_by_one,
        one_by_one(shaped(&[2, 3]), 0, 6),
        one_by_one(two_packs, 2, 6),
        Message::new()
            .message(blob::SHAPE, Message::new().varint(SHAPE_DIM, 2).varint(SHAPE_DIM, 3))
            .bytes(blob::DATA, packed((0..6).map(|value| value as f32))),
    ];
    for form in forms {
        let fc = linear([form.clone(), counted(&[2])], Message::new());
        let found = read_net([conv(conv_settings()), fc]).expect("read");
        assert_eq!(found.arrays[2].name, "fc2.weight");
        assert_eq!(found.arrays[2].shape, [2, 3], "{form:?}");
        assert_eq!(found.arrays[2].values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{form:?}");
    }
    let transpose = Message::new().varint(inner_product::TRANSPOSE, 1);
    let fc = linear([counted(&[3, 2]), counted(&[2])], transpose);
    let found = read_net([conv(conv_settings()), fc]).expect("read");
    assert_eq!(found.arrays[2].shape, [2, 3]);
    assert_eq!(found.arrays[2].values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
}

#[test]
fn the_first_kernel_alone_is_turned_to_red_green_blue() {
    let found = read_net([conv(conv_settings()), sound_linear()]).expect("read");
    let [first, second] =
        [[8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3], [20, 21, 22, 23, 16, 17, 18, 19, 12, 13, 14, 15]];
    let expected: Vec<f32> = first.iter().chain(&second).map(|&v: &u8| f32::from(v)).collect();
    assert_eq!(found.arrays[0].values, expected);
    let second = layer("c2", "Convolution", "c")
        .message(LAYER.blobs, counted(&[1, 3, 2, 2]))
        .message(LAYER.blobs, counted(&[1]))
        .message(LAYER.convolution, Message::new().varints(convolution::KERNEL_SIZE, [2, 2]));
    let fc = layer("f", "InnerProduct", "c2")
        .message(LAYER.blobs, counted(&[1, 1]))
        .message(LAYER.blobs, counted(&[1]));
    let found = read_net([conv(conv_settings()), second, fc]).expect("read");
    assert_eq!(found.arrays[2].values, (0..12).map(|v| v as f32).collect::<Vec<_>>());
}

#[test]
fn layers_around_the_network_are_passed_over_and_the_others_keep_their_settings() {
    let input = layer("data", "Data", "");
    let input = input.message(LAYER.transform, Message::new().varint(TRANSFORM_CROP_SIZE, 67));
    let split = Message::new().text(LAYER.kind, "Split").text(LAYER.bottom, "c");
    let split = split.text(LAYER.top, "c_0").text(LAYER.top, "c_1");
    let settings = Message::new().float(dropout::RATIO, 0.25).varint(dropout::SCALE_TRAIN, 0);
    let drop = layer("d", "Dropout", "c_1").message(LAYER.dropout, settings);
    let tanh = layer("c", "TanH", "d");
    let loss = layer("loss", "SoftmaxWithLoss", "f").text(LAYER.bottom, "label");
    let found = read_net([input, conv(conv_settings()), split, drop, tanh, sound_linear(), loss]);
    let found = found.expect("read");
    assert_eq!(found.image_size, Some(67));
    let rows = found.rows.expect("a graph");
    assert_eq!(rows[1], Layer::Dropout(0.25, DropoutForm::Classic));
    assert_eq!(rows[2].kind(), "tanh");
    let fill = Fill::Constant(0.0);
    assert_eq!(rows[3], Layer::Linear(Linear { units: Units::Classes, weights: fill, bias: fill }));
    assert_eq!(rows.len(), 4);
}

/// Layers of a net with one thing wrong, and what must be said of it.
type Case = (Vec<Message<'static>>, &'static str);

/// With a linear layer behind it.
fn net_of(layer: Message<'static>) -> Vec<Message<'static>> {
    vec![layer, sound_linear()]
}

/// Between a convolution and a linear layer.
fn behind(kind: &str, number: u32, settings: Message<'static>) -> Vec<Message<'static>> {
    vec![conv(conv_settings()), layer("x", kind, "c").message(number, settings), sound_linear()]
}

/// Blobs.
fn faulty_blobs() -> Vec<Case> {
    let blobs = |blobs: &[Message<'static>]| net_of(conv_with(conv_settings(), blobs));
    let (kernel, bias) = (counted(&[2, 3, 2, 2]), counted(&[2]));
    let with =
        |values: Vec<f32>| [shaped(&[2, 3, 2, 2]).bytes(blob::DATA, packed(values)), bias.clone()];
    let mut not_numbers = vec![0.0; 24];
    not_numbers[17] = f32::NAN;
    let huge = Message::new().varints(SHAPE_DIM, [u64::MAX; 3]);
    let huge = counted(&[1]).message(blob::SHAPE, huge);
    vec![
        (blobs(&[]), "layer \"c\" has 0 blobs of values, not weights and biases"),
        (blobs(from_ref(&kernel)), "has 1 blobs"),
        (blobs(&[kernel.clone(), bias.clone(), bias.clone()]), "has 3 blobs"),
        (
            blobs(&with(vec![0.0; 23])),
            "layer \"c\", blob 0 has 23 values, but its shape [2, 3, 2, 2]",
        ),
        (blobs(&with(not_numbers)), "layer \"c\", blob 0 holds NaN at element 17"),
        (
            blobs(&[
                kernel.clone(),
                shaped(&[2]).double(blob::DOUBLE_DATA, 1.0).double(blob::DOUBLE_DATA, 1e300),
            ]),
            "blob 1 holds inf at element 1",
        ),
        (blobs(&[huge, bias.clone()]), "has 1 values, but its shape"),
        (blobs(&[shaped(&[1; 9]), bias.clone()]), "more than 8 numbers"),
        (
            blobs(&[shaped(&[2]).bytes(blob::DATA, vec![0; 7]), bias.clone()]),
            "no whole numbers of 4 bytes",
        ),
        (blobs(&[shaped(&[0]), bias.clone()]), "has 0 values"),
        (blobs(&[kernel.clone(), counted(&[3])]), "has shape [3], not that of 2 biases"),
        (blobs(&[counted(&[24]), bias.clone()]), "has shape [24], not a kernel's"),
        (blobs(&[counted(&[2, 1, 2, 2]), bias.clone()]), "reads 1 channels, but images have 3"),
    ]
}

/// Convolutions.
fn faulty_convolutions() -> Vec<Case> {
    let of_conv = |number, value| net_of(conv(conv_settings().varint(number, value)));
    vec![
        (of_conv(convolution::DILATION, 2), "its kernel is dilated"),
        (of_conv(convolution::KERNEL_SIZE, 3), "the kernel's size is [2, 3]: only squares"),
        (of_conv(convolution::KERNEL_HW[0], 3), "only squares are read"),
        (of_conv(convolution::PAD_HW[1], 3), "the padding is [3]: only squares are read"),
        (of_conv(convolution::PAD, 1 << 40), "the padding is 1099511627776: at most"),
        (of_conv(convolution::STRIDE, 0), "a stride of 0"),
        (of_conv(convolution::GROUP, 0), "2 maps are not 0 groups"),
        (of_conv(convolution::GROUP, 3), "2 maps are not 3 groups"),
        (of_conv(convolution::AXIS, 2), "axis is 2, but must be 1"),
        (of_conv(convolution::BIAS_TERM, 0), "layer \"c\": it has no biases (bias_term)"),
        (of_conv(convolution::NUM_OUTPUT, 9), "num_output is 9, but must be 2"),
        (net_of(conv(Message::new())), "the kernel's size is not given"),
        (
            net_of(conv(conv_settings().text(convolution::AXIS, "1"))),
            "field 16 does not hold an integer",
        ),
    ]
}

/// Layers that do not learn.
fn faulty_settings() -> Vec<Case> {
    let pool = |number, value| {
        let settings = Message::new().varint(pooling::KERNEL_SIZE, 3).varint(number, value);
        behind("Pooling", LAYER.pooling, settings)
    };
    vec![
        (pool(pooling::POOL, 1), "only MAX is read"),
        (pool(pooling::PAD, 1), "its input is padded"),
        (pool(pooling::GLOBAL_POOLING, 1), "over the whole map"),
        (pool(pooling::STRIDE, 0), "a window of 3 every 0"),
        (pool(pooling::ROUND_MODE, 7), "round_mode is 7"),
        (behind("LRN", LAYER.lrn, Message::new().varint(lrn::NORM_REGION, 1)), "within a channel"),
        (
            behind("LRN", LAYER.lrn, Message::new().varint(lrn::LOCAL_SIZE, 0)),
            "local_size 0 is not odd",
        ),
        (behind("LRN", LAYER.lrn, Message::new().float(lrn::K, f32::NAN)), "field 5 is NaN"),
        (behind("ReLU", LAYER.relu, Message::new().float(1, 0.1)), "negative_slope is not 0"),
        (behind("Dropout", LAYER.dropout, Message::new().float(1, 1.5)), "dropout_ratio is 1.5"),
        (behind("Eltwise", 110, Message::new()), "layer \"x\" is of type \"Eltwise\""),
        (behind("PReLU", LAYER.blobs, counted(&[1])), "learns, and is of type \"PReLU\""),
    ]
}

/// Linear layers, and layers among each other.
fn faulty_sequences() -> Vec<Case> {
    let bias = counted(&[2]);
    let fc = |blobs, settings| vec![conv(conv_settings()), linear(blobs, settings)];
    vec![
        (vec![], "it has no layers"),
        (vec![conv(conv_settings())], "it classifies nothing"),
        (
            vec![
                conv(conv_settings()),
                layer("x", "ReLU", "c").text(LAYER.bottom, "d"),
                sound_linear(),
            ],
            "several inputs",
        ),
        (
            vec![conv(conv_settings()), layer("x", "ReLU", "other"), sound_linear()],
            "reads \"other\", not what the layer before it writes",
        ),
        (net_of(Message::new().text(LAYER.name, "a\nb")), "layer \"a\\nb\" has no type"),
        (net_of(layer(&"n".repeat(2000), "ReLU", "c")), "a name of 2000 bytes"),
        (
            fc([counted(&[6]), bias.clone()], Message::new()),
            "layer \"f\", blob 0 has shape [6], not a matrix's",
        ),
        (
            fc([counted(&[2, 3]), bias.clone()], Message::new().varint(inner_product::AXIS, 2)),
            "axis is 2",
        ),
        (
            fc(
                [counted(&[2, 3]), bias.clone()],
                Message::new().varint(inner_product::BIAS_TERM, 0),
            ),
            "bias_term",
        ),
        (
            fc(
                [counted(&[2, 3]), bias.clone()],
                Message::new().varint(inner_product::TRANSPOSE, 1),
            ),
            "not that of 3 biases",
        ),
        (vec![layer("x", "ReLU", "c"); 1025], "it has 1025 layers, at most 1024 are read"),
        (
            net_of((0..5000).fold(Message::new(), |layer, _| layer.varint(10, 1))),
            "more than the 4096 fields",
        ),
    ]
}

#[test]
fn faults_name_layer_field_and_byte() {
    let cases = [faulty_blobs(), faulty_convolutions(), faulty_settings(), faulty_sequences()];
    for (layers, expected) in cases.concat() {
        let fault = read_net(layers).expect_err(expected).to_string();
        assert!(fault.contains(expected) && fault.starts_with("at byte "), "{fault}\n{expected}");
        assert!(!fault.contains('\n'), "{fault}");
    }
    // The control: what the cases are made of is sound.
    read_net([conv(conv_settings()), sound_linear()]).expect("sound");
}

#[test]
fn faults_of_the_net_itself_are_named_too() {
    let sound = Message::new()
        .message(net::LAYER, conv(conv_settings()))
        .message(net::LAYER, sound_linear());
    let sizes = |sizes: &[u64]| Message::new().varints(SHAPE_DIM, sizes.iter().copied());
    let oldest = Message::new().message(1, Message::new().text(1, "conv1"));
    let unknown = Message::new().text(LAYER_V1.name, "x").varint(LAYER_V1.kind, 999);
    let input = layer("data", "Input", "");
    let input = input.message(143, Message::new().message(INPUT_SHAPE, sizes(&[1, 3, 5, 6])));
    for (net, expected) in [
        (sound.clone().message(net::LAYERS_V1, Message::new()), "in the form of 2014 and in that"),
        (Message::new().message(net::LAYERS_V1, oldest), "upgrade_net_proto_binary"),
        (Message::new().message(net::LAYERS_V1, unknown), "layer \"x\" is of type 999"),
        (
            sound.clone().message(net::INPUT_SHAPE, sizes(&[1, 3, 5, 6])),
            "its input is [1, 3, 5, 6]",
        ),
        (sound.clone().message(net::INPUT_SHAPE, sizes(&[1, 3, 5, 5, 5])), "more than 4 numbers"),
        (sound.clone().message(net::LAYER, input), "its input is [1, 3, 5, 6]"),
        (sound.clone().varint(net::LAYER, 1), "field 100 does not hold bytes"),
    ] {
        let fault = read(Slice::of_file(&bytes_of(&net))).expect_err(expected).to_string();
        assert!(fault.contains(expected), "{fault}\n{expected}");
    }
    let dims = [10, 3, 227, 227].iter().fold(sound, |net, &size| net.varint(net::INPUT_DIM, size));
    let found = read(Slice::of_file(&bytes_of(&dims))).expect("read");
    assert_eq!(found.image_size, Some(227));
    // A group, protobuf's oldest form of a message, within another.
    let fault = read(Slice::of_file(b"\xa2\x06\x02\x0b\x0c")).expect_err("refused");
    assert_eq!((fault.offset, &*fault.reason), (3, "field 1 has wire type 3"));
}

/// What a reader may give of a damaged file.
fn is_sound(found: &Found) -> bool {
    let sound = |array: &Array| {
        array.values.len() == array.shape.iter().product::<usize>()
            && array.values.iter().all(|value| value.is_finite())
    };
    found.arrays.iter().all(sound)
}

#[test]
fn damaged_nets_are_refused_or_sound() {
    let bytes = written(&network(ModelName::Caffe, 0.01, 67));
    for file in [in_old_form(&bytes), bytes] {
        for len in 0..file.len() {
            let found = read(Slice::of_file(&file[..len]));
            assert!(found.as_ref().is_ok_and(is_sound) || found.is_err(), "cut at {len}");
        }
        let mut file = file;
        for (index, bit) in (0..file.len()).flat_map(|index| (0..8).map(move |bit| (index, bit))) {
            // Numbers are most of the file: of each of their bytes, one bit in turn.
            if index % 8 != bit && index > 2000 {
                continue;
            }
            file[index] ^= 1 << bit;
            let found = read(Slice::of_file(&file));
            assert!(found.as_ref().is_ok_and(is_sound) || found.is_err(), "bit {bit} of {index}");
            file[index] ^= 1 << bit;
        }
    }
}

#[test]
fn a_mean_image_comes_back_and_stands_in_the_file_as_blue_green_red() {
    // Of two pixels a side; red 0 to 3, green 10 to 13, blue 20 to 23.
    let levels: Vec<f32> =
        (0..4).flat_map(|place| [0, 10, 20].map(|colour| (colour + place) as f32)).collect();
    let mut bytes = Vec::new();
    write_mean(2, &levels, &mut bytes).expect("written");
    let planes = fields(&bytes)[4].bytes().expect("bytes").bytes;
    let expected = [20, 21, 22, 23, 10, 11, 12, 13, 0, 1, 2, 3].map(|level| level as f32);
    assert_eq!(planes, packed(expected));
    assert_eq!(read_mean(Slice::of_file(&bytes)), Ok((2, levels.clone())));
    let of_three = shaped(&[3, 2, 2]).bytes(blob::DATA, packed(expected));
    assert_eq!(read_mean(Slice::of_file(&bytes_of(&of_three))), Ok((2, levels.clone())));
    let error = write_mean(3, &levels, &mut Vec::new()).expect_err("refused").to_string();
    assert!(error.contains("12 levels are no image of 3 pixels a side"), "{error}");
    for (blob, expected) in [
        (counted(&[3, 2, 3]), "has shape [3, 2, 3]: only that of a square"),
        (counted(&[1, 1, 2, 2]), "has shape [1, 1, 2, 2]"),
        (
            shaped(&[3, 1, 1]).bytes(blob::DATA, packed([0.0, f32::INFINITY, 0.0])),
            "inf at element 1",
        ),
        (Message::new().varint(blob::NUM, 1), "has 0 values"),
        (shaped(&[3, 1 << 31, 1 << 31]), "has 0 values, but its shape"),
    ] {
        let fault = read_mean(Slice::of_file(&bytes_of(&blob))).expect_err(expected).to_string();
        assert!(fault.contains(expected) && fault.contains("the mean image"), "{fault}");
    }
    for len in 0..bytes.len() {
        read_mean(Slice::of_file(&bytes[..len])).expect_err("cut off");
    }
}
