//! A safetensors file, as this program's own and as another's.

#![no_main]

use alexnet_fuzz::{let_panics_be_caught, load_weights, open_weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    load_weights(bytes);
    open_weights("weights.safetensors", bytes);
});
