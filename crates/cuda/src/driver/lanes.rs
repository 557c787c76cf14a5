//! Streams beside the one that computes: what nobody waits for yet is done there meanwhile.
//!
//! Operations are asked for one after the other, as if there were one stream, and on which lane each
//! runs changes no result. For that, each says what memory it touches. What a side lane does begins
//! when everything asked of the main lane before is done; and before an operation touches what a side
//! lane has yet to read or write, its lane waits for that. Whoever asks need not know.
//!
//! While operations are remembered as a graph, side lanes are branches of it. Only updates are never in
//! one: they go on beside what is remembered, up to the operation that first touches what they touch. There
//! the recording is parted: the main lane waits for updates between the two graphs ([`Heard`]).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result};

use super::error::CudaError;
use super::gpu::driver;

/// What runs on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What everything else waits for.
    Main,
    /// Gradients of weights, beside those of inputs.
    Weights,
    /// Sums of biases' gradients, and one of two groups.
    Aside,
    /// Of weights, beside the next step's first layers.
    Updates,
}

/// Those beside the main one, and how many of their blocks can be told apart. Updates are all waited for
/// together.
const SIDES: [(Lane, usize); 3] = [(Lane::Weights, 16), (Lane::Aside, 16), (Lane::Updates, 1)];
const UPDATES: usize = 2;

impl Lane {
    pub(crate) const COUNT: usize = 1 + SIDES.len();

    fn side(self) -> Option<usize> {
        SIDES.iter().position(|(lane, _)| *lane == self)
    }
}

/// Memory that an operation touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) writes: bool,
}

impl Touch {
    /// Whether it makes a difference which of the two comes first.
    fn minds(&self, other: &Self) -> bool {
        (self.writes || other.writes) && self.begin < other.end && other.begin < self.end
    }
}

fn mind(some: &[Touch], others: &[Touch]) -> bool {
    some.iter().any(|touch| others.iter().any(|other| touch.minds(other)))
}

/// Those that are not among them yet.
fn add(touched: &mut Vec<Touch>, touches: &[Touch]) {
    for touch in touches {
        if !touched.contains(touch) {
            touched.push(*touch);
        }
    }
}

/// What a side lane was asked for in one go, and where that ends.
#[derive(Debug)]
struct Block {
    event: usize,
    touched: Vec<Touch>,
}

/// What is heard while operations are remembered.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// What is touched before the main lane waits for updates. What is remembered may be done again while
    /// others are under way than those of now.
    before: Vec<Touch>,
    /// Whether it waits: then there are two graphs.
    waits: bool,
}

/// Its lane waits for the end of a block of a side: which side, and which of its events.
type Wait = (usize, usize);

/// What of all lanes is not known to be done.
#[derive(Debug)]
struct Ledger {
    lane: Lane,
    /// Of the block that is asked for.
    touched: Vec<Touch>,
    /// Of each side, for which the main lane has not waited, in order.
    blocks: [VecDeque<Block>; SIDES.len()],
    /// By the last updates, done or not.
    updated: Vec<Touch>,
    heard: Option<Heard>,
}

impl Ledger {
    fn new() -> Self {
        let blocks = [const { VecDeque::new() }; SIDES.len()];
        Self { lane: Lane::Main, touched: Vec::new(), blocks, updated: Vec::new(), heard: None }
    }

    /// Whether a block of this lane begins: not within another, and no updates in a graph, which waits for
    /// those before it.
    fn enters(&mut self, lane: Lane) -> bool {
        let can = self.heard.is_none() || lane != Lane::Updates;
        let enters = self.lane == Lane::Main && lane != Lane::Main && can;
        if enters {
            self.lane = lane;
        }
        enters
    }

    /// The side whose block ends, and the event to record.
    fn leaves(&mut self) -> Option<(usize, usize)> {
        let side = std::mem::replace(&mut self.lane, Lane::Main).side()?;
        let touched = std::mem::take(&mut self.touched);
        if side == UPDATES {
            if self.blocks[side].is_empty() {
                self.updated.clear();
            }
            add(&mut self.updated, &touched);
        }
        let (blocks, events) = (&mut self.blocks[side], SIDES[side].1);
        if blocks.len() == events {
            // The last event moves on to the end of this one.
            let last = blocks.back_mut()?;
            add(&mut last.touched, &touched);
            return Some((side, last.event));
        }
        let event = blocks.back().map_or(0, |last| (last.event + 1) % events);
        blocks.push_back(Block { event, touched });
        Some((side, event))
    }

