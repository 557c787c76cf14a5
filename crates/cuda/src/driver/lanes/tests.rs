//! The ledger beside a model that knows of every operation what came surely before it.

use super::*;

const LANES: [Lane; Lane::COUNT] = [Lane::Main, Lane::Weights, Lane::Aside, Lane::Updates];
/// Of the memory that operations touch: few, so that they often mind each other, and enough for many blocks
/// that nobody waits for.
const CELLS: u64 = 60;

/// How many operations of each lane are surely done.
type Done = [usize; Lane::COUNT];

fn both(a: Done, b: Done) -> Done {
    std::array::from_fn(|lane| a[lane].max(b[lane]))
}

/// What was done, and what of it each lane and each event comes after.
#[derive(Default)]
struct Model {
    lanes: [Done; Lane::COUNT],
    events: [[Done; 16]; SIDES.len()],
    operations: Vec<(usize, usize, Vec<Touch>)>,
    /// Operations that came too early.
    races: usize,
    /// Whether waits are left out.
    is_deaf: bool,
}

/// What the ledger has streams do.
#[derive(Clone, Debug)]
enum Asked {
    Fork(Lane),
    Wait(Lane, Wait),
    /// A graph ends, and another begins.
    Part,
    Do(Lane, Vec<Touch>),
    Record(usize, usize),
}

impl Model {
    fn does(&mut self, asked: &Asked) {
        match asked {
            Asked::Fork(lane) => self.come_after(*lane, self.lanes[0]),
            Asked::Wait(..) if self.is_deaf => {}
            Asked::Wait(lane, (side, event)) => self.come_after(*lane, self.events[*side][*event]),
            Asked::Part => unreachable!("graphs are parted where they are played"),
            Asked::Record(side, event) => self.events[*side][*event] = self.lanes[side + 1],
            Asked::Do(lane, touches) => {
                let lane = *lane as usize;
                let after = self.lanes[lane];
                let early = |(of, number, touched): &&(usize, usize, Vec<Touch>)| {
                    after[*of] < *number && mind(touches, touched)
                };
                self.races += usize::from(self.operations.iter().any(|earlier| early(&earlier)));
                // Numbers of a lane that are left out belong to none.
                let number = 1 + self.operations.len();
                self.lanes[lane][lane] = number;
                self.operations.push((lane, number, touches.clone()));
            }
        }
    }

    fn come_after(&mut self, lane: Lane, what: Done) {
        let own = &mut self.lanes[lane as usize];
        *own = both(*own, what);
    }
}

/// A run of operations as the ledger has them done.
struct Run {
    ledger: Ledger,
    model: Model,
    /// Of a graph, in place of doing it.
    listened: Option<Vec<Asked>>,
    random: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { ledger: Ledger::new(), model: Model::default(), listened: None, random }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn ask(&mut self, asked: Asked) {
        match &mut self.listened {
            Some(listened) => listened.push(asked),
            None => self.model.does(&asked),
        }
    }

    fn wait(&mut self, lane: Lane, waits: Vec<Wait>) {
        waits.into_iter().for_each(|wait| self.ask(Asked::Wait(lane, wait)));
    }

    /// Some operations of one lane, each touching up to three places.
    fn block(&mut self, lane: Lane) {
        self.enter(lane);
        for _ in 0..1 + self.below(3) {
            let mut touches = Vec::new();
            for _ in 0..1 + self.below(3) {
                let begin = self.below(CELLS);
                let (end, writes) = (begin + 1 + self.below(2), self.below(2) == 0);
                touches.push(Touch { begin, end, writes });
            }
            self.touch(touches);
        }
        self.leave();
    }

    fn enter(&mut self, lane: Lane) {
        if self.ledger.enters(lane) {
            self.ask(Asked::Fork(lane));
        }
    }

    fn touch(&mut self, touches: Vec<Touch>) {
        if self.ledger.parts(&touches) {
            let ends = self.ledger.ends_graph();
            self.wait(Lane::Main, ends);
            self.ask(Asked::Part);
        }
        let (lane, waits) = (self.ledger.lane, self.ledger.waits(&touches));
        self.wait(lane, waits);
        self.ask(Asked::Do(lane, touches));
    }

    fn leave(&mut self) {
        if let Some((side, event)) = self.ledger.leaves() {
            self.ask(Asked::Record(side, event));
        }
    }

    fn blocks(&mut self, count: u64) {
        for _ in 0..count {
            let lane = LANES[self.below(LANES.len() as u64) as usize];
            self.block(lane);
        }
    }

    fn record(&mut self) -> (Vec<Asked>, Heard) {
        let ends = self.ledger.begins_recording();
        self.wait(Lane::Main, ends);
        self.listened = Some(Vec::new());
        self.blocks(9);
        let ends = self.ledger.ends_graph();
        self.wait(Lane::Main, ends);
        let heard = self.ledger.forgets().expect("a recording");
        (self.listened.take().expect("a recording"), heard)
    }

    /// In a graph every lane begins where the main one stands, and has events of its own.
    fn play(&mut self, (asked, heard): &(Vec<Asked>, Heard)) {
        let ends = self.ledger.begins_playing(heard);
        self.wait(Lane::Main, ends);
        let graphs: Vec<_> = asked.split(|asked| matches!(asked, Asked::Part)).collect();
        for (number, graph) in graphs.into_iter().enumerate() {
            if number > 0 {
                let ends = self.ledger.goes_on_playing();
                self.wait(Lane::Main, ends);
            }
            let (lanes, events) = (self.model.lanes, self.model.events);
            self.model.lanes = [lanes[0]; Lane::COUNT];
            graph.iter().for_each(|asked| self.model.does(asked));
            let main = self.model.lanes[0];
            (self.model.lanes, self.model.events) = (lanes, events);
            self.model.lanes[0] = main;
        }
    }

