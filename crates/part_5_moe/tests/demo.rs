//! Tests of the program: the demo, the comparison, sampling, and the errors for bad input.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tensor_core::testing::{Program, path_arg};

const PART_5: Program = Program(env!("CARGO_BIN_EXE_part_5"));

/// A folder with a text file, and the arguments of a comparison of `steps` steps on it.
fn train_args(steps: usize) -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = path_arg(folder.path(), "text.txt");
    std::fs::write(&data, "the cat sat on the mat. ".repeat(40)).expect("a text");
    let (out, flags) = (path_arg(folder.path(), "runs/moe"), "--n-layer 1 --n-head 2 --n-embd 16");
    let flags = format!("{flags} --steps {steps} --context-len 16 --batch-size 4 --sample-len 8");
    let mut args = vec!["train".into(), "--data".into(), data, "--out".into(), out];
    args.extend(flags.split(' ').map(String::from));
    (folder, args)
}

fn stdout_json(args: &[String], more: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    PART_5.stdout_json(&args)
}

#[test]
fn the_demo_shows_which_experts_process_which_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = path_arg(folder.path(), "new/routing.png");
    let text = PART_5.stdout(&["--experts", "4", "--top-k", "1", "--steps", "3", "--out", &out]);
    for part in [
        "4 experts per layer, top-1 routing",
        "layer 2, load-balancing loss",
        "most frequent bytes",
        "Max load / mean load",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let png = std::fs::read(&out).expect("a picture");
    assert!(png.starts_with(b"\x89PNG") && png.len() > 2_000);
    let two = PART_5.stdout(&[
        "--experts",
        "12",
        "--experts-per-token",
        "2",
        "--steps",
        "1",
        "--out",
        &out,
    ]);
    assert!(two.contains("12 experts per layer, top-2 routing"), "{two}");
}

#[test]
fn train_compares_models_of_equal_flops_and_saves_them() {
    let (folder, args) = train_args(12);
    let more = [
        "--json",
        "--seeds",
        "2",
        "--models",
        "dense,balanced,unbalanced,bias",
        "--capacity-factor",
        "0.5",
    ];
    let results = stdout_json(&args, &more);
    let models = results["models"].as_array().expect("a list");
    assert_eq!(models.len(), 4);
    let number = |model: usize, key: &str| models[model][key].as_f64().expect("a number");
    // The only difference is the router: 4 rows of 16 in the single layer.
    assert_eq!(number(1, "active"), number(0, "parameters") + 64.);
    assert!(number(1, "parameters") > 1.5 * number(0, "parameters"));
    for model in models {
        assert_eq!(model["losses"].as_array().map(Vec::len), Some(2), "{model}");
    }
    assert!(models[1]["dropped"][0].as_f64().is_some_and(|fraction| fraction >= 0.5), "{results}");
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
    let model = path_arg(folder.path(), "runs/moe/balanced-seed-1337/model");
    let text = PART_5.stdout(&[
        "sample",
        "--model",
        &model,
        "--prompt",
        "the cat",
        "--max-new-tokens",
        "9",
    ]);
    assert!(text.starts_with("the cat") && text.len() > 10, "{text}");
}

#[test]
fn each_variant_is_trained_with_its_load_balancing_and_the_flags() {
    let (folder, args) = train_args(12);
    let models =
        ["--models", "balanced,unbalanced,bias", "--aux-loss-coef", "0.3", "--z-loss-coef", "0.2"];
    stdout_json(
        &args,
        &[&models[..], &["--router-jitter", "0.1", "--capacity-factor", "2", "--json"]].concat(),
    );
    for (name, aux_loss_coef, bias_update_rate, selection) in [
        ("balanced", 0.3, 0., "probability"),
        ("unbalanced", 0., 0., "probability"),
        ("bias", 0., 0.001, "biased"),
    ] {
        let variant = folder.path().join(format!("runs/moe/{name}-seed-1337/variant.json"));
        let variant = std::fs::read(variant).expect("a run");
        let model: Value = serde_json::from_slice(&variant).expect("JSON");
        let balancing = json!({
            "aux_loss_coef": aux_loss_coef, "z_loss_coef": 0.2,
            "bias_update_rate": bias_update_rate,
        });
        assert_eq!(model["balancing"], balancing, "{name}");
        assert_eq!(model["strain"], json!({ "jitter": 0.1, "capacity_factor": 2. }), "{name}");
        assert_eq!(model["router_selection"], selection, "{name}");
    }
}

