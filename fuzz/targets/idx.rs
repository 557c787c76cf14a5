//! IDX: images and labels, plain to train on and gzipped to measure with.

#![no_main]

use alexnet_fuzz::{files, let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let [images, labels] = files(bytes);
    open_set(&[
        ("train-images-idx3-ubyte", images),
        ("train-labels-idx1-ubyte", labels),
        ("t10k-images-idx3-ubyte.gz", images),
        ("t10k-labels-idx1-ubyte.gz", labels),
    ]);
});
