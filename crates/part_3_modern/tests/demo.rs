//! The program as a user meets it: the demo, the tools, real models where they are, and what is said about bad input.

#[path = "demo/ending.rs"]
mod ending;

use serde_json::{Value, json};
use tempfile::TempDir;
use tensor_core::testing::{Program, course_data, path_arg};

const PART_3: Program = Program(env!("CARGO_BIN_EXE_part_3"));

/// A folder with `text.txt` and, in `run`, a model trained on it for a few steps with the given flags.
fn trained(flags: &[&str]) -> (TempDir, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = path_arg(folder.path(), "text.txt");
    std::fs::write(&data, "the cat sat on the mat. ".repeat(40)).expect("a text");
    let run = path_arg(folder.path(), "run");
    let mut args = vec!["train", "--data", &data, "--out", &run, "--json", "--steps", "12"];
    args.extend(["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--context-len", "16"]);
    args.extend(["--batch-size", "4", "--sample-len", "8"]);
    args.extend(flags);
    let said = PART_3.stdout_json(&args);
    (folder, said)
}

#[test]
fn the_demo_compares_cache_and_recomputing_and_writes_on_and_on() {
    let text = PART_3.stdout(&["--steps", "2"]);
    assert!(text.contains("the same text twice") && text.contains("all the way"), "{text}");
}

