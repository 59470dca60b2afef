//! The command line: the demo, stopping and resuming a run, LoRA, evaluation, error messages.

use std::path::Path;

use serde_json::Value;
use tensor_core::testing::{CheckpointingRuns, Program, assert_close, path_arg};

const PART_7: Program = Program(env!("CARGO_BIN_EXE_part_7"));

/// Command line of a run of a few steps in `out`, with `extra` flags.
fn train<'a>(out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let args = "train --steps 4 --batch-size 4 --pairs 40 --eval-pairs 6 --log-interval 1 \
                --tracker none";
    let base = if extra.contains(&"--model") { "" } else { SMALL_BASE };
    let args = args.split_whitespace().chain(base.split_whitespace()).chain(["--out", out]);
    args.chain(extra.iter().copied()).collect()
}

/// Flags of a small base model.
const SMALL_BASE: &str = "--base-steps 2 --sft-steps 2 --n-layer 1 --n-head 2 --n-embd 16";

#[test]
fn a_run_on_few_pairs_keeps_the_best_after_its_start_and_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, out) = (path_arg(folder.path(), "pairs.jsonl"), path_arg(folder.path(), "run"));
    let row = |i| {
        let (better, worse) = (format!("{} is it.", i + 1), format!("{}, you fool.", i + 1));
        serde_json::json!({ "prompt": format!("{i}?"), "chosen": better, "rejected": worse })
    };
    let rows: String = (0..40).map(|i| format!("{}\n", row(i))).collect();
    std::fs::write(&file, rows).expect("a file");
    let base: Vec<&str> = SMALL_BASE.split_whitespace().collect();
    let text = PART_7.stdout(&[&["train", "--data", &file, "--out", &out][..], &base].concat());
    assert!(text.contains("50 steps, 10.0 epochs"), "36 pairs in five batches: {text}");
    assert!(text.contains("kept the model of step") && text.contains("accuracy"), "{text}");
    let metrics = read_rows(Path::new(&out).join("metrics.jsonl"));
    let validations: Vec<(u64, f64)> = metrics
        .iter()
        .filter_map(|row| Some((row["step"].as_u64()?, row["val_accuracy"].as_f64()?)))
        .collect();
    assert!(validations.len() > 15, "a validation every three steps: {validations:?}");
    let best = validations[1..].iter().map(|(_, accuracy)| *accuracy).fold(0., f64::max);
    let steps = metrics.iter().filter_map(|row| row["step"].as_u64());
    assert_eq!(steps.max(), Some(50));
    assert!(text.contains(&format!("validation accuracy {best:.3}")), "{best}: {text}");
    let is_last = validations.last().expect("the last").1 == best;
    assert!(is_last || Path::new(&out).join("final/model.safetensors").exists());
}

#[test]
fn a_reward_model_with_a_nan_weight_is_refused_with_the_name_of_the_tensor() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path_arg(folder.path(), "run");
    PART_7.stdout(&train(&out, &["--steps", "1"]));
    let file = Path::new(&out).join("model/model.safetensors");
    let mut tensors = tensor_core::weights::load(&file).expect("weights");
    let head = tensors.get_mut("score.weight").expect("a head");
    *head = (&*head * f64::NAN).expect("a product");
    tensor_core::weights::save(&file, &tensors).expect("saved");
    let message = "`score.weight` has a weight that is NaN or infinite";
    PART_7.assert_fails(&["eval", "--model", &out], 1, message);
    let next = path_arg(folder.path(), "next");
    PART_7.assert_fails(&train(&next, &["--model", &out]), 1, message);
}

