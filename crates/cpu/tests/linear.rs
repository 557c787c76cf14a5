//! The linear layer beside the plain loops: sizes around the borders of its tiles, every set of
//! instructions, any number of threads, both precisions.

use alexnet_cpu::{Cpu, Isa};
use alexnet_ops::conformance::{Case, TOLERANCE, compare, values};
use alexnet_ops::{
    Activation, Device, LinearShape, Precision, Reference, SgdStep, SgdUpdate, UpdateRule,
};

/// Sizes up to twice the tile of each dimension (14 or 6 rows, up to 32 columns, chunks of 256).
const BATCHES: [usize; 12] = [1, 2, 3, 5, 7, 8, 9, 14, 27, 29, 64, 131];
const FEATURES: [usize; 14] = [1, 2, 3, 7, 8, 13, 15, 16, 17, 29, 31, 33, 63, 65];
const LONG: [usize; 6] = [255, 256, 257, 300, 513, 700];

/// Every batch with a third of all pairs of features, and long sums.
fn shapes() -> impl Iterator<Item = LinearShape> {
    let pairs = FEATURES.iter().flat_map(|&i| FEATURES.iter().map(move |&o| (i, o)));
    let short = BATCHES.iter().enumerate().flat_map(move |(n, &batch)| {
        pairs.clone().skip(n % 3).step_by(3).map(move |(inputs, outputs)| (batch, inputs, outputs))
    });
    let long = LONG.into_iter().flat_map(|long| {
        [(long, 9, 17), (9, long, 17), (9, 17, long), (40, long, 90), (1, long, 3), (6, 5, long)]
    });
    short.chain(long).map(|(batch, inputs, outputs)| LinearShape { batch, inputs, outputs })
}

fn step(rule: UpdateRule) -> SgdStep {
    SgdStep { rule, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.05 }
}