#[test]
fn a_resumed_comparison_equals_an_uninterrupted_one() {
    let ((whole, whole_args), (resumed, args)) = (train_args(12), train_args(12));
    let flags = ["--models", "bias,dense", "--log-interval", "1", "--eval-interval", "4"];
    let flags = [&flags[..], &["--router-jitter", "0.1", "--tracker", "none"]].concat();
    stdout_json(&whole_args, &[&flags[..], &["--json"]].concat());
    let run = |more: &[&str]| {
        let flags = flags.iter().chain(more).copied();
        PART_5.stdout(&args.iter().map(String::as_str).chain(flags).collect::<Vec<_>>())
    };
    assert!(run(&["--stop-after", "5"]).contains("interrupted in MoE, balancing bias"));
    let out = path_arg(resumed.path(), "runs/moe");
    let again = PART_5.stdout_json(&["train", "--resume", "--out", &out, "--json"]);
    let models = again["models"].as_array().expect("a list");
    assert!(models.iter().all(|model| model["losses"].as_array().map(Vec::len) == Some(1)));
    for name in ["bias-seed-1337", "dense-seed-1337"] {
        let [a, b] = [&whole, &resumed].map(|folder| {
            let file = folder.path().join("runs/moe").join(name).join("model/model.safetensors");
            std::fs::read(file).expect("a model")
        });
        assert!(a == b, "{name}");
    }
    let results = |folder: &TempDir, name: &str| {
        let file = folder.path().join("runs/moe").join(name).join("result.json");
        let mut result: Value =
            serde_json::from_slice(&std::fs::read(file).expect("a result")).expect("JSON");
        result["tokens_per_s"] = Value::Null;
        result
    };
    assert_eq!(results(&whole, "bias-seed-1337"), results(&resumed, "bias-seed-1337"));
    // One more seed: the finished runs stay as they are.
    let text = PART_5.stdout(&["train", "--resume", "--out", &out, "--seeds", "2"]);
    assert_eq!(text.matches("finished before").count(), 2, "{text}");
    assert!(Path::new(&out).join("dense-seed-1338/model").exists());
    let other = ["train", "--resume", "--out", &out, "--lr", "0.5"];
    PART_5.assert_fails(&other, 1, "cannot be resumed with other settings: lr was");
}

#[test]
fn a_settings_file_gives_the_hybrid_its_weight_and_gate_in_bf16() {
    let (folder, args) = train_args(3);
    let file = path_arg(folder.path(), "moe.yaml");
    let yaml = "models: hybrid\nalpha: 0.25\ngate_weights: raw\ndtype: bf16\nexperts: 2\n";
    std::fs::write(&file, yaml).expect("a settings file");
    stdout_json(&args, &["--config", &file, "--json", "seeds=1"]);
    let run = folder.path().join("runs/moe/hybrid-seed-1337");
    let config = std::fs::read(run.join("model/config.json")).expect("a model");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!((&config["dense_share"], &config["router_weights"]), (&json!(0.25), &json!("raw")));
    // The dense branch and the single expert of a token share the width of a dense layer.
    let model = path_arg(&run, "model");
    let text = PART_5.stdout(&["sample", "--model", &model, "--prompt", "the"]);
    assert!(text.starts_with("the"), "{text}");
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["--alpha", "1.5"]).collect();
    PART_5.assert_fails(&args, 2, "must be at most 1");
}

