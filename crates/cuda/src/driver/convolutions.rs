//! cuDNN's convolutions, where cuDNN is at hand.
//!
//! cuDNN is told of a convolution as a graph of one operation; its heuristics then name engines that
//! could run it, best first. Of those that form the same bits every time, the first few are tried on
//! the first arrays that come, and the fastest is kept: cuDNN's own first choice is sometimes far from
//! it. Which one that is depends on a clock, so it is written down for later runs, whose bits
//! are then the same.
//!
//! - `descriptors` declares a convolution to cuDNN.
//! - `plans` asks for engines, and runs one.
//! - `choices` writes down which was the fastest.

mod choices;
mod descriptors;
mod plans;

use std::collections::HashMap;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Instant;

use alexnet_ops::{ConvPass, ConvShape};
use cudarc::cudnn::result::CudnnError;
use cudarc::cudnn::sys;
use cudarc::driver::CudaStream;

use self::choices::Choices;
use self::descriptors::Done;
use self::plans::{Plan, Target, plans};
use super::error::CudaError;
use super::gpu::Gpu;
use super::libraries::{Library, find};
use super::memory::{Reals, RealsMut, ViewMut};
use crate::Products;

/// How often each runs together in one trial after the other. In the first, what is loaded is loaded.
const RUNS: [u32; 5] = [1, 1, 4, 4, 4];
/// What takes so many times as long as the fastest is not tried again: of cuDNN's last resorts, which
/// take arrays of any order, one run of a large batch is long enough.
const FAR_BEHIND: f64 = 4.0;

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
