//! The convolutions of the six models: as accurate as promised, the same bits for any number of
//! threads.

use alexnet_cpu::{Cpu, Isa};
use alexnet_ops::conformance::{Case, values};
use alexnet_ops::{Activation, ConvShape, Device, Precision};

/// Side, input maps, side, output maps, kernel, stride, padding, groups.
type Row = (usize, usize, usize, usize, usize, usize, usize, usize);

const CONVOLUTIONS: [Row; 14] = [
    (224, 3, 55, 96, 11, 4, 0, 1),  // conv1 of original
    (227, 3, 55, 96, 11, 4, 0, 1),  // conv1 of paper, caffe and caffenet
    (224, 3, 55, 96, 11, 4, 2, 1),  // conv1 of modern
    (224, 3, 55, 64, 11, 4, 2, 1),  // conv1 of torchvision
    (27, 96, 27, 256, 5, 1, 2, 2),  // conv2 of the four with two towers
    (27, 96, 27, 256, 5, 1, 2, 1),  // conv2 of modern
    (27, 64, 27, 192, 5, 1, 2, 1),  // conv2 of torchvision
    (13, 256, 13, 384, 3, 1, 1, 1), // conv3 of all but torchvision
    (13, 192, 13, 384, 3, 1, 1, 1), // conv3 of torchvision
    (13, 384, 13, 384, 3, 1, 1, 2), // conv4 of the four with two towers
    (13, 384, 13, 384, 3, 1, 1, 1), // conv4 of modern
    (13, 384, 13, 256, 3, 1, 1, 1), // conv4 of torchvision, conv5 of modern
    (13, 384, 13, 256, 3, 1, 1, 2), // conv5 of the four with two towers
    (13, 256, 13, 256, 3, 1, 1, 1), // conv5 of torchvision
];

/// Largest relative error (L2) of results in `f32`.
const ERROR: f64 = 1e-5;

/// How many elements of a result are computed again in `f64`: all over it, borders included.
const CHECKED: usize = 1000;

fn shape(batch: usize, row: Row) -> ConvShape {
    let (side, in_c, out, out_c, kernel, stride, pad, groups) = row;
    let (in_h, in_w, out_h, out_w) = (side, side, out, out);
    ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups }
}

fn devices(threads: usize, precision: Precision) -> impl Iterator<Item = Cpu> {
    let with = move |isa| Cpu::with(threads, isa, precision).expect("threads start");
    Isa::available().into_iter().map(with)
}

/// A convolution's inputs: images as ReLU leaves them, the rest of either sign.
struct Layer {
    shape: ConvShape,
    x: Vec<f32>,
    weights: Vec<f32>,
    d_y: Vec<f32>,
}

impl Layer {
    fn new(shape: ConvShape) -> Self {
        let x = values(shape.input_len(), 1, 1.0).iter().map(|x| x.max(0.0)).collect();
        let weights = values(shape.weights_len(), 2, 1.0);
        Self { shape, x, weights, d_y: values(shape.output_len(), 4, 1.0) }
    }

