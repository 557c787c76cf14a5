//! One image file: decoded, or refused in one line.

#![no_main]

use alexnet_data::decode;
use alexnet_fuzz::{check_message, let_panics_be_caught};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    if let Err(reason) = decode(bytes) {
        check_message(&reason.to_string());
    }
});
