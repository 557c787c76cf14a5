//! What the emulated GPU's streams do, and when: they are asked through the driver's own functions, for
//! work whose results say when it was done.

#![expect(unsafe_code, reason = "the driver's functions are called as they are")]

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaEvent, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError, result, sys,
};

/// A context with its main stream and two others.
pub(crate) struct Streams {
    context: Arc<CudaContext>,
    main: Arc<CudaStream>,
    side: Arc<CudaStream>,
    other: Arc<CudaStream>,
}

/// What every array holds before a stream was asked for something else.
const NOTHING: u8 = 0;

impl Streams {
    pub(crate) fn open() -> Self {
        let context = CudaContext::new(0).expect("a context");
        // SAFETY: the tests order their streams themselves; where they do not, the arrays are numbers.
        unsafe { context.disable_event_tracking() };
        let main = context.new_stream().expect("a stream");
        let (least, greatest) = result::stream::get_priority_range().expect("priorities");
        assert!(greatest < least);
        let side = context.new_stream_with_priority(greatest).expect("a stream");
        let other = context.new_stream().expect("a stream");
        Self { context, main, side, other }
    }

    fn array(&self) -> CudaSlice<u8> {
        let array = self.main.alloc_zeros(1).expect("an array");
        self.main.synchronize().expect("it is done");
        array
    }

    /// What the main stream finds there, when it has done all it was asked for.
    fn found(&self, array: &CudaSlice<u8>) -> u8 {
        self.main.clone_dtoh(array).expect("a number")[0]
    }

    /// What is asked for meanwhile, as a graph.
    fn record(&self, ask: impl FnOnce()) -> Result<CudaGraph, DriverError> {
        self.main.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        ask();
        let graph = self.main.end_capture(sys::CUgraphInstantiate_flags(0))?;
        Ok(graph.expect("a graph"))
    }

    /// What the main stream finds that waits for this event, if for any, and reads.
    fn read(&self, array: &CudaSlice<u8>, event: Option<&CudaEvent>) -> u8 {
        let there = self.array();
        if let Some(event) = event {
            self.main.wait(event).expect("a wait");
        }
        copy(&self.main, array, &there);
        self.found(&there)
    }
}

fn set(stream: &CudaStream, array: &CudaSlice<u8>, value: u8) {
    let address = array.device_ptr(array.stream()).0;
    // SAFETY: the array has one byte.
    unsafe { result::memset_d8_async(address, value, 1, stream.cu_stream()) }.expect("taken");
}

fn copy(stream: &CudaStream, from: &CudaSlice<u8>, to: &CudaSlice<u8>) {
    let [from, to] = [from, to].map(|array| array.device_ptr(array.stream()).0);
    // SAFETY: both arrays have one byte.
    unsafe { result::memcpy_dtod_async(to, from, 1, stream.cu_stream()) }.expect("taken");
}

/// What holds where the side streams are late.
pub(crate) fn are_late(streams: &Streams) {
    what_another_stream_makes_is_there_for_those_who_wait(streams);
    a_wait_is_for_what_was_asked_for_before_the_event(streams);
    streams_that_wait_for_each_other_go_in_turns(streams);
    the_lanes_of_a_graph_are_as_late_as_its_edges_let_them(streams, 1);
    what_a_recording_cannot_have_is_refused(streams);
}

fn what_another_stream_makes_is_there_for_those_who_wait(streams: &Streams) {
    let made = streams.array();
    set(&streams.side, &made, 1);
    let event = streams.side.record_event(None).expect("an event");
    assert_eq!(streams.read(&made, None), NOTHING);
    assert_eq!(streams.read(&made, Some(&event)), 1);
    // The host's waits are waits too.
    for wait in [
        |streams: &Streams| streams.side.synchronize(),
        |streams: &Streams| streams.side.record_event(None)?.synchronize(),
    ] {
        set(&streams.side, &made, 2);
        assert_ne!(streams.read(&made, None), 2);
        wait(streams).expect("it is done");
        assert_eq!(streams.read(&made, None), 2);
        set(&streams.main, &made, NOTHING);
    }
}

fn a_wait_is_for_what_was_asked_for_before_the_event(streams: &Streams) {
    let made = streams.array();
    let never = streams.context.new_event(None).expect("an event");
    set(&streams.side, &made, 1);
    let event = streams.side.record_event(None).expect("an event");
    set(&streams.side, &made, 2);
    assert_eq!(streams.read(&made, Some(&never)), NOTHING);
    assert_eq!(streams.read(&made, Some(&event)), 1);
    event.record(&streams.side).expect("recorded");
    set(&streams.side, &made, 3);
    assert_eq!(streams.read(&made, Some(&event)), 2);
    streams.side.synchronize().expect("it is done");
}

fn streams_that_wait_for_each_other_go_in_turns(streams: &Streams) {
    let [first, second] = [streams.array(), streams.array()];
    set(&streams.side, &first, 1);
    streams.other.join(&streams.side).expect("a wait");
    copy(&streams.other, &first, &second);
    // The one that reads must not be overtaken by the one that writes.
    streams.side.join(&streams.other).expect("a wait");
    set(&streams.side, &first, 2);
    let event = streams.side.record_event(None).expect("an event");
    assert_eq!(streams.read(&first, Some(&event)), 2);
    assert_eq!(streams.read(&second, None), 1);
}

