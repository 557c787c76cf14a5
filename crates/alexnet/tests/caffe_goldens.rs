//! Nets and a mean image as Caffe writes them give the logits that PyTorch computes with them.
//!
//! `goldens/make_caffe.py` lays the files out by itself, states the networks once more, and shows them
//! images of blue, green and red; images follow from a formula.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use alexnet::cpu::{Cpu, Isa};
use alexnet::data::Image;
use alexnet::network::{Initialisation, Model, ModelName, Network, Pass, Plan, Purpose};
use alexnet::ops::conformance::values;
use alexnet::ops::{Device, Precision, Reference};
use alexnet::weights::ModelFile;
use alexnet::weights::formats::{Format, Known, OnnxOptions, open, save, save_mean_image};

/// Largest difference over the largest magnitude of a logit.
const TOLERANCE: f64 = 1e-4;
const IMAGES: usize = 2;
const IMAGE_SALT: u32 = 400;

struct Case {
    name: &'static str,
    model: ModelName,
    /// Of the images, before their middle is cut out.
    side: usize,
    has_mean_image: bool,
}

const CASES: [Case; 3] = [
    Case { name: "caffe", model: ModelName::Caffe, side: 256, has_mean_image: false },
    Case { name: "caffenet", model: ModelName::Caffenet, side: 81, has_mean_image: true },
    Case { name: "caffenet-2014", model: ModelName::Caffenet, side: 81, has_mean_image: true },
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/caffe").join(name)
}

fn opened(case: &Case) -> ModelFile {
    let mean_image = case.has_mean_image.then(|| golden("mean.binaryproto"));
    let known = Known { mean_image, ..Known::default() };
    let opened = open(&golden(&format!("{}.caffemodel", case.name)), &known).expect(case.name);
    assert_eq!((opened.format, opened.file.config.model), (Format::Caffe, case.model));
    opened.file
}

/// Whole levels from 0 to 255, as the script draws them.
fn images(side: usize) -> Vec<Image> {
    let len = side * side * 3;
    let level = |value: f32| (128.0 + 128.0 * value).floor() as u8;
    let levels: Vec<_> = values(IMAGES * len, IMAGE_SALT, 1.0).into_iter().map(level).collect();
    let image = |rgb: &[u8]| Image::new(side as u32, side as u32, rgb.to_vec());
    levels.chunks_exact(len).map(|rgb| image(rgb).expect("whole")).collect()
}

fn check<D: Device>(case: &Case, file: &ModelFile, device: D, expected: &[Vec<f64>]) {
    let mut batch = vec![0.0; IMAGES * file.preprocess.image_len()];
    let places = batch.chunks_exact_mut(file.preprocess.image_len());
    for (image, place) in images(case.side).iter().zip(places) {
        file.preprocess.evaluate(image, place).expect("usable settings");
    }
    let model = Model::new(file.config).expect("a model");
    let plan = Plan::new(&model, IMAGES, Purpose::Inference, Initialisation::Model);
    let mut network = Network::new(device, plan.expect("a plan"), 0);
    network.set_weights(&file.weights).expect("the network's own arrays");
    let logits = network.forward(&batch, Pass::Evaluate);
    let expected = expected.concat();
    assert_eq!(logits.len(), expected.len(), "{}", case.name);
    let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    for (found, expected) in logits.iter().zip(&expected) {
        let difference = (f64::from(*found) - expected).abs() / largest;
        assert!(difference <= TOLERANCE, "{}: {found} is not {expected}", case.name);
    }
}

#[test]
fn nets_that_caffe_wrote_give_pytorch_s_logits() {
    let text = std::fs::read_to_string(golden("logits.json")).expect("a golden");
    let expected: HashMap<String, Vec<Vec<f64>>> = serde_json::from_str(&text).expect("JSON");
    for case in &CASES {
        let file = opened(case);
        check(case, &file, Reference::<f32>::new(), &expected[case.name]);
        for isa in Isa::available() {
            let cpu = Cpu::with(2, isa, Precision::F32).expect("threads start");
            check(case, &file, cpu, &expected[case.name]);
        }
    }
}

#[test]
fn what_was_read_is_written_and_read_again_without_a_change() {
    let folder = tempfile::tempdir().expect("a folder");
    for case in &CASES {
        let file = opened(case);
        let (net, mean) = (folder.path().join("net.caffemodel"), folder.path().join("mean"));
        save(&file, &net, Format::Caffe, OnnxOptions::default()).expect("written");
        assert_eq!(save_mean_image(&file, &mean).expect("written"), case.has_mean_image);
        let mean_image = case.has_mean_image.then_some(mean);
        let known = Known { mean_image, ..Known::default() };
        assert_eq!(open(&net, &known).expect("read").file, file, "{}", case.name);
    }
}
