//! Operations that are the same every time, remembered by the driver as a graph: one call launches all
//! of them, where each by itself would take the host longer than a small one takes the GPU, and the GPU
//! goes from each to the next without asking.

use crate::Engine;
use crate::driver::Tape;
use crate::elementwise::step_there;

/// Operations that may be remembered. The first time they are done as any others, which makes every
/// array that they need; the second time they are remembered.
#[derive(Default)]
pub struct Recording {
    state: State,
    /// Of the arrays that they work in.
    generation: u64,
}

#[derive(Default)]
enum State {
    #[default]
    New,
    Done,
    Listening,
    Remembered(Tape),
    /// One of them cannot be.
    Refused,
}

impl Recording {
    /// Whether the operations are to be asked for, with this step where elements are dropped.
    pub(crate) fn begin(&mut self, engine: &mut Engine, step: u64) -> bool {
        let Engine { gpu, scratch, .. } = engine;
        if gpu.leaves_recording() {
            scratch.forget();
        }
        scratch.forget_arrays();
        step_there(gpu, scratch, step);
        let is_current = self.generation == scratch.generation();
        match &self.state {
            _ if gpu.is_timing() => self.state = State::New,
            State::Remembered(tape) if is_current => {
                if gpu.play(tape) {
                    return false;
                }
                self.state = State::Refused;
            }
            State::Done if is_current => {
                self.state = if gpu.begin_recording() { State::Listening } else { State::Refused };
            }
            State::Refused => {}
            _ => self.state = State::New,
        }
        true
    }

    /// Whether they were done.
    pub(crate) fn end(&mut self, engine: &mut Engine) -> bool {
        let Engine { gpu, scratch, .. } = engine;
        scratch.forget_arrays();
        match self.state {
            State::Listening => match gpu.end_recording().filter(|tape| gpu.play(tape)) {
                Some(tape) => {
                    self.state = State::Remembered(tape);
                    true
                }
                None => {
                    scratch.forget();
                    // An array that had to grow is there now.
                    let has_grown = self.generation != scratch.generation();
                    self.state = if has_grown { State::New } else { State::Refused };
                    false
                }
            },
            State::Refused => true,
            _ => {
                self.state = State::Done;
                self.generation = scratch.generation();
                true
            }
        }
    }
}
