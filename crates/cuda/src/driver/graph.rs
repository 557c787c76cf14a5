//! Operations that the driver remembers as a graph, and does again at one call.
//!
//! While it listens, nothing that is asked for is done. Not everything can be remembered: what waits,
//! takes memory or crosses to or from the host cannot, nor what one of the libraries refuses then.
//! Where that is met, the recording is given up, and what follows is dropped until its end: half of
//! the operations were never done, and the others must not be done without them. Whoever asked is
//! told at the end, and asks for all of them once more.

use cudarc::driver::{CudaGraph, result, sys};

use super::error::{CudaError, fail};
use super::gpu::{Gpu, driver, lanes_fail};
use super::lanes::Heard;

/// What becomes of operations that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Done,
    Remembered,
    Dropped,
}

/// Operations that the driver remembers: in two graphs, where the second has to wait for updates.
pub(crate) struct Tape {
    first: Option<Graph>,
    last: Graph,
    heard: Heard,
}

pub(super) struct Graph(CudaGraph);

// SAFETY: graphs may be used from any thread, though not from two at a time; one is played by whoever
// has its recording to change, behind the lock of the device.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl Gpu {
    /// Has the operations that follow remembered instead of done, up to [`Self::end_recording`]; says
    /// whether it can.
    pub(crate) fn begin_recording(&self) -> bool {
        if !self.records || self.is_timing() {
            return false;
        }
        self.first.take();
        let joined = self.lanes().begin_recording();
        joined.unwrap_or_else(|error| fail(lanes_fail(error)));
        let listens = self.listen();
        if listens {
            self.asked.set(Asked::Remembered);
        } else {
            self.lanes().forget();
        }
        listens
    }

    fn listen(&self) -> bool {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        self.stream().begin_capture(mode).is_ok()
    }

    /// What was asked for since the driver listens, which it does no more then. What cannot be joined, it
    /// refuses to end.
    fn heard(&self) -> Option<Graph> {
        let joined = self.lanes().end_graph();
        // What failed before must not keep the driver listening.
        let _ = self.stream().context().check_err();
        let graph = self.stream().end_capture(sys::CUgraphInstantiate_flags(0));
        joined.and(graph).ok().flatten().map(Graph)
    }

    /// Nothing is remembered from now on.
    pub(crate) fn never_records(&mut self) {
        self.records = false;
    }

    /// Parts what is remembered from what follows.
    pub(super) fn part_recording(&self) {
        let first = self.heard();
        let listens = first.is_some() && self.listen();
        self.first.replace(first);
        if !listens {
            self.asked.set(Asked::Dropped);
            self.lanes().forget();
        }
    }

    /// What was remembered; nothing where one of the operations cannot be. From here on they are done
    /// again.
    pub(crate) fn end_recording(&self) -> Option<Tape> {
        let first = self.first.take();
        if self.asked.get() != Asked::Remembered {
            self.asked.set(Asked::Done);
            return None;
        }
        let last = self.heard();
        self.asked.set(Asked::Done);
        let heard = self.lanes().forget();
        Some(Tape { first, last: last?, heard: heard? })
    }

    /// Does what was remembered, if the driver will: says whether it does.
    pub(crate) fn play(&self, tape: &Tape) -> bool {
        let begun = self.lanes().begin_playing(&tape.heard);
        let is_beside = begun.unwrap_or_else(|error| fail(lanes_fail(error)));
        if let Some(first) = &tape.first {
            if first.0.launch().is_err() {
                return false;
            }
            let goes_on = self.lanes().go_on_playing();
            goes_on.unwrap_or_else(|error| fail(lanes_fail(error)));
        }
        let plays = tape.last.0.launch();
        if tape.first.is_some() {
            // One without the other cannot be taken back.
            plays.unwrap_or_else(|error| fail(driver("do what it remembers", error)));
        }
        let [all, beside] = self.played.get();
        let plays = plays.is_ok();
        self.played.set([all + u64::from(plays), beside + u64::from(plays && is_beside)]);
        plays
    }

    /// Whether what is asked for is dropped.
    pub(super) fn drops(&self) -> bool {
        self.asked.get() == Asked::Dropped
    }

    /// To be asked before what cannot be remembered: gives a recording up. Says whether there was one;
    /// then nothing is to be done.
    pub(crate) fn gives_up(&self) -> bool {
        if self.asked.get() == Asked::Remembered {
            self.asked.set(Asked::Dropped);
            // This may be another thread than the one that began, and what failed before must not keep the
            // driver listening.
            let context = self.stream().context();
            let _ = context.check_err();
            let _ = context.bind_to_thread();
            // Not all drivers can be relied on to have streams leave that were not joined. A failure is that
            // of what is given up.
            let _ = self.lanes().leave().and_then(|()| self.lanes().end_graph());
            self.lanes().forget();
            // SAFETY: the stream is live and listens.
            let graph = unsafe { result::stream::end_capture(self.stream().cu_stream()) };
            if let Ok(graph) = graph
                && !graph.is_null()
            {
                // SAFETY: the graph is nobody else's. A failure leaks it.
                let _ = unsafe { result::graph::destroy(graph) };
            }
        }
        self.drops()
    }

    /// Leaves a recording that nobody will end, for an error came in its midst; says whether there was
    /// one. From here on operations are done again.
    pub(crate) fn leaves_recording(&self) -> bool {
        let was = self.gives_up();
        if was {
            // Memory cannot be given back while the driver listens: that is not the next call's error.
            let _ = self.stream().context().check_err();
        }
        self.asked.set(Asked::Done);
        was
    }

    /// After an error in the midst of an operation: nothing is under way, and the main lane is asked.
    pub(crate) fn settles(&self) {
        self.lanes().forget();
        // What failed before may be heard of here, and was.
        let _ = self.lanes().synchronize();
    }

    /// What came of a call that can be remembered: a refusal then gives the recording up.
    pub(super) fn asked_of<E>(&self, outcome: Result<(), E>, error: impl FnOnce(E) -> CudaError) {
        if let Err(refusal) = outcome
            && !self.gives_up()
        {
            fail(error(refusal));
        }
    }
}
