//! The suite on a GPU, where there is one: what `emulated.rs` asks of the kernels on a processor.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod support;

use alexnet_cuda::{Cuda, Products};
use alexnet_ops::conformance::{TOLERANCE, cases};
use alexnet_ops::{Device, Precision};
use support::{
    TOLERANCE_BF16, agrees, agrees_in_bf16, bf16, bits, borders, by_eights,
    groups_are_of_what_is_there, tf32,
};

/// Sums of thousands of products differ more between a GPU's order and a loop's than between two
/// loops: the project asks for 1e-4 on a GPU.
const TOLERANCE_GPU: f32 = 5.0 * TOLERANCE;

/// The first GPU in this precision, or nothing and a word why.
fn gpu(precision: Precision) -> Option<Cuda> {
    match Cuda::new(0, precision) {
        Ok(device) => {
            eprintln!("on {}", device.name());
            Some(device)
        }
        Err(error) if error.is_absence() => {
            eprintln!("SKIPPED: no GPU to run this on: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_gpu_passes_the_suite() {
    let Some(device) = gpu(Precision::F32) else { return };
    agrees(&device, &cases(), TOLERANCE_GPU);
    agrees(&device, &borders(), TOLERANCE_GPU);
    agrees(&device, &by_eights(), TOLERANCE_GPU);
    let device = device.in_small_pieces();
    agrees(&device, &cases(), TOLERANCE_GPU);
    agrees(&device, &by_eights(), TOLERANCE_GPU);
    groups_are_of_what_is_there(&device);
}

#[test]
fn in_bf16_the_gpu_is_within_a_hundredth() {
    let Some(exact) = gpu(Precision::F32) else { return };
    let Some(rounding) = gpu(Precision::Bf16) else { return };
    bf16(&exact, &rounding);
    let rounding = rounding.in_small_pieces();
    agrees_in_bf16(&rounding, &by_eights(), TOLERANCE_BF16);
    groups_are_of_what_is_there(&rounding);
}

#[test]
fn in_tf32_the_gpu_is_within_two_thousandths() {
    let Some(exact) = gpu(Precision::F32) else { return };
    tf32(&exact, &Cuda::new(0, Products::Tf32).expect("it has TF32 as it has bf16"));
}

#[test]
fn the_gpu_gives_the_same_bits_again() {
    let Some(device) = gpu(Precision::F32) else { return };
    bits(&device);
    bits(&device.in_small_pieces());
}
