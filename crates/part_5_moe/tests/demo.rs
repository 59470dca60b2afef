//! The program as a user meets it: the demo, the comparison, a model that writes, and what is said about bad input.

use std::path::Path;

use tempfile::TempDir;
use tensor_core::testing::{Program, path};

const PART_5: Program = Program(env!("CARGO_BIN_EXE_part_5"));

/// A folder with a text, and the flags of a short comparison on it.
fn text() -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = path(folder.path(), "text.txt");
    std::fs::write(&data, "the cat sat on the mat. ".repeat(40)).expect("a text");
    let (out, flags) =
        (path(folder.path(), "runs/moe"), "--steps 12 --n-layer 1 --n-head 2 --n-embd 16");
    let flags = format!("{flags} --block-size 16 --batch-size 4 --sample-tokens 8");
    let mut args = vec!["train".into(), "--data".into(), data, "--out".into(), out];
    args.extend(flags.split(' ').map(String::from));
    (folder, args)
}

fn says(args: &[String], more: &[&str]) -> serde_json::Value {
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    PART_5.says_json(&args)
}

#[test]
fn the_demo_shows_who_takes_which_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = path(folder.path(), "new/routing.png");
    let text = PART_5.says(&["--experts", "4", "--top-k", "1", "--steps", "3", "--out", &out]);
    for part in [
        "4 experts a layer, 1 for each token",
        "layer 2, load-balancing loss",
        "takes most",
        "fair share",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let png = std::fs::read(&out).expect("a picture");
    assert!(png.starts_with(b"\x89PNG") && png.len() > 2_000);
    let two = PART_5.says(&["--experts", "12", "--top-k", "2", "--steps", "1", "--out", &out]);
    assert!(two.contains("12 experts a layer, 2 for each token"), "{two}");
}

#[test]
fn train_compares_models_of_equal_work_and_keeps_them() {
    let (folder, args) = text();
    let more = [
        "--json",
        "--seeds",
        "2",
        "--models",
        "dense,balanced,unbalanced,bias",
        "--capacity-factor",
        "0.5",
    ];
    let said = says(&args, &more);
    let models = said["models"].as_array().expect("a list");
    assert_eq!(models.len(), 4);
    let number = |model: usize, key: &str| models[model][key].as_f64().expect("a number");
    // A router of 4 rows of 16 in the one layer is all that is more at work.
    assert_eq!(number(1, "active"), number(0, "parameters") + 64.);
    assert!(number(1, "parameters") > 1.5 * number(0, "parameters"));
    for model in models {
        assert_eq!(model["losses"].as_array().map(Vec::len), Some(2), "{model}");
    }
    assert!(models[1]["dropped"][0].as_f64().is_some_and(|share| share >= 0.5), "{said}");
    assert!(models[0]["max_over_mean"].as_array().is_some_and(Vec::is_empty));
    for file in [
        "table.md",
        "results.json",
        "loss.svg",
        "load.svg",
        "bias-seed-1338/model/model.safetensors",
    ] {
        assert!(folder.path().join("runs/moe").join(file).exists(), "{file}");
    }
    let model = path(folder.path(), "runs/moe/balanced-seed-1337/model");
    let text =
        PART_5.says(&["sample", "--model", &model, "--prompt", "the cat", "--max-new-tokens", "9"]);
    assert!(text.starts_with("the cat") && text.len() > 10, "{text}");
}

#[test]
fn several_experts_per_token_leave_a_mixtral() {
    let (folder, args) = text();
    says(&args, &["--json", "--models", "balanced", "--experts", "3", "--experts-per-token", "2"]);
    let config = folder.path().join("runs/moe/balanced-seed-1337/model/config.json");
    let config = std::fs::read_to_string(config).expect("a model");
    assert!(config.contains("\"MixtralForCausalLM\""), "{config}");
}

#[test]
fn bad_input_is_refused_in_one_line_and_nothing_is_written() {
    let (folder, args) = text();
    let refuses = |more: &[&str], code: i32, text: &str| {
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        PART_5.refuses(&args, code, text);
    };
    refuses(&["--experts-per-token", "0"], 2, "0 experts per token of 4: must be from 1 to 4");
    refuses(&["--experts-per-token", "5"], 2, "5 experts per token of 4: must be from 1 to 4");
    refuses(&["--experts", "0"], 2, "the number of experts is 0");
    refuses(&["--capacity-factor", "0"], 2, "must be above 0");
    refuses(&["--capacity-factor", "nan"], 2, "not a finite number");
    refuses(&["--balance", "-1"], 2, "must be 0 or above");
    refuses(&["--jitter", "1"], 2, "--jitter must be below 1");
    refuses(&["--models", "sparse"], 2, "invalid value 'sparse'");
    refuses(&["--dropout", "0.1"], 2, "these models have none");
    refuses(&["--experts", "1000000000000"], 1, "lower --n-embd or --n-layer");
    let none = path(folder.path(), "none.txt");
    PART_5.refuses(
        &["train", "--data", &none, "--out", &path(folder.path(), "runs")],
        1,
        "none.txt",
    );
    PART_5.refuses(&["--top-k", "0"], 2, "0 experts per token of 4");
    PART_5.refuses(&["--experts", "0"], 2, "the number of experts is 0");
    PART_5.refuses(&["sample", "--model", &path(folder.path(), "none")], 1, "none/config.json");
    assert!(!Path::new(&path(folder.path(), "runs")).exists());
}