#[test]
fn short_runs_and_a_lone_dense_model_have_plots() {
    let (folder, args) = train_args(5);
    let file = |name: &str| folder.path().join("runs/moe").join(name);
    stdout_json(&args, &["--json", "--models", "dense"]);
    assert!(file("loss.svg").exists() && !file("load.svg").exists());
    stdout_json(&args, &["--json", "--models", "dense,balanced"]);
    let color = |name: &str| {
        let svg = std::fs::read_to_string(file(name)).expect("a plot");
        assert!(svg.contains("load-balancing loss"), "{name}");
        svg.contains("#C83C1E") // of the second model
    };
    assert_eq!((color("loss.svg"), color("load.svg")), (true, true));
}

/// Sends a signal during the second of four runs.
#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_comparison_and_keeps_finished_runs() {
    let (folder, args) = train_args(200);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--eval-interval", "1", "--sample-interval", "0", "--models", "dense,bias"]);
    args.extend(["--seeds", "2"]);
    let mut child = PART_5.command(&args).stdout(Stdio::piped()).spawn().expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut read_until = |text: &str| {
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(text)));
        assert!(line.is_some(), "{text}");
    };
    read_until("balancing bias, seed 1337");
    read_until("step 1:");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    read_until("interrupted in MoE, balancing bias, seed 1337");
    read_until("| dense |");
    assert_eq!(
        lines.filter(|line| line.as_ref().is_ok_and(|line| line.starts_with('|'))).count(),
        0
    );
    assert!(child.wait().expect("an end").success());
    let table = std::fs::read_to_string(folder.path().join("runs/moe/table.md")).expect("a table");
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn two_experts_per_token_give_a_mixtral_folder() {
    let (folder, args) = train_args(12);
    stdout_json(
        &args,
        &["--json", "--models", "balanced", "--experts", "3", "--experts-per-token", "2"],
    );
    let config = folder.path().join("runs/moe/balanced-seed-1337/model/config.json");
    let config = std::fs::read_to_string(config).expect("a model");
    assert!(config.contains("\"MixtralForCausalLM\""), "{config}");
}

#[test]
fn bad_input_is_refused_in_one_line_and_writes_nothing() {
    let (folder, args) = train_args(12);
    let refuses = |more: &[&str], code: i32, text: &str| {
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        PART_5.assert_fails(&args, code, text);
    };
    refuses(&["--experts-per-token", "0"], 2, "0 experts per token of 4: must be from 1 to 4");
    refuses(&["--experts-per-token", "5"], 2, "5 experts per token of 4: must be from 1 to 4");
    refuses(&["--experts", "0"], 2, "the number of experts must be at least 1");
    refuses(&["--capacity-factor", "0"], 2, "must be above 0");
    refuses(&["--capacity-factor", "nan"], 2, "not a finite number");
    refuses(&["--aux-loss-coef", "-1"], 2, "must be 0 or above");
    refuses(&["--router-jitter", "1"], 2, "--router-jitter must be below 1");
    refuses(&["--models", "dense,bias,dense"], 2, "names a model twice");
    refuses(&["--models", "sparse"], 2, "invalid value 'sparse'");
    refuses(&["--dropout", "0.1"], 2, "do not use dropout");
    refuses(&["--experts", "1000000000000"], 1, "lower --n-embd or --n-layer");
    let missing = path_arg(folder.path(), "none.txt");
    PART_5.assert_fails(
        &["train", "--data", &missing, "--out", &path_arg(folder.path(), "runs")],
        1,
        "none.txt",
    );
    PART_5.assert_fails(&["--top-k", "0"], 2, "0 experts per token of 4");
    PART_5.assert_fails(&["--experts", "0"], 2, "the number of experts must be at least 1");
    PART_5.assert_fails(
        &["sample", "--model", &path_arg(folder.path(), "none")],
        1,
        "none/config.json",
    );
    assert!(!Path::new(&path_arg(folder.path(), "runs")).exists());
}
