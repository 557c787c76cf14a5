//! The two tables of Kaggle's ILSVRC.

#![no_main]

use alexnet_fuzz::{PNG, files, let_panics_be_caught, open_set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: let_panics_be_caught(), |bytes: &[u8]| {
    let [solution, synsets] = files(bytes);
    open_set(&[
        ("LOC_val_solution.csv", solution),
        ("LOC_synset_mapping.txt", synsets),
        ("ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_1.JPEG", PNG),
        ("ILSVRC/Data/CLS-LOC/train/n01443537/n01443537_1.JPEG", PNG),
        ("ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG", PNG),
    ]);
});
