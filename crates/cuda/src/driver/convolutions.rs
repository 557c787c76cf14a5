//! cuDNN's convolutions, where cuDNN is at hand.
//!
//! cuDNN is told of a convolution as a graph of one operation; its heuristics then name engines that
//! could run it, best first. Of those that form the same bits every time, the first few are tried on
//! the first arrays that come, and the fastest is kept: cuDNN's own first choice is sometimes far from
//! it. Which one that is depends on a clock, so it is written down for later runs, whose bits
//! are then the same.
//!
//! Everything is declared by attributes of descriptors (cuDNN's backend API), which are values of
//! changing type behind one pointer; [`Descriptor`] is the one place that passes them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Instant;

use alexnet_ops::{ConvPass, ConvShape};
use cudarc::cudnn::result::CudnnError;
use cudarc::cudnn::sys::{self, cudnnBackendAttributeName_t as Name};
use cudarc::driver::CudaStream;

use super::cache::{Cache, hash_of};
use super::error::CudaError;
use super::gpu::Gpu;
use super::libraries::{Library, find};
use super::memory::{Reals, RealsMut, ViewMut};
use crate::Products;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Kind;
use sys::cudnnBackendNumericalNote_t as Note;

/// Room that any plan may ask for: more is rarely faster, and memory is scarce beside large batches.
const WORKSPACE_BYTES_MAX: usize = 256 << 20;
/// Engines asked for. With `f32` those without tensor cores come last: of 37 that cuDNN 9.26 names for
/// 192 to 384 maps of 13 by 13 on an H100, the first is the 32nd.
const ENGINES_MAX: usize = 100;
/// Engines tried.
const TRIED_MAX: usize = 10;
/// How often each runs together in one trial after the other. In the first, what is loaded is loaded.
const RUNS: [u32; 5] = [1, 1, 4, 4, 4];
/// What takes so many times as long as the fastest is not tried again: of cuDNN's last resorts, which
/// take arrays of any order, one run of a large batch is long enough.
const FAR_BEHIND: f64 = 4.0;
/// Arrays begin at multiples of this, where a plan may load them fastest.
const ALIGNMENT_BYTES: i64 = 16;
/// What an engine says of itself that rules it out: sums in an order that varies, or in fewer bits;
/// inputs made narrower, which have a smaller range besides; Winograd's tiles of 13 by 13. Modelled in
/// `f32`, with the points that are usual, these are 5e-3 of the largest output off, tiles of 6 by 6
/// 1e-5 and of 4 by 4 6e-7, where 1e-4 is allowed. What an FFT is off grows with the logarithm of its
/// length alone.
const RULED_OUT: [u32; 4] = [
    Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC as u32,
    Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION as u32,
    Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS as u32,
    Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13 as u32,
];
/// Of `f32` tensor cores round the factors to TF32.
const TENSOR_CORE: u32 = Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE as u32;
/// Notes that cuDNN knows, and room for those of newer ones.
const NOTES_MAX: usize = 64;

/// cuDNN on one stream.
pub(crate) struct Convolutions {
    // Plans belong to the handle, and go before it.
    ways: HashMap<(ConvShape, ConvPass), Way>,
    choices: Choices,
    products: Products,
    handle: sys::cudnnHandle_t,
    stream: Arc<CudaStream>,
}

// SAFETY: handle and descriptors may be used from any thread, though not from two at a time; they are
// behind the lock of their device.
unsafe impl Send for Convolutions {}
// SAFETY: as above.
unsafe impl Sync for Convolutions {}

/// How one pass of one shape is run: by one of these plans, of which several are left until they were
/// tried; by none where cuDNN cannot.
struct Way {
    plans: Vec<Plan>,
    /// Of the longest.
    workspace_bytes: usize,
}

impl Way {
    fn new(plans: Vec<Plan>) -> Self {
        let workspace_bytes = plans.iter().map(|plan| plan.workspace_bytes).max().unwrap_or(0);
        Self { plans, workspace_bytes }
    }
}

/// A plan for one engine, and its place among those that could be tried.
struct Plan {
    number: usize,
    plan: Descriptor,
    workspace_bytes: usize,
}

/// Numbers of the arrays within a plan.
const OUT: i64 = 1;
const FIRST: i64 = 2;
const SECOND: i64 = 3;

