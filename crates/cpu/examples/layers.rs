use alexnet_cpu::{Cpu, Isa};
use alexnet_ops::{Activation, ConvShape, Device, LinearShape, Precision, conformance::values};
use std::time::Instant;
fn time(mut f: impl FnMut()) -> f64 {
    f();
    f();
    let mut t: Vec<f64> = (0..9)
        .map(|_| {
            let b = Instant::now();
            f();
            b.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    t.sort_by(f64::total_cmp);
    t[4]
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: usize = a[1].parse().unwrap();
    let prec = if a.get(2).is_some_and(|p| p == "bf16") { Precision::Bf16 } else { Precision::F32 };
    let cpu = Cpu::with(2, Isa::choose().unwrap(), prec).unwrap();
    let up = |len: usize, salt: u32| {
        let mut x = cpu.floats(len);
        cpu.upload(&mut x, &values(len, salt, 1.0));
        x
    };
    let mut total = [0.0; 3];

    for (name, h, c, p, k, kernel, stride, pad) in [
        ("conv1", 224, 3, 55, 96, 11, 4, 2),
        ("conv2", 27, 96, 27, 256, 5, 1, 2),
        ("conv3", 13, 256, 13, 384, 3, 1, 1),
        ("conv4", 13, 384, 13, 384, 3, 1, 1),
        ("conv5", 13, 384, 13, 256, 3, 1, 1),
    ] {
        let s = ConvShape {
            batch: n,
            in_h: h,
            in_w: h,
            in_c: c,
            out_h: p,
            out_w: p,
            out_c: k,
            kernel,
            stride,
            pad,
            groups: 1,
        };
        let (x, w, b, dy) =
            (up(s.input_len(), 1), up(s.weights_len(), 2), up(k, 3), up(s.output_len(), 4));
        let (mut y, mut dx, mut dw, mut db) = (
            cpu.floats(s.output_len()),
            cpu.floats(s.input_len()),
            cpu.floats(s.weights_len()),
            cpu.floats(k),
        );
        let gf = 2e-6 * s.macs() as f64;
        let f = time(|| cpu.conv_forward(&mut y, &x, &w, &b, Activation::Relu, &s));
        let bi = if name == "conv1" {
            0.0
        } else {
            time(|| cpu.conv_backward_input(&mut dx, &dy, &w, &s))
        };
        let bw = time(|| cpu.conv_backward_weights(&mut dw, &mut db, &dy, &x, &s));
        println!(
            "{name} fwd {f:.2} ms ({:.0}) d_x {bi:.2} ({:.0}) d_w {bw:.2} ({:.0} GFLOP/s)",
            gf / f,
            gf / bi,
            gf / bw
        );
        total[0] += f;
        total[1] += bi;
        total[2] += bw;
    }
    println!("conv total {total:.1?} = {:.1}", total.iter().sum::<f64>());
    let mut total = [0.0; 3];
    for (i, o) in [(9216, 4096), (4096, 4096), (4096, 1000)] {
        let s = LinearShape { batch: n, inputs: i, outputs: o };
        let (x, mut w, b, dy, mut v) =
            (up(n * i, 1), up(i * o, 2), up(o, 3), up(n * o, 4), cpu.floats(i * o));
        let (mut y, mut dx, mut db) = (cpu.floats(n * o), cpu.floats(n * i), cpu.floats(o));
        let step = alexnet_ops::SgdStep {
            rule: alexnet_ops::UpdateRule::PyTorch,
            learning_rate: 0.0,
            momentum: 0.9,
            weight_decay: 5e-4,
        };
        let f = time(|| cpu.linear_forward(&mut y, &x, &w, &b, Activation::Relu, &s));
        let bi = time(|| cpu.linear_backward_input(&mut dx, &dy, &w, &s));
        let bw = time(|| cpu.linear_backward_update(&mut w, &mut v, &mut db, &dy, &x, &step, &s));
        println!("fc {i}x{o} fwd {f:.2} ms d_x {bi:.2} update {bw:.2}");
        total[0] += f;
        total[1] += bi;
        total[2] += bw;
    }
    println!("fc total {total:.1?} = {:.1}", total.iter().sum::<f64>());
}