    /// An array that is given back, and one that takes its place.
    fn give_back(&mut self) {
        let begin = self.below(CELLS);
        let memory = Touch { begin, end: begin + 1, writes: true };
        let (waits, _) = self.ledger.gives_back(memory);
        self.wait(Lane::Main, waits);
        self.ask(Asked::Do(Lane::Main, vec![memory]));
    }
}

/// How often one operation came before another that it should have followed, in a run without graphs and in
/// one of two graphs between other operations. `deaf` leaves waits out.
fn races(seed: u64, deaf: bool) -> usize {
    let mut run = Run::new(seed);
    run.model.is_deaf = deaf;
    for _ in 0..20 {
        run.blocks(3);
        run.give_back();
    }
    let tapes = [run.record(), run.record()];
    for _ in 0..12 {
        let tape = run.below(2) as usize;
        run.play(&tapes[tape]);
        if run.below(2) == 0 {
            run.block(Lane::Updates);
        }
        run.blocks(2);
        run.give_back();
    }
    run.model.races
}

#[test]
fn nothing_is_done_before_what_it_minds_in_graphs_and_outside() {
    for seed in 1..=400 {
        assert_eq!(races(seed, false), 0, "seed {seed}");
    }
}

#[test]
fn the_model_sees_lanes_that_do_not_wait() {
    let found = (1..=400).filter(|&seed| races(seed, true) > 0).count();
    assert_eq!(found, 400);
}

#[test]
fn what_a_side_lane_is_asked_for_first_is_beside_what_the_main_one_is_asked_for_next_and_not_the_other_way()
 {
    let (one, other) = ((Lane::Aside, [touch(0, true)]), (Lane::Main, [touch(1, true)]));
    for (first, second, are_beside) in [(&one, &other, true), (&other, &one, false)] {
        let mut run = Run::new(0);
        for (lane, touches) in [first, second] {
            run.enter(*lane);
            run.touch(touches.to_vec());
            run.leave();
        }
        let [a, b] = [first.0, second.0].map(|lane| lane as usize);
        let is_behind = run.model.lanes[b][a] > 0;
        assert_eq!(is_behind, !are_beside, "{second:?} behind {first:?}");
    }
}

fn touch(begin: u64, writes: bool) -> Touch {
    Touch { begin, end: begin + 1, writes }
}

/// What waits when the main lane touches this.
fn main_waits(ledger: &mut Ledger, touches: &[Touch]) -> Vec<Wait> {
    assert_eq!(ledger.lane, Lane::Main);
    ledger.waits(touches)
}

fn asks(ledger: &mut Ledger, lane: Lane, touches: &[Touch]) {
    assert!(ledger.enters(lane));
    assert_eq!(ledger.waits(touches), []);
    ledger.leaves();
}

#[test]
fn an_operation_waits_for_the_last_block_that_it_minds_and_for_none_behind_it() {
    let mut ledger = Ledger::new();
    asks(&mut ledger, Lane::Weights, &[touch(0, false), touch(1, true)]);
    asks(&mut ledger, Lane::Weights, &[touch(2, false), touch(3, true)]);
    assert_eq!(main_waits(&mut ledger, &[touch(0, false), touch(2, false)]), [], "all only read");
    let side = Lane::Weights.side().expect("a side");
    assert_eq!(main_waits(&mut ledger, &[touch(0, true)]), [(side, 0)]);
    assert_eq!(main_waits(&mut ledger, &[touch(1, false)]), [], "it has waited");
    assert_eq!(main_waits(&mut ledger, &[touch(3, false)]), [(side, 1)]);
}

#[test]
fn a_recording_is_parted_where_it_first_touches_what_updates_do_and_begins_before_they_are_done() {
    let mut ledger = Ledger::new();
    asks(&mut ledger, Lane::Updates, &[touch(5, true)]);
    // Even if these were waited for before.
    assert_eq!(main_waits(&mut ledger, &[touch(5, false)]).len(), 1);
    assert_eq!(ledger.begins_recording(), []);
    assert!(!ledger.parts(&[touch(1, true)]));
    assert!(ledger.parts(&[touch(5, false)]));
    assert!(!ledger.parts(&[touch(5, true)]), "it is parted");
    let heard = ledger.forgets().expect("it was heard");
    assert_eq!(ledger.begins_playing(&heard), []);
    asks(&mut ledger, Lane::Updates, &[touch(5, true)]);
    assert_eq!(ledger.begins_playing(&heard), [], "they may go on");
    assert_eq!(ledger.goes_on_playing(), [(UPDATES, 0)]);
    // Those of another network touch what the first graph does.
    asks(&mut ledger, Lane::Updates, &[touch(1, false)]);
    assert_eq!(ledger.begins_playing(&heard), [(UPDATES, 0)]);
}

#[test]
fn of_a_block_that_was_not_ended_nothing_is_left() {
    let mut ledger = Ledger::new();
    assert!(ledger.enters(Lane::Aside));
    assert_eq!(ledger.waits(&[touch(7, true)]), []);
    assert_eq!(ledger.gives_back(touch(7, true)), (vec![], true), "it is asked for");
    assert!(ledger.forgets().is_none());
    assert_eq!(ledger.gives_back(touch(7, true)), (vec![], false));
}