impl Convolutions {
    /// cuDNN for this GPU and products of this kind, if it is at hand.
    ///
    /// # Errors
    /// When it is there but does not start.
    pub(crate) fn open(gpu: &Gpu, products: Products) -> Result<Option<Self>, CudaError> {
        if find(Library::Convolutions).is_err() {
            return Ok(None);
        }
        gpu.bind();
        let (mut handle, stream) = (null_mut(), gpu.stream().clone());
        // SAFETY: the pointer is to a handle that outlives the call.
        unsafe { sys::cudnnCreate(&mut handle) }.result().map_err(|e| refused("start", e))?;
        // SAFETY: the library was found, and the function takes nothing.
        let choices = Choices::read(gpu, products, unsafe { sys::cudnnGetVersion() });
        let this = Self { ways: HashMap::new(), choices, products, handle, stream };
        // SAFETY: both are live: the stream is kept beside the handle.
        unsafe { sys::cudnnSetStream(handle, this.stream.cu_stream().cast()) }
            .result()
            .map_err(|error| refused("take a stream", error))?;
        Ok(Some(this))
    }

    /// Its version, 9.19 as (9, 19).
    pub(crate) fn version() -> (usize, usize) {
        // SAFETY: the library was found, and the function takes nothing.
        let version = unsafe { sys::cudnnGetVersion() };
        (version / 10_000, version / 100 % 100)
    }

    /// Bytes of room that a pass takes; `None` where cuDNN cannot run it.
    pub(crate) fn workspace_bytes(&mut self, shape: &ConvShape, pass: ConvPass) -> Option<usize> {
        let (handle, products, choices) = (self.handle, self.products, &self.choices);
        let way = self.ways.entry((*shape, pass)).or_insert_with(|| {
            let mut plans = plans(&Target::Handle(handle), products, shape, pass);
            let chosen = choices.of(shape, pass);
            if let Some(at) = plans.iter().position(|plan| Some(plan.number) == chosen) {
                plans = vec![plans.swap_remove(at)];
            }
            Way::new(plans)
        });
        (!way.plans.is_empty()).then_some(way.workspace_bytes)
    }

    /// Runs a pass: the output, of x, w and y the other two in this order, and room. Says whether one of
    /// the engines could.
    ///
    /// # Panics
    /// When [`Self::workspace_bytes`] has not said that there is a way, or an array is too short or of
    /// another kind than the products.
    pub(crate) fn run(
        &mut self,
        gpu: &Gpu,
        (shape, pass): (&ConvShape, ConvPass),
        out: RealsMut<'_>,
        [first, second]: [Reals<'_>; 2],
        room: ViewMut<'_, u8>,
    ) -> bool {
        let way = self.ways.get_mut(&(*shape, pass)).expect("a way");
        let lens = [shape.input_len(), shape.weights_len(), shape.output_len()];
        let arrays = match pass {
            ConvPass::Forward => [first.len(), second.len(), out.len()],
            ConvPass::BackwardInput => [out.len(), first.len(), second.len()],
            ConvPass::BackwardWeights => [first.len(), out.len(), second.len()],
        };
        let long_enough = arrays.iter().zip(lens).all(|(&array, len)| array >= len);
        assert!(long_enough && room.len() >= way.workspace_bytes, "{arrays:?} for {shape:?}");
        let bf16 = [first.is_bf16(), second.is_bf16(), out.is_bf16()];
        assert_eq!(bf16, [self.products == Products::Bf16; 3], "{shape:?}");
        // What is tried is waited for, which a graph cannot.
        if gpu.drops() || way.plans.len() > 1 && gpu.gives_up() {
            return true;
        }
        gpu.bind();
        let addresses = [out.address(), first.address(), second.address()];
        let handle = self.handle;
        let run = |plan: &Plan| plan.run(handle, addresses, room.address());
        if way.plans.len() > 1 {
            let fastest = fastest(gpu, &way.plans, run);
            let plans = fastest.map(|at| way.plans.swap_remove(at));
            *way = Way::new(plans.into_iter().collect());
            way.plans.iter().for_each(|plan| self.choices.write_down(shape, pass, plan.number));
        }
        let Some(plan) = way.plans.first() else { return false };
        gpu.timed(
            || named(shape, pass),
            || {
                gpu.asked_of(run(plan), |error| refused("convolve", error));
            },
        );
        true
    }
}

/// What a pass is called where it is timed.
fn named(shape: &ConvShape, pass: ConvPass) -> String {
    let ConvShape { in_c, out_h, out_w, out_c, kernel, .. } = *shape;
    let pass = match pass {
        ConvPass::Forward => "forward",
        ConvPass::BackwardInput => "gradient of inputs",
        ConvPass::BackwardWeights => "gradient of weights",
    };
    format!("convolution {kernel} x {kernel}, {in_c} to {out_c} maps of {out_h} x {out_w}, {pass}")
}

/// Which of the plans that run takes least, each run a few times.
fn fastest(gpu: &Gpu, plans: &[Plan], run: impl Fn(&Plan) -> Done<()>) -> Option<usize> {
    let trial = |plan: &Plan, runs: u32| {
        gpu.wait();
        let begin = Instant::now();
        let ran = (0..runs).try_for_each(|_| run(plan));
        gpu.wait();
        ran.map_or(f64::INFINITY, |()| begin.elapsed().as_secs_f64() / f64::from(runs))
    };
    let mut times = vec![f64::INFINITY; plans.len()];
    for (number, runs) in RUNS.into_iter().enumerate() {
        let limit = FAR_BEHIND * times.iter().copied().fold(f64::INFINITY, f64::min);
        for (time, plan) in times.iter_mut().zip(plans).filter(|(time, _)| **time <= limit) {
            let again = trial(plan, runs);
            *time = if number == 0 { f64::INFINITY } else { time.min(again) };
        }
    }
    let ran = (0..plans.len()).filter(|&at| times[at].is_finite());
    ran.min_by(|&a, &b| times[a].total_cmp(&times[b]))
}

/// The engines found to be the fastest, in this run and in earlier ones.
struct Choices {
    cache: Cache,
    name: String,
    found: BTreeMap<String, usize>,
}

impl Choices {
    fn read(gpu: &Gpu, products: Products, version: usize) -> Self {
        let cache = Cache::usual();
        let name = format!("engines-{:016x}", hash_of(&(&gpu.name, version, products)));
        let text = cache.read(&name).and_then(|bytes| String::from_utf8(bytes).ok());
        let lines = text.iter().flat_map(|text| text.lines());
        let line = |line: &str| {
            let (key, number) = line.rsplit_once(' ')?;
            Some((key.to_owned(), number.parse().ok()?))
        };
        let found = lines.filter_map(line).collect();
        Self { cache, name, found }
    }

