//! A list of images and the names of classes.

#![no_main]

use alexnet_fuzz::{PNG, files, let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let [list, classes] = files(bytes);
    open_set(&[
        ("train.txt", list),
        ("val.txt", list),
        ("classes.txt", classes),
        ("train/a.png", PNG),
        ("val/a.png", PNG),
    ]);
});