    /// Whether what is remembered is to be parted before an operation that touches this: the first that
    /// minds updates. Within a block it cannot be.
    fn parts(&mut self, touches: &[Touch]) -> bool {
        let is_main = self.lane == Lane::Main;
        let Some(heard) = self.heard.as_mut().filter(|heard| !heard.waits) else { return false };
        heard.waits = is_main && mind(touches, &self.updated);
        if !heard.waits {
            add(&mut heard.before, touches);
        }
        heard.waits
    }

    /// What an operation that touches this has to wait for.
    fn waits(&mut self, touches: &[Touch]) -> Vec<Wait> {
        // Updates of before the graph are not the graph's to wait for.
        let sides = if self.heard.is_some() { UPDATES } else { SIDES.len() };
        let (mut waits, own) = (Vec::new(), self.lane.side());
        for side in (0..sides).filter(|&side| Some(side) != own) {
            let blocks = &mut self.blocks[side];
            let Some(last) = blocks.iter().rposition(|block| mind(touches, &block.touched)) else {
                continue;
            };
            waits.push((side, blocks[last].event));
            if own.is_none() {
                blocks.drain(..=last);
            }
        }
        if own.is_some() {
            add(&mut self.touched, touches);
        }
        waits
    }

    /// What the main lane has to wait for before this memory is given back, and whether the block that is
    /// asked for touches it, too.
    fn gives_back(&mut self, memory: Touch) -> (Vec<Wait>, bool) {
        if self.heard.is_some() {
            return (Vec::new(), false); // the driver refuses
        }
        let lane = std::mem::replace(&mut self.lane, Lane::Main);
        let waits = self.waits(&[memory]);
        self.lane = lane;
        (waits, mind(&self.touched, &[memory]))
    }

    /// The main lane waits for everything of these sides.
    fn joins(&mut self, sides: Range<usize>) -> Vec<Wait> {
        let mut ends = Vec::new();
        for side in sides {
            ends.extend(self.blocks[side].back().map(|last| (side, last.event)));
            self.blocks[side].clear();
        }
        ends
    }

    /// What the main lane waits for before it listens: of what is under way, only updates stay so.
    fn begins_recording(&mut self) -> Vec<Wait> {
        let ends = self.joins(0..UPDATES);
        self.heard = Some(Heard::default());
        ends
    }

    /// What it waits for where a graph ends.
    fn ends_graph(&mut self) -> Vec<Wait> {
        self.joins(0..UPDATES)
    }

    /// What it waits for before the first graph: updates, too, if they mind what that touches.
    fn begins_playing(&mut self, heard: &Heard) -> Vec<Wait> {
        let may_begin = !self.blocks[UPDATES].iter().any(|b| mind(&b.touched, &heard.before));
        self.joins(if may_begin { 0..UPDATES } else { 0..SIDES.len() })
    }

    /// What it waits for between the two.
    fn goes_on_playing(&mut self) -> Vec<Wait> {
        self.joins(UPDATES..SIDES.len())
    }

    /// Nothing is under way on a side lane.
    fn is_done(&mut self) {
        self.blocks.iter_mut().for_each(VecDeque::clear);
    }

    /// What was asked for while operations were remembered, or in a block that was not ended, is not done.
    fn forgets(&mut self) -> Option<Heard> {
        let heard = self.heard.take();
        if heard.is_some() {
            self.blocks[..UPDATES].iter_mut().for_each(VecDeque::clear);
        }
        self.lane = Lane::Main;
        self.touched.clear();
        heard
    }
}

struct Side {
    stream: Arc<CudaStream>,
    /// Where blocks end.
    ends: Vec<CudaEvent>,
}

/// All lanes of a device.
pub(super) struct Lanes {
    main: Arc<CudaStream>,
    sides: Vec<Side>,
    /// Where on the main lane a block may begin.
    fork: CudaEvent,
    ledger: Mutex<Ledger>,
}

impl Lanes {
    /// # Errors
    /// When the driver makes no streams or no events.
    pub(super) fn open(context: &Arc<CudaContext>) -> Result<Self, CudaError> {
        let fails = |error| driver("make a stream", error);
        let (least, greatest) = result::stream::get_priority_range().map_err(fails)?;
        let event = || context.new_event(None).map_err(fails);
        // The next step waits for updates last. Of the others one is soon the other's to wait for, and in
        // a graph all have the priority of the stream that it is launched on.
        let main = context.new_stream_with_priority(greatest).map_err(fails)?;
        let mut sides = Vec::new();
        for (lane, events) in SIDES {
            let priority = if lane == Lane::Updates { least } else { greatest };
            let stream = context.new_stream_with_priority(priority).map_err(fails)?;
            let ends = (0..events).map(|_| event()).collect::<Result<_, _>>()?;
            sides.push(Side { stream, ends });
        }
        Ok(Self { main, sides, fork: event()?, ledger: Mutex::new(Ledger::new()) })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn main(&self) -> &Arc<CudaStream> {
        &self.main
    }

    pub(super) fn lane(&self) -> Lane {
        self.ledger().lane
    }

    /// The stream of the lane that is asked.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        self.stream_of(self.lane())
    }