#[test]
fn the_demo_prints_rewards_and_metrics_and_draws_a_histogram() {
    let folder = tempfile::tempdir().expect("a folder");
    let histogram = path_arg(folder.path(), "rewards.png");
    let text = PART_7.stdout(&["--base-steps", "2", "--steps", "3", "--out", &histogram]);
    for part in ["accuracy", "baselines: length", "calibration error", "The capital of"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(Path::new(&histogram).exists());
}

fn read_rows(file: impl AsRef<Path>) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("rows");
    text.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

#[test]
fn a_resumed_run_saves_the_same_model_and_can_be_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let [uninterrupted, resumed] = ["whole", "parts"].map(|run| path_arg(folder.path(), run));
    let schedule = ["--warmup-steps", "2", "--lr-scheduler", "cosine", "--dropout", "0.1"];
    PART_7.stdout(&train(&uninterrupted, &schedule));
    let text = PART_7.stdout(&train(&resumed, &[&schedule[..], &["--stop-after", "2"]].concat()));
    assert!(text.contains("-p part_7 -- train --resume"), "{text}");
    PART_7.stdout(&["train", "--resume", "--out", &resumed]);
    for file in ["model/model.safetensors", "model/tokenizer.json", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&uninterrupted), read(&resumed), "{file}");
    }
    for file in ["metrics.jsonl", "loss.svg", "rewards.png", "base/model.safetensors"] {
        assert!(Path::new(&uninterrupted).join(file).exists(), "{file}");
    }
    let metrics = read_rows(Path::new(&uninterrupted).join("metrics.jsonl"));
    let validations = metrics.iter().filter(|row| row["val_accuracy"].is_number());
    let steps: Vec<_> = validations.map(|row| row["step"].as_u64()).collect();
    assert_eq!(steps, [Some(0), Some(4)]);
    let lr: Vec<f64> = metrics.iter().filter_map(|row| row["lr"].as_f64()).collect();
    assert!(lr[0] < lr[1] && lr[1] > lr[2] && lr[2] > lr[3], "{lr:?}");

    assert_evaluation(folder.path(), &uninterrupted);
    for (flag, message) in
        [("--lr", "lr was 0.0005 and is 5"), ("--eval-pairs", "eval_pairs was 6")]
    {
        let args = ["train", "--resume", "--out", &uninterrupted, flag, "5"];
        PART_7.assert_fails(&args, 1, message);
    }
    let base = path_arg(folder.path(), "whole/base");
    PART_7.assert_fails(&train(&uninterrupted, &["--model", &base]), 1, "--model");
    PART_7.assert_fails(&["eval", "--model", &base], 1, "has no reward head");
    let model = path_arg(folder.path(), "whole/model");
    PART_7.assert_fails(&["collect", "--model", &model], 1, "is a reward model");
    let encoder = train(&resumed, &["--model", &model, "--architecture", "encoder"]);
    PART_7.assert_fails(&encoder, 1, "is a reward model already");
    let resume = ["train", "--resume", "--out", &resumed];
    std::fs::remove_dir_all(path_arg(folder.path(), "parts/base")).expect("a base");
    PART_7.assert_fails(&resume, 1, "cannot resume: the base model");
    std::fs::remove_dir_all(path_arg(folder.path(), "parts/checkpoints")).expect("checkpoints");
    PART_7.assert_fails(&resume, 1, "checkpoint");
}

fn assert_evaluation(folder: &Path, run: &str) {
    let histogram = path_arg(folder, "made/eval.png");
    let metrics =
        PART_7.stdout_json(&["eval", "--model", run, "--histogram", &histogram, "--json"]);
    for key in ["n", "accuracy", "margin", "length_correlation", "length_only_accuracy"] {
        assert!(metrics[key].is_number(), "{key} in {metrics}");
    }
    assert_eq!(metrics["n"], 500);
    assert!(metrics["length_only_accuracy"].as_f64().expect("a number") < 0.53, "{metrics}");
    assert!(Path::new(&histogram).exists());
    let sample = ["eval", "--model", run, "--data", "manners", "--n", "20", "--json"];
    assert_eq!(PART_7.stdout_json(&sample)["n"], 20);
}

