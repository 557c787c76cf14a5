//! CIFAR-10: records and the names of classes.

#![no_main]

use alexnet_fuzz::{files, let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let [records, names] = files(bytes);
    open_set(&[
        ("data_batch_1.bin", records),
        ("data_batch_2.bin", records),
        ("data_batch_3.bin", records),
        ("data_batch_4.bin", records),
        ("data_batch_5.bin", records),
        ("test_batch.bin", records),
        ("batches.meta.txt", names),
    ]);
});
