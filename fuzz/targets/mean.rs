//! A mean image of Caffe's, beside a sound net.

#![no_main]

use alexnet_fuzz::{let_panics_be_caught, open_mean_image};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    open_mean_image(bytes);
});
