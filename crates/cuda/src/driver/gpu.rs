//! A device that is open: what the operations stand on. Every call is queued on one stream, so each
//! sees what those before it left; the host waits only where it wants numbers back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;

use alexnet_ops::Precision;
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DriverError, result, sys};

use super::cache::{Cache, hash_of};
use super::clock::Clock;
use super::compiler::{self, Architecture, compile};
use super::declaration::{Parameter, declarations};
use super::error::{CudaError, fail};
use super::graph::Asked;
use super::libraries::{Library, find};
use super::memory::{Buffer, Element, Reals, RealsMut, View, ViewMut};
use super::products::ProductHandle;
use crate::Products;
use crate::kernels::source;

/// Threads of a block, where a kernel does not say otherwise: a multiple of 32, and small enough for
/// several blocks at a time on every GPU.
pub(crate) const BLOCK: usize = 256;
/// Neighbours that one thread takes together: `EIGHT` of `common.cuh`.
pub(crate) const EIGHT: usize = 8;
/// Products of bf16 and TF32 need this compute capability.
const NARROW: Architecture = Architecture(80);
/// Shared memory that every GPU gives a block unasked.
const SHARED_BYTES_MAX: usize = 48 << 10;

/// One GPU, with the kernels loaded.
pub(crate) struct Gpu {
    // Dropped in this order: what needs the context before the context.
    pub(super) products: ProductHandle,
    module: Module,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) memory_bytes: usize,
    /// What becomes of operations that are asked for.
    pub(super) asked: Cell<Asked>,
    pub(super) records: bool,
    /// What operations take, where that is asked for.
    pub(super) clock: RefCell<Option<Clock>>,
    /// How often what was remembered was done.
    pub(crate) played: Cell<u64>,
    /// Whether it reads any memory of the host by itself, and perhaps later than it was asked to.
    reads_host: bool,
}

/// What a kernel is called with.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    Out { address: u64, element: &'static str, _of: std::marker::PhantomData<&'a mut ()> },
    In { address: u64, element: &'static str, _of: std::marker::PhantomData<&'a ()> },
    U32(u32),
    U64(u64),
    F32(f32),
    Numbers(&'a [u32]),
}

impl<'a, T: Element> From<ViewMut<'a, T>> for Argument<'a> {
    fn from(view: ViewMut<'a, T>) -> Self {
        Self::Out { address: view.address(), element: T::NAME, _of: std::marker::PhantomData }
    }
}
impl<'a, T: Element> From<View<'a, T>> for Argument<'a> {
    fn from(view: View<'a, T>) -> Self {
        Self::In { address: view.address(), element: T::NAME, _of: std::marker::PhantomData }
    }
}
impl<'a> From<Reals<'a>> for Argument<'a> {
    fn from(reals: Reals<'a>) -> Self {
        match reals {
            Reals::F32(view) => view.into(),
            Reals::Bf16(view) => view.into(),
        }
    }
}
impl<'a> From<RealsMut<'a>> for Argument<'a> {
    fn from(reals: RealsMut<'a>) -> Self {
        match reals {
            RealsMut::F32(view) => view.into(),
            RealsMut::Bf16(view) => view.into(),
        }
    }
}
impl From<u32> for Argument<'_> {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}
impl From<u64> for Argument<'_> {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}
impl From<f32> for Argument<'_> {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}
impl<'a, const N: usize> From<&'a [u32; N]> for Argument<'a> {
    fn from(values: &'a [u32; N]) -> Self {
        Self::Numbers(values)
    }
}

