//! Every experiment, small: what it promises to hand back, and the same again for the same seeds.

use std::collections::BTreeSet;
use std::path::Path;

use alexnet_cpu::Cpu;
use alexnet_data::Dataset;
use alexnet_lab::{Experiment, Finding, LabError, Progress, Size, Workbench};

const SEEDS: u64 = 2;

fn sample_set(root: &Path) -> Dataset {
    Size::Quick.sample_set().write(root, &mut |_, _| true).expect("written");
    alexnet_data::open(root, None).expect("a data set")
}

fn done(experiment: Experiment, dataset: &Dataset, threads: usize) -> Finding {
    let mut watch = |_: &Progress<'_>| true;
    let cpu = Cpu::new(threads).expect("threads");
    let bench = Workbench::new(cpu, dataset, "drawn", Size::Quick, &mut watch).expect("a bench");
    let found = experiment.run(&mut bench.with_seeds(Some(SEEDS)));
    found.unwrap_or_else(|error| panic!("{experiment}: {error}"))
}

#[test]
fn every_experiment_hands_back_a_table_its_effects_by_seed_and_drawings() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample_set(&folder.path().join("set"));
    // Of these a run may not come to the error that is asked for.
    let may_lack = |what: &str| what.contains("epochs");
    for experiment in Experiment::ALL {
        let found = done(experiment, &dataset, 2);
        let Finding { here, there, table, effects, drawings, .. } = &found;
        assert_eq!(found.experiment, experiment);
        assert!(here.contains("12 classes, 96 training") && here.contains("2 seeds"), "{here}");
        assert!(!there.is_empty() && !effects.is_empty() && !table.rows.is_empty(), "{experiment}");
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len(), "{experiment}: {row:?}");
        }
        for effect in effects {
            let count = effect.values.len() as u64;
            let as_promised = count == SEEDS || may_lack(&effect.what) && count < SEEDS;
            assert!(as_promised, "{experiment}: {effect:?}");
            assert!(
                effect.values.iter().all(|value| value.is_finite()),
                "{experiment}: {effect:?}"
            );
        }
        assert!(!drawings.is_empty(), "{experiment}");
        for drawing in drawings {
            let head: &[u8] = if drawing.name.ends_with(".svg") { b"<svg" } else { b"\x89PNG" };
            assert!(drawing.bytes.starts_with(head), "{experiment}: {}", drawing.name);
        }
    }
}

#[test]
fn the_same_seeds_find_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample_set(&folder.path().join("set"));
    for experiment in [Experiment::Gradients, Experiment::Crops, Experiment::Filters] {
        assert_eq!(done(experiment, &dataset, 1), done(experiment, &dataset, 2), "{experiment}");
    }
}

#[test]
fn seeds_and_networks_differ() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample_set(&folder.path().join("set"));
    let found = done(Experiment::Towers, &dataset, 2);
    let losses: BTreeSet<&String> = found.table.rows.iter().map(|row| &row[2]).collect();
    assert_eq!(losses.len(), 3, "networks of other tables end alike: {:?}", found.table);
    let by_seed = done(Experiment::Filters, &dataset, 2).table.rows;
    assert_ne!(by_seed[0][1..3], by_seed[1][1..3], "seeds end alike: {by_seed:?}");
}

#[test]
fn a_watcher_ends_an_experiment() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample_set(&folder.path().join("set"));
    let mut left = 2;
    let mut watch = |_: &Progress<'_>| {
        left -= 1;
        left >= 0
    };
    let cpu = Cpu::new(1).expect("threads");
    let mut bench =
        Workbench::new(cpu, &dataset, "drawn", Size::Quick, &mut watch).expect("a bench");
    assert!(matches!(Experiment::Lrn.run(&mut bench), Err(LabError::Stopped)));
}

#[test]
fn experiments_have_names_that_can_be_typed() {
    for experiment in Experiment::ALL {
        assert_eq!(experiment.as_str().parse(), Ok(experiment));
        assert!(!experiment.question().is_empty() && !experiment.published().is_empty());
    }
    assert!("magic".parse::<Experiment>().is_err());
}
