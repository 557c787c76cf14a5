//! Engines for a convolution, and what each says of itself; a plan runs one.

use std::ffi::c_void;

use alexnet_ops::{ConvPass, ConvShape};
use cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnBackendNumericalNote_t as Note,
};

use super::descriptors::{Descriptor, Done, NUMBERS, graph};
use crate::Products;

/// Room that any plan may ask for: more is rarely faster, and memory is scarce beside large batches.
const WORKSPACE_BYTES_MAX: usize = 256 << 20;
/// Engines asked for. With `f32` those without tensor cores come last: of 37 that cuDNN 9.26 names for
/// 192 to 384 maps of 13 by 13 on an H100, the first is the 32nd.
const ENGINES_MAX: usize = 100;
/// Engines tried.
const TRIED_MAX: usize = 10;
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

/// A plan for one engine, and its place among those that could be tried.
pub(super) struct Plan {
    pub(super) number: usize,
    plan: Descriptor,
    pub(super) workspace_bytes: usize,
}

impl Plan {
    /// Runs it over x, w and y at these addresses, with room.
    pub(super) fn run(&self, handle: sys::cudnnHandle_t, arrays: [u64; 3], room: u64) -> Done<()> {
        let mut pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        let pointers = arrays.map(|address| address as *mut c_void);
        let room = [room as *mut c_void];
        pack.set(
            Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
            Type::CUDNN_TYPE_VOID_PTR,
            &pointers,
        )?;
        pack.longs(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &NUMBERS)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &room)?;
        pack.finish()?;
        // SAFETY: handle, plan and pack are live, and the arrays as long as the plan's shape says,
        // which `Convolutions::run` has seen to.
        unsafe { sys::cudnnBackendExecute(handle, self.plan.0, pack.0) }.result()
    }
}

/// The GPU that plans are for.
pub(super) enum Target {
    /// That of this handle.
    Handle(sys::cudnnHandle_t),
    /// One that is not there: what cuDNN would do with it, for tests.
    #[cfg(test)]
    Described(Descriptor),
}

impl Target {
    /// Tells a descriptor, which takes either the one or the other.
    pub(super) fn tell(
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
pub(super) fn plans(
    target: &Target,
    products: Products,
    shape: &ConvShape,
    pass: ConvPass,
) -> Vec<Plan> {
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

#[cfg(test)]
mod tests {
    use cudarc::cudnn::result::CudnnError;

    use super::*;
    use crate::driver::libraries::{Library, find};

    /// An H100 as cuDNN describes one, but for its name; the figures are NVIDIA's.
    const DEVICE: &str = r#"{"deviceName": "described", "deviceVer": 900, "driverVer": 13000,
        "cudaDeviceId": 0, "isTccDriver": 0, "l2CacheSize": 52428800, "maxCtasPerSM": 32,
        "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152,
        "maxSharedMemoryPerBlockOptin": 232448, "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": 2048, "memClockRateKHz": 2619000, "memoryBusWidth": 5120, "multiProcessorCount": 132,
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
        // Layers of `modern` and `paper`: the first in blocks, the second in groups and one of these apart.
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
        let grouped = sized(grouped, 27, 27);
        let apart = ConvShape { in_c: 48, out_c: 128, groups: 1, ..grouped };
        for shape in [first, grouped, apart, conv3, ConvShape { batch: 1, ..conv3 }] {
            for pass in [ConvPass::Forward, ConvPass::BackwardInput, ConvPass::BackwardWeights] {
                for products in [Products::F32, Products::Tf32, Products::Bf16] {
                    let plans = plans(&target, products, &shape, pass);
                    assert!(any_is_meant_for_it(&plans), "{pass:?} {products:?} {shape:?}");
                }
            }
        }
    }
}
