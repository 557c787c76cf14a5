//! The CPU keeps the contract with every set of instructions, with the same bits for any number of
//! threads.

use std::process::Command;

use alexnet_cpu::{Cpu, ISA_VARIABLE, Isa};
use alexnet_ops::conformance::{cases, check, compare};
use alexnet_ops::{Precision, Reference};

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

#[test]
fn in_bf16_every_operation_is_within_a_hundredth() {
    for case in cases() {
        let expected = case.run(&Reference::<f32>::new());
        for isa in Isa::available() {
            let cpu = Cpu::with(2, isa, Precision::Bf16).expect("threads start");
            for ((output, expected), (_, found)) in expected.iter().zip(&case.run(&cpu)) {
                let name = format!("{case:?} with {isa}");
                assert_eq!(compare(&name, output, expected, found, 1e-2), None);
            }
        }
    }
}

/// What a process with the variable set to `value` says of its instructions.
fn chosen(value: &str) -> String {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(this);
    child.args(["--exact", "what_is_chosen_is_said", "--ignored", "--nocapture"]);
    let output = child.env(ISA_VARIABLE, value).output().expect("this program can be run");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "run by another test, in a process of its own"]
#[expect(clippy::print_stderr, reason = "how the other test learns it")]
fn what_is_chosen_is_said() {
    match Cpu::new(1) {
        Ok(cpu) => eprintln!("chosen: {}", cpu.isa()),
        Err(error) => eprintln!("{error}"),
    }
}

#[test]
fn the_variable_forces_each_set_of_instructions_by_name_and_no_other_and_none_if_it_is_empty() {
    for isa in Isa::available() {
        let said = chosen(isa.name());
        assert!(said.contains(&format!("chosen: {isa}\n")), "{isa}: {said}");
    }
    let usual = Isa::available().pop().expect("there is one");
    assert!(chosen("").contains(&format!("chosen: {usual}\n")));
    let names = Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
    let mut missing = Isa::ALL.iter().filter(|isa| !Isa::available().contains(isa));
    for name in ["AVX2", missing.next().map_or("sse9", |isa| isa.name())] {
        let expected = format!("{ISA_VARIABLE} is {name:?}, but this processor can run: {names}");
        let said = chosen(name);
        assert!(said.contains(&expected), "{name:?}: {said}");
    }
}
