//! A packed set: its manifest, an index and a shard.

#![no_main]

use alexnet_fuzz::{files, let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let [manifest, index, tar] = files(bytes);
    open_set(&[
        ("pack.json", manifest),
        ("train-000000.csv", index),
        ("train-000000.tar", tar),
        ("val-000000.csv", index),
        ("val-000000.tar", tar),
    ]);
});
