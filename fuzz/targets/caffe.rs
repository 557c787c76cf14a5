//! A net of Caffe's.

#![no_main]

use alexnet_fuzz::{let_panics_be_caught, open_weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    open_weights("net.caffemodel", bytes);
});