#[test]
fn every_flag_of_train_has_an_effect_on_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = path_arg(folder.path(), "rows.jsonl");
    let row = |i: usize| {
        format!("{{\"prompt\": \"{i}?\", \"chosen\": \"yes\", \"rejected\": \"no {i}\"}}\n")
    };
    std::fs::write(&data, (0..20).map(row).collect::<String>()).expect("a file");
    let [first, second, third] =
        ["first", "second", "third"].map(|run| path_arg(folder.path(), run));
    let first_loss = |run: &str| {
        let rows = read_rows(folder.path().join(run).join("metrics.jsonl"));
        rows[1]["loss"].as_f64().expect("a loss")
    };

    let encoder = ["--architecture", "encoder", "--loss", "margin", "--margin", "50"];
    PART_7.stdout(&train(&first, &[&encoder[..], &["--template", "dialogue"]].concat()));
    let loss = first_loss("first");
    assert_close(loss, 50., 0.2); // near the margin of 50 at first
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).expect(file);
    assert!(read("first/model/config.json").contains("EncoderForSequenceClassification"));
    assert!(read("first/model/tokenizer_config.json").contains("User: "));

    let base = path_arg(folder.path(), "first/base");
    let lora = ["--model", &base, "--lora-rank", "2", "--data", &data, "--context-len", "6"];
    let split = ["--test", "0.2", "--center-rewards-coefficient", "1e6"];
    let text = PART_7.stdout(&train(&second, &[&lora[..], &split, &["--json"]].concat()));
    for part in ["were truncated on the left", "2 validation pairs, 4 test pairs"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let report = text.lines().last().expect("a report");
    let report: Value = serde_json::from_str(report).expect("JSON");
    let count = |key: &str| report[key].as_u64().expect("a count");
    assert!(count("trained_parameters") < count("parameters"), "LoRA trains few parameters");
    let loss = first_loss("second");
    assert!(loss > 1e3, "a centering coefficient of 1e6 dominates the loss: {loss}");
    assert_eq!(PART_7.stdout_json(&["eval", "--model", &second, "--json"])["n"], 4);
    let eval = |data: &str| PART_7.stdout(&["eval", "--model", &second, "--data", data]);
    let text = eval(&data);
    assert!(text.contains("the test rows of the run's") && text.contains("\n4 pairs:"), "{text}");
    let others = path_arg(folder.path(), "others.jsonl");
    std::fs::write(&others, (20..23).map(row).collect::<String>()).expect("a file");
    let text = eval(&format!("{data}=0.5,{others}=0.5"));
    assert!(text.contains("9 of 23 rows: the run was trained on the others"), "{text}");
    std::fs::write(&data, (0..21).map(row).collect::<String>()).expect("a file");
    let args = ["eval", "--model", &second, "--data", &data, "--json"];
    let output = PART_7.command(&args).output().expect("the program starts");
    let [text, warning] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        warning.contains("warning: ") && warning.contains("they have changed since"),
        "{warning}"
    );
    assert!(!text.contains("warning"), "{text}");

    let early_stop =
        ["--model", &first, "--data", "manners", "--target-accuracy", "0.01", "--json"];
    let report = PART_7.stdout_json(&train(&third, &early_stop));
    assert_eq!((&report["target_reached"], &report["step"]), (&true.into(), &0.into()));
    PART_7.stdout(&["train", "--resume", "--out", &third]);
}