    fn key(shape: &ConvShape, pass: ConvPass) -> String {
        format!("{pass:?} {shape:?}")
    }

    fn of(&self, shape: &ConvShape, pass: ConvPass) -> Option<usize> {
        self.found.get(&Self::key(shape, pass)).copied()
    }

    fn write_down(&mut self, shape: &ConvShape, pass: ConvPass, number: usize) {
        self.found.insert(Self::key(shape, pass), number);
        let lines = self.found.iter().map(|(key, number)| format!("{key} {number}\n"));
        self.cache.write(&self.name, lines.collect::<String>().as_bytes());
    }
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        self.ways.clear();
        if self.stream.context().bind_to_thread().is_ok() {
            // SAFETY: the handle is live and nobody's after this. A failure leaks it.
            let _ = unsafe { sys::cudnnDestroy(self.handle) };
        }
    }
}

fn refused(doing: &'static str, error: CudnnError) -> CudaError {
    CudaError::Convolutions { doing, code: format!("{:?}", error.0) }
}

impl Plan {
    fn run(&self, handle: sys::cudnnHandle_t, arrays: [u64; 3], room: u64) -> Done<()> {
        let mut pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        let pointers = arrays.map(|address| address as *mut c_void);
        let room = [room as *mut c_void];
        pack.set(
            Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
            Type::CUDNN_TYPE_VOID_PTR,
            &pointers,
        )?;
        pack.longs(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &[OUT, FIRST, SECOND])?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &room)?;
        pack.finish()?;
        // SAFETY: handle, plan and pack are live, and the arrays as long as the plan's shape says,
        // which `Convolutions::run` has seen to.
        unsafe { sys::cudnnBackendExecute(handle, self.plan.0, pack.0) }.result()
    }
}

type Done<T> = Result<T, CudnnError>;

/// The GPU that plans are for.
enum Target {
    /// That of this handle.
    Handle(sys::cudnnHandle_t),
    /// One that is not there: what cuDNN would do with it, for tests.
    #[cfg(test)]
    Described(Descriptor),
}

