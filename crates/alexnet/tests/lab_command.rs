//! `alexnet lab` as a user types it.

use std::fs;

use alexnet_lab::Experiment;
use assert_cmd::Command;
use serde_json::Value;

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
    command.arg("lab").args(arguments);
    command
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).expect("text")
}

#[test]
fn the_list_names_every_experiment_with_its_minutes_and_the_published_figure() {
    let listed = lab(&["list"]).assert().success();
    let table = text(&listed.get_output().stdout);
    let listed = lab(&["list", "--format", "json"]).assert().success();
    let json: Value = serde_json::from_slice(&listed.get_output().stdout).expect("JSON");
    for (index, experiment) in Experiment::ALL.into_iter().enumerate() {
        assert!(table.contains(&format!("published: {}", experiment.published())), "{experiment}");
        assert_eq!(json[index]["name"], experiment.as_str());
        assert!(json[index]["minutes"].as_f64().expect("a number") > 0.0);
    }
}

#[test]
fn an_experiment_prints_its_figures_beside_the_published_one_and_draws_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let out = out.to_str().expect("a path");
    let done = lab(&["gradients", "--quick", "--out", out]).assert().success();
    let told = text(&done.get_output().stdout);
    for part in ["Published", "There", "Here", "so it      shows here", "sigmoid 5.137e-7"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let json = ["gradients", "--quick", "--seeds", "3", "--format", "json", "--out", out];
    let done = lab(&json).assert().success();
    let found: Value = serde_json::from_slice(&done.get_output().stdout).expect("JSON");
    let effect = &found["effects"][0];
    assert_eq!(effect["values"].as_array().map(Vec::len), Some(3), "{effect}");
    assert_eq!(effect["verdict"], "shows");
    let kept = fs::read(folder.path().join("out/gradients.json")).expect("kept");
    assert_eq!(found, serde_json::from_slice::<Value>(&kept).expect("JSON"));
    assert!(folder.path().join("out/gradients-he.svg").is_file());
}

#[test]
fn an_unknown_experiment_is_a_matter_of_usage() {
    let refused = lab(&["magic"]).assert().code(2);
    let told = text(&refused.get_output().stderr);
    assert!(told.contains("list") && told.contains("neighbours"), "{told}");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told_of_before_the_experiment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "in the way").expect("written");
    // Without --quick it takes minutes.
    let refused = lab(&["relu", "--out", file.to_str().expect("a path")]);
    let refused = { refused }.timeout(std::time::Duration::from_secs(60)).assert().code(1);
    let told = text(&refused.get_output().stderr);
    assert!(told.contains("cannot create") && told.contains("file"), "{told}");
    assert!(refused.get_output().stdout.is_empty());
}
