//! Updates that are asked for before anybody knows whether they may be done. The device judges the
//! magnitudes that it found, and every update's kernel reads the verdict: so the host need not wait
//! between a step's gradients and its update, nor the device for the host.

use alexnet_ops::Bound;

use crate::Engine;
use crate::driver::{Buffer, Gpu, Launch, View, ViewMut};
use crate::floats::Floats;
use crate::reduce::word;
use crate::scratch::Room;

/// The verdict of updates that nobody holds back, and that of those that are.
pub(crate) struct Guard {
    verdicts: Buffer<u32>,
    holds: bool,
    /// The number of the last verdict on its way to the host.
    coming: u64,
    bounds: Room,
    bounds_are: Vec<Bound>,
}

impl Guard {
    pub(crate) fn open(gpu: &Gpu) -> Self {
        let mut verdicts = gpu.zeros(2);
        gpu.upload(verdicts.view_mut(), &[1]);
        Self { verdicts, holds: false, coming: 0, bounds: Room::default(), bounds_are: Vec::new() }
    }

    /// What an update is to be done by: not where it is 0.
    pub(crate) fn verdict(&self) -> View<'_, u32> {
        let at = usize::from(self.holds);
        self.verdicts.view().part(at..at + 1)
    }

    /// What the device judged last.
    fn judged(&self) -> View<'_, u32> {
        self.verdicts.view().part(1..2)
    }

    pub(crate) fn end(&mut self) {
        self.holds = false;
    }
}

/// Judges what was found, and holds the updates that follow back unless every bound holds.
pub(crate) fn judge(engine: &mut Engine, found: &Floats, bounds: &[Bound]) {
    let Engine { gpu, crossing, guard, .. } = engine;
    // Neither the verdict's way to the host nor what the bounds are when a graph is launched can be remembered.
    guard.coming = 0;
    if gpu.gives_up() {
        return;
    }
    let mut there: ViewMut<'_, f32> = guard.bounds.take(gpu, 2 * bounds.len());
    // Steps of a size have the same.
    if guard.bounds_are != bounds {
        let pair = |bound: &Bound| [bound.largest, f32::from(u8::from(bound.paired))];
        let pairs: Vec<[f32; 2]> = bounds.iter().map(pair).collect();
        crossing.send(gpu, there.again(), pairs.as_flattened());
        guard.bounds_are = bounds.to_vec();
    }
    let verdict = guard.verdicts.view_mut().into_part(1..2);
    let looks = word(bounds.len()).into();
    let arguments = [verdict.into(), found.first(bounds.len()).into(), there.read().into(), looks];
    gpu.launch("judge", Launch::blocks(1).sharing(|_| 1), &arguments);
    guard.coming = crossing.begin_fetch(gpu, guard.judged().touch());
    guard.holds = true;
}

/// Whether everything held that was judged last; waits for that and for nothing after it.
pub(crate) fn judged(engine: &mut Engine) -> bool {
    let Engine { gpu, crossing, guard, .. } = engine;
    let verdict = crossing.end_fetch(gpu, guard.coming, guard.judged().touch());
    verdict.is_some_and(|verdict| verdict.iter().any(|&byte| byte != 0))
}