/// Where an edge lets the main stream find `by_an_edge`.
fn the_lanes_of_a_graph_are_as_late_as_its_edges_let_them(streams: &Streams, by_an_edge: u8) {
    for (waits, expected) in [(true, by_an_edge), (false, NOTHING)] {
        let [made, read, behind] = [streams.array(), streams.array(), streams.array()];
        let graph = streams.record(|| {
            streams.side.join(&streams.main).expect("it listens too");
            set(&streams.side, &made, 1);
            if waits {
                streams.main.join(&streams.side).expect("an edge");
            }
            copy(&streams.main, &made, &read);
            set(&streams.side, &behind, 2);
            streams.main.join(&streams.side).expect("an edge");
        });
        let graph = graph.expect("a graph");
        assert_eq!(streams.found(&made), NOTHING, "it listened");
        for _ in 0..2 {
            graph.launch().expect("launched");
            assert_eq!(streams.found(&read), expected);
            // At the end of the graph all is done.
            assert_eq!([streams.found(&made), streams.found(&behind)], [1, 2]);
            set(&streams.main, &made, NOTHING);
        }
        // And outside it is as late as ever.
        set(&streams.side, &made, 3);
        assert_eq!(streams.found(&made), NOTHING);
        streams.side.synchronize().expect("it is done");
    }
}

fn what_a_recording_cannot_have_is_refused(streams: &Streams) {
    use sys::CUresult::{
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
    };
    let made = streams.array();
    let outside = streams.side.record_event(None).expect("an event");
    let inside = streams.context.new_event(None).expect("an event");
    type Asked<'a> = &'a mut dyn FnMut();
    let spoiling: [Asked<'_>; 4] = [
        &mut || assert!(streams.main.wait(&outside).is_err()),
        &mut || assert!(streams.side.synchronize().is_err()),
        &mut || assert!(streams.side.alloc_zeros::<u8>(1).is_err()),
        &mut || {
            inside.record(&streams.side).expect("recorded");
            assert!(inside.synchronize().is_err());
        },
    ];
    for asked in spoiling {
        let graph = streams.record(|| {
            streams.side.join(&streams.main).expect("it listens too");
            asked();
        });
        let refusal = graph.err().expect("no graph");
        assert_eq!(refusal.0, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    assert!(inside.synchronize().is_err(), "it was recorded in what is over");
    for joined in [false, true] {
        let graph = streams.record(|| {
            streams.side.join(&streams.main).expect("it listens too");
            set(&streams.side, &made, 1);
            if joined {
                // By way of another stream.
                streams.other.join(&streams.side).expect("it listens too");
                streams.main.join(&streams.other).expect("an edge");
            }
        });
        let refusal = graph.err().map(|error| error.0);
        assert_eq!(refusal, (!joined).then_some(CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
    }
    // Nobody listens any more.
    set(&streams.side, &made, 2);
    streams.side.synchronize().expect("it is done");
    assert_eq!(streams.found(&made), 2);
}

/// What holds where the main stream is late and the others are not.
pub(crate) fn overtake(streams: &Streams) {
    let [given, taken] = [streams.array(), streams.array()];
    for (waits, expected) in [(false, NOTHING), (true, 1)] {
        set(&streams.main, &given, 1);
        if waits {
            streams.side.join(&streams.main).expect("a wait");
        }
        copy(&streams.side, &given, &taken);
        assert_eq!(streams.found(&taken), expected);
        set(&streams.main, &given, NOTHING);
        streams.main.synchronize().expect("it is done");
    }
}

/// What holds where no stream waits for another.
pub(crate) fn do_not_wait(streams: &Streams) {
    the_lanes_of_a_graph_are_as_late_as_its_edges_let_them(streams, NOTHING);
}

/// What holds where streams take turns: two that work in the same memory spoil each other's work, also as
/// lanes of a graph, and where one of them does a graph.
pub(crate) fn take_turns(streams: &Streams) {
    for shared in [false, true] {
        for (side_listens, main_listens) in [(false, false), (false, true), (true, true)] {
            let [room, own_room, first, second] = [(); 4].map(|()| streams.array());
            let ask_side = || {
                set(&streams.side, &room, 1);
                copy(&streams.side, &room, &first);
            };
            let ask_main = || {
                let room = if shared { &room } else { &own_room };
                set(&streams.main, room, 2);
                copy(&streams.main, room, &second);
            };
            if !side_listens {
                ask_side();
            }
            if main_listens {
                let graph = streams.record(|| {
                    if side_listens {
                        streams.side.join(&streams.main).expect("it listens too");
                        ask_side();
                    }
                    ask_main();
                    if side_listens {
                        streams.main.join(&streams.side).expect("an edge");
                    }
                });
                graph.expect("a graph").launch().expect("launched");
            } else {
                ask_main();
            }
            streams.side.synchronize().expect("it is done");
            let found = [streams.found(&first), streams.found(&second)];
            assert_eq!(found, [1, if shared { 1 } else { 2 }]);
        }
    }
}

/// Gives an array back that a stream has still to write.
pub(crate) fn free_too_soon(streams: &Streams) {
    let array = streams.array();
    set(&streams.side, &array, 1);
    drop(array);
    drop(streams.array());
    let _ = streams.side.synchronize();
}

/// Gives memory of the host back that a stream has still to read.
pub(crate) fn free_the_host_s_too_soon(streams: &Streams) {
    let mut array = streams.array();
    // SAFETY: the memory is written before it is read; that it is given back too soon is seen.
    let host = unsafe { streams.context.alloc_pinned::<u8>(1) }.expect("memory");
    streams.side.memcpy_htod(&host, &mut array).expect("taken");
    drop(host);
}
