//! Which instructions a device computes with: found once at the start, and handed to every kernel.

use std::fmt;

use crate::simd::{Portable, Vector};

/// A set of instructions with a path of its own, from the plainest to the richest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, for any processor.
    Portable,
    /// 128-bit vectors of 64-bit ARM.
    Neon,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors.
    Avx512,
    /// 512-bit vectors, and the matrix unit that multiplies tiles of bf16.
    Amx,
}

/// Name of the environment variable that forces a path.
pub const ISA_VARIABLE: &str = "ALEXNET_ISA";

/// A path was asked for that is unknown or that this processor lacks.
#[derive(Debug, thiserror::Error)]
#[error("{ISA_VARIABLE} is {asked:?}, but this processor can run: {}", names(&Isa::available()))]
pub struct IsaError {
    asked: String,
}

/// Work to be compiled once for every set of instructions. `run` and all it calls must be
/// `#[inline(always)]`, so that it becomes part of the function that enables the instructions;
/// closures handed to other threads do not, so work is spread first and dispatched inside.
pub(crate) trait Kernel {
    type Output;
    fn run<V: Vector>(self) -> Self::Output;
}

impl Isa {
    /// Every path, plainest first.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512, Self::Amx];

    /// The paths this processor can run, plainest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The richest path, or the one [`ISA_VARIABLE`] names.
    ///
    /// # Errors
    /// When the variable names no path, or one this processor lacks.
    pub fn choose() -> Result<Self, IsaError> {
        let available = Self::available();
        let asked = std::env::var_os(ISA_VARIABLE).filter(|asked| !asked.is_empty());
        let Some(asked) = asked else {
            return Ok(available.last().copied().unwrap_or(Self::Portable));
        };
        let named = available.into_iter().find(|isa| *isa.name() == *asked);
        named.ok_or_else(|| IsaError { asked: asked.to_string_lossy().into_owned() })
    }

    /// The name [`ISA_VARIABLE`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => false,
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Amx => Self::Avx512.is_available() && crate::amx::is_available(),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        matches!(self, Self::Portable | Self::Neon)
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// Runs `kernel` with these instructions.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: a device's `Isa` is one of `available()`.
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => kernel.run::<crate::simd::Neon>(),
            _ => kernel.run::<Portable>(),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<crate::simd::Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<crate::simd::Avx2>()
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}
