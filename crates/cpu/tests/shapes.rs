//! Shapes that no network has: every odd number of channels, every small window.

use alexnet_cpu::{Cpu, Isa};
use alexnet_ops::conformance::{Case, TOLERANCE, compare, values};
use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, Device, Dropout, DropoutKey, LrnRegion, LrnShape,
    MaxPoolShape, Precision, Reference, Rounding, output_size,
};

fn devices() -> Vec<Cpu> {
    let with = |isa| Cpu::with(2, isa, Precision::F32).expect("threads start");
    Isa::available().into_iter().map(with).collect()
}

/// Every case on every set of instructions beside the reference.
fn check(cases: impl Iterator<Item = Case>) {
    let (reference, devices) = (Reference::<f32>::new(), devices());
    for case in cases {
        let expected = case.run(&reference);
        for device in &devices {
            let name = format!("{} {case:?}", device.isa());
            for ((output, expected), (_, found)) in expected.iter().zip(&case.run(device)) {
                let failure = compare(&name, output, expected, found, TOLERANCE);
                assert!(failure.is_none(), "{failure:#?}");
            }
        }
    }
}

fn max_pool(side: [usize; 2], channels: usize, size: usize, stride: usize) -> MaxPoolShape {
    let out = |input| output_size(input, size, stride, 0, Rounding::Ceil).expect("a window fits");
    let [in_h, in_w] = side;
    let (out_h, out_w) = (out(in_h), out(in_w));
    MaxPoolShape { batch: 2, in_h, in_w, out_h, out_w, channels, size, stride }
}

fn lrn(side: [usize; 2], channels: usize, region: LrnRegion, size: usize) -> LrnShape {
    let [height, width] = side;
    let (alpha, beta, k) = (0.2, 0.75, 1.5);
    LrnShape { batch: 2, height, width, channels, region, size, alpha, beta, k }
}

fn batch_norm(rows: usize, channels: usize, activation: Activation) -> Case {
    let shape = BatchNormShape { rows, channels, epsilon: 1e-5, momentum: 0.1 };
    Case::BatchNorm(shape, activation, None)
}

#[test]
fn any_number_of_channels_is_right() {
    check((1..=40).flat_map(|channels| {
        let average = |in_h, in_w, out_h, out_w| {
            Case::AveragePool(AveragePoolShape { batch: 2, in_h, in_w, out_h, out_w, channels })
        };
        let key = DropoutKey { seed: 3, step: 1 << 33, layer: 2, first: 0 };
        [
            average(5, 4, 3, 4),
            average(3, 3, 3, 3),
            Case::Lrn(lrn([3, 2], channels, LrnRegion::AcrossMaps { groups: 1 }, 5)),
            Case::Lrn(lrn([3, 4], 2 * channels, LrnRegion::AcrossMaps { groups: 2 }, 4)),
            Case::Lrn(lrn([4, 3], channels, LrnRegion::SameMap, 3)),
            batch_norm(70, channels, Activation::Identity),
            batch_norm(70, channels, Activation::Relu),
            Case::Relu(channels),
            Case::Dropout(37 * channels, Dropout::Masked { rate: 0.3, kept_scale: 1.5, key }),
        ]
    }));
}

#[test]
fn response_normalisation_is_right_however_large_the_window() {
    check((1..=9).flat_map(|size| {
        [1, 2, 3, 6, 20].into_iter().flat_map(move |channels| {
            let across = [1, 2, 3].into_iter().filter(move |groups| channels % groups == 0);
            let across = across.map(|groups| LrnRegion::AcrossMaps { groups });
            across
                .chain([LrnRegion::SameMap])
                .map(move |region| Case::Lrn(lrn([4, 5], channels, region, size)))
        })
    }));
}

#[test]
fn other_exponents_than_the_published_one_are_right() {
    check([0.5, 0.6, 1.0, 2.0].into_iter().flat_map(|beta| {
        [LrnRegion::AcrossMaps { groups: 1 }, LrnRegion::SameMap]
            .map(|region| Case::Lrn(LrnShape { beta, ..lrn([4, 3], 21, region, 5) }))
    }));
}