impl Target {
    /// Tells a descriptor, which takes either the one or the other.
    fn tell(
        &self,
        descriptor: &mut Descriptor,
        [handle, described]: [Option<Name>; 2],
    ) -> Done<()> {
        match (self, handle, described) {
            (Self::Handle(handle), Some(name), _) => {
                descriptor.set(name, Type::CUDNN_TYPE_HANDLE, &[*handle])
            }
            #[cfg(test)]
            (Self::Described(device), _, Some(name)) => descriptor.child(name, device),
            _ => Ok(()),
        }
    }
}

/// Plans of the engines that can run the pass with the same bits every time, as cuDNN orders them.
fn plans(target: &Target, products: Products, shape: &ConvShape, pass: ConvPass) -> Vec<Plan> {
    let kind = match products {
        Products::F32 | Products::Tf32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Products::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    };
    let Ok(graph) = graph(target, kind, shape, pass) else { return Vec::new() };
    let modes = [
        sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A,
        sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_FALLBACK,
    ];
    let engines =
        modes.into_iter().flat_map(|mode| engines(target, &graph, mode).unwrap_or_default());
    let (tensor_cores, bytes_max) = (products != Products::F32, workspace_max(products, shape));
    let plan = |(number, config)| {
        if is_ruled_out(&config, tensor_cores).unwrap_or(true) {
            return None;
        }
        let plan = plan_of(target, &config, number).ok()?;
        (plan.workspace_bytes <= bytes_max).then_some(plan)
    };
    engines.enumerate().filter_map(plan).take(TRIED_MAX).collect()
}

/// Room that a plan for this shape may ask for. Engines that want the arrays in another order ask for as
/// much as these take: with cuDNN 9.26 and an H100 all for groups, in every precision, and most for `f32`
/// without tensor cores. For a large batch nothing but its last resorts would be left without them.
fn workspace_max(products: Products, shape: &ConvShape) -> usize {
    let number_bytes = if products == Products::Bf16 { 2 } else { 4 };
    let numbers = shape.input_len() + shape.weights_len() + shape.output_len();
    // And a little for what is beside the copies.
    WORKSPACE_BYTES_MAX.max(numbers * number_bytes / 8 * 9)
}

/// Whether what an engine says of itself rules it out.
fn is_ruled_out(config: &Descriptor, tensor_cores: bool) -> Done<bool> {
    let rules_out = |note| RULED_OUT.contains(note) || *note == TENSOR_CORE && !tensor_cores;
    Ok(notes(config)?.iter().any(rules_out))
}

/// What an engine says of itself.
fn notes(config: &Descriptor) -> Done<Vec<u32>> {
    let engine = Descriptor::new(Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?;
    let mut found = [engine.0];
    let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
    config.get(Name::CUDNN_ATTR_ENGINECFG_ENGINE, kind, &mut found)?;
    let mut notes = vec![u32::MAX; NOTES_MAX];
    let kind = Type::CUDNN_TYPE_NUMERICAL_NOTE;
    let count = engine.get(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, kind, &mut notes)?;
    notes.truncate(count);
    Ok(notes)
}

/// The plan of one engine.
fn plan_of(target: &Target, config: &Descriptor, number: usize) -> Done<Plan> {
    let mut plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
    let names =
        [Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP];
    target.tell(&mut plan, names.map(Some))?;
    plan.child(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)?;
    plan.finish()?;
    let mut bytes = [0_i64];
    let name = Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE;
    plan.get(name, Type::CUDNN_TYPE_INT64, &mut bytes)?;
    Ok(Plan { number, plan, workspace_bytes: usize::try_from(bytes[0]).unwrap_or(0) })
}

/// Engines for a graph, best first.
fn engines(
    target: &Target,
    graph: &Descriptor,
    mode: sys::cudnnBackendHeurMode_t,
) -> Done<Vec<Descriptor>> {
    let mut heuristics = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
    target.tell(&mut heuristics, [None, Some(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP)])?;
    heuristics.child(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)?;
    heuristics.set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &[mode])?;
    heuristics.finish()?;
    let new = |_| Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    let mut configs = (0..ENGINES_MAX).map(new).collect::<Done<Vec<_>>>()?;
    let mut handles: Vec<_> = configs.iter().map(|config| config.0).collect();
    let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
    let count = heuristics.get(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, kind, &mut handles)?;
    configs.truncate(count);
    Ok(configs)
}