#[test]
fn every_size_agrees_with_the_plain_loops_on_every_isa() {
    let reference = Reference::<f32>::new();
    let devices: Vec<Cpu> = Isa::available()
        .into_iter()
        .map(|isa| Cpu::with(2, isa, Precision::F32).expect("threads start"))
        .collect();
    for (index, shape) in shapes().enumerate() {
        let activation = [Activation::Identity, Activation::Relu][index % 2];
        let rule = [UpdateRule::Paper, UpdateRule::PyTorch][index % 2];
        for case in [Case::Linear(shape, activation), Case::LinearUpdate(shape, step(rule))] {
            let expected = case.run(&reference);
            for cpu in &devices {
                for ((output, expected), (_, found)) in expected.iter().zip(&case.run(cpu)) {
                    let name = format!("{case:?} on {}", cpu.isa());
                    let failure = compare(&name, output, expected, found, TOLERANCE);
                    assert_eq!(failure, None);
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits_on_every_isa() {
    for isa in Isa::available() {
        let device = |threads| Cpu::with(threads, isa, Precision::F32).expect("threads start");
        let (one, many) = (device(1), [2, 3, 8].map(device));
        for (batch, inputs, outputs) in [(1, 700, 90), (8, 65, 70), (37, 600, 333), (300, 40, 500)]
        {
            let shape = LinearShape { batch, inputs, outputs };
            for case in [
                Case::Linear(shape, Activation::Relu),
                Case::LinearUpdate(shape, step(UpdateRule::Paper)),
            ] {
                let expected = case.run(&one);
                for cpu in &many {
                    assert_same_bits(
                        &format!("{case:?} on {}", cpu.name()),
                        &expected,
                        &case.run(cpu),
                    );
                }
            }
        }
    }
}

fn assert_same_bits(
    case: &str,
    expected: &[(&'static str, Vec<f32>)],
    found: &[(&'static str, Vec<f32>)],
) {
    for ((output, expected), (_, found)) in expected.iter().zip(found) {
        let differs = expected.iter().zip(found).position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "{output} of {case}");
    }
}

#[test]
fn an_update_in_place_is_the_gradient_and_then_the_update_to_the_bit() {
    for isa in Isa::available() {
        let cpu = Cpu::with(2, isa, Precision::F32).expect("threads start");
        for (batch, inputs, outputs) in [(1, 33, 5), (17, 257, 91), (128, 100, 64), (300, 70, 33)] {
            for rule in [UpdateRule::Paper, UpdateRule::PyTorch] {
                let shape = LinearShape { batch, inputs, outputs };
                let name = format!("{shape:?} {rule:?} {isa}");
                let expected = updated_in_two(&cpu, &shape, &step(rule));
                assert_same_bits(
                    &name,
                    &expected,
                    &Case::LinearUpdate(shape, step(rule)).run(&cpu),
                );
            }
        }
    }
}

/// What `Case::LinearUpdate` does, by way of a stored gradient.
fn updated_in_two(cpu: &Cpu, shape: &LinearShape, step: &SgdStep) -> Vec<(&'static str, Vec<f32>)> {
    let LinearShape { batch, inputs, outputs } = *shape;
    let len = inputs * outputs;
    let up = |len, salt| {
        let mut array = cpu.floats(len);
        cpu.upload(&mut array, &values(len, salt, 1.0));
        array
    };
    let (x, d_y) = (up(batch * inputs, 1), up(batch * outputs, 4));
    let (mut weights, mut velocity) = (up(len, 2), up(len, 3));
    let (mut gradient, mut d_bias) = (cpu.floats(len), cpu.floats(outputs));
    cpu.linear_backward_weights(&mut gradient, &mut d_bias, &d_y, &x, shape);
    cpu.sgd_update(SgdUpdate {
        weights: &mut weights,
        velocity: &mut velocity,
        gradient: &gradient,
        step: *step,
        trust: None,
        len,
    });
    vec![
        ("weights", weights.to_vec()),
        ("velocity", velocity.to_vec()),
        ("d_bias", d_bias.to_vec()),
    ]
}

/// A linear layer's outputs; `settled` says how its weights are kept.
fn forward(
    cpu: &Cpu,
    shape: &LinearShape,
    [x, weights, bias]: [&[f32]; 3],
    settled: bool,
) -> Vec<f32> {
    let up = |values: &[f32]| {
        let mut array = cpu.floats(values.len());
        cpu.upload(&mut array, values);
        array
    };
    let (x, mut weights, bias) = (up(x), up(weights), up(bias));
    let mut y = up(&vec![f32::NAN; shape.batch * shape.outputs]);
    if settled {
        cpu.settle(&mut weights);
    }
    cpu.linear_forward(&mut y, &x, &weights, &bias, Activation::Relu, shape);
    y.to_vec()
}

/// Inputs of which one in `one_in` is not 0.
fn sparse(len: usize, one_in: usize) -> Vec<f32> {
    let value = |(i, value)| if i % one_in == 0 { value } else { 0.0 };
    values(len, 1, 1.0).into_iter().enumerate().map(value).collect()
}

#[test]
fn settled_weights_batches_and_zeros_left_out_give_the_same_bits() {
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Amx) {
        let cpu = Cpu::with(2, isa, Precision::F32).expect("threads start");
        for (inputs, outputs) in [(1, 1), (7, 40), (256, 33), (257, 16), (700, 90), (1024, 49)] {
            for one_in in [1, 2, 5, 11] {
                let all = LinearShape { batch: 20, inputs, outputs };
                let (x, weights) = (sparse(20 * inputs, one_in), values(inputs * outputs, 2, 1.0));
                let bias = values(outputs, 3, 1.0);
                let expected = forward(&cpu, &all, [&x, &weights, &bias], false);
                for batch in [1, 2, 3, 7, 8, 9, 17, 20] {
                    let shape = LinearShape { batch, ..all };
                    for settled in [false, true] {
                        let x = &x[..batch * inputs];
                        let found = forward(&cpu, &shape, [x, &weights, &bias], settled);
                        let name = format!("{shape:?}, settled: {settled}, {one_in}, {isa}");
                        let expected = expected[..batch * outputs].to_vec();
                        assert_same_bits(&name, &[("y", expected)], &[("y", found)]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_zero_is_not_left_out_where_a_weight_makes_it_no_number() {
    let shape = LinearShape { batch: 1, inputs: 400, outputs: 40 };
    let (x, bias) = (sparse(400, 10), vec![0.0; 40]);
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            let cpu = Cpu::with(2, isa, precision).expect("threads start");
            for bad in [f32::INFINITY, f32::NAN] {
                let mut weights = values(400 * 40, 2, 1.0);
                weights[39 * 400 + 1] = bad; // meets a zero
                let y = forward(&cpu, &shape, [&x, &weights, &bias], true);
                assert!(
                    y[39].is_nan() && y[..39].iter().all(|y| y.is_finite()),
                    "{isa} {bad}: {y:?}"
                );
            }
        }
    }
}

#[test]
fn bf16_stays_within_a_hundredth_and_sees_new_weights() {
    for isa in Isa::available() {
        let cpu = Cpu::with(2, isa, Precision::Bf16).expect("threads start");
        let reference = Reference::<f32>::new();
        for (batch, inputs, outputs) in
            [(1, 1, 1), (1, 300, 70), (3, 33, 17), (8, 1001, 5), (40, 70, 9)]
        {
            let shape = LinearShape { batch, inputs, outputs };
            for case in [
                Case::Linear(shape, Activation::Relu),
                Case::LinearUpdate(shape, step(UpdateRule::Paper)),
            ] {
                let expected = case.run(&reference);
                for ((output, expected), (_, found)) in expected.iter().zip(&case.run(&cpu)) {
                    let name = format!("{case:?} on {isa}");
                    assert_eq!(compare(&name, output, expected, found, 1e-2), None);
                }
            }
        }
        let (shape, ones) = (LinearShape { batch: 1, inputs: 1, outputs: 1 }, [1.0]);
        let (mut x, mut weights, bias) = (cpu.floats(1), cpu.floats(1), cpu.floats(1));
        let mut y = cpu.floats(1);
        cpu.upload(&mut x, &ones);
        for weight in [3.0, 5.0, 7.0, 11.0] {
            cpu.upload(&mut weights, &[weight]);
            if weight > 5.0 {
                cpu.settle(&mut weights);
            }
            cpu.linear_forward(&mut y, &x, &weights, &bias, Activation::Identity, &shape);
            assert_eq!(y[0], weight, "{isa}");
        }
    }
}
