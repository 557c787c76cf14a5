//! Values that are not finite are met before anything is updated, and the layer is named.

mod support {
    pub(crate) mod spoiling;
}

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use alexnet_cpu::Cpu;
use alexnet_network::{
    Array, Initialisation, Model, ModelConfig, ModelName, Network, NotFinite, ParameterSpec, Part,
    Plan, Purpose,
};
use alexnet_ops::conformance::{value, values};
use alexnet_ops::{SgdStep, UpdateRule};
use support::spoiling::{Fault, Spoiling, Spoilt};

const BATCH: usize = 3;
const CLASSES: usize = 5;
const STEP: u64 = 2;

/// Name of the variable that says how many values to plant in all; without it a few.
const INJECTIONS: &str = "ALEXNET_INJECTIONS";
const FEW: usize = 75;

const PLANTED: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn sgd(_: &ParameterSpec) -> SgdStep {
    let (rule, learning_rate) = (UpdateRule::PyTorch, 0.01);
    SgdStep { rule, learning_rate, momentum: 0.9, weight_decay: 5e-4 }
}

type Bits = Vec<(String, Vec<u32>)>;

fn bits(arrays: impl IntoIterator<Item = Array>) -> Bits {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    arrays.into_iter().map(|Array { name, values, .. }| (name, bits(values))).collect()
}

/// A small network in the middle of its training.
struct Patient {
    network: Network<Spoiling>,
    fault: Arc<Fault>,
    images: Vec<f32>,
    labels: Vec<u32>,
    weights: Vec<Array>,
    velocities: Vec<Array>,
    /// What it has learned before and after a sound step.
    before: Bits,
    after: Bits,
    /// The part of the step in which each array is written.
    parts: Vec<Part>,
}

/// What became of a planted value.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Nothing was updated.
    Caught(NotFinite),
    /// The step was that without it.
    Masked,
    /// Something else was learned.
    Learned,
}

impl Patient {
    fn new(model: ModelName, batch_norm: bool, purpose: Purpose) -> Self {
        let single = matches!(model, ModelName::Modern | ModelName::Torchvision);
        let image_size = if single { 63 } else { model.native_image_size() };
        let (classes, width) = (CLASSES, 0.02);
        let config = ModelConfig { model, classes, image_size, width, batch_norm, dropout: None };
        let model = Model::new(config).expect("a model");
        // Where gradients are summed, there are parts to sum.
        let planned = if purpose == Purpose::Accumulate { BATCH - 1 } else { BATCH };
        let plan = Plan::new(&model, planned, purpose, Initialisation::He).expect("a plan");
        let (first, images) =
            (planned * plan.image_len(), values(BATCH * plan.image_len(), 1, 2.0));
        let fault = Arc::new(Fault::default());
        let device = Spoiling::new(Cpu::new(1).expect("a thread"), first, Arc::clone(&fault));
        let mut patient = Self {
            network: Network::new(device, plan, 7),
            fault,
            images,
            labels: (0..BATCH as u32).collect(),
            weights: Vec::new(),
            velocities: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            parts: Vec::new(),
        };
        patient.examine();
        patient
    }

    /// Learns a little, and finds out what a sound step does.
    fn examine(&mut self) {
        for step in 0..STEP {
            self.step(step).expect("a sound step");
        }
        (self.weights, self.velocities) = (self.network.weights(), self.network.velocities());
        self.before = self.learned();
        let parts = Arc::new(Mutex::new(Vec::new()));
        let (told, fault) = (Arc::clone(&parts), Arc::clone(&self.fault));
        self.network.watch(move |part| {
            // Arrays that were written since the last part are this one's.
            told.lock().expect("one thread").resize(fault.written.load(Relaxed), part);
        });
        self.step(STEP).expect("a sound step");
        self.network.watch(|_| {});
        self.after = self.learned();
        self.parts.clone_from(&parts.lock().expect("one thread"));
    }

    fn step(&mut self, step: u64) -> Result<(), NotFinite> {
        self.network.train_step(&self.images, &self.labels, 3, step, sgd).map(|_| ())
    }

    fn learned(&self) -> Bits {
        bits(self.network.weights().into_iter().chain(self.network.velocities()))
    }

    /// A step with the value planted, from the state that [`Self::examine`] left.
    fn suffer(&mut self, spoilt: Spoilt) -> Fate {
        self.network.set_weights(&self.weights).expect("its own");
        self.network.set_velocities(&self.velocities).expect("its own");
        *self.fault.spoilt.lock().expect("one thread") = Some(spoilt);
        let result = self.step(STEP);
        *self.fault.spoilt.lock().expect("one thread") = None;
        match (result, self.learned()) {
            (Err(found), learned) if learned == self.before => Fate::Caught(found),
            (Ok(()), learned) if learned == self.after => Fate::Masked,
            _ => Fate::Learned,
        }
    }

    /// Names of what computes the part, that of the layer its parameters are counted to among them.
    fn names(&self, part: Part) -> Vec<&str> {
        let layers = &self.network.plan().layers;
        match part {
            Part::Input => vec!["input"],
            Part::Forward(step) | Part::Backward(step) => {
                let at = layers.iter().position(|layer| layer.step == Some(step)).expect("a layer");
                let owner = if layers[at].kind == "batch_norm" { at - 1 } else { at };
                vec![&layers[at].name, &layers[owner].name]
            }
            _ => vec!["loss"],
        }
    }
}

