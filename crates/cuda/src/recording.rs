//! Operations that are the same every time, remembered by the driver as a graph: one call launches all
//! of them, where each by itself would take the host longer than a small one takes the GPU.

use crate::Engine;
use crate::driver::Tape;

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
    /// Whether the operations are to be asked for.
    pub(crate) fn begin(&mut self, engine: &mut Engine) -> bool {
        // What is remembered lays out inputs unseen.
        engine.scratch.blocks_of = None;
        let is_current = self.generation == engine.scratch.generation();
        match &self.state {
            State::Remembered(tape) if is_current => {
                engine.gpu.play(tape);
                return false;
            }
            State::Done if is_current => {
                let listens = engine.gpu.begin_recording();
                self.state = if listens { State::Listening } else { State::Refused };
            }
            State::Refused => {}
            _ => self.state = State::New,
        }
        true
    }

    /// Whether they were done.
    pub(crate) fn end(&mut self, engine: &mut Engine) -> bool {
        engine.scratch.blocks_of = None;
        match self.state {
            State::Listening => match engine.gpu.end_recording() {
                Some(tape) => {
                    engine.gpu.play(&tape);
                    self.state = State::Remembered(tape);
                    true
                }
                None => {
                    self.state = State::Refused;
                    false
                }
            },
            State::Refused => true,
            _ => {
                self.state = State::Done;
                self.generation = engine.scratch.generation();
                true
            }
        }
    }
}
