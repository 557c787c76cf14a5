//! What each operation takes the GPU: an event before it, and one behind it.

use cudarc::driver::{CudaEvent, DriverError, sys};

use super::error::{CudaError, fail};
use super::gpu::{Gpu, driver};
use super::libraries::elapsed_time;

/// The driver's function that says the milliseconds between two events. That of `cudarc` is one that
/// drivers have since 12.8.
pub(super) type ElapsedTime =
    unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// Operations that were timed, in the order in which they were asked for.
pub(super) struct Clock {
    elapsed: ElapsedTime,
    laps: Vec<Lap>,
}

struct Lap {
    operation: String,
    begun: CudaEvent,
    ended: CudaEvent,
}

impl Clock {
    /// The seconds of a lap that is over.
    fn seconds(&self, lap: &Lap) -> Result<f64, DriverError> {
        let mut ms = 0.0;
        // SAFETY: the pointer is to a number that outlives the call, both events are live.
        unsafe { (self.elapsed)(&mut ms, lap.begun.cu_event(), lap.ended.cu_event()) }.result()?;
        Ok(f64::from(ms) / 1e3)
    }
}

fn fails(error: DriverError) -> CudaError {
    driver("time an operation", error)
}

impl Gpu {
    /// Times every operation by itself from now on. Nothing is remembered meanwhile: of a graph only the
    /// whole could be timed.
    pub(crate) fn begin_timing(&self) {
        self.wait();
        let elapsed = elapsed_time().unwrap_or_else(|error| fail(error));
        self.clock.replace(Some(Clock { elapsed, laps: Vec::new() }));
    }

    /// Whether it does.
    pub(crate) fn is_timing(&self) -> bool {
        self.clock.borrow().is_some()
    }

    /// Operations since then and their seconds, and an end of it.
    pub(crate) fn end_timing(&self) -> Vec<(String, f64)> {
        self.wait();
        let Some(mut clock) = self.clock.take() else { return Vec::new() };
        let laps = std::mem::take(&mut clock.laps).into_iter().map(|lap| {
            let seconds = clock.seconds(&lap).unwrap_or_else(|error| fail(fails(error)));
            (lap.operation, seconds)
        });
        laps.collect()
    }

    /// Asks for an operation of this name.
    pub(super) fn timed(&self, name: impl FnOnce() -> String, ask: impl FnOnce()) {
        if !self.is_timing() {
            return ask();
        }
        let event = || {
            let event =
                self.stream().context().new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT));
            let recorded = event.and_then(|event| event.record(self.stream()).map(|()| event));
            recorded.unwrap_or_else(|error| fail(fails(error)))
        };
        let begun = event();
        ask();
        let lap = Lap { operation: name(), begun, ended: event() };
        if let Some(clock) = &mut *self.clock.borrow_mut() {
            clock.laps.push(lap);
        }
    }
}
