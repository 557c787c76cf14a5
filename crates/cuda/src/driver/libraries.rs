//! CUDA's libraries, looked for when a device is asked for.
//!
//! `cudarc` opens each by a list of bare names at its first call, and panics where it finds none or
//! where a function is missing. So this file comes first: it opens the library the same way, else
//! looks into the folders where CUDA is found besides and preloads what it finds there, so that the
//! bare name is known from then on, and asks for every function that this crate calls.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use super::clock::ElapsedTime;
use super::error::CudaError;

/// Folders to look into first, as in `PATH`.
pub(crate) const PATH_VARIABLE: &str = "ALEXNET_CUDA_PATH";

/// A library that this crate calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The driver's own: devices, memory, launches.
    Driver,
    /// NVRTC, the compiler.
    Compiler,
    /// cuBLAS, matrix products.
    Products,
    /// cuDNN, convolutions: much faster with it, and possible without.
    Convolutions,
}

/// Where a library was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The bare name that the loader knew, or the file.
    pub path: String,
}

impl Library {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Driver, Self::Compiler, Self::Products, Self::Convolutions];

    /// Whether a GPU can be used without it.
    pub fn is_optional(self) -> bool {
        self == Self::Convolutions
    }

    fn stem(self) -> &'static str {
        match self {
            Self::Driver if cfg!(windows) => "nvcuda",
            Self::Driver => "cuda",
            Self::Compiler => "nvrtc",
            Self::Products => "cublas",
            Self::Convolutions => "cudnn",
        }
    }

    /// Who does not have it gets it so.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Driver => "install NVIDIA's driver, 525 or newer",
            Self::Compiler => {
                "install the CUDA toolkit, 12 or newer, or `pip install nvidia-cuda-nvrtc`, and name \
                 the folder in ALEXNET_CUDA_PATH"
            }
            Self::Products => {
                "install the CUDA toolkit, 12 or newer, or `pip install nvidia-cublas`, and name the \
                 folder in ALEXNET_CUDA_PATH"
            }
            Self::Convolutions => {
                "install cuDNN 9, or `pip install nvidia-cudnn-cu13`, and name the folder in \
                 ALEXNET_CUDA_PATH"
            }
        }
    }

    /// Every function of it that this crate has `cudarc` call.
    fn symbols(self) -> &'static [&'static str] {
        match self {
            Self::Driver => DRIVER,
            Self::Compiler => COMPILER,
            Self::Products => PRODUCTS,
            Self::Convolutions => CONVOLUTIONS,
        }
    }
}

const DRIVER: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxGetStreamPriorityRange",
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamCreateWithPriority",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamQuery",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

const COMPILER: &[&str] = &[
    "nvrtcCompileProgram",
    "nvrtcCreateProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetCUBIN",
    "nvrtcGetCUBINSize",
    "nvrtcGetNumSupportedArchs",
    "nvrtcGetPTX",
    "nvrtcGetPTXSize",
    "nvrtcGetProgramLog",
    "nvrtcGetProgramLogSize",
    "nvrtcGetSupportedArchs",
    "nvrtcVersion",
];

const PRODUCTS: &[&str] = &[
    "cublasCreate_v2",
    "cublasDestroy_v2",
    "cublasGemmStridedBatchedEx",
    "cublasSetStream_v2",
    "cublasSetWorkspace_v2",
];

const CONVOLUTIONS: &[&str] = &[
    "cudnnBackendCreateDescriptor",
    "cudnnBackendDestroyDescriptor",
    "cudnnBackendExecute",
    "cudnnBackendFinalize",
    "cudnnBackendGetAttribute",
    "cudnnBackendSetAttribute",
    "cudnnCreate",
    "cudnnDestroy",
    "cudnnGetVersion",
    "cudnnSetStream",
];

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "NVIDIA's driver library (libcuda)",
            Self::Compiler => "CUDA's compiler library (libnvrtc)",
            Self::Products => "CUDA's matrix library (libcublas)",
            Self::Convolutions => "CUDA's convolution library (libcudnn)",
        })
    }
}

/// Finds a library and has it loaded, for `cudarc` to call.
///
/// # Errors
/// When it is nowhere, does not load, or lacks a function that is needed.
pub fn find(library: Library) -> Result<Source, CudaError> {
    if let Some((name, loaded)) = by_name(library) {
        return checked(library, name, &loaded);
    }
    let folders = folders();
    let Some(path) = folders.iter().find_map(|folder| newest(folder, library)) else {
        let searched = match folders.len() {
            0 => format!("not on the loader's path, and {PATH_VARIABLE} names no folder"),
            1 => "neither on the loader's path nor in a folder of CUDA's".to_owned(),
            count => format!("neither on the loader's path nor in {count} folders of CUDA's"),
        };
        return Err(CudaError::Missing { library, searched });
    };
    let shown = path.display().to_string();
    // If one of them is needed and does not load, it says so itself.
    let _ = companions(&path, library).try_for_each(|companion| preload(&companion));
    if let Err(reason) = preload(&path) {
        return Err(CudaError::Unloadable { library, path: shown, reason });
    }
    let Some((_, loaded)) = by_name(library) else {
        let reason = "its version is not one that is looked for".to_owned();
        return Err(CudaError::Unloadable { library, path: shown, reason });
    };
    checked(library, shown, &loaded)
}

