//! A tar of images and classes.

#![no_main]

use alexnet_fuzz::{let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    open_set(&[("train-000000.tar", bytes), ("val-000000.tar", bytes)]);
});
