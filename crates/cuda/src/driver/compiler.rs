//! NVRTC: from the kernels' source to a program for one kind of GPU.

use std::ffi::CString;
use std::fmt;

use cudarc::nvrtc::{result, sys};

use super::error::CudaError;
use super::libraries::{Library, find};

/// A GPU's compute capability: 9.0 is 90.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Architecture(pub u32);

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

/// What to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Instructions of just this GPU.
    Binary(Architecture),
    /// PTX of this one, which the driver translates for the newer one that is there.
    Portable(Architecture),
}

impl Target {
    /// For a GPU, by a compiler that knows these: its own instructions, or the nearest older PTX.
    pub(crate) fn choose(gpu: Architecture, known: &[Architecture]) -> Option<Self> {
        let nearest = known.iter().copied().filter(|&known| known <= gpu).max()?;
        Some(if nearest == gpu { Self::Binary(gpu) } else { Self::Portable(nearest) })
    }

    fn option(self) -> String {
        match self {
            Self::Binary(Architecture(number)) => format!("--gpu-architecture=sm_{number}"),
            Self::Portable(Architecture(number)) => format!("--gpu-architecture=compute_{number}"),
        }
    }
}

/// Besides the target.
pub(super) const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=true"];

/// Compiles a source for a GPU: what the driver's module loader takes.
///
/// # Errors
/// When NVRTC is not there, knows no such GPU, or the source does not compile.
pub fn compile(source: &str, gpu: Architecture) -> Result<Vec<u8>, CudaError> {
    find(Library::Compiler)?;
    let fails = |log: String| CudaError::Compiler { architecture: gpu.to_string(), log };
    let known = known_architectures().map_err(|error| fails(error.to_string()))?;
    let target = Target::choose(gpu, &known).ok_or_else(|| CudaError::TooOldGpu {
        gpu: gpu.to_string(),
        oldest: known[0].to_string(),
    })?;
    let text = CString::new(source).map_err(|error| fails(error.to_string()))?;
    let program = Program::new(&text).map_err(|error| fails(error.to_string()))?;
    program.compile(target).map_err(fails)
}

/// The version of NVRTC.
///
/// # Errors
/// When NVRTC is not there.
pub(super) fn version() -> Result<(i32, i32), CudaError> {
    find(Library::Compiler)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the pointers are to numbers that outlive the call. Of a failure 0.0 is left.
    let _ = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    Ok((major, minor))
}

fn known_architectures() -> Result<Vec<Architecture>, result::NvrtcError> {
    let mut count = 0;
    // SAFETY: the pointer is to a number that lives until the call returns.
    unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) }.result()?;
    let mut numbers = vec![0; usize::try_from(count).unwrap_or(0).max(1)];
    // SAFETY: the pointer is to as many numbers as the call before said.
    unsafe { sys::nvrtcGetSupportedArchs(numbers.as_mut_ptr()) }.result()?;
    Ok(numbers.into_iter().filter_map(|n| u32::try_from(n).ok()).map(Architecture).collect())
}

/// A source in the compiler's hands, destroyed with this value.
struct Program<'s> {
    handle: sys::nvrtcProgram,
    _source: &'s CString,
}

impl<'s> Program<'s> {
    fn new(source: &'s CString) -> Result<Self, result::NvrtcError> {
        let handle = result::create_program(source, Some(c"alexnet.cu"))?;
        Ok(Self { handle, _source: source })
    }

    /// The program, or the compiler's log. Sums are contracted to fused multiply-adds, as on every
    /// path of this GPU; nothing else departs from IEEE arithmetic.
    fn compile(&self, target: Target) -> Result<Vec<u8>, String> {
        let options = [&[target.option()], &OPTIONS.map(str::to_owned)[..]].concat();
        // SAFETY: the handle is live until this value is dropped.
        if let Err(error) = unsafe { result::compile_program(self.handle, &options) } {
            return Err(format!("{:?}: {}", error.0, self.log()));
        }
        match target {
            Target::Binary(_) => self.binary(),
            // SAFETY: as above, and the program was compiled.
            Target::Portable(_) => unsafe { result::get_ptx(self.handle) }
                .map(|text| text.into_iter().map(|c| c as u8).collect()),
        }
        .map_err(|error| error.to_string())
    }

    fn binary(&self) -> Result<Vec<u8>, result::NvrtcError> {
        let mut len = 0;
        // SAFETY: the handle is live, and the pointer is to a number that outlives the call.
        unsafe { sys::nvrtcGetCUBINSize(self.handle, &mut len) }.result()?;
        let mut image = vec![0_u8; len];
        // SAFETY: the handle is live, and there is room for as many bytes as the call before said.
        unsafe { sys::nvrtcGetCUBIN(self.handle, image.as_mut_ptr().cast()) }.result()?;
        Ok(image)
    }

    fn log(&self) -> String {
        // SAFETY: the handle is live.
        let log = unsafe { result::get_program_log(self.handle) }.unwrap_or_default();
        let bytes: Vec<u8> = log.into_iter().map(|c| c as u8).filter(|&c| c != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is live and nobody's after this. A failure leaks a little memory.
        let _ = unsafe { result::destroy_program(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_newer_than_the_compiler_gets_what_the_driver_can_translate_and_an_older_one_nothing() {
        let known = [75, 80, 90].map(Architecture);
        let cases = [
            (90, Some(Target::Binary(Architecture(90)))),
            (80, Some(Target::Binary(Architecture(80)))),
            (86, Some(Target::Portable(Architecture(80)))),
            (120, Some(Target::Portable(Architecture(90)))),
            (70, None),
        ];
        for (gpu, expected) in cases {
            assert_eq!(Target::choose(Architecture(gpu), &known), expected, "{gpu}");
        }
    }
}