/// The driver's function for the time between two events.
///
/// # Errors
/// As [`find`].
pub(super) fn elapsed_time() -> Result<ElapsedTime, CudaError> {
    const SYMBOL: &str = "cuEventElapsedTime";
    let (library, Source { path }) = (Library::Driver, find(Library::Driver)?);
    // SAFETY: the function has this type in every version, and the library stays, for `cudarc` has
    // opened it for good.
    let function = by_name(library).and_then(|(_, loaded)| unsafe {
        loaded.get::<ElapsedTime>(SYMBOL).ok().map(|function| *function)
    });
    function.ok_or(CudaError::TooOld { library, path, symbol: SYMBOL })
}

fn checked(
    library: Library,
    path: String,
    loaded: &libloading::Library,
) -> Result<Source, CudaError> {
    for symbol in library.symbols() {
        // SAFETY: the symbol is looked up and not used, so its type does not matter.
        if unsafe { loaded.get::<*const ()>(*symbol) }.is_err() {
            return Err(CudaError::TooOld { library, path, symbol });
        }
    }
    Ok(Source { path })
}

/// As `cudarc` opens it.
fn by_name(library: Library) -> Option<(String, libloading::Library)> {
    cudarc::get_lib_name_candidates(library.stem()).into_iter().find_map(|name| {
        // SAFETY: a library by one of CUDA's names runs CUDA's own initialisation, which asks for
        // nothing.
        let loaded = unsafe { libloading::Library::new(&name) }.ok()?;
        Some((name, loaded))
    })
}

/// Loads a file so that the loader knows its name from then on; it stays for good.
#[cfg(unix)]
fn preload(path: &Path) -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: as in `by_name`.
    let loaded = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    loaded.map(std::mem::forget).map_err(|error| error.to_string())
}

#[cfg(not(unix))]
fn preload(path: &Path) -> Result<(), String> {
    // SAFETY: as in `by_name`.
    let loaded = unsafe { libloading::Library::new(path) };
    loaded.map(std::mem::forget).map_err(|error| error.to_string())
}

/// Where CUDA's libraries are besides the loader's path: named folders, the toolkit's, and those of
/// the active Python's packages.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(named) = env::var_os(PATH_VARIABLE) {
        folders.extend(env::split_paths(&named));
    }
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        folders.extend(env::var_os(variable).map(|home| Path::new(&home).join("lib64")));
    }
    folders.extend(children(Path::new("/usr/local"), "cuda").map(|home| home.join("lib64")));
    folders.push(PathBuf::from("/usr/lib/wsl/lib"));
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        let Some(home) = env::var_os(variable) else { continue };
        for python in children(&Path::new(&home).join("lib"), "python") {
            let packages = python.join("site-packages").join("nvidia");
            folders.extend(children(&packages, "").map(|package| package.join("lib")));
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Entries of a folder whose names begin so, in order; none of a folder that cannot be read.
fn children(folder: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| name_of(path).starts_with(prefix))
        .collect();
    found.sort();
    found.into_iter()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a library opens by name while it works, and would not look for beside itself in every version: of
/// 13.0's wheel NVRTC does not.
fn companions(path: &Path, library: Library) -> impl Iterator<Item = PathBuf> + use<> {
    let stem = format!("{}nvrtc-builtins{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let folder = path.parent().filter(|_| library == Library::Compiler).map(Path::to_path_buf);
    folder.into_iter().flat_map(move |folder| children(&folder, &stem))
}

/// The library's file of the highest version in a folder.
fn newest(folder: &Path, library: Library) -> Option<PathBuf> {
    let stem = format!("{}{}{}", env::consts::DLL_PREFIX, library.stem(), env::consts::DLL_SUFFIX);
    let version = |path: &Path| {
        let name = name_of(path);
        let rest = name.strip_prefix(&stem)?;
        let numbers = rest.split('.').filter(|part| !part.is_empty()).map(str::parse::<u32>);
        numbers.collect::<Result<Vec<_>, _>>().ok()
    };
    children(folder, &stem).filter(|path| version(path).is_some()).max_by_key(|path| version(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn of_several_versions_in_a_folder_the_newest_is_taken_and_nothing_that_only_looks_like_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/cuda-libraries");
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        for name in [
            "libnvrtc.so.9",
            "libnvrtc.so.12",
            "libnvrtc.alt.so.13",
            "libnvrtc.so.13.bak",
            "libnvrtc-builtins.so.13.2",
        ] {
            std::fs::write(folder.join(name), "").expect("a file for the test");
        }
        let path = folder.join("libnvrtc.so.12");
        assert_eq!(newest(&folder, Library::Compiler), Some(path.clone()));
        let beside: Vec<_> = companions(&path, Library::Compiler).collect();
        assert_eq!(beside, [folder.join("libnvrtc-builtins.so.13.2")]);
        assert_eq!(companions(&path, Library::Products).count(), 0);
        assert_eq!(newest(&folder, Library::Driver), None);
    }

    #[test]
    fn every_error_of_a_library_names_it_and_the_way_out_in_one_line() {
        for library in Library::ALL {
            let searched = "nowhere".to_owned();
            let text = CudaError::Missing { library, searched }.to_string();
            assert!(text.contains(library.stem()) && text.contains("install"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
