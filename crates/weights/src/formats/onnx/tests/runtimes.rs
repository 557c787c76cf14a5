//! Files and logits for `goldens/check_onnx.py`, which runs them in ONNX Runtime and OpenVINO.

use std::path::{Path, PathBuf};
use std::{env, fs};

use alexnet_data::{Image, MeanPart};
use alexnet_network::{Array, ModelConfig, ModelName};
use alexnet_ops::conformance::{value, values};
use alexnet_ops::softmax;

use super::models::{config, configs, is_of_levels, logits, model_file, with_mean_image, written};
use crate::ModelFile;
use crate::container;
use crate::formats::OnnxOptions;

/// Images of each case: the script takes the first of them, and all.
const IMAGES: usize = 7;
/// Where to write; nothing is written where it is not set.
const FOLDER_VARIABLE: &str = "ALEXNET_ONNX_OUT";
/// The largest logit before a softmax.
const LOGIT: f32 = 3.0;
/// Width of all cases but those it names.
const WIDTH: f32 = 0.25;

#[test]
fn files_for_other_runtimes_are_written_where_a_folder_is_named() {
    let Some(folder) = env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).expect("a folder");
    let both = OnnxOptions { preprocess: true, softmax: true };
    let only_levels = OnnxOptions { preprocess: true, softmax: false };
    for config in configs(WIDTH) {
        let norm = if config.batch_norm { "-bn" } else { "" };
        let name = format!("{}{norm}-{}", config.model, config.image_size);
        let file = model_file(config);
        case(&folder, &name, &file, OnnxOptions::default());
        case(&folder, &format!("{name}-levels-softmax"), &file, both);
    }
    for part in [MeanPart::Centre, MeanPart::Crop] {
        let file = with_mean_image(model_file(config(ModelName::Caffe, WIDTH)), part);
        let name = format!("caffe-227-mean-image-{part:?}").to_lowercase();
        case(&folder, &name, &file, only_levels);
    }
    for model in [ModelName::Torchvision, ModelName::Caffe] {
        let config = ModelConfig { classes: 1000, ..config(model, 1.0) };
        let file = model_file(config);
        case(&folder, &format!("{model}-full"), &file, OnnxOptions::default());
    }
}

/// The same with logits of a few, so that no probability is all but 1.
fn with_small_logits(mut file: ModelFile, images: &[f32]) -> ModelFile {
    let largest =
        logits(&file, images).into_iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
    let last = file.weights.len() - 2;
    for array in &mut file.weights[last..] {
        array.values.iter_mut().for_each(|value| *value *= LOGIT / largest);
    }
    file
}

/// `NAME.onnx`, and `NAME.safetensors` with `images` (N, 3, S, S) and `output` (N, classes).
fn case(folder: &Path, name: &str, file: &ModelFile, options: OnnxOptions) {
    let side = file.config.image_size;
    let image_len = side * side * 3;
    let mut images = Vec::new();
    let mut levels = Vec::new();
    for index in 0..IMAGES {
        if options.preprocess {
            let pixels = picture(side, index as u32);
            levels.extend(pixels.iter().map(|&level| f32::from(level)));
            images.extend(preprocessed(file, pixels));
        } else {
            let scale = if is_of_levels(file.config) { 128.0 } else { 2.0 };
            images.extend(values(image_len, 100 + index as u32, scale));
        }
    }
    let file =
        if options.softmax { with_small_logits(file.clone(), &images) } else { file.clone() };
    fs::write(folder.join(format!("{name}.onnx")), written(&file, options)).expect("written");
    let mut output = logits(&file, &images);
    if options.softmax {
        let rows = output.chunks(file.config.classes).flat_map(softmax);
        output = rows.map(|probability| probability as f32).collect();
    }
    let inputs = planes(if options.preprocess { &levels } else { &images }, side * side);
    let arrays = [
        Array { name: "images".into(), shape: vec![IMAGES, 3, side, side], values: inputs },
        Array { name: "output".into(), shape: vec![IMAGES, file.config.classes], values: output },
    ];
    let named = arrays.iter().map(|array| (array.name.clone(), array));
    let path = folder.join(format!("{name}.safetensors"));
    container::write(&alexnet_data::Disk, &path, named, &"a case").expect("written");
}

fn picture(side: usize, salt: u32) -> Vec<u8> {
    (0..side * side * 3).map(|index| (128.0 + 127.0 * value(index, salt)) as u8).collect()
}

/// What evaluation makes of a picture of the crop's size: resizing is left out.
fn preprocessed(file: &ModelFile, pixels: Vec<u8>) -> Vec<f32> {
    let (crop, resize) = (file.preprocess.crop as usize, file.preprocess.resize as usize);
    // The picture lies where the crop will be cut out, so that nothing is resized.
    let start = ((resize - crop) as f64 / 2.0).round_ties_even() as usize;
    let mut whole = vec![0; resize * resize * 3];
    for (row, line) in pixels.chunks(crop * 3).enumerate() {
        whole[((start + row) * resize + start) * 3..][..crop * 3].copy_from_slice(line);
    }
    let image = Image::new(resize as u32, resize as u32, whole).expect("an image");
    let mut out = vec![0.0; file.preprocess.image_len()];
    file.preprocess.evaluate(&image, &mut out).expect("sound");
    out
}

/// (N, places, 3) as (N, 3, places).
fn planes(images: &[f32], places: usize) -> Vec<f32> {
    let images = images.chunks(places * 3);
    let plane =
        |image: &[f32], colour| image.iter().skip(colour).step_by(3).copied().collect::<Vec<_>>();
    images.flat_map(|image| (0..3).flat_map(move |colour| plane(image, colour))).collect()
}
