//! The one place that knows concrete devices.

use alexnet_cpu::{Cpu, Isa};
use alexnet_ops::{Precision, Reference};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::settings::UsageError;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeviceName {
    /// The fastest there is: today the CPU
    #[default]
    Auto,
    /// This machine's processor
    Cpu,
    /// The plain loops that define every operation: slow, to compare with
    Reference,
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
}

/// Flags every computing command has.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DeviceFlags {
    /// What computes
    #[arg(long, value_enum, default_value_t = DeviceName::Auto)]
    pub(crate) device: DeviceName,
    /// Threads that compute; 0 means one a core. Results are the same for any number
    #[arg(long, default_value_t = 0, value_parser = crate::arguments::threads)]
    pub(crate) threads: usize,
    /// What products are formed in
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub(crate) precision: PrecisionName,
}

impl DeviceFlags {
    /// This machine's processor, as the flags want it.
    pub(crate) fn cpu(self) -> anyhow::Result<Cpu> {
        let precision = match self.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Bf16 => Precision::Bf16,
        };
        let isa = Isa::choose().map_err(|error| UsageError(error.to_string()))?;
        Ok(Cpu::with(self.threads, isa, precision)?)
    }

    /// The plain loops, which know one precision.
    pub(crate) fn reference(self) -> Result<Reference<f32>, UsageError> {
        match self.precision {
            PrecisionName::F32 => Ok(Reference::new()),
            PrecisionName::Bf16 => Err(UsageError(
                "--precision is bf16, but --device reference computes in f32 only: leave out one \
                 of the two"
                    .into(),
            )),
        }
    }
}

/// Runs a body with the device the flags name: `on_device!(flags, |device| body)`.
macro_rules! on_device {
    ($flags:expr, |$device:ident| $body:expr) => {{
        let flags: $crate::device::DeviceFlags = $flags;
        match flags.device {
            $crate::device::DeviceName::Auto | $crate::device::DeviceName::Cpu => {
                let $device = flags.cpu()?;
                $body
            }
            $crate::device::DeviceName::Reference => {
                let $device = flags.reference()?;
                $body
            }
        }
    }};
}

pub(crate) use on_device;
