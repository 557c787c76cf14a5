//! What can be wrong with a GPU and its libraries.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::libraries::Library;

/// Why there is no such device, or why it failed. One line each, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// A library is nowhere.
    #[error("{library} is not here ({searched}): {}", library.remedy())]
    Missing {
        /// Which.
        library: Library,
        /// Where it was looked for.
        searched: String,
    },
    /// A library is there and cannot be loaded.
    #[error("{library} is at {path}, but does not load: {reason}")]
    Unloadable {
        /// Which.
        library: Library,
        /// The file.
        path: String,
        /// What the loader says.
        reason: String,
    },
    /// A library is too old for this program.
    #[error("{library} ({path}) is too old, it has no {symbol}: {}", library.remedy())]
    TooOld {
        /// Which.
        library: Library,
        /// The file.
        path: String,
        /// A function that is needed.
        symbol: &'static str,
    },
    /// The driver works, and there is no GPU.
    #[error("the driver finds no GPU (is one plugged in, and does CUDA_VISIBLE_DEVICES show it?)")]
    NoDevice,
    /// There are GPUs, but not this one.
    #[error("there is no GPU {index}: the driver numbers {count} from 0")]
    NoSuchDevice {
        /// The one asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Products of bf16 and TF32 need compute capability 8.0.
    #[error(
        "{name} has no {what} (compute capability {major}.{minor}, 8.0 is needed): leave out --precision"
    )]
    NotThere {
        /// The GPU.
        name: String,
        /// `bf16` or `TF32`.
        what: &'static str,
        /// Of its compute capability.
        major: u32,
        /// Of its compute capability.
        minor: u32,
    },
    /// NVRTC no longer knows such a GPU.
    #[error("NVRTC cannot compile the kernels for {gpu}: this NVRTC knows {oldest} and newer only")]
    TooOldGpu {
        /// What for.
        gpu: String,
        /// The oldest that it knows.
        oldest: String,
    },
    /// NVRTC will not compile the kernels.
    #[error("NVRTC cannot compile the kernels for {architecture}: {log}")]
    Compiler {
        /// What for.
        architecture: String,
        /// What it says.
        log: String,
    },
    /// The device's memory is full.
    #[error(
        "the GPU has no room for another {mib} MiB: take a smaller batch (--batch-size, --micro-batch)"
    )]
    Memory {
        /// MiB asked for, rounded up.
        mib: usize,
    },
    /// The driver refused a call.
    #[error("the GPU could not {doing}: {code}")]
    Driver {
        /// What was to be done.
        doing: &'static str,
        /// The driver's word for it.
        code: String,
    },
    /// cuDNN refused a call.
    #[error("cuDNN could not {doing}: {code}")]
    Convolutions {
        /// What was to be done.
        doing: &'static str,
        /// The library's word for it.
        code: String,
    },
    /// cuBLAS refused a call.
    #[error("cuBLAS could not {doing}: {code}")]
    Products {
        /// What was to be done.
        doing: &'static str,
        /// The library's word for it.
        code: String,
    },
}

impl CudaError {
    /// Whether the machine has no GPU for this program, or not the libraries: tests on one are then left
    /// out. Where all is there, any other error is a fault, of the kernels say.
    pub fn is_absence(&self) -> bool {
        use CudaError::{Missing, NoDevice, NoSuchDevice, NotThere, TooOld, TooOldGpu, Unloadable};
        match self {
            Missing { .. } | Unloadable { .. } | TooOld { .. } | TooOldGpu { .. } => true,
            NoDevice | NoSuchDevice { .. } | NotThere { .. } => true,
            Self::Compiler { .. } | Self::Memory { .. } | Self::Driver { .. } => false,
            Self::Convolutions { .. } | Self::Products { .. } => false,
        }
    }
}

/// Ends the operation under way with an error. The contract of a device has none: in the midst of a
/// step nobody could go on. So it is carried past everything up to [`catch`], as a panic would be,
/// but without a panic's report.
pub(crate) fn fail(error: CudaError) -> ! {
    resume_unwind(Box::new(error))
}

/// Runs `body`, in which operations of a [`Cuda`](crate::Cuda) may fail. What they compute on is
/// worth nothing afterwards.
///
/// # Errors
/// When the GPU failed.
pub fn catch<T>(body: impl FnOnce() -> T) -> Result<T, CudaError> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload: Box<dyn Any + Send>| {
        match payload.downcast::<CudaError>() {
            Ok(error) => *error,
            Err(panic) => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_do_not_compile_are_no_absence_and_a_missing_gpu_is() {
        let (architecture, log) = ("sm_90".to_owned(), "error: expected a \";\"".to_owned());
        assert!(!CudaError::Compiler { architecture, log }.is_absence());
        assert!(CudaError::NoDevice.is_absence());
    }

    #[test]
    fn a_failure_in_the_midst_of_an_operation_is_an_error_outside_and_a_panic_stays_one() {
        assert_eq!(catch(|| 3), Ok(3));
        let failed = catch(|| fail(CudaError::NoDevice));
        assert_eq!(failed, Err::<(), _>(CudaError::NoDevice));
        let panic = catch_unwind(|| catch(|| resume_unwind(Box::new("another"))));
        let payload = panic.map(|_: Result<(), _>| ()).expect_err("a panic goes on");
        assert_eq!(payload.downcast_ref(), Some(&"another"));
    }
}
