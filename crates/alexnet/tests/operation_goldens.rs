//! Every operation of every device, held to the numbers PyTorch computed in
//! `goldens/operations.safetensors`.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod support {
    pub(crate) mod check;
    pub(crate) mod goldens;
}

use alexnet_cpu::{Cpu, Isa};
use alexnet_cuda::Cuda;
use alexnet_ops::{Precision, Reference};
use support::{check::check, goldens::Goldens};

#[test]
fn every_operation_of_the_reference_equals_pytorch_forward_and_backward() {
    let failures = check(&Reference::<f32>::new(), &Goldens::read());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_operation_of_the_cpu_equals_pytorch_forward_and_backward() {
    for isa in Isa::available() {
        let cpu = Cpu::with(2, isa, Precision::F32).expect("threads start");
        let failures = check(&cpu, &Goldens::read());
        assert!(failures.is_empty(), "{isa}: {failures:#?}");
    }
}

#[test]
fn every_operation_of_the_gpu_equals_pytorch_forward_and_backward() {
    match Cuda::new(0, Precision::F32) {
        Ok(gpu) => {
            let failures = check(&gpu, &Goldens::read());
            assert!(failures.is_empty(), "{failures:#?}");
        }
        Err(error) if error.is_absence() => {
            eprintln!("SKIPPED: no GPU to run this on: {error}");
        }
        Err(error) => panic!("{error}"),
    }
}