/// A graph of one operation, over arrays of this kind.
fn graph(
    target: &Target,
    kind: sys::cudnnDataType_t,
    shape: &ConvShape,
    pass: ConvPass,
) -> Done<Descriptor> {
    let ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, groups, .. } = *shape;
    let [x, w, y] = match pass {
        ConvPass::Forward => [FIRST, SECOND, OUT],
        ConvPass::BackwardInput => [OUT, FIRST, SECOND],
        ConvPass::BackwardWeights => [FIRST, OUT, SECOND],
    };
    let x = tensor(x, kind, [batch, in_c, in_h, in_w])?;
    // That there are groups follows from the channels.
    let w = tensor(w, kind, [out_c, in_c / groups, kernel, kernel])?;
    let y = tensor(y, kind, [batch, out_c, out_h, out_w])?;
    let convolution = convolution(shape)?;
    let names = Names::of(pass);
    let mut operation = Descriptor::new(names.operation)?;
    for (name, child) in
        [(names.x, &x), (names.w, &w), (names.y, &y), (names.convolution, &convolution)]
    {
        operation.child(name, child)?;
    }
    operation.set(names.alpha, Type::CUDNN_TYPE_FLOAT, &[1.0_f32])?;
    operation.set(names.beta, Type::CUDNN_TYPE_FLOAT, &[0.0_f32])?;
    operation.finish()?;
    let mut graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
    graph.child(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operation)?;
    target.tell(&mut graph, [Some(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE), None])?;
    graph.finish()?;
    Ok(graph)
}

/// What the attributes of an operation are called.
struct Names {
    operation: Kind,
    x: Name,
    w: Name,
    y: Name,
    convolution: Name,
    alpha: Name,
    beta: Name,
}

impl Names {
    fn of(pass: ConvPass) -> Self {
        match pass {
            ConvPass::Forward => Self {
                operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            },
            ConvPass::BackwardInput => Self {
                operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            },
            ConvPass::BackwardWeights => Self {
                operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            },
        }
    }
}

/// An array with these sizes, channels before rows and columns as cuDNN counts them, and last in
/// memory.
fn tensor(number: i64, kind: sys::cudnnDataType_t, sizes: [usize; 4]) -> Done<Descriptor> {
    let [count, channels, rows, columns] = sizes.map(|size| size as i64);
    let strides = [rows * columns * channels, 1, columns * channels, channels];
    let mut tensor = Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[kind])?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &[count, channels, rows, columns])?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[number])?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT_BYTES])?;
    tensor.finish()?;
    Ok(tensor)
}

/// Strides and padding, with sums in f32. What the windows do not reach at the bottom and right is
/// not padded.
fn convolution(shape: &ConvShape) -> Done<Descriptor> {
    let after = |input: usize, output: usize| {
        let reach = (output - 1) * shape.stride + shape.kernel;
        (reach as i64 - (input + shape.pad) as i64).max(0)
    };
    let (stride, pad) = (shape.stride as i64, shape.pad as i64);
    let post = [after(shape.in_h, shape.out_h), after(shape.in_w, shape.out_w)];
    let mut convolution = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
    let (f32, cross) = (
        [sys::cudnnDataType_t::CUDNN_DATA_FLOAT],
        [sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION],
    );
    let mode = Type::CUDNN_TYPE_CONVOLUTION_MODE;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &f32)?;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, mode, &cross)?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &[1, 1])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &[stride, stride])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &[pad, pad])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &post)?;
    convolution.finish()?;
    Ok(convolution)
}

/// One of cuDNN's descriptors, destroyed with this value.
struct Descriptor(sys::cudnnBackendDescriptor_t);

