//! cuDNN's convolutions, where cuDNN is at hand.
//!
//! cuDNN is told of a convolution as a graph of one operation; its heuristics then name engines that
//! could run it, best first. Of those that form the same bits every time, the first few are tried on
//! the first arrays that come, and the fastest is kept: cuDNN's own first choice is sometimes far from
//! it. Which one that is depends on a clock, so it is written down for later runs, whose bits are then the
//! same.
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
use self::plans::{Plan, Target, plans};
use super::error::{CudaError, fail};
use super::gpu::Gpu;
use super::libraries::{Library, find};
use super::memory::{Buffer, Reals, RealsMut, ViewMut};
use crate::Products;

/// How often each runs together in one trial after the other.
const RUNS: [u32; 4] = [1, 4, 4, 4];
/// Once its trials took so long together, one is known well enough: a run that takes as long by itself need
/// not be repeated to be told from another.
const TRIALS_SECONDS: f64 = 10e-3;
/// What takes so many times as long as the fastest is not tried again: of cuDNN's last resorts, which
/// take arrays of any order, one run of a large batch is long enough.
const FAR_BEHIND: f64 = 4.0;

/// cuDNN, on the stream of whichever lane is asked.
pub(crate) struct Convolutions {
    // Plans belong to the handle, and go before it.
    ways: HashMap<(ConvShape, ConvPass), Way>,
    choices: Choices,
    products: Products,
    handle: sys::cudnnHandle_t,
    on: On,
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
}

impl Way {
    /// Leaves the fastest plan, or none if none can be run. The longest room is there for the trial alone.
    fn try_all(&mut self, gpu: &Gpu, run: impl Fn(&Plan, u64) -> Result<(), CudnnError>) {
        let bytes = self.plans.iter().map(|plan| plan.workspace_bytes).max().unwrap_or(0);
        let room: Buffer<u8> = gpu.zeros(bytes);
        let fastest = fastest(self.plans.len(), |at, runs| {
            gpu.wait();
            let begin = Instant::now();
            let ran = (0..runs).try_for_each(|_| run(&self.plans[at], room.view().address()));
            gpu.wait();
            ran.ok().map(|()| begin.elapsed().as_secs_f64())
        });
        self.plans = fastest.map(|at| self.plans.swap_remove(at)).into_iter().collect();
    }
}

/// The stream that cuDNN was told to use last.
struct On(Arc<CudaStream>);

impl On {
    /// Tells it of another, if it is another.
    fn change(
        &mut self,
        handle: sys::cudnnHandle_t,
        stream: &Arc<CudaStream>,
    ) -> Result<(), CudaError> {
        if self.0 == *stream {
            return Ok(());
        }
        Self::set(handle, stream)?;
        self.0 = stream.clone();
        Ok(())
    }

    fn set(handle: sys::cudnnHandle_t, stream: &CudaStream) -> Result<(), CudaError> {
        // SAFETY: both are live: the stream is kept beside the handle.
        unsafe { sys::cudnnSetStream(handle, stream.cu_stream().cast()) }
            .result()
            .map_err(|error| refused("take a stream", error))
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
        let mut handle = null_mut();
        // SAFETY: the pointer is to a handle that outlives the call.
        unsafe { sys::cudnnCreate(&mut handle) }.result().map_err(|e| refused("start", e))?;
        // SAFETY: the library was found, and the function takes nothing.
        let choices = Choices::read(gpu, products, unsafe { sys::cudnnGetVersion() });
        let on = On(gpu.stream().clone());
        let this = Self { ways: HashMap::new(), choices, products, handle, on };
        On::set(this.handle, &this.on.0)?;
        Ok(Some(this))
    }

    /// Its version, 9.19 as (9, 19).
    pub(crate) fn version() -> (usize, usize) {
        // SAFETY: the library was found, and the function takes nothing.
        let version = unsafe { sys::cudnnGetVersion() };
        (version / 10_000, version / 100 % 100)
    }

    /// Whether cuDNN can run a pass.
    pub(crate) fn can(&mut self, shape: &ConvShape, pass: ConvPass) -> bool {
        let (handle, products, choices) = (self.handle, self.products, &self.choices);
        let way = self.ways.entry((*shape, pass)).or_insert_with(|| {
            let mut plans = plans(&Target::Handle(handle), products, shape, pass);
            let chosen = choices.of(shape, pass);
            if let Some(at) = plans.iter().position(|plan| Some(plan.number) == chosen) {
                plans = vec![plans.swap_remove(at)];
            }
            Way { plans }
        });
        !way.plans.is_empty()
    }

