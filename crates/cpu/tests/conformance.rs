//! The CPU keeps the contract with every set of instructions, with the same bits for any number of
//! threads.

use alexnet_cpu::{Cpu, Isa};
use alexnet_ops::Precision;
use alexnet_ops::conformance::{cases, check};

fn cpu(threads: usize, isa: Isa) -> Cpu {
    Cpu::with(threads, isa, Precision::F32).expect("threads start")
}

#[test]
fn the_cpu_passes_the_suite() {
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let failures = check(&cpu(threads, isa));
            assert!(failures.is_empty(), "{isa}, {threads} threads: {failures:#?}");
        }
    }
}

#[test]
fn every_operation_gives_the_same_bits_for_any_number_of_threads() {
    for isa in Isa::available() {
        let one = cpu(1, isa);
        for threads in [2, 3, 8] {
            let many = cpu(threads, isa);
            for case in cases() {
                for ((name, expected), (_, found)) in case.run(&one).iter().zip(&case.run(&many)) {
                    let same = expected.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{name} of {case:?} differs on {threads} threads with {isa}");
                }
            }
        }
    }
}