impl Descriptor {
    fn new(kind: Kind) -> Done<Self> {
        let mut descriptor = null_mut();
        // SAFETY: the pointer is to a descriptor that outlives the call.
        unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut descriptor) }.result()?;
        Ok(Self(descriptor))
    }

    /// Sets an attribute of several values, whose type is the one `kind` names.
    fn set<T: Copy>(&mut self, name: Name, kind: Type, values: &[T]) -> Done<()> {
        let count = values.len() as i64;
        // SAFETY: the descriptor is live, and cuDNN copies so many values before it returns.
        unsafe { sys::cudnnBackendSetAttribute(self.0, name, kind, count, values.as_ptr().cast()) }
            .result()
    }

    fn longs(&mut self, name: Name, values: &[i64]) -> Done<()> {
        self.set(name, Type::CUDNN_TYPE_INT64, values)
    }

    /// Another descriptor, which cuDNN keeps for itself.
    fn child(&mut self, name: Name, child: &Descriptor) -> Done<()> {
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &[child.0])
    }

    fn finish(&mut self) -> Done<()> {
        // SAFETY: the descriptor is live.
        unsafe { sys::cudnnBackendFinalize(self.0) }.result()
    }

    /// Reads an attribute into `values`, whose type is the one `kind` names; how many there are.
    fn get<T: Copy>(&self, name: Name, kind: Type, values: &mut [T]) -> Done<usize> {
        let mut count = 0_i64;
        let (room, into) = (values.len() as i64, values.as_mut_ptr().cast());
        // SAFETY: the descriptor is live, and there is room for as many values as are asked for.
        unsafe { sys::cudnnBackendGetAttribute(self.0, name, kind, room, &mut count, into) }
            .result()?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is live and nobody's after this. A failure leaks it.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An H100 as cuDNN describes one, but for its name; the figures are NVIDIA's.
    const DEVICE: &str = r#"{"deviceName": "described", "deviceVer": 900, "driverVer": 13000,
        "cudaDeviceId": 0, "isTccDriver": 0, "l2CacheSize": 52428800, "maxCtasPerSM": 32,
        "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152,
        "maxSharedMemoryPerBlockOptin": 232448, "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": 2048, "memClockRateKHz": 2619000, "multiProcessorCount": 132,
        "pciDeviceId": 0, "regsPerBlock": 65536, "reservedSharedMemoryPerBlock": 1024,
        "smClockRateKHz": 1980000, "smCountOrigin": 0, "supportCoopLaunch": 1,
        "totalGlobalMem": 85000000000, "warpSize": 32, "maxBlockSize": [1024, 1024, 64],
        "maxGridSize": [2147483647, 65535, 65535], "oversizedSharedMemoryPerBlock": 0}"#;

    /// That GPU, where cuDNN is at hand and new enough to be told of one.
    fn described() -> Option<Target> {
        find(Library::Convolutions).ok()?;
        let mut device = Descriptor::new(Kind::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR).ok()?;
        let text = format!("{DEVICE}\0");
        let name = Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION;
        device.set(name, Type::CUDNN_TYPE_CHAR, text.as_bytes()).ok()?;
        device.finish().ok().map(|()| Target::Described(device))
    }

    /// Whether one of these plans' engines is another than cuDNN's last resort, the only one that says
    /// so of NaN.
    fn any_is_meant_for_it(plans: &[Plan]) -> bool {
        let is_last = |plan: &Plan| {
            let config = Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?;
            let (name, mut found) = (Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, [config.0]);
            plan.plan.get(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &mut found)?;
            let last = Note::CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP as u32;
            Ok::<_, CudnnError>(notes(&config)?.contains(&last))
        };
        plans.iter().any(|plan| !is_last(plan).expect("an engine's notes"))
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn cudnn_has_engines_for_every_pass_in_every_kind_of_products() {
        let Some(target) = described() else {
            return eprintln!("SKIPPED: no cuDNN here that knows GPUs which are not there");
        };
        // Layers of `modern` and `paper`: the first in blocks, the second in groups.
        let conv3 = ConvShape {
            batch: 1024,
            in_h: 13,
            in_w: 13,
            in_c: 192,
            out_h: 13,
            out_w: 13,
            out_c: 384,
            kernel: 3,
            stride: 1,
            pad: 1,
            groups: 1,
        };
        let sized = |shape, input, output| ConvShape {
            in_h: input,
            in_w: input,
            out_h: output,
            out_w: output,
            ..shape
        };
        let first = ConvShape { in_c: 48, out_c: 64, pad: 0, ..sized(conv3, 57, 55) };
        let grouped = ConvShape { in_c: 96, out_c: 256, kernel: 5, pad: 2, groups: 2, ..conv3 };
        for shape in [first, sized(grouped, 27, 27), conv3, ConvShape { batch: 1, ..conv3 }] {
            for pass in [ConvPass::Forward, ConvPass::BackwardInput, ConvPass::BackwardWeights] {
                for products in [Products::F32, Products::Tf32, Products::Bf16] {
                    let plans = plans(&target, products, &shape, pass);
                    assert!(any_is_meant_for_it(&plans), "{pass:?} {products:?} {shape:?}");
                }
            }
        }
    }
}
