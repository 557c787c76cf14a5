//! `alexnet doctor`: what this machine computes with, one plain line each, and what is missing.

use alexnet_cpu::Isa;
use alexnet_cuda::{Cuda, CudaError, Library};
use alexnet_ops::{Device, Precision};

use crate::Ended;
use crate::machine::{cores, memory_bytes};
use crate::terminal::print;

const GIB: f64 = (1 << 30) as f64;

pub(crate) fn run() -> anyhow::Result<Ended> {
    processor()?;
    for library in Library::ALL {
        match alexnet_cuda::find(library) {
            Ok(found) => line("library", &format!("{library}: {}", found.path))?,
            Err(error) if library.is_optional() => {
                let loss = "convolutions are several times slower without it";
                line("library", &format!("missing, and {loss}: {error}"))?;
            }
            Err(error) => line("library", &format!("missing: {error}"))?,
        }
    }
    let chosen = gpus()?;
    line("--device auto", &chosen)?;
    Ok(Ended::Done)
}

fn processor() -> anyhow::Result<()> {
    let isa = match Isa::choose() {
        Ok(isa) => isa.to_string(),
        Err(error) => error.to_string(),
    };
    let memory =
        memory_bytes().map_or(String::new(), |bytes| format!(", {} of memory", gib(bytes)));
    line("processor", &format!("{} cores, computes with {isa}{memory}", cores()))
}

/// Says of each GPU whether it can be used, and returns what `--device auto` takes.
fn gpus() -> anyhow::Result<String> {
    let count = match Cuda::count() {
        Ok(count) => count,
        Err(error) => {
            line("GPU", &format!("none that can be asked: {}", of_library(&error)))?;
            return Ok("the processor".to_owned());
        }
    };
    let (major, minor) = Cuda::driver_version()?;
    line("driver", &format!("for CUDA {major}.{minor}"))?;
    if count == 0 {
        line("GPU", &CudaError::NoDevice.to_string())?;
    }
    let mut chosen = "the processor".to_owned();
    for number in 0..count {
        match Cuda::new(number, Precision::F32) {
            Ok(gpu) => {
                let (name, memory) = (gpu.name(), gib(gpu.memory_bytes() as u64));
                line("GPU", &format!("{name}: {}, {memory}, can be used", gpu.architecture()))?;
                if number == 0 {
                    chosen = name;
                }
            }
            Err(error) => line("GPU", &format!("number {number} cannot be used: {error}"))?,
        }
    }
    Ok(chosen)
}

/// An error of a library was told of where libraries are.
fn of_library(error: &CudaError) -> String {
    match error {
        CudaError::Missing { library, .. }
        | CudaError::Unloadable { library, .. }
        | CudaError::TooOld { library, .. } => format!("that takes {library}"),
        other => other.to_string(),
    }
}

fn line(about: &str, what: &str) -> anyhow::Result<()> {
    print(&format!("{about:<14}{what}"))
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / GIB)
}