/// Sums over more rows and columns than one piece of work has, and over wide rows.
#[test]
fn batch_normalisation_is_right_at_any_number_of_rows() {
    let rows = [(1, 3), (63, 9), (64, 600), (65, 1), (129, 1025), (9000, 5)];
    check(rows.into_iter().flat_map(|(rows, channels)| {
        [Activation::Identity, Activation::Relu].map(|a| batch_norm(rows, channels, a))
    }));
}

/// What max pooling gives of `x`: the maxima's bits and where a gradient of whole numbers goes.
fn pooled<D: Device>(device: &D, x: &[f32], shape: &MaxPoolShape) -> (Vec<u32>, Vec<f32>) {
    let (in_len, out_len) = (shape.input_len(), shape.output_len());
    let upload = |values: &[f32]| {
        let mut array = device.floats(values.len());
        device.upload(&mut array, values);
        array
    };
    let d_y: Vec<f32> = (0..out_len).map(|i| (i % 1000 + 1) as f32).collect();
    let (mut y, mut d_x) = (upload(&vec![0.5; out_len]), upload(&vec![f32::NAN; in_len]));
    let mut positions = device.bytes(out_len);
    device.max_pool_forward(&mut y, &mut positions, &upload(x), shape);
    device.max_pool_backward(&mut d_x, &upload(&d_y), &positions, shape);
    let (mut maxima, mut gradient) = (vec![0.0; out_len], vec![0.0; in_len]);
    device.download(&mut maxima, &y);
    device.download(&mut gradient, &d_x);
    // One NaN is as good as another.
    let bits = |value: f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    (maxima.into_iter().map(bits).collect(), gradient)
}

/// Max pooling of every shape beside the reference, to the bit: of any values, and of so few that
/// windows are full of equals.
fn check_max_pooling(shapes: impl Iterator<Item = MaxPoolShape>, levels: &[f32]) {
    let devices = devices();
    for shape in shapes {
        let any = values(shape.input_len(), 7, 1.0);
        let level = |x: &f32| levels[((x + 1.0) / 2.0 * levels.len() as f32) as usize];
        let few: Vec<f32> = any.iter().map(level).collect();
        for x in [&any, &few] {
            let expected = pooled(&Reference::<f32>::new(), x, &shape);
            for device in &devices {
                let found = pooled(device, x, &shape);
                assert!(found == expected, "{} {shape:?}, {levels:?}", device.isa());
            }
        }
    }
}

#[test]
fn max_pooling_is_right_at_any_number_of_channels() {
    let channels = (1..=40).chain([63, 64, 65, 130]);
    check_max_pooling(channels.map(|channels| max_pool([9, 8], channels, 3, 2)), &[0.0, 1.0]);
}

#[test]
fn max_pooling_is_right_at_every_size_and_stride() {
    let windows = (1..=5).flat_map(|size| (1..=5).map(move |stride| (size, stride)));
    let shapes = windows.chain([(15, 4)]).flat_map(|(size, stride)| {
        [[15, 15], [16, 19], [29, 17]].map(|side| max_pool(side, 19, size, stride))
    });
    check_max_pooling(shapes, &[-1.0, 0.0, 2.0]);
}

#[test]
fn equals_infinities_and_nans_are_pooled_as_in_the_reference() {
    const NAN: f32 = f32::NAN;
    const INFINITY: f32 = f32::INFINITY;
    let levels: [&[f32]; 6] = [
        &[NAN, INFINITY, -INFINITY, 0.0, -0.0, 1.0, -1.0, f32::MIN],
        &[-INFINITY],
        &[-INFINITY, f32::MIN],
        &[0.0, -0.0],
        &[NAN, 1.0],
        &[NAN],
    ];
    for levels in levels {
        let windows = [(1, 3, 2), (17, 3, 2), (64, 2, 2), (83, 5, 3), (4, 4, 1)];
        let shapes =
            windows.map(|(channels, size, stride)| max_pool([11, 9], channels, size, stride));
        check_max_pooling(shapes.into_iter(), levels);
    }
}