    /// Output, input gradient and weight gradient on `cpu`.
    fn results(&self, cpu: &Cpu) -> [Vec<f32>; 3] {
        let shape = &self.shape;
        let up = |values: &[f32]| {
            let mut array = cpu.floats(values.len());
            cpu.upload(&mut array, values);
            array
        };
        let (x, weights, d_y) = (up(&self.x), up(&self.weights), up(&self.d_y));
        let (bias, mut d_bias) = (cpu.floats(shape.out_c), cpu.floats(shape.out_c));
        let (mut y, mut d_x) = (cpu.floats(self.d_y.len()), cpu.floats(self.x.len()));
        let mut d_weights = cpu.floats(self.weights.len());
        cpu.conv_forward(&mut y, &x, &weights, &bias, Activation::Identity, shape);
        cpu.conv_backward_input(&mut d_x, &d_y, &weights, shape);
        cpu.conv_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, shape);
        [y.to_vec(), d_x.to_vec(), d_weights.to_vec()]
    }

    /// Element `index` of the output.
    fn output(&self, index: usize) -> f64 {
        let ConvShape { in_h, in_w, out_h, out_w, out_c, kernel, .. } = self.shape;
        let (n, p, q, k) = split(index, [out_h, out_w, out_c]);
        let taps = (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel));
        taps.filter_map(|(r, s)| {
            Some(self.over_inputs(
                (n, self.shape.tap(p, r, in_h)?, self.shape.tap(q, s, in_w)?),
                (k, r, s),
            ))
        })
        .sum()
    }

    /// The product of a pixel with a kernel's tap.
    fn over_inputs(
        &self,
        (n, h, w): (usize, usize, usize),
        (k, r, s): (usize, usize, usize),
    ) -> f64 {
        let ConvShape { in_h, in_w, in_c, out_c, kernel, groups, .. } = self.shape;
        let (inputs, group) = (in_c / groups, k / (out_c / groups));
        let pixel = &self.x[((n * in_h + h) * in_w + w) * in_c + group * inputs..][..inputs];
        let tap = &self.weights[((k * kernel + r) * kernel + s) * inputs..][..inputs];
        pixel.iter().zip(tap).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
    }

    /// Element `index` of the input gradient.
    fn input_gradient(&self, index: usize) -> f64 {
        let ConvShape { in_h, in_w, in_c, out_h, out_w, out_c, kernel, groups, .. } = self.shape;
        let (n, h, w, c) = split(index, [in_h, in_w, in_c]);
        let (inputs, outputs) = (in_c / groups, out_c / groups);
        let mut sum = 0.0;
        for (r, s) in (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel)) {
            let (Some(p), Some(q)) = (self.window(h, r, out_h), self.window(w, s, out_w)) else {
                continue;
            };
            for k in c / inputs * outputs..(c / inputs + 1) * outputs {
                let d_y = self.d_y[((n * out_h + p) * out_w + q) * out_c + k];
                let weight = self.weights[((k * kernel + r) * kernel + s) * inputs + c % inputs];
                sum += f64::from(d_y) * f64::from(weight);
            }
        }
        sum
    }

    /// The window whose tap `tap` is at `at`.
    fn window(&self, at: usize, tap: usize, windows: usize) -> Option<usize> {
        let first = (at + self.shape.pad).checked_sub(tap)?;
        let window = first / self.shape.stride;
        (first.is_multiple_of(self.shape.stride) && window < windows).then_some(window)
    }

    /// Element `index` of the weight gradient.
    fn weight_gradient(&self, index: usize) -> f64 {
        let ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, groups, .. } =
            self.shape;
        let inputs = in_c / groups;
        let (k, r, s, c) = split(index, [kernel, kernel, inputs]);
        let channel = k / (out_c / groups) * inputs + c;
        let mut sum = 0.0;
        for window in 0..batch * out_h * out_w {
            let (n, p, q, _) = split(window, [out_h, out_w, 1]);
            let at = (self.shape.tap(p, r, in_h), self.shape.tap(q, s, in_w));
            if let (Some(h), Some(w)) = at {
                let x = self.x[((n * in_h + h) * in_w + w) * in_c + channel];
                sum += f64::from(self.d_y[window * out_c + k]) * f64::from(x);
            }
        }
        sum
    }
}

/// The four indices that `index` was put together from.
fn split(index: usize, [b, c, d]: [usize; 3]) -> (usize, usize, usize, usize) {
    (index / (b * c * d), index / (c * d) % b, index / d % c, index % d)
}

/// The norm of the difference over the norm of what is right, of elements all over `found`.
fn relative_error(found: &[f32], exact: &[(usize, f64)]) -> f64 {
    let difference = |&(index, exact): &(usize, f64)| (f64::from(found[index]) - exact).powi(2);
    let wrong: f64 = exact.iter().map(difference).sum();
    let right: f64 = exact.iter().map(|(_, exact)| exact * exact).sum();
    (wrong / right).sqrt()
}

#[test]
fn every_convolution_of_the_six_models_is_within_a_hundred_thousandth_of_exact() {
    let devices: Vec<Cpu> = devices(2, Precision::F32).collect();
    for row in CONVOLUTIONS {
        let layer = Layer::new(shape(2, row));
        let some = |len: usize, exact: &dyn Fn(usize) -> f64| -> Vec<(usize, f64)> {
            // A step that has no divisor in common with any side or number of maps.
            let index = |i: usize| (i * 1_000_003) % len;
            (0..CHECKED).map(|i| (index(i), exact(index(i)))).collect()
        };
        let exact = [
            some(layer.d_y.len(), &|i| layer.output(i)),
            some(layer.x.len(), &|i| layer.input_gradient(i)),
            some(layer.weights.len(), &|i| layer.weight_gradient(i)),
        ];
        for cpu in &devices {
            let names = ["y", "d_x", "d_weights"];
            for ((name, found), exact) in names.iter().zip(layer.results(cpu)).zip(&exact) {
                let error = relative_error(&found, exact);
                let case = format!("{name} of {:?} with {}: {error:.1e}", layer.shape, cpu.isa());
                assert!(error <= ERROR, "{case}");
            }
        }
    }
}

#[test]
fn real_convolutions_give_the_same_bits_for_any_number_of_threads() {
    let rows = [2, 4, 8, 12, 13].map(|index| CONVOLUTIONS[index]);
    for precision in [Precision::F32, Precision::Bf16] {
        for isa in Isa::available() {
            let device = |threads| Cpu::with(threads, isa, precision).expect("threads start");
            let (one, many) = (device(1), [2, 3, 8].map(device));
            for row in rows {
                let case = Case::Conv(shape(3, row), Activation::Relu);
                let expected = case.run(&one);
                for cpu in &many {
                    for ((output, expected), (_, found)) in expected.iter().zip(&case.run(cpu)) {
                        let mut pairs = expected.iter().zip(found);
                        let differs = pairs.position(|(a, b)| a.to_bits() != b.to_bits());
                        assert_eq!(differs, None, "{output} of {case:?} on {}", cpu.name());
                    }
                }
            }
        }
    }
}