    fn stream_of(&self, lane: Lane) -> &Arc<CudaStream> {
        lane.side().map_or(&self.main, |side| &self.sides[side].stream)
    }

    /// From here to [`Self::leave`] this lane is asked, which begins when everything that the main lane
    /// was asked for is done.
    pub(super) fn enter(&self, lane: Lane) -> Result<(), DriverError> {
        let enters = self.ledger().enters(lane);
        if enters { self.fork(lane) } else { Ok(()) }
    }

    fn fork(&self, lane: Lane) -> Result<(), DriverError> {
        self.fork.record(&self.main)?;
        self.stream_of(lane).wait(&self.fork)
    }

    /// From here on the main lane is asked.
    pub(super) fn leave(&self) -> Result<(), DriverError> {
        let Some((side, event)) = self.ledger().leaves() else { return Ok(()) };
        self.sides[side].ends[event].record(&self.sides[side].stream)
    }

    /// Whether what is remembered is to be parted before an operation that touches this.
    pub(super) fn parts(&self, touches: &[Touch]) -> bool {
        self.ledger().parts(touches)
    }

    /// Waits for whatever must be done before the lane that is asked touches this.
    pub(super) fn touch(&self, touches: &[Touch]) -> Result<(), DriverError> {
        let mut ledger = self.ledger();
        let waits = ledger.waits(touches);
        self.wait(ledger.lane, waits)
    }

    fn wait(&self, lane: Lane, waits: Vec<Wait>) -> Result<(), DriverError> {
        let stream = self.stream_of(lane);
        waits.into_iter().try_for_each(|(side, event)| stream.wait(&self.sides[side].ends[event]))
    }

    /// Says that arrays were made, on the main lane as all are, for the lane that is asked.
    pub(super) fn has_made(&self) -> Result<(), DriverError> {
        match self.lane() {
            Lane::Main => Ok(()),
            lane => self.fork(lane),
        }
    }

    /// Has the main lane wait for what is under way in memory that is given back. A failure is that of the
    /// next call.
    pub(super) fn give_back(&self, begin: u64, bytes: usize) {
        let memory = Touch { begin, end: begin + bytes as u64, writes: true };
        let mut ledger = self.ledger();
        let (waits, is_asked) = ledger.gives_back(memory);
        // What failed before must not keep it from waiting, nor that this thread did not use the device yet.
        let context = self.main.context();
        let _ = context.check_err();
        let _ = context.bind_to_thread().and_then(|()| self.wait(Lane::Main, waits));
        if is_asked {
            let _ = self.stream_of(ledger.lane).synchronize();
        }
    }

    /// The host goes on when all are done.
    pub(super) fn synchronize(&self) -> Result<(), DriverError> {
        self.main.synchronize()?;
        self.sides.iter().try_for_each(|side| side.stream.synchronize())?;
        self.ledger().is_done();
        Ok(())
    }

    /// Of each lane.
    pub(super) fn streams(&self) -> impl Iterator<Item = &Arc<CudaStream>> {
        std::iter::once(&self.main).chain(self.sides.iter().map(|side| &side.stream))
    }

    /// To be asked before the main lane begins to listen: of what is under way, only updates stay so.
    pub(super) fn begin_recording(&self) -> Result<(), DriverError> {
        let ends = self.ledger().begins_recording();
        self.wait(Lane::Main, ends)
    }

    /// While the main lane listens still, joins the others: so a graph may end here.
    pub(super) fn end_graph(&self) -> Result<(), DriverError> {
        let ends = self.ledger().ends_graph();
        self.wait(Lane::Main, ends)
    }

    /// Nothing of what was asked for since the beginning of a recording will be done, but that it may be
    /// remembered: what was heard of it.
    pub(super) fn forget(&self) -> Option<Heard> {
        self.ledger().forgets()
    }

    /// To be asked before what was remembered is done. Says whether updates may go on beside it.
    pub(super) fn begin_playing(&self, heard: &Heard) -> Result<bool, DriverError> {
        let mut ledger = self.ledger();
        let ends = ledger.begins_playing(heard);
        let go_on = !ledger.blocks[UPDATES].is_empty();
        self.wait(Lane::Main, ends).map(|()| go_on)
    }

    /// Before the second of two graphs.
    pub(super) fn go_on_playing(&self) -> Result<(), DriverError> {
        let ends = self.ledger().goes_on_playing();
        self.wait(Lane::Main, ends)
    }
}

#[cfg(test)]
mod tests;