impl Argument<'_> {
    /// Whether a kernel that declares `parameter` may be given this.
    fn fits(&self, parameter: &Parameter) -> bool {
        match (self, parameter) {
            (Self::Out { element, .. }, Parameter::Out(declared))
            | (Self::In { element, .. }, Parameter::In(declared)) => element == declared,
            (Self::U32(_), Parameter::Number(kind)) => kind == "u32",
            (Self::U64(_), Parameter::Number(kind)) => kind == "u64",
            (Self::F32(_), Parameter::Number(kind)) => kind == "float",
            (Self::Numbers(values), Parameter::Numbers(count)) => values.len() == *count,
            _ => false,
        }
    }

    /// Where its bytes are, as the driver wants to know it.
    fn pointer(&self) -> *mut c_void {
        match self {
            Self::Out { address, .. } | Self::In { address, .. } => {
                std::ptr::from_ref(address).cast_mut().cast()
            }
            Self::U32(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::U64(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::F32(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Numbers(values) => values.as_ptr().cast_mut().cast(),
        }
    }
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
}

impl Launch {
    /// So many threads, and a few more in the last block.
    pub(crate) fn threads(count: usize) -> Self {
        let blocks = u32::try_from(count.div_ceil(BLOCK)).expect("blocks of a launch");
        Self { blocks, threads: BLOCK as u32, shared_bytes: 0 }
    }

    /// A thread for eight of so many elements.
    pub(crate) fn eights(count: usize) -> Self {
        Self::threads(count.div_ceil(EIGHT))
    }

    /// So many blocks.
    pub(crate) fn blocks(count: usize) -> Self {
        let blocks = u32::try_from(count).expect("blocks of a launch");
        Self { blocks, threads: BLOCK as u32, shared_bytes: 0 }
    }

    /// For each of so many groups so many threads, and a few more in its last block; with the number of
    /// a group's blocks.
    pub(crate) fn threads_each(groups: usize, count: usize) -> (Self, u32) {
        let each = Self::threads(count).blocks;
        (Self::blocks(groups * each as usize), each)
    }

    /// With so many floats shared by each block, as they follow from its number of threads.
    pub(crate) fn sharing(self, floats: impl Fn(usize) -> usize) -> Self {
        let bytes = floats(self.threads as usize) * size_of::<f32>();
        assert!(bytes <= SHARED_BYTES_MAX, "{bytes} bytes of shared memory");
        Self { shared_bytes: bytes as u32, ..self }
    }
}

impl Gpu {
    /// How many GPUs the driver knows.
    pub(crate) fn count() -> Result<usize, CudaError> {
        find(Library::Driver)?;
        match CudaContext::device_count() {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
            Err(error) => Err(driver("start its driver", error)),
        }
    }

    /// The version of CUDA that the driver is for.
    pub(crate) fn driver_version() -> Result<(u32, u32), CudaError> {
        find(Library::Driver)?;
        let mut version = 0;
        // SAFETY: the pointer is to a number that outlives the call.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(|error| driver("say its version", error))?;
        let version = u32::try_from(version).unwrap_or(0);
        Ok((version / 1000, version % 1000 / 10))
    }

    /// Opens the GPU of this number, and compiles the kernels for it and for the values that are kept.
    pub(crate) fn open(index: usize, kind: Products) -> Result<Self, CudaError> {
        let count = Self::count()?;
        if index >= count {
            let none = if count == 0 {
                CudaError::NoDevice
            } else {
                CudaError::NoSuchDevice { index, count }
            };
            return Err(none);
        }
        find(Library::Compiler)?;
        find(Library::Products)?;
        let context = CudaContext::new(index).map_err(|error| driver("be opened", error))?;
        // SAFETY: arrays are used by one stream; where images cross, on another, events of its own order
        // the two.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|error| driver("make a stream", error))?;
        let architecture = architecture(&context)?;
        let name = context.name().map_err(|error| driver("say its name", error))?;
        has_products(&name, architecture, kind)?;
        let module = Module::load(&context, architecture, kind)?;
        let products = ProductHandle::new(&stream, kind)?;
        let memory = context.total_mem();
        let memory_bytes = memory.map_err(|error| driver("say how much memory it has", error))?;
        let reads_host = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS);
        let reads_host = reads_host.is_ok_and(|reads| reads != 0);
        let asked = Cell::new(Asked::Done);
        Ok(Self {
            products,
            module,
            stream,
            context,
            name,
            architecture,
            memory_bytes,
            asked,
            records: true,
            clock: RefCell::new(None),
            played: Cell::new(0),
            reads_host,
        })
    }

    /// Bytes of its memory that nobody has.
    pub(crate) fn free_bytes(&self) -> usize {
        // What was given back is free when everything before that is done.
        self.wait();
        let free = self.context.mem_get_info();
        free.unwrap_or_else(|error| fail(driver("say how much memory is free", error))).0
    }

    /// `len` zeros.
    pub(crate) fn zeros<T: Element>(&self, len: usize) -> Buffer<T> {
        self.gives_up();
        // The driver makes no empty arrays.
        let memory = self.stream.alloc_zeros::<T>(len.max(1));
        let memory = memory.unwrap_or_else(|error| fail(no_room(len * size_of::<T>(), error)));
        let address = memory.device_ptr(&self.stream).0;
        Buffer::new(memory, address, len)
    }

    /// Copies `src` to the beginning of `dst`. When this returns, `src` was read: of memory that the GPU
    /// cannot read by itself, the driver takes a copy at once.
    pub(crate) fn upload<T: Element>(&self, dst: ViewMut<'_, T>, src: &[T]) {
        assert!(src.len() <= dst.len(), "{} elements for {}", src.len(), dst.len());
        // A graph would read `src` when it is launched.
        if src.is_empty() || self.gives_up() {
            return;
        }
        self.bind();
        // SAFETY: there is room for all of `src`, which was read when this returns.
        let copied =
            unsafe { result::memcpy_htod_async(dst.address(), src, self.stream.cu_stream()) };
        copied.unwrap_or_else(|error| fail(driver("take an array", error)));
        if self.reads_host {
            self.wait();
        }
    }

    /// Copies one array of the device to another, as long.
    pub(crate) fn copy(&self, dst: ViewMut<'_, f32>, src: View<'_, f32>) {
        assert_eq!(dst.len(), src.len());
        if dst.len() == 0 || self.drops() {
            return;
        }
        self.bind();
        let bytes = dst.len() * size_of::<f32>();
        // SAFETY: both arrays are on the device and have so many bytes.
        let ask = || unsafe {
            let stream = self.stream.cu_stream();
            result::memcpy_dtod_async(dst.address(), src.address(), bytes, stream)
        };
        let name = || "copy".to_owned();
        self.timed(name, || self.asked_of(ask(), |error| driver("copy an array", error)));
    }

    /// Until everything asked for is done. A kernel that failed is heard of here.
    pub(crate) fn wait(&self) {
        if self.gives_up() {
            return;
        }
        self.stream.synchronize().unwrap_or_else(|error| fail(driver("finish its work", error)));
    }

    /// Whether something asked for is not done. A kernel that failed is heard of when it is waited for.
    pub(crate) fn is_busy(&self) -> bool {
        if self.gives_up() {
            return true;
        }
        self.bind();
        // SAFETY: the stream is live.
        let state = unsafe { sys::cuStreamQuery(self.stream.cu_stream()) };
        state == sys::CUresult::CUDA_ERROR_NOT_READY
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    pub(super) fn bind(&self) {
        self.context.bind_to_thread().unwrap_or_else(|error| fail(driver("be used", error)));
    }

    /// Runs a kernel.
    ///
    /// # Panics
    /// When the arguments are not those that its source declares.
    pub(crate) fn launch(&self, name: &str, launch: Launch, arguments: &[Argument<'_>]) {
        let kernel = self.module.kernel(name);
        let fit = kernel.parameters.len() == arguments.len()
            && arguments.iter().zip(&kernel.parameters).all(|(argument, p)| argument.fits(p));
        assert!(fit, "{name} takes {:?}", kernel.parameters);
        if launch.blocks == 0 || self.drops() {
            return;
        }
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(Argument::pointer).collect();
        let (grid, block) = ((launch.blocks, 1, 1), (launch.threads, 1, 1));
        self.bind();
        // SAFETY: the function is of a module that is loaded, and each pointer is to a value of the
        // size that the source declares, which the driver has copied when it returns. What the kernel
        // does with the arrays is its source's matter: it touches none outside of the sizes it is
        // given, which the operations compare with the arrays.
        let mut ask = || unsafe {
            result::launch_kernel(
                kernel.function,
                grid,
                block,
                launch.shared_bytes,
                self.stream.cu_stream(),
                &mut pointers,
            )
        };
        let name = || name.to_owned();
        self.timed(name, || self.asked_of(ask(), |error| driver("run a kernel", error)));
    }
}

pub(super) fn driver(doing: &'static str, error: DriverError) -> CudaError {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (name, words) = (text(error.error_name()), text(error.error_string()));
    CudaError::Driver { doing, code: format!("{words} ({name})") }
}

/// So many bytes were asked for.
pub(super) fn no_room(bytes: usize, error: DriverError) -> CudaError {
    if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return CudaError::Memory { mib: bytes.div_ceil(1 << 20) };
    }
    driver("make an array", error)
}

/// Whether a GPU has products of this kind.
fn has_products(name: &str, architecture: Architecture, kind: Products) -> Result<(), CudaError> {
    let what = match kind {
        Products::F32 => return Ok(()),
        Products::Tf32 => "TF32",
        Products::Bf16 => "bf16",
    };
    if architecture >= NARROW {
        return Ok(());
    }
    let [major, minor] = [architecture.0 / 10, architecture.0 % 10];
    Err(CudaError::NotThere { name: name.to_owned(), what, major, minor })
}

fn architecture(context: &CudaContext) -> Result<Architecture, CudaError> {
    let [major, minor] = [
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    ]
    .map(|attribute| context.attribute(attribute));
    let number = |value: Result<i32, DriverError>| {
        value
            .map(|value| u32::try_from(value).unwrap_or(0))
            .map_err(|error| driver("say what it is", error))
    };
    Ok(Architecture(10 * number(major)? + number(minor)?))
}

/// The compiled kernels on the device.
struct Module {
    handle: sys::CUmodule,
    kernels: HashMap<String, Kernel>,
    context: Arc<CudaContext>,
}

struct Kernel {
    function: sys::CUfunction,
    parameters: Vec<Parameter>,
}

// SAFETY: the driver's handles of modules and functions may be used from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    fn load(
        context: &Arc<CudaContext>,
        architecture: Architecture,
        kind: Products,
    ) -> Result<Self, CudaError> {
        let source = source(match kind {
            Products::F32 | Products::Tf32 => Precision::F32,
            Products::Bf16 => Precision::Bf16,
        });
        let cache = Cache::usual();
        let hash = hash_of(&(source, compiler::OPTIONS, compiler::version()?));
        let name = format!("kernels-{architecture}-{hash:016x}");
        context.bind_to_thread().map_err(|error| driver("be used", error))?;
        // SAFETY: an image is a whole one of NVRTC's, from this run or from an earlier one of this user,
        // whose cache is trusted as the program is.
        let load = |image: &[u8]| unsafe { result::module::load_data(image.as_ptr().cast()) };
        let kept = cache.read(&name).and_then(|image| load(&image).ok());
        let handle = match kept {
            Some(handle) => handle,
            None => {
                let image = compile(source, architecture)?;
                cache.write(&name, &image);
                load(&image).map_err(|error| driver("load the kernels", error))?
            }
        };
        let mut module = Self { handle, kernels: HashMap::new(), context: context.clone() };
        for (name, parameters) in declarations(source) {
            let symbol = CString::new(name.clone()).expect("a name in a source");
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(handle, symbol) }
                .map_err(|error| driver("find a kernel", error))?;
            module.kernels.insert(name, Kernel { function, parameters });
        }
        Ok(module)
    }

    fn kernel(&self, name: &str) -> &Kernel {
        self.kernels.get(name).unwrap_or_else(|| panic!("there is no kernel {name}"))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the module is loaded, and nobody launches its kernels after this. A failure
            // leaves it until the context goes.
            let _ = unsafe { result::module::unload(self.handle) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_fits_what_the_source_declares_and_nothing_else() {
        let [out, within] = [Parameter::Out, Parameter::In].map(|kind| kind("float".to_owned()));
        let [word, long] = ["u32", "u64"].map(|kind| Parameter::Number(kind.to_owned()));
        let parameters = [out, within, word, long, Parameter::Numbers(2)];
        let of = std::marker::PhantomData;
        let arguments = [
            Argument::Out { address: 0, element: "float", _of: of },
            Argument::In { address: 0, element: "float", _of: std::marker::PhantomData },
            Argument::from(1_u32),
            Argument::from(1_u64),
            Argument::from(&[1, 2]),
        ];
        for (i, argument) in arguments.iter().enumerate() {
            for (j, parameter) in parameters.iter().enumerate() {
                assert_eq!(argument.fits(parameter), i == j, "{i} {parameter:?}");
            }
        }
        assert!(!Argument::from(&[1, 2, 3]).fits(&Parameter::Numbers(2)));
        let bytes = Argument::In { address: 0, element: "u8", _of: std::marker::PhantomData };
        assert!(!bytes.fits(&parameters[1]));
    }

    #[test]
    fn a_launch_has_a_thread_for_every_element_and_no_block_for_none() {
        for (count, blocks) in [(0, 0), (1, 1), (256, 1), (257, 2)] {
            assert_eq!(Launch::threads(count).blocks, blocks, "{count}");
            let (launch, each) = Launch::threads_each(3, count);
            assert_eq!((launch.blocks, each), (3 * blocks, blocks), "{count}");
        }
    }
}
