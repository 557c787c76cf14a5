//! A device that is open: what the operations stand on. Calls are queued, and each sees what those before
//! it left; the host waits only where it wants numbers back.

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
use super::graph::{Asked, Graph};
use super::lanes::{Lane, Lanes, Touch};
use super::launch::{Argument, Launch};
use super::libraries::{Library, find};
use super::memory::{Buffer, Element, View, ViewMut};
use super::products::ProductHandle;
use crate::Products;
use crate::kernels::source;

/// Products of bf16 and TF32 need this compute capability.
const NARROW: Architecture = Architecture(80);

/// One GPU, with the kernels loaded.
pub(crate) struct Gpu {
    // Dropped in this order: what needs the context before the context.
    pub(super) products: ProductHandle,
    module: Module,
    lanes: Arc<Lanes>,
    context: Arc<CudaContext>,
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) memory_bytes: usize,
    /// What becomes of operations that are asked for.
    pub(super) asked: Cell<Asked>,
    pub(super) records: bool,
    /// What was remembered before the recording was parted.
    pub(super) first: Cell<Option<Graph>>,
    /// Whether anything runs beside anything else.
    pub(crate) in_one_lane: Cell<bool>,
    /// What operations take, where that is asked for.
    pub(super) clock: RefCell<Option<Clock>>,
    /// How often what was remembered was done, and how often beside updates.
    pub(crate) played: Cell<[u64; 2]>,
    /// Whether it reads any memory of the host by itself, and perhaps later than it was asked to.
    reads_host: bool,
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
        // SAFETY: `Lanes` has streams wait for each other where arrays are used by several; where images
        // cross, on another, events of its own order the two.
        unsafe { context.disable_event_tracking() };
        let lanes = Arc::new(Lanes::open(&context)?);
        let architecture = architecture(&context)?;
        let name = context.name().map_err(|error| driver("say its name", error))?;
        has_products(&name, architecture, kind)?;
        let module = Module::load(&context, architecture, kind)?;
        let products = ProductHandle::new(lanes.main(), kind)?;
        let memory = context.total_mem();
        let memory_bytes = memory.map_err(|error| driver("say how much memory it has", error))?;
        let reads_host = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS);
        let reads_host = reads_host.is_ok_and(|reads| reads != 0);
        let asked = Cell::new(Asked::Done);
        Ok(Self {
            products,
            module,
            lanes,
            context,
            name,
            architecture,
            memory_bytes,
            asked,
            records: true,
            first: Cell::new(None),
            in_one_lane: Cell::new(false),
            clock: RefCell::new(None),
            played: Cell::new([0; 2]),
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
        let memory = self.stream().alloc_zeros::<T>(len.max(1));
        let memory = memory.unwrap_or_else(|error| fail(no_room(len * size_of::<T>(), error)));
        self.lanes.has_made().unwrap_or_else(|error| fail(driver("make an array", error)));
        let address = memory.device_ptr(self.stream()).0;
        Buffer::new(memory, address, len, self.lanes.clone())
    }

    /// Copies `src` to the beginning of `dst`. When this returns, `src` was read: of memory that the GPU
    /// cannot read by itself, the driver takes a copy at once.
    pub(crate) fn upload<T: Element>(&self, dst: ViewMut<'_, T>, src: &[T]) {
        assert!(src.len() <= dst.len(), "{} elements for {}", src.len(), dst.len());
        // A graph would read `src` when it is launched.
        if src.is_empty() || self.gives_up() || !self.touches(&[dst.touch()]) {
            return;
        }
        let stream = self.lanes.stream().cu_stream();
        // SAFETY: there is room for all of `src`, which was read when this returns.
        let copied = unsafe { result::memcpy_htod_async(dst.address(), src, stream) };
        copied.unwrap_or_else(|error| fail(driver("take an array", error)));
        if self.reads_host {
            self.wait();
        }
    }

    /// Copies one array of the device to another, as long.
    pub(crate) fn copy(&self, dst: ViewMut<'_, f32>, src: View<'_, f32>) {
        assert_eq!(dst.len(), src.len());
        if dst.len() == 0 || !self.touches(&[dst.touch(), src.touch()]) {
            return;
        }
        let (bytes, stream) = (dst.len() * size_of::<f32>(), self.lanes.stream().cu_stream());
        // SAFETY: both arrays are on the device and have so many bytes.
        let ask =
            || unsafe { result::memcpy_dtod_async(dst.address(), src.address(), bytes, stream) };
        let name = || "copy".to_owned();
        self.timed(name, || self.asked_of(ask(), |error| driver("copy an array", error)));
    }

    /// Until everything asked for is done. A kernel that failed is heard of here.
    pub(crate) fn wait(&self) {
        if self.gives_up() {
            return;
        }
        self.lanes.synchronize().unwrap_or_else(|error| fail(driver("finish its work", error)));
    }

    /// Whether something asked for is not done. A kernel that failed is heard of when it is waited for.
    pub(crate) fn is_busy(&self) -> bool {
        if self.gives_up() {
            return true;
        }
        self.bind();
        // SAFETY: the stream is live.
        let state = |stream: &Arc<CudaStream>| unsafe { sys::cuStreamQuery(stream.cu_stream()) };
        self.lanes.streams().any(|stream| state(stream) == sys::CUresult::CUDA_ERROR_NOT_READY)
    }

    /// That of the main lane.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        self.lanes.main()
    }

    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The lane that is asked.
    pub(crate) fn lane(&self) -> Lane {
        self.lanes.lane()
    }

    /// Asks this lane from here to [`Self::returns`]. Operations that are timed take turns.
    pub(crate) fn asks(&self, lane: Lane) {
        if !self.drops() && !self.is_timing() && !self.in_one_lane.get() {
            self.bind();
            self.asked_of(self.lanes.enter(lane), lanes_fail);
        }
    }

    /// Asks the main lane.
    pub(crate) fn returns(&self) {
        self.asked_of(self.lanes.leave(), lanes_fail);
    }

    /// Has this lane do some work, unless another is asked for it.
    pub(crate) fn beside<R>(&self, lane: Lane, work: impl FnOnce() -> R) -> R {
        if self.lane() != Lane::Main {
            return work();
        }
        self.asks(lane);
        let done = work();
        self.returns();
        done
    }

    /// To be said of all memory that the next operation touches, before it is asked for. Says whether it is
    /// to be.
    pub(crate) fn touches(&self, touches: &[Touch]) -> bool {
        if self.drops() {
            return false;
        }
        self.bind();
        if self.lanes.parts(touches) {
            self.part_recording();
        }
        if !self.drops() {
            self.asked_of(self.lanes.touch(touches), lanes_fail);
        }
        !self.drops()
    }

    /// The same of what no other lane can be asked for.
    pub(super) fn touches_on_main(&self, touches: &[Touch]) -> bool {
        assert_eq!(self.lane(), Lane::Main, "the lane of products and of what crosses");
        self.touches(touches)
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
        let touched: Vec<Touch> = arguments.iter().filter_map(Argument::touch).collect();
        if launch.blocks == 0 || !self.touches(&touched) {
            return;
        }
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(Argument::pointer).collect();
        let (grid, block) = ((launch.blocks, 1, 1), (launch.threads, 1, 1));
        let stream = self.lanes.stream().cu_stream();
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
                stream,
                &mut pointers,
            )
        };
        let name = || name.to_owned();
        self.timed(name, || self.asked_of(ask(), |error| driver("run a kernel", error)));
    }
}

pub(super) fn lanes_fail(error: DriverError) -> CudaError {
    driver("have its streams wait for each other", error)
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