#[test]
fn every_choice_trains_writes_and_scores() {
    let choices: [&[&str]; 5] = [
        &[],
        &["--norm", "layer", "--position", "learned", "--mlp", "gelu"],
        &["--n-kv-head", "1"],
        &["--window", "4"],
        &["--window", "4", "--sinks", "2"],
    ];
    for flags in choices {
        let (folder, said) = trained(flags);
        assert!(said["loss"].as_f64().is_some_and(|loss| loss < 6.), "{flags:?} {said}");
        let model = path_arg(&folder.path().join("run"), "model");
        let args = ["generate", "--model", &model, "--prompt", "the cat", "--json"];
        let short = [&args[..], &["--max-new-tokens", "5", "--temperature", "0"]].concat();
        let written = PART_3.stdout_json(&short);
        assert_eq!(written["new_tokens"], 5, "{flags:?}");
        assert_eq!(written["prompt_tokens"], 7);
        assert_eq!(written["token_ids"].as_array().map(Vec::len), Some(5));
        let text = folder.path().join("short.txt");
        std::fs::write(&text, "the cat sat").expect("a text");
        let text = text.to_string_lossy();
        let score = ["score", "--model", &model, "--text-file", &text, "--json"];
        let score = PART_3.stdout_json(&score);
        let log_probs: Vec<f64> = score["logprobs"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        assert_eq!((log_probs.len(), score["token_ids"].as_array().map(Vec::len)), (10, Some(11)));
        let mean = log_probs.iter().sum::<f64>() / 10.;
        let perplexity = score["perplexity"].as_f64().expect("a number");
        assert!(((-mean).exp() - perplexity).abs() < 1e-3 * perplexity);
    }
}

#[test]
fn a_prompt_goes_on_though_the_tokenizer_ends_every_text() {
    let (folder, _) = trained(&[]);
    let model = folder.path().join("run/model");
    let change = |name: &str, key: &str, value: Value| {
        let bytes = std::fs::read(model.join(name)).expect("a file");
        let mut json: Value = serde_json::from_slice(&bytes).expect("JSON");
        json[key] = value;
        std::fs::write(model.join(name), json.to_string()).expect("written");
    };
    let (text, end) =
        (json!({ "Sequence": { "id": "A", "type_id": 0 } }), json!({ "id": "!", "type_id": 0 }));
    let ends = json!({
        "type": "TemplateProcessing",
        "single": [text, { "SpecialToken": end }],
        "pair": [text],
        "special_tokens": { "!": { "id": "!", "ids": [33], "tokens": ["!"] } },
    });
    change("tokenizer.json", "post_processor", ends);
    change("generation_config.json", "eos_token_id", json!(33));
    let args = ["generate", "--model", &model.to_string_lossy(), "--prompt", "the cat", "--json"];
    assert_eq!(PART_3.stdout_json(&args)["prompt_tokens"], 7);
}

#[test]
fn the_same_seed_writes_the_same() {
    let (folder, _) = trained(&[]);
    let model = path_arg(&folder.path().join("run"), "model");
    let write = |seed: &str| {
        PART_3.stdout(&[
            "generate",
            "--model",
            &model,
            "--prompt",
            "the",
            "--seed",
            seed,
            "--max-new-tokens",
            "9",
        ])
    };
    assert_eq!(write("1"), write("1"));
    assert_ne!(write("1"), write("2"));
    let files_say = r#"{"do_sample": true, "top_k": 1}"#;
    std::fs::write(format!("{model}/generation_config.json"), files_say).expect("written");
    assert_eq!(write("1"), write("2"));
}

#[test]
fn bad_input_is_told_in_one_line() {
    let (folder, _) = trained(&[]);
    let model = path_arg(&folder.path().join("run"), "model");
    let generate = ["generate", "--model", &model];
    PART_3.assert_fails(
        &["generate", "--model", "nowhere"],
        1,
        "there is no nowhere: expected a file, a folder",
    );
    PART_3.assert_fails(&["generate", "--model", "nobody/nothing"], 1, "nobody/nothing");
    PART_3.assert_fails(&["generate", "--model", "no/such.gguf"], 1, "there is no no/such.gguf");
    PART_3.assert_fails(
        &[&generate[..], &["--prompt", &"x".repeat(40)]].concat(),
        1,
        "40 tokens, the model's context is 16",
    );
    PART_3.assert_fails(&[&generate[..], &["--ask", "why?"]].concat(), 1, "no chat template");
    PART_3.assert_fails(&[&generate[..], &["--ask", "why?", "--prompt", "x"]].concat(), 2, "--ask");
    PART_3.assert_fails(&[&generate[..], &["--sinks", "2"]].concat(), 2, "--window");
    PART_3.assert_fails(
        &[&generate[..], &["--repetition-penalty", "0.5"]].concat(),
        2,
        "must be 1",
    );
    // bytes have no token that begins a text
    PART_3.assert_fails(&generate, 1, "the prompt is empty");
    let text = path_arg(folder.path(), "text.txt");
    PART_3.assert_fails(
        &["score", "--model", &model, "--text-file", &text],
        1,
        "960 tokens, the model's context is 16",
    );
    PART_3.assert_fails(
        &["score", "--model", &model, "--text-file", "nowhere.txt"],
        1,
        "reading nowhere.txt",
    );
    PART_3.assert_fails(
        &["generate", "--model", &text],
        1,
        "is no model: expected a folder, a .gguf file",
    );
    for (name, bytes) in
        [("a.gguf", &b"GGUF"[..]), ("b.bin", b"12345"), ("c.gguf", b"<!DOCTYPE html>")]
    {
        let file = path_arg(folder.path(), name);
        std::fs::write(&file, bytes).expect("a file");
        PART_3.assert_fails(&["generate", "--model", &file], 1, name);
    }
    std::fs::remove_file(folder.path().join("run/model/tokenizer.json")).expect("there was one");
    PART_3.assert_fails(&generate, 1, "tokenizer.json");
    PART_3.assert_fails(
        &["train", "--data", &text, "--n-head", "4", "--n-kv-head", "3"],
        2,
        "cannot share 3 key heads",
    );
}

#[test]
fn a_model_of_llama2_c_tells_its_story() {
    let Some(model) = course_data("models/stories260K.bin") else { return };
    let model = model.to_string_lossy();
    let text = PART_3.stdout(&[
        "generate",
        "--model",
        &model,
        "--temperature",
        "0",
        "--max-new-tokens",
        "200",
    ]);
    // What llama2.c's own tests expect of its run.c at temperature 0.
    assert!(text.starts_with("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."), "{text}");
    assert!(text.trim_end().ends_with("Lily didn't want to help her mom, so she"), "{text}");
}

#[test]
fn a_real_chat_model_knows_the_capital_of_france() {
    let Some(model) = course_data("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = model.to_string_lossy();
    for exact in [&[][..], &["--dequantize"]] {
        let ask = ["generate", "--model", &model, "--ask", "What is the capital of France?"];
        let greedy = ["--temperature", "0", "--max-new-tokens", "20"];
        let text = PART_3.stdout(&[&ask[..], &greedy, exact].concat());
        assert!(text.contains("Paris"), "{exact:?}: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_too_large_for_the_machine_is_refused_before_it_is_made() {
    for size in [["--n-embd", "1000000"], ["--n-layer", "18446744073709551615"]] {
        let args = [&["train", "--data", "nowhere"][..], &size].concat();
        PART_3.assert_fails(&args, 1, "lower --n-embd or --n-layer");
    }
}
