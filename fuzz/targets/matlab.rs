//! The devkit of ILSVRC-2012: `meta.mat` and the ground truth.

#![no_main]

use alexnet_fuzz::{files, let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let [meta, ground_truth] = files(bytes);
    open_set(&[
        ("ILSVRC2012_devkit_t12/data/meta.mat", meta),
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", ground_truth),
        ("ILSVRC2012_img_train.tar", b""),
        ("ILSVRC2012_img_val.tar", b""),
    ]);
});
