//! The one place that knows concrete devices.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

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

/// Flags every computing command has.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DeviceFlags {
    /// What computes
    #[arg(long, value_enum, default_value_t = DeviceName::Auto)]
    pub(crate) device: DeviceName,
    /// Threads that compute; 0 means one a core. Results are the same for any number
    #[arg(long, default_value_t = 0, value_parser = crate::arguments::threads)]
    pub(crate) threads: usize,
}

/// Runs a body with the device the flags name: `on_device!(flags, |device| body)`.
macro_rules! on_device {
    ($flags:expr, |$device:ident| $body:expr) => {{
        let flags: $crate::device::DeviceFlags = $flags;
        match flags.device {
            $crate::device::DeviceName::Auto | $crate::device::DeviceName::Cpu => {
                let $device = alexnet_cpu::Cpu::new(flags.threads)?;
                $body
            }
            $crate::device::DeviceName::Reference => {
                let $device = alexnet_ops::Reference::<f32>::new();
                $body
            }
        }
    }};
}

pub(crate) use on_device;
