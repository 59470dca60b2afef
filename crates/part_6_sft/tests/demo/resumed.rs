//! Resumed runs equal uninterrupted ones.

use std::path::Path;

use serde_json::Value;
use tensor_core::testing::path_arg;

use crate::{PART_6, train};

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_and_is_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, resumed) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    PART_6.stdout(&train(&whole, &[]));
    let text = PART_6.stdout(&train(&resumed, &["--stop-after", "2"]));
    assert!(text.contains("-p part_6 -- train --resume"), "{text}");
    PART_6.stdout(&["train", "--resume", "--out", &resumed]);
    assert_same_run(&whole, &resumed);
    for file in ["metrics.jsonl", "loss.svg", "base/model.safetensors", "config.json"] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let metrics = PART_6.stdout_json(&["eval", "--model", &whole, "--json"]);
    for key in
        ["n", "loss", "perplexity", "exact_match", "token_f1", "rouge_2", "rouge_l", "eos_rate"]
    {
        assert!(metrics[key].is_number(), "{key} in {metrics}");
    }
    assert_eq!((&metrics["n"], &metrics["products"]["n"]), (&500.into(), &18.into()));
    let text = PART_6.stdout(&[
        "sample",
        "--model",
        &whole,
        "--prompt",
        "What is 1 + 1?",
        "--max-new-tokens",
        "4",
    ]);
    assert!(text.contains("base") && text.contains("tuned"), "{text}");
    let sampled = |seed: &str, flags: &[&str]| {
        let args = ["sample", "--model", &whole, "--prompt", "1 + 1?", "--seed", seed];
        PART_6.stdout(&[&args[..], &["--max-new-tokens", "8"], flags].concat())
    };
    let hot = ["--temperature", "2", "--top-k", "0", "--top-p", "0.99"];
    assert_eq!(sampled("1", &[]), sampled("2", &[]), "greedy by default");
    assert_eq!(sampled("1", &hot), sampled("1", &hot));
    assert_ne!(sampled("1", &hot), sampled("2", &hot));
    let prompts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/demo_prompts.jsonl");
    let prompts = prompts.to_string_lossy();
    let from_file = ["sample", "--model", &whole, "--data", &prompts, "--max-new-tokens", "4"];
    let text = PART_6.stdout(&from_file);
    assert_eq!((text.matches("tuned").count(), text.contains("expected")), (6, false), "{text}");
    // The settings of a notebook, on our data and for two steps.
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/sft_notebook.yaml");
    let (config, out) = (config.to_string_lossy(), path_arg(folder.path(), "notebook"));
    let ours = ["--model", &whole, "--data", "everyday", "--steps", "2", "--out", &out];
    PART_6.stdout(&[&["train", "--config", &config], &ours[..]].concat());
    let settings = std::fs::read_to_string(Path::new(&out).join("config.json")).expect("settings");
    let settings: Value = serde_json::from_str(&settings).expect("JSON");
    for (key, value) in [("batch_size", 8), ("grad_accum_steps", 4), ("lora_rank", 16)] {
        assert_eq!(settings[key], value, "{key}");
    }
    assert!(Path::new(&out).join("adapter/adapter_config.json").exists(), "the adapter alone");
    PART_6.assert_fails(
        &["train", "--resume", "--out", &whole, "--lr", "0.5"],
        1,
        "lr was 0.001 and is 0.5",
    );
}

