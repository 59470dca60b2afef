//! Other models of a run: the reference model and the reward model.

use std::path::Path;

use reward::testing::save_untrained_reward_model;
use serde_json::Value;
use tensor_core::testing::path_arg;

use super::{PART_8, train};

#[test]
fn an_adapter_trains_against_its_base_or_another_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = path_arg(folder.path(), "first");
    PART_8.stdout(&train(&first, &["--steps", "1"]));
    let base = path_arg(folder.path(), "first/base");
    let other = path_arg(folder.path(), "other");
    PART_8.stdout(&train(&other, &["--n-embd", "32", "--steps", "1"]));
    let other = path_arg(folder.path(), "other/base");
    let adapted = path_arg(folder.path(), "adapted");
    let args = train(&adapted, &["--model", &base, "--lora-rank", "2", "--lr", "1e-2", "--merge"]);
    PART_8.stdout(&args);
    let found =
        PART_8.stdout_json(&["eval", "--model", &adapted, "--eval-examples", "20", "--json"]);
    assert!(found["kl"].is_number(), "the reference is the model without its adapter: {found}");
    // A reference may have other sizes, but needs the same tokens.
    let third = path_arg(folder.path(), "c");
    PART_8.stdout(&train(&third, &["--model", &base, "--reference", &other, "--steps", "1"]));
    let swapped = folder.path().join("swapped");
    copied(Path::new(&base), &swapped);
    let file = swapped.join("tokenizer.json");
    let mut tokens: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("it")).expect("JSON");
    let vocab = &mut tokens["model"]["vocab"];
    let (one, two) = (vocab["1"].clone(), vocab["2"].clone());
    (vocab["1"], vocab["2"]) = (two, one);
    std::fs::write(&file, tokens.to_string()).expect("a file");
    let swapped = swapped.to_string_lossy().into_owned();
    let fourth = path_arg(folder.path(), "d");
    let says = "another tokenizer than the policy";
    PART_8.assert_fails(&train(&fourth, &["--model", &base, "--reference", &swapped]), 1, says);
    PART_8.assert_fails(&["eval", "--model", &base, "--reference", &swapped], 1, says);
    assert!(!Path::new(&fourth).exists(), "nothing was written");
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let file = entry.expect("an entry").path();
        std::fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn a_nan_reward_neither_trains_nor_compares() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| path_arg(folder.path(), name);
    PART_8.stdout(&train(&at("first"), &["--steps", "1"]));
    let (base, judge, run) = (at("first/base"), at("judge"), at("run"));
    let overflowing = f64::from(f32::MAX);
    save_untrained_reward_model(&base, Path::new(&judge), overflowing).expect("a reward model");
    let flags = train(&run, &["--model", &base, "--reward", &judge]);
    let output = PART_8.command(&flags).output().expect("the program starts");
    let (said, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("every step was skipped"), "{error}");
    assert!(said.contains("step 1: the step is skipped: 8 of 8 rewards are not finite"), "{said}");
    let compare = ["eval", "--model", &base, "--reference", &base, "--reward", &judge];
    PART_8.assert_fails(&compare, 1, "rewards are not finite");
    save_untrained_reward_model(&base, Path::new(&judge), 0.1).expect("a reward model");
    PART_8.stdout(&flags.iter().copied().chain(["--steps", "1"]).collect::<Vec<_>>());
}

#[test]
fn conversations_beyond_the_context_of_the_reward_model_are_counted_and_warned_of_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| path_arg(folder.path(), name);
    PART_8.stdout(&train(&at("first"), &["--steps", "1"]));
    let (base, judge) = (at("first/base"), at("judge"));
    save_untrained_reward_model(&base, Path::new(&judge), 0.1).expect("a reward model");
    let warning = "ALARM: step 1: 100 % of the conversations are longer than the context of what \
                   scores them: a reward model of --reward reads them without their beginning";
    let flags = ["--model", &base, "--reward", &judge, "--log-interval", "1"];
    let check = |name: &str, share: f64| {
        let text = PART_8.stdout(&train(&at(name), &flags));
        let n_warnings = text.matches(warning).count();
        assert_eq!(n_warnings, usize::from(share == 1.), "{text}");
        let rows = std::fs::read_to_string(at(&format!("{name}/metrics.jsonl"))).expect("rows");
        let rows = rows.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
        let shares: Vec<f64> =
            rows.filter_map(|row| row["reward_truncated_fraction"].as_f64()).collect();
        assert_eq!(shares, [share; 4]);
    };
    check("whole", 0.);
    let config = Path::new(&judge).join("config.json");
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(&config).expect("a file")).expect("JSON");
    json["max_position_embeddings"] = 8.into();
    std::fs::write(&config, json.to_string()).expect("a file");
    check("truncated", 1.);
    let eval = ["eval", "--model", &base, "--reward", &judge, "--eval-examples", "5"];
    let eval = [&eval[..], &["--reference", &base]].concat();
    let output = PART_8.command(&eval).output().expect("the program starts");
    let warning = String::from_utf8_lossy(&output.stderr);
    let expected = "warning: 10 of 10 conversations are longer than the reward model's";
    assert!(warning.contains(expected), "{warning}");
}
