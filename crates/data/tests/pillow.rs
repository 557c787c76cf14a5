//! Pixels compared with Pillow's and torchvision's, written by `goldens/make_pixels.py`.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{Fit, Image, Preprocess, decode, read_image};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/pixels").join(name)
}

fn expected(name: &str) -> Vec<u8> {
    fs::read(golden(&format!("{name}.rgb"))).unwrap()
}

fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_kind_of_png_is_decoded_exactly_as_pillow_does() {
    for name in [
        "rgb.png",
        "portrait.png",
        "wide.png",
        "grey.png",
        "one-bit.png",
        "palette.png",
        "palette-transparent.png",
        "alpha.png",
        "grey-alpha.png",
        "sixteen-bit-grey.png",
    ] {
        let image = read_image(&golden(name)).unwrap();
        assert_eq!(image.rgb(), expected(name), "{name}");
    }
}

#[test]
fn every_kind_of_jpeg_is_decoded_exactly_as_pillow_does() {
    for name in [
        "baseline.jpg",
        "subsampled.jpg",
        "progressive.jpg",
        "exif-turned.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "ycck.jpg",
    ] {
        let image = read_image(&golden(name)).unwrap();
        assert!(image.rgb() == expected(name), "{name}");
    }
}

#[test]
fn resize_and_centre_crop_are_torchvisions_to_the_byte() {
    for (name, resize, crop) in [
        ("rgb.png", 24, 20),
        ("rgb.png", 28, 23),
        ("rgb.png", 31, 31),
        ("rgb.png", 48, 41),
        ("portrait.png", 24, 20),
        ("portrait.png", 37, 30),
        ("portrait.png", 50, 41),
        ("wide.png", 16, 16),
        ("baseline.jpg", 24, 20),
    ] {
        // Pillow's own pixels go in, so that only the resizing is compared.
        let size = decode(&fs::read(golden(name)).unwrap()).unwrap();
        let image = Image::new(size.width(), size.height(), expected(name)).unwrap();
        let preprocess = Preprocess {
            fit: Fit::ShorterSide,
            mean_image: None,
            resize,
            crop,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let mut out = vec![0.0; preprocess.image_len()];
        preprocess.evaluate(&image, &mut out).unwrap();

        let levels: Vec<u8> = out.iter().map(|&level| level as u8).collect();
        let difference = largest_difference(&levels, &expected(&format!("{name}.{resize}-{crop}")));
        assert_eq!(difference, 0, "{name} at {resize}, {crop}");
    }
}

#[test]
fn normalisation_subtracts_the_mean_and_divides_by_the_deviation() {
    let image = Image::new(2, 2, [10, 20, 30].repeat(4)).unwrap();
    let (mean, std) = ([8.0, 20.0, 32.0], [2.0, 1.0, 4.0]);
    let preprocess =
        Preprocess { fit: Fit::ShorterSide, mean_image: None, resize: 2, crop: 2, mean, std };
    let mut out = vec![0.0; 12];
    preprocess.evaluate(&image, &mut out).unwrap();
    assert_eq!(out, [1.0, 0.0, -0.5].repeat(4));
}