#[test]
fn a_run_on_a_mixture_that_is_resumed_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, sign: &str, n: usize| {
        let row = |i| format!("{{\"prompt\": \"{i} {sign} 3?\", \"completion\": \"{i}\"}}\n");
        let file = path_arg(folder.path(), name);
        std::fs::write(&file, (0..n).map(row).collect::<String>()).expect("a file");
        file
    };
    let (sums, products) = (write("sums.jsonl", "+", 30), write("products.jsonl", "*", 9));
    let mixed = |weights: [f64; 2]| format!("{sums}={},{products}={}", weights[0], weights[1]);
    let data = mixed([0.7, 0.3]);
    let (whole, resumed) = (path_arg(folder.path(), "whole"), path_arg(folder.path(), "parts"));
    // 12 steps of 4 rows pass over the mixture more than once.
    let more = ["--data", &data, "--stopping-strategy", "all_exhausted", "--steps", "12"];
    PART_6.stdout(&train(&whole, &more));
    PART_6.stdout(&train(&resumed, &[&more[..], &["--stop-after", "5"]].concat()));
    let resume = ["train", "--resume", "--out", &resumed];
    let half = mixed([0.5, 0.5]);
    let other = [&resume[..], &["--data", &half]].concat();
    let output = PART_6.command(&other).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("trained on other data"), "{error}");
    PART_6.stdout(&resume);
    assert_same_run(&whole, &resumed);
    let text = std::fs::read_to_string(Path::new(&whole).join("config.json")).expect("settings");
    assert!(text.contains("=0.7,"), "the weights are stored: {text}");
}

/// Checks that a resumed run has the model and the metrics of an uninterrupted one, bit for bit.
fn assert_same_run(whole: &str, resumed: &str) {
    for file in ["model/model.safetensors", "model/tokenizer.json", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert!(read(whole) == read(resumed), "{file}: resumed and uninterrupted");
    }
    let rows = |run: &str| {
        let text = std::fs::read_to_string(Path::new(run).join("metrics.jsonl")).expect("metrics");
        let rows = text.lines().map(|row| serde_json::from_str::<Value>(row).expect("a row"));
        rows.map(|row| ["step", "loss", "val_loss", "tokens"].map(|key| row[key].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(whole), rows(resumed), "metrics continue after the resume");
}

#[test]
fn a_run_with_the_date_in_its_prompts_is_resumed_and_evaluated_with_its_own_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, run) = (path_arg(folder.path(), "base"), path_arg(folder.path(), "run"));
    PART_6.stdout(&train(&base, &[]));
    let template = Path::new(&base).join("model/chat_template.jinja");
    let source = "{{ strftime_now('%d %b %Y') }} {{ style }} {% for m in messages %}\
        {% if m.role == 'user' %}{{ m.content }}|{% else %}{{ m.content + eos_token }}{% endif %}\
        {% endfor %}";
    std::fs::write(template, source).expect("a file");
    let flags = ["--model", &base, "--chat-date", "2024-07-26", "--stop-after", "2"];
    let flags = [&flags[..], &["--chat-template-arg", "style=short"]].concat();
    let text = PART_6.stdout(&train(&run, &flags));
    assert!(text.contains("|2|0|2|4| |"), "the date is in the prompt: {text}");
    // Today's date would give other tokens, and the run would be refused.
    PART_6.stdout(&["train", "--resume", "--out", &run]);
    let eval = |more: &[&str]| {
        let args =
            ["eval", "--model", &run, "--data", "everyday", "--json", "--max-new-tokens", "1"];
        PART_6.stdout_json(&[&args[..], more].concat())["loss"].clone()
    };
    let own = ["--chat-date", "2024-07-26", "--chat-template-arg", "style=short"];
    assert_eq!(eval(&[]), eval(&own));
    assert_ne!(eval(&[]), eval(&["--chat-date", "2025-01-01"]));
    assert_ne!(eval(&[]), eval(&["--chat-template-arg", "style=long"]));
    let next = path_arg(folder.path(), "next");
    let text = PART_6.stdout(&train(&next, &["--model", &run, "--chat-date", "2024-07-26"]));
    assert!(text.replace('|', "").contains("2024 short"), "the run's argument: {text}");
    let settings = std::fs::read_to_string(Path::new(&next).join("config.json")).expect("settings");
    assert!(settings.contains(r#"{\"style\":\"short\"}"#), "it is recorded: {settings}");
    PART_6.assert_fails(
        &["train", "--resume", "--out", &run, "--chat-template-arg", "style=long"],
        1,
        "chat_template_arg was",
    );
}