const PATIENTS: usize = 5;

/// Networks with every kind of layer, and every way to an update.
fn patients() -> [Patient; PATIENTS] {
    use ModelName::{Modern, Original, Torchvision};
    use Purpose::{Accumulate, Gradients, Training};
    [
        Patient::new(Modern, true, Training),
        Patient::new(Torchvision, false, Training),
        Patient::new(Original, false, Training),
        Patient::new(Modern, true, Gradients),
        Patient::new(Modern, true, Accumulate),
    ]
}

/// The share `index` of a stream of numbers in 0..1.
fn share(index: usize, salt: u32) -> f64 {
    f64::midpoint(f64::from(value(index, salt)), 1.0)
}

fn injections() -> usize {
    std::env::var(INJECTIONS).map_or(FEW, |count| count.parse().expect(INJECTIONS))
}

/// `count` values in arrays, places and moments that a stream of numbers names.
fn spoilt(patient: &Patient, count: usize, salt: u32) -> Vec<Spoilt> {
    let arrays = patient.parts.len() as f64;
    let spoilt = |index| Spoilt {
        array: (share(index, salt) * arrays) as usize,
        place: share(index, salt + 100),
        value: PLANTED[index % 3],
        repeats: index % 2 == 0,
    };
    (0..count).map(spoilt).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are for the record")]
fn what_is_not_finite_is_caught_before_the_update_or_changes_nothing() {
    let (mut caught, mut masked) = (0, 0);
    for (salt, mut patient) in (1000..).zip(patients()) {
        for spoilt in spoilt(&patient, injections() / PATIENTS, salt) {
            let fate = patient.suffer(spoilt);
            let config = patient.network.plan().model.config;
            let part = patient.parts[spoilt.array];
            let what = format!("{:?}: {spoilt:?} in {part:?}: {fate:?}", config.model);
            match fate {
                Fate::Caught(found) => {
                    caught += 1;
                    assert_eq!(found.repeats, spoilt.repeats, "{what}");
                    // Sums of parts' gradients are any layer's.
                    let named =
                        part == Part::Check || patient.names(part).contains(&found.layer.as_str());
                    assert!(named || !spoilt.repeats, "{what}");
                }
                Fate::Masked => masked += 1,
                Fate::Learned => panic!("{what}"),
            }
        }
    }
    println!("{caught} planted values caught, {masked} changed nothing");
    assert!(caught > 2 * masked, "{caught} caught, {masked} changed nothing");
}

#[test]
fn without_looking_planted_values_are_learned() {
    let mut patient = Patient::new(ModelName::Modern, true, Purpose::Training);
    patient.fault.hidden.store(true, Relaxed);
    let spoilt = spoilt(&patient, FEW, 1);
    let learned = spoilt.into_iter().filter(|&spoilt| patient.suffer(spoilt) == Fate::Learned);
    // Others make the loss no number, which shows without looking.
    let learned = learned.count();
    assert!(learned > FEW / 10, "{learned} of {FEW}");
}

/// Whether both are the same but for `places` of arrays of this name.
fn differ_only_at(one: &Bits, other: &Bits, name: &str, place: usize) -> bool {
    let mut arrays = one.iter().zip(other);
    arrays.all(|((array, one), (_, other))| {
        let mut differing = (0..one.len()).filter(|&at| one[at] != other[at]);
        differing.all(|at| array == name && at == place)
    })
}

/// All images may leave a unit out, with three of them: then a weight of it spoils nothing but itself,
/// until one of the next steps looks at it.
#[test]
#[expect(clippy::print_stdout, reason = "the counts are for the record")]
fn a_weight_that_is_not_finite_is_caught_before_it_spoils_another() {
    let (mut caught, mut later) = (0, 0);
    for (salt, mut patient) in (2000..).zip(patients()) {
        let sound = patient.weights.clone();
        for index in 0..injections() / PATIENTS / 5 {
            let array = (share(index, salt) * sound.len() as f64) as usize;
            let place = (share(index, salt + 100) * sound[array].values.len() as f64) as usize;
            let (name, planted) = (&sound[array].name, PLANTED[index % 3]);
            let mut weights = sound.clone();
            weights[array].values[place] = planted;
            patient.network.set_weights(&weights).expect("its own");
            patient.network.set_velocities(&patient.velocities).expect("its own");
            let before = patient.learned();
            let what = format!("{planted} in {name}");
            if let Err(found) = patient.step(STEP) {
                assert!(found.repeats && patient.learned() == before, "{what}: {found}");
                caught += 1;
                continue;
            }
            let learned = patient.learned();
            assert!(differ_only_at(&learned, &patient.after, name, place), "{what}");
            assert!((1..50).any(|step| patient.step(STEP + step).is_err()), "{what}");
            later += 1;
        }
    }
    println!("{caught} planted weights caught at once, {later} in a later step");
    assert!(caught > 5 * later, "{caught} at once, {later} later");
}

#[test]
fn a_sound_run_of_some_hundred_steps_is_never_stopped() {
    for mut patient in patients().into_iter().take(2) {
        for step in 0..150 {
            patient.step(step).expect("a sound step");
        }
        assert!(patient.learned() != patient.before);
    }
}