    /// Runs a pass: the output, of x, w and y the other two in this order, and who has room for so many
    /// bytes. Says whether one of the engines could.
    ///
    /// # Panics
    /// When [`Self::can`] has not said so, or an array is too short or of another kind than the products.
    pub(crate) fn run<'r>(
        &mut self,
        gpu: &Gpu,
        (shape, pass): (&ConvShape, ConvPass),
        out: RealsMut<'_>,
        [first, second]: [Reals<'_>; 2],
        room: impl FnOnce(usize) -> ViewMut<'r, u8>,
    ) -> bool {
        let way = self.ways.get_mut(&(*shape, pass)).expect("a way");
        let lens = [shape.input_len(), shape.weights_len(), shape.output_len()];
        let arrays = x_w_y(pass, [out.len(), first.len(), second.len()]);
        assert!(arrays.iter().zip(lens).all(|(&array, len)| array >= len), "{arrays:?}, {shape:?}");
        let bf16 = [first.is_bf16(), second.is_bf16(), out.is_bf16()];
        assert_eq!(bf16, [self.products == Products::Bf16; 3], "{shape:?}");
        let touched = [out.touch(), first.touch(), second.touch()];
        let addresses = x_w_y(pass, [out.address(), first.address(), second.address()]);
        let (handle, on) = (self.handle, &mut self.on);
        // What is tried is waited for, which a graph cannot.
        if way.plans.len() > 1 && !gpu.gives_up() && gpu.touches(&touched) {
            on.change(handle, gpu.lanes().stream()).unwrap_or_else(|error| fail(error));
            way.try_all(gpu, |plan, room| plan.run(handle, addresses, room));
            way.plans.iter().for_each(|plan| self.choices.write_down(shape, pass, plan.number));
        }
        let Some(plan) = way.plans.first() else { return false };
        let room = room(plan.workspace_bytes);
        if gpu.touches(&[&touched[..], &[room.touch()]].concat()) {
            on.change(handle, gpu.lanes().stream()).unwrap_or_else(|error| fail(error));
            let run = || plan.run(handle, addresses, room.address());
            let ask = || gpu.asked_of(run(), |error| refused("convolve", error));
            gpu.timed(|| named(shape, pass), ask);
        }
        true
    }
}

/// What belongs to the output and to the other two, in the order of x, w and y.
fn x_w_y<T>(pass: ConvPass, [out, first, second]: [T; 3]) -> [T; 3] {
    match pass {
        ConvPass::Forward => [first, second, out],
        ConvPass::BackwardInput => [out, first, second],
        ConvPass::BackwardWeights => [first, out, second],
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

/// Which of so many candidates takes least. `seconds` runs one so often and says how long that took, if it
/// could.
fn fastest(candidates: usize, mut seconds: impl FnMut(usize, u32) -> Option<f64>) -> Option<usize> {
    struct Trial {
        of: usize,
        run_seconds: f64,
        seconds: f64,
    }
    // In a first run, which says nothing, what is loaded is loaded.
    let can = (0..candidates).filter(|&of| seconds(of, 1).is_some());
    let mut trials: Vec<_> =
        can.map(|of| Trial { of, run_seconds: f64::INFINITY, seconds: 0.0 }).collect();
    for runs in RUNS {
        let least = trials.iter().map(|trial| trial.run_seconds).fold(f64::INFINITY, f64::min);
        let goes_on = |trial: &&mut Trial| {
            trial.run_seconds <= FAR_BEHIND * least && trial.seconds < TRIALS_SECONDS
        };
        for trial in trials.iter_mut().filter(goes_on) {
            let took = seconds(trial.of, runs).unwrap_or(f64::INFINITY);
            trial.run_seconds = trial.run_seconds.min(took / f64::from(runs));
            trial.seconds += took;
        }
    }
    let ran = trials.into_iter().filter(|trial| trial.run_seconds.is_finite());
    ran.min_by(|a, b| a.run_seconds.total_cmp(&b.run_seconds)).map(|trial| trial.of)
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        self.ways.clear();
        if self.on.0.context().bind_to_thread().is_ok() {
            // SAFETY: the handle is live and nobody's after this. A failure leaks it.
            let _ = unsafe { sys::cudnnDestroy(self.handle) };
        }
    }
}

fn refused(doing: &'static str, error: CudnnError) -> CudaError {
    CudaError::Convolutions { doing, code: format!("{:?}", error.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_found_by_few_runs_of_what_takes_long() {
        // Seconds that a run takes, where there can be one, and how often each ran at last.
        let (fast, slow) = (Some(1e-4), Some(3e-4));
        for (takes, fastest_one, runs) in [
            (vec![slow, fast, Some(1e-2), None], Some(1), vec![14, 14, 2, 1]),
            (vec![Some(4e-2), Some(3e-2), Some(1.0)], Some(1), vec![2, 2, 2]),
            (vec![Some(3e-3), Some(2e-3)], Some(1), vec![6, 6]),
            (vec![None, None], None, vec![1, 1]),
            (vec![], None, vec![]),
        ] {
            let mut ran = vec![0; takes.len()];
            let found = fastest(takes.len(), |at, runs| {
                // The first run of each loads what it needs.
                let loading = if ran[at] == 0 { 1.0 } else { 0.0 };
                ran[at] += runs;
                takes[at].map(|seconds: f64| loading + f64::from(runs) * seconds)
            });
            assert_eq!((found, ran), (fastest_one, runs), "{takes:?}");
        }
    }
}
