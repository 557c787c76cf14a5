//! The kernels compile with NVIDIA's compiler for every kind of GPU, where that compiler is at hand:
//! on the loader's path, in a folder that `ALEXNET_CUDA_PATH` names, or in the active Python's
//! packages (`pip install nvidia-cuda-nvrtc`). No GPU is needed.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use alexnet_cuda::{Architecture, CudaError, Library, compile, find, source};
use alexnet_ops::Precision;

/// A100, H100, B200, and the RTX 50 series.
const ARCHITECTURES: [u32; 4] = [80, 90, 100, 120];

fn is_here(library: Library) -> bool {
    match find(library) {
        Ok(found) => {
            eprintln!("{library}: {}", found.path);
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            false
        }
    }
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    if !is_here(Library::Compiler) {
        return;
    }
    std::thread::scope(|scope| {
        for precision in [Precision::F32, Precision::Bf16] {
            scope.spawn(move || {
                ARCHITECTURES.map(|number| compiles(Architecture(number), precision))
            });
        }
    });
}

fn compiles(architecture: Architecture, precision: Precision) {
    let source = source(precision);
    let program = compile(source, architecture).unwrap_or_else(|error| panic!("{error}"));
    for text in source.split("extern \"C\" __global__ void ").skip(1) {
        let name = text.split('(').next().unwrap_or_default();
        let is_there = program.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        assert!(is_there, "{name} for {architecture} in {precision:?}");
    }
}

#[test]
fn a_source_that_does_not_compile_is_an_error_that_says_where() {
    if !is_here(Library::Compiler) {
        return;
    }
    let broken = source(Precision::F32).replacen("__syncthreads();", "__syncthreads(;", 1);
    let error = compile(&broken, Architecture(90)).expect_err("a syntax error");
    assert!(
        matches!(&error, CudaError::Compiler { log, .. } if log.contains("alexnet.cu(")),
        "{error}"
    );
}

#[test]
fn the_libraries_at_hand_have_every_function_that_is_called() {
    // `find` has asked for each.
    is_here(Library::Products);
    is_here(Library::Convolutions);
}