/// By its own seed the second run would validate with pairs that the first one was trained on.
#[test]
fn a_run_on_the_data_of_an_earlier_one_holds_out_the_same_pairs() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second, file] =
        ["first", "second", "rows.jsonl"].map(|name| path_arg(folder.path(), name));
    let row = |i: usize| {
        format!("{{\"prompt\": \"{i}?\", \"chosen\": \"yes\", \"rejected\": \"no {i}\"}}\n")
    };
    std::fs::write(&file, (0..40).map(row).collect::<String>()).expect("a file");
    let half = ["--data", &file, "--validation", "0.5", "--seed", "1"];
    PART_7.stdout(&train(&first, &half));
    let flags = ["--model", &first, "--data", &file, "--seed", "2"];
    let text = PART_7.stdout(&train(&second, &flags));
    assert!(text.contains("held out for validation are the rows that"), "{text}");
    let config = Path::new(&second).join("config.json");
    let settings = std::fs::read_to_string(&config).expect("settings");
    let mut settings: Value = serde_json::from_str(&settings).expect("JSON");
    let rule = &settings["split_rule"];
    assert_eq!((&rule["seed"], &rule["n_validation"]), (&1.into(), &20.into()));
    let eval = ["eval", "--model", &second];
    let text = PART_7.stdout(&eval);
    assert!(text.contains("\n20 pairs:") && !text.contains("earlier run"), "{text}");

    // A split of its own, as in earlier versions: the first run has learned some of its pairs.
    settings["split_rule"]["seed"] = 2.into();
    std::fs::write(&config, settings.to_string()).expect("a file");
    let text = PART_7.stdout(&eval);
    assert!(text.contains("rows that an earlier run of the model was not trained on"), "{text}");
}

#[test]
fn invalid_input_gives_a_one_line_error_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_arg(folder.path(), "rows.jsonl");
    std::fs::write(
        &file,
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\"}\n",
    )
    .expect("a file");
    let out = path_arg(folder.path(), "out");
    let assert_fails = |extra: &[&str], code, message: &str| {
        PART_7.assert_fails(&train(&out, extra), code, message);
    };
    assert_fails(&["--data", &file], 1, "rows.jsonl:2: there is no column `chosen`");
    assert_fails(&["--data", &file, "--columns", "nonsense"], 2, "expected FIELD=COLUMN");
    assert_fails(&["--columns", "chosen=better"], 2, "--columns is for files");
    assert_fails(&["--data", "nowhere.jsonl"], 1, "nowhere.jsonl");
    assert_fails(&["--dtype", "f16"], 2, "--dtype");
    assert_fails(&["--loss", "poem"], 2, "invalid value 'poem'");
    assert_fails(&["--loss", "margin", "--margin", "-1"], 2, "--margin");
    assert_fails(&["--margin", "1"], 2, "--margin is for --loss margin");
    assert_fails(&["--n-head", "3"], 2, "heads");
    assert_fails(&["--target-accuracy", "1.5"], 2, "--target-accuracy");
    assert_fails(&["--validation", "1"], 2, "--validation");
    assert_fails(&["--validation", "0.1"], 2, "--validation is for files");
    assert_fails(&["--data", "manners", "--test", "0.2"], 2, "--test is for files");
    assert_fails(&["--lora-dropout", "0.1"], 2, "--lora-rank");
    assert_fails(&["--lora-rank", "2", "--merge"], 2, "--merge");
    assert_fails(&["--context-len", "9999"], 1, "the model's context is 128 tokens");
    assert_fails(&["--lora-rank", "500"], 1, "rank 500");
    assert_fails(&["--template", "chatml"], 1, "<|im_start|>");
    assert_fails(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    PART_7.assert_fails(&["eval", "--model", "nowhere"], 1, "there is no folder nowhere");
    let histogram = format!("{file}/in/a/file.png");
    PART_7.assert_fails(&["eval", "--model", "nowhere", "--histogram", &histogram], 1, "creating");
    for invalid in [["--group-size", "1"], ["--max-new-tokens", "0"]] {
        let args = [&["collect", "--model", "nowhere"], &invalid[..]].concat();
        PART_7.assert_fails(&args, 2, invalid[0]);
    }
    assert!(!Path::new(&out).exists(), "the run folder was created");
}

#[test]
fn gradient_checkpointing_gives_the_same_weights_also_of_adapters_of_8_bit_adamw_and_resumed() {
    PART_7.assert_gradient_checkpointing_is_exact(&CheckpointingRuns {
        train,
        checkpoint: "step-4",
        adapter: &["--lora-rank", "2", "--lora-dropout", "0.3", "--lr", "0.01"],
    });
}
