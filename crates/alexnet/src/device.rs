//! The one place that knows concrete devices.

use std::fmt;
use std::str::FromStr;

use alexnet_cpu::{Cpu, Isa};
use alexnet_cuda::{Cuda, CudaError, Products};
use alexnet_ops::{Device, Precision, Reference};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::settings::UsageError;
use crate::terminal::note;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum DeviceName {
    /// The GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// This machine's processor.
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
    /// The plain loops that define every operation: slow, to compare with.
    Reference,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "reference" => Ok(Self::Reference),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "it is auto, cpu, cuda, cuda:N or reference".to_owned()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Reference => f.write_str("reference"),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|known| format!("no device is called {text}: {known}"))
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

/// What products are formed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrecisionName {
    /// In 32 bits
    #[default]
    F32,
    /// Of factors rounded to 16 bits, where that is faster; weights and sums stay f32
    Bf16,
    /// Of factors whose fractions are rounded to 10 bits: a GPU's
    Tf32,
}

impl PrecisionName {
    /// As a processor knows it.
    fn of_a_processor(self) -> Result<Precision, UsageError> {
        match self {
            Self::F32 => Ok(Precision::F32),
            Self::Bf16 => Ok(Precision::Bf16),
            Self::Tf32 => Err(UsageError(
                "--precision is tf32, which GPUs alone have, and the processor computes: leave it \
                 out, or take f32 or bf16"
                    .into(),
            )),
        }
    }

    /// As a GPU knows it.
    fn of_a_gpu(self) -> Products {
        match self {
            Self::F32 => Products::F32,
            Self::Bf16 => Products::Bf16,
            Self::Tf32 => Products::Tf32,
        }
    }
}

/// Flags every computing command has.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DeviceFlags {
    /// What computes: auto (the GPU if there is one, else the CPU), cpu, cuda, cuda:N (an NVIDIA
    /// GPU, counted from 0), or reference (the plain loops that define every operation: slow, to
    /// compare with)
    #[arg(long, default_value_t = DeviceName::Auto)]
    pub(crate) device: DeviceName,
    /// Threads that compute; 0 means one a core. Results are the same for any number
    #[arg(long, default_value_t = 0, value_parser = crate::arguments::threads)]
    pub(crate) threads: usize,
    /// What products are formed in
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub(crate) precision: PrecisionName,
}

/// A device that is ready.
pub(crate) enum Opened {
    Cpu(Cpu),
    Cuda(Cuda),
    Reference(Reference<f32>),
}

impl DeviceFlags {
    /// The device the flags name.
    ///
    /// # Errors
    /// When it is not there or cannot do what the flags want.
    pub(crate) fn open(self) -> anyhow::Result<Opened> {
        match self.device {
            DeviceName::Auto => match self.gpu_if_any() {
                Some(gpu) => Ok(Opened::Cuda(gpu)),
                None => Ok(Opened::Cpu(self.cpu()?)),
            },
            DeviceName::Cpu => Ok(Opened::Cpu(self.cpu()?)),
            DeviceName::Cuda(number) => {
                Ok(Opened::Cuda(Cuda::new(number, self.precision.of_a_gpu())?))
            }
            DeviceName::Reference => Ok(Opened::Reference(self.reference()?)),
        }
    }

    /// The first GPU. What is automatic says what it chose; where there is no GPU, there was no
    /// choice.
    fn gpu_if_any(self) -> Option<Cuda> {
        if !matches!(Cuda::count(), Ok(1..)) {
            return None;
        }
        match Cuda::new(0, self.precision.of_a_gpu()) {
            Ok(gpu) => {
                note(&format!("computing on {}; --device cpu takes the processor", gpu.name()));
                Some(gpu)
            }
            Err(error) => {
                note(&format!("computing on the processor, for {error}"));
                None
            }
        }
    }

    /// This machine's processor, as the flags want it.
    fn cpu(self) -> anyhow::Result<Cpu> {
        let isa = Isa::choose().map_err(|error| UsageError(error.to_string()))?;
        Ok(Cpu::with(self.threads, isa, self.precision.of_a_processor()?)?)
    }

    /// The plain loops, which know one precision.
    fn reference(self) -> Result<Reference<f32>, UsageError> {
        match self.precision {
            PrecisionName::F32 => Ok(Reference::new()),
            PrecisionName::Bf16 | PrecisionName::Tf32 => Err(UsageError(
                "--precision is not f32, but --device reference computes in f32 only: leave out one \
                 of the two"
                    .into(),
            )),
        }
    }
}

/// Runs what uses a GPU: what fails on it in the midst of a step becomes an error here.
pub(crate) fn on_gpu<T>(body: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    alexnet_cuda::catch(body).unwrap_or_else(|error: CudaError| Err(error.into()))
}

/// Runs a body with the device the flags name: `on_device!(flags, |device| body)`. The body is an
/// expression without `?` or `return`.
macro_rules! on_device {
    ($flags:expr, |$device:ident| $body:expr) => {{
        match $crate::device::DeviceFlags::open($flags)? {
            $crate::device::Opened::Cpu($device) => $body,
            $crate::device::Opened::Cuda($device) => $crate::device::on_gpu(|| $body),
            $crate::device::Opened::Reference($device) => $body,
        }
    }};
}

pub(crate) use on_device;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_called_on_the_command_line_what_it_is_called_in_a_run_folder() {
        for (text, name) in [
            ("auto", DeviceName::Auto),
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("reference", DeviceName::Reference),
        ] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceName::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
    }
}
