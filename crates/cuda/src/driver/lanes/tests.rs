//! The ledger beside a model that knows of every operation what came surely before it.

use super::*;

const LANES: [Lane; Lane::COUNT] = [Lane::Main, Lane::Weights, Lane::Aside, Lane::Updates];
/// Of the memory that operations touch: few, so that they often mind each other.
const CELLS: u64 = 12;

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
}

/// What the ledger has streams do.
#[derive(Clone, Debug)]
enum Asked {
    Fork(Lane),
    Wait(Lane, usize, usize),
    WaitForUpdates,
    Do(Lane, Vec<Touch>),
    Record(usize, usize),
}

impl Model {
    fn does(&mut self, asked: &Asked, updates: Done) {
        match asked {
            Asked::Fork(lane) => self.come_after(*lane, self.lanes[0]),
            Asked::Wait(lane, side, event) => self.come_after(*lane, self.events[*side][*event]),
            Asked::WaitForUpdates => self.come_after(Lane::Main, updates),
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
        let updates = self.model.events[UPDATES][0];
        match &mut self.listened {
            Some(listened) => listened.push(asked),
            None => self.model.does(&asked, updates),
        }
    }

    /// Some operations of one lane, each touching up to three places.
    fn block(&mut self, lane: Lane) {
        if self.ledger.enters(lane) {
            self.ask(Asked::Fork(lane));
        }
        for _ in 0..1 + self.below(3) {
            let mut touches = Vec::new();
            for _ in 0..1 + self.below(3) {
                let begin = self.below(CELLS);
                let (end, writes) = (begin + 1 + self.below(2), self.below(2) == 0);
                touches.push(Touch { begin, end, writes });
            }
            let lane = self.ledger.lane;
            for wait in self.ledger.waits(&touches) {
                match wait {
                    Wait::For { side, event } => self.ask(Asked::Wait(lane, side, event)),
                    Wait::ForUpdates => {
                        self.ask(Asked::WaitForUpdates);
                        if lane != Lane::Main {
                            self.ask(Asked::Fork(lane));
                        }
                    }
                }
            }
            self.ask(Asked::Do(lane, touches));
        }
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

    fn join(&mut self, sides: std::ops::Range<usize>) {
        for (side, event) in self.ledger.joins(sides) {
            self.ask(Asked::Wait(Lane::Main, side, event));
        }
    }

    fn record(&mut self) -> (Vec<Asked>, Heard) {
        self.join(0..UPDATES);
        self.ledger.heard = Some(Heard::default());
        self.listened = Some(Vec::new());
        self.blocks(6);
        self.join(0..UPDATES);
        let heard = self.ledger.forgets().expect("a recording");
        (self.listened.take().expect("a recording"), heard)
    }

    /// In a graph every lane begins where the main one stands, and has events of its own.
    fn play(&mut self, (graph, heard): &(Vec<Asked>, Heard)) {
        let sides = if self.ledger.may_begin(heard) { 0..UPDATES } else { 0..SIDES.len() };
        self.join(sides);
        let (lanes, events) = (self.model.lanes, self.model.events);
        self.model.lanes = [lanes[0]; Lane::COUNT];
        for asked in graph {
            self.model.does(asked, events[UPDATES][0]);
        }
        let main = self.model.lanes[0];
        (self.model.lanes, self.model.events) = (lanes, events);
        self.model.lanes[0] = main;
        if heard.waits {
            self.ledger.blocks[UPDATES].clear();
        }
    }
}

/// How often one operation came before another that it should have followed, in a run without graphs and in
/// one of two graphs between other operations. `deaf` leaves the ledger's waits out.
fn races(seed: u64, deaf: bool) -> [usize; 2] {
    let mut plain = Run::new(seed);
    plain.blocks(60);
    let mut graphs = Run::new(seed);
    graphs.blocks(4);
    let mut tapes = [graphs.record(), graphs.record()];
    for (graph, _) in &mut tapes {
        graph.retain(|asked| !deaf || !matches!(asked, Asked::Wait(..) | Asked::WaitForUpdates));
    }
    for _ in 0..12 {
        let tape = graphs.below(2) as usize;
        graphs.play(&tapes[tape]);
        if graphs.below(2) == 0 {
            graphs.block(Lane::Updates);
        }
        graphs.blocks(2);
    }
    [plain.model.races, graphs.model.races]
}

#[test]
fn nothing_is_done_before_what_it_minds_in_graphs_and_outside() {
    for seed in 1..=400 {
        assert_eq!(races(seed, false), [0, 0], "seed {seed}");
    }
}

#[test]
fn the_model_sees_a_graph_that_does_not_wait() {
    let found = (1..=400).filter(|&seed| races(seed, true)[1] > 0).count();
    assert!(found > 200, "in {found} of 400 runs");
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
    assert_eq!(main_waits(&mut ledger, &[touch(0, true)]), [Wait::For { side, event: 0 }]);
    assert_eq!(main_waits(&mut ledger, &[touch(1, false)]), [], "it has waited");
    assert_eq!(main_waits(&mut ledger, &[touch(3, false)]), [Wait::For { side, event: 1 }]);
}

#[test]
fn a_graph_waits_for_updates_where_it_first_touches_what_they_do_and_begins_before() {
    let mut ledger = Ledger::new();
    asks(&mut ledger, Lane::Updates, &[touch(5, true)]);
    // Even if these were waited for before the graph is heard.
    assert_eq!(main_waits(&mut ledger, &[touch(5, false)]).len(), 1);
    ledger.heard = Some(Heard::default());
    assert_eq!(main_waits(&mut ledger, &[touch(1, true)]), []);
    assert_eq!(main_waits(&mut ledger, &[touch(5, false)]), [Wait::ForUpdates]);
    assert_eq!(main_waits(&mut ledger, &[touch(5, true)]), [], "it has waited");
    let heard = ledger.forgets().expect("it was heard");
    assert!(heard.waits && ledger.may_begin(&heard));
    asks(&mut ledger, Lane::Updates, &[touch(5, true)]);
    assert!(ledger.may_begin(&heard));
    // Those of another network touch what the graph begins with.
    asks(&mut ledger, Lane::Updates, &[touch(1, false)]);
    assert!(!ledger.may_begin(&heard));
}
