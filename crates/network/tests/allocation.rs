//! After the first steps, a step takes no memory: in training and inference, on any thread.
//!
//! One test alone in this program, so that what is counted is the network's.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use alexnet_cpu::Cpu;
use alexnet_network::{
    Initialisation, Model, ModelConfig, ModelName, Network, Pass, Plan, Purpose,
};
use alexnet_ops::conformance::values;
use alexnet_ops::{SgdStep, UpdateRule};

/// The system's memory, each taking of it counted.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` takes memory.
fn taken(work: impl FnOnce()) -> usize {
    let before = TAKEN.load(Relaxed);
    work();
    TAKEN.load(Relaxed) - before
}

const BATCH: usize = 4;
const CLASSES: usize = 10;
/// Steps in which scratch may grow and weights' other forms be made; and so many at the most until then,
/// where a thread that others left nothing to do takes its scratch later.
const FIRST: u64 = 2;
const FIRST_MAX: u64 = 30;
/// Steps that take none.
const QUIET: u64 = 2;

fn network(model: ModelName, threads: usize, purpose: Purpose) -> Network<Cpu> {
    let (image_size, batch_norm) = (model.native_image_size(), model == ModelName::Modern);
    let config =
        ModelConfig { model, classes: CLASSES, image_size, width: 0.1, batch_norm, dropout: None };
    let model = Model::new(config).expect("a model");
    let plan = Plan::new(&model, BATCH, purpose, Initialisation::Model).expect("a plan");
    Network::new(Cpu::new(threads).expect("threads"), plan, 0)
}

#[test]
fn a_step_after_the_first_takes_no_memory() {
    assert_eq!(taken(|| drop(std::hint::black_box(vec![1]))), 1, "the counter counts");
    let sgd = SgdStep {
        rule: UpdateRule::PyTorch,
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 5e-4,
    };
    let labels: Vec<u32> = (0..BATCH as u32).collect();
    let mut found = Vec::new();
    for (model, threads) in [(ModelName::Modern, 1), (ModelName::Modern, 2), (ModelName::Paper, 2)]
    {
        let side = model.native_image_size();
        let images = values(BATCH * side * side * 3, 1, 1.0);
        let mut training = network(model, threads, Purpose::Training);
        let mut inference = network(model, threads, Purpose::Inference);
        let (mut step, mut quiet, mut last) = (0, 0, (0, 0));
        while quiet < QUIET && step < FIRST_MAX {
            let trained = taken(|| {
                training.train_step(&images, &labels, 0, step, |_| sgd).expect("finite");
            });
            let inferred = taken(|| {
                inference.forward(&images, Pass::Evaluate);
            });
            step += 1;
            let is_quiet = (trained, inferred) == (0, 0);
            (quiet, last) = match is_quiet && step > FIRST {
                true => (quiet + 1, last),
                false => (0, (trained, inferred)),
            };
        }
        // By itself a thread is never left with nothing.
        if quiet < QUIET || threads == 1 && step > FIRST + QUIET {
            found.push(format!(
                "{model} on {threads} threads, up to step {step}: {} times in training, {} in inference",
                last.0, last.1
            ));
        }
    }
    assert!(found.is_empty(), "memory was taken: {found:#?}");
}
