//! What the training images' colours are like.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::Path;

use alexnet_data::{Content, Fit, Preprocess, Sample, statistics};
use serde_json::Value;
use support::{golden, sample_set};

fn preprocess(fit: Fit) -> Preprocess {
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    Preprocess { fit, resize: 20, crop: 20, mean, std, mean_image: None }
}

#[test]
fn statistics_are_those_of_the_pixels_the_network_would_see_from_any_number_of_threads() {
    let (_folder, dataset) = sample_set();
    let samples = &dataset.train.samples;
    fs::write(samples[4].content.path(), b"hello").unwrap();
    // With a crop as large as the square, evaluation shows the whole region.
    let preprocess = preprocess(Fit::Warp);
    let mut sum = vec![0.0; preprocess.image_len()];
    let mut out = vec![0.0; preprocess.image_len()];
    for sample in samples.iter().filter(|sample| sample.content != samples[4].content) {
        let image = sample.content.read_image().unwrap();
        preprocess.evaluate(&image, &mut out).unwrap();
        sum.iter_mut().zip(&out).for_each(|(sum, &level)| *sum += f64::from(level));
    }
    let mean_image: Vec<f32> = sum.iter().map(|sum| (sum / 35.0) as f32).collect();
    let first = statistics(samples, &preprocess, 1, &mut |_| true).unwrap();
    assert_eq!((first.images, first.unreadable), (35, 1));
    assert_eq!(first.mean_image.as_ref().unwrap(), &mean_image);
    for colour in 0..3 {
        let levels = mean_image.iter().skip(colour).step_by(3);
        let mean = levels.map(|&level| f64::from(level)).sum::<f64>() / 400.0;
        assert!((f64::from(first.mean[colour]) - mean).abs() < 1e-4, "colour {colour}");
    }
    for workers in [0, 3] {
        assert_eq!(statistics(samples, &preprocess, workers, &mut |_| true).unwrap(), first);
    }
}

fn assert_close(found: [f32; 3], expected: &Value, what: &str) {
    for (found, expected) in found.into_iter().zip(expected.as_array().unwrap()) {
        let difference = f64::from(found) - expected.as_f64().unwrap();
        assert!(difference.abs() < 1e-4, "{what}: {found}, {expected}");
    }
}

#[test]
fn statistics_are_numpys() {
    let expected: Value = serde_json::from_slice(&golden("statistics/statistics.json")).unwrap();
    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/pixels");
    let sample = |name: &Value| Sample {
        content: Content::File(pixels.join(name.as_str().unwrap())),
        label: 0,
    };
    let samples: Vec<Sample> = expected["images"].as_array().unwrap().iter().map(sample).collect();
    let at_full_scale = |fit| Preprocess { resize: 31, crop: 31, ..preprocess(fit) };
    let found = statistics(&samples, &at_full_scale(Fit::ShorterSide), 2, &mut |_| true).unwrap();
    assert_close(found.mean, &expected["mean"], "mean");
    assert_close(found.std, &expected["std"], "deviation");
    for (i, component) in found.components.into_iter().enumerate() {
        assert_close(component, &expected["components"][i], &format!("component {i}"));
    }

    let squares =
        statistics(&samples, &at_full_scale(Fit::CentreSquare), 2, &mut |_| true).unwrap();
    let levels = golden("statistics/mean-image.f32");
    let (levels, _) = levels.as_chunks::<4>();
    let levels: Vec<f32> = levels.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert!(squares.mean_image.unwrap() == levels);
}

#[test]
fn a_set_of_no_squares_has_no_mean_image_and_a_set_of_no_images_no_statistics() {
    let (_folder, dataset) = sample_set();
    let preprocess = preprocess(Fit::ShorterSide);
    let samples = &dataset.train.samples;
    assert!(statistics(samples, &preprocess, 2, &mut |_| true).unwrap().mean_image.is_none());
    let message = statistics(&[], &preprocess, 2, &mut |_| true).unwrap_err().to_string();
    assert_eq!(message, "none of 0 images can be read");
    let stopped = statistics(samples, &preprocess, 1, &mut |_| false).unwrap_err().to_string();
    assert!(stopped.starts_with("stopped before all images were read"), "{stopped}");
}
