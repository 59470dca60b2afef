//! End-to-end tests of the program: demo, commands, real models if present, and error messages.

#[path = "demo/ending.rs"]
mod ending;

use serde_json::{Value, json};
use tempfile::TempDir;
use tensor_core::testing::{Program, course_data, path_arg};

const PART_3: Program = Program(env!("CARGO_BIN_EXE_part_3"));

/// Folder with `text.txt` and, in `run`, a model trained on it for a few steps with the given
/// flags.
fn train(flags: &[&str]) -> (TempDir, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = path_arg(folder.path(), "text.txt");
    std::fs::write(&data, "the cat sat on the mat. ".repeat(40)).expect("a text");
    let run = path_arg(folder.path(), "run");
    let mut args = vec!["train", "--data", &data, "--out", &run, "--json", "--steps", "12"];
    args.extend(["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--context-len", "16"]);
    args.extend(["--batch-size", "4", "--sample-len", "8"]);
    args.extend(flags);
    let report = PART_3.stdout_json(&args);
    (folder, report)
}

#[test]
fn the_demo_prints_the_cache_comparison_and_the_long_text() {
    let text = PART_3.stdout(&["--steps", "2"]);
    assert!(text.contains("the same text twice") && text.contains("all the way"), "{text}");
}

#[test]
fn the_demo_takes_the_components_of_the_model() {
    let one = ["--steps", "2", "--norm", "layer", "--mlp", "gelu", "--n-kv-head", "1"];
    let more = ["--sliding-window", "8", "--sinks", "1", "--tokens", "400"];
    let text = PART_3.stdout(&[&one[..], &more].concat());
    assert!(text.contains("400 tokens through a window of 8 and 1 sinks"), "{text}");
    let text = PART_3.stdout(&["--steps", "2", "--position", "sinusoidal"]);
    assert!(text.contains("cannot write a longer text"), "{text}");
}

#[test]
fn maps_draws_the_heads_of_a_model_and_names_the_strongest() {
    let (folder, _) = train(&["--position", "sinusoidal", "--norm", "layer", "--mlp", "gelu"]);
    let model = path_arg(&folder.path().join("run"), "model");
    let picture = path_arg(folder.path(), "new/maps.png");
    let maps = ["maps", "--model", &model, "--out", &picture];
    let text = PART_3.stdout(&[&maps[..], &["--text", "the cat sat"]].concat());
    assert!(text.contains("layer  1  on the previous token: head"), "{text}");
    assert!(std::fs::metadata(&picture).is_ok_and(|file| file.len() > 1000));
    let refused = |more: &[&str], message| {
        PART_3.assert_fails(&[&maps[..], more].concat(), 1, message);
    };
    refused(&["--text", "the cat sat", "--layer", "2"], "the model has 1 layers");
    refused(&["--text", "t"], "--text has 1 tokens: a picture needs from 2 to 64");
}

#[test]
fn every_architecture_trains_generates_and_scores() {
    let architectures: [&[&str]; 7] = [
        &[],
        &["--norm", "layer", "--position", "learned", "--mlp", "gelu"],
        &["--norm", "layer", "--position", "sinusoidal", "--mlp", "gelu"],
        &["--dtype", "bf16", "--warmup-ratio", "0.5"],
        &["--n-kv-head", "1"],
        &["--window", "4"],
        &["--window", "4", "--sinks", "2"],
    ];
    for flags in architectures {
        let (folder, report) = train(flags);
        assert!(report["loss"].as_f64().is_some_and(|loss| loss < 6.), "{flags:?} {report}");
        let model = path_arg(&folder.path().join("run"), "model");
        let args = ["generate", "--model", &model, "--prompt", "the cat", "--json"];
        let short = [&args[..], &["--max-new-tokens", "5", "--temperature", "0"]].concat();
        let output = PART_3.stdout_json(&short);
        assert_eq!(output["new_tokens"], 5, "{flags:?}");
        assert_eq!(output["prompt_tokens"], 7);
        assert_eq!(output["token_ids"].as_array().map(Vec::len), Some(5));
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
fn a_prompt_gets_no_eos_even_if_the_tokenizer_appends_one() {
    let (folder, _) = train(&[]);
    let model = folder.path().join("run/model");
    let edit = |name: &str, key: &str, value: Value| {
        let bytes = std::fs::read(model.join(name)).expect("a file");
        let mut json: Value = serde_json::from_slice(&bytes).expect("JSON");
        json[key] = value;
        std::fs::write(model.join(name), json.to_string()).expect("written");
    };
    let (text, end) =
        (json!({ "Sequence": { "id": "A", "type_id": 0 } }), json!({ "id": "!", "type_id": 0 }));
    let post_processor = json!({
        "type": "TemplateProcessing",
        "single": [text, { "SpecialToken": end }],
        "pair": [text],
        "special_tokens": { "!": { "id": "!", "ids": [33], "tokens": ["!"] } },
    });
    edit("tokenizer.json", "post_processor", post_processor);
    edit("generation_config.json", "eos_token_id", json!(33));
    let args = ["generate", "--model", &model.to_string_lossy(), "--prompt", "the cat", "--json"];
    assert_eq!(PART_3.stdout_json(&args)["prompt_tokens"], 7);
}

/// Each window is a text of its own; the tokens that it scores are those at its end.
#[test]
fn a_long_text_is_scored_in_windows_that_overlap() {
    let (folder, _) = train(&[]);
    let model = path_arg(&folder.path().join("run"), "model");
    let file = path_arg(folder.path(), "long.txt");
    let score = |text: &str, flags: &[&str]| {
        std::fs::write(&file, text).expect("a text");
        let args = ["score", "--model", &model, "--text-file", &file, "--json"];
        let report = PART_3.stdout_json(&[&args[..], flags].concat());
        let log_probs = report["logprobs"].as_array().expect("a list").clone();
        (log_probs, report["perplexity"].as_f64().expect("a number"))
    };
    let text = "the cat sat on the mat, the cat "; // 32 tokens, and a context of 16
    let (log_probs, perplexity) = score(text, &["--stride", "6"]);
    // Windows of tokens 0..16, 6..22, 12..28, 18..32.
    let mut expected = score(&text[..16], &[]).0;
    for (start, end, n_scored) in [(6, 22, 6), (12, 28, 6), (18, 32, 4)] {
        let window = score(&text[start..end], &[]).0;
        expected.extend_from_slice(&window[window.len() - n_scored..]);
    }
    assert_eq!(log_probs.len(), 31);
    for (at, (ours, theirs)) in log_probs.iter().zip(&expected).enumerate() {
        let (ours, theirs) = (ours.as_f64().expect("a number"), theirs.as_f64().expect("a number"));
        assert!((ours - theirs).abs() < 1e-5, "{at}: {ours} and {theirs}");
    }
    let sum: f64 = log_probs.iter().filter_map(Value::as_f64).sum();
    assert!(((-sum / 31.).exp() - perplexity).abs() < 1e-3);
    assert_eq!(score(text, &[]).0, score(text, &["--stride", "8"]).0, "half the context");
    let args = ["score", "--model", &model, "--text-file", &file, "--stride", "16"];
    PART_3.assert_fails(&args, 1, "a stride of 16 is not between 1 and 15");
}

#[test]
fn the_prompts_of_a_file_are_completed_in_batches() {
    let (folder, _) = train(&[]);
    let model = path_arg(&folder.path().join("run"), "model");
    let (prompts, out) = (path_arg(folder.path(), "p.jsonl"), path_arg(folder.path(), "out.jsonl"));
    let rows = ["the cat", "the mat sat", "on"].map(|text| json!({ "prompt": text }).to_string());
    std::fs::write(&prompts, rows.join("\n")).expect("a file");
    let lengths = ["--max-new-tokens", "5", "--temperature", "0", "--batch-size", "2"];
    let generate = |prompts: &str| {
        let args = ["generate", "--model", &model, "--prompts", prompts, "--out", &out];
        let text = PART_3.stdout(&[&args[..], &lengths].concat());
        assert!(text.contains("3 completions in "), "{text}");
        std::fs::read_to_string(&out).expect("completions")
    };
    let completions = generate(&prompts);
    let rows = completions.lines().map(|row| serde_json::from_str(row).expect("a row"));
    let rows: Vec<Value> = rows.collect();
    for (row, prompt) in rows.iter().zip(["the cat", "the mat sat", "on"]) {
        let args = ["generate", "--model", &model, "--prompt", prompt, "--json"];
        let alone = PART_3.stdout_json(&[&args[..], &lengths[..4]].concat());
        assert_eq!((&row["prompt"], &row["completion"]), (&prompt.into(), &alone["text"]));
        assert_eq!(row["finish_reason"], "length");
    }
    let text = path_arg(folder.path(), "p.txt");
    std::fs::write(&text, "the cat\n\nthe mat sat\non\n").expect("a file");
    assert_eq!(generate(&text), completions, "a prompt per line");
    let refused = |rows: &str, message: &str| {
        std::fs::write(&prompts, rows).expect("a file");
        let args = ["generate", "--model", &model, "--prompts", &prompts, "--out", &out];
        PART_3.assert_fails(&args, 1, message);
    };
    refused(r#"{"question": "a", "answer": "b"}"#, "p.jsonl:1: the model has no chat template");
    refused(r#"{"prompt": "the cat sat on the mat"}"#, "prompt of 22 tokens leaves no room");
    assert_eq!(std::fs::read_to_string(&out).expect("rows"), completions, "nothing is lost");
    PART_3.assert_fails(&["generate", "--model", &model, "--prompts", &prompts], 2, "--out");
}

#[test]
fn the_same_seed_generates_the_same_text() {
    let (folder, _) = train(&[]);
    let model = path_arg(&folder.path().join("run"), "model");
    let generate = |seed: &str| {
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
    assert_eq!(generate("1"), generate("1"));
    assert_ne!(generate("1"), generate("2"));
    let generation_config = r#"{"do_sample": true, "top_k": 1}"#;
    std::fs::write(format!("{model}/generation_config.json"), generation_config).expect("written");
    assert_eq!(generate("1"), generate("2"));
}

#[test]
fn prompt_lookup_generates_the_same_text() {
    for flags in [&[][..], &["--window", "4"]] {
        let (folder, _) = train(flags);
        let model = path_arg(&folder.path().join("run"), "model");
        let generate = |sampling: &[&str], lookup: &[&str]| {
            let args = ["generate", "--model", &model, "--prompt", "the the the", "--json"];
            let short = ["--max-new-tokens", "5"];
            let report = PART_3.stdout_json(&[&args[..], &short, sampling, lookup].concat());
            let per_pass = report["tokens_per_pass"].as_f64().expect("a number");
            (report["token_ids"].clone(), per_pass)
        };
        for sampling in [["--temperature", "0"], ["--temperature", "0.5"]] {
            let (expected, per_pass) = generate(&sampling, &[]);
            assert!((per_pass - 1.).abs() < 1e-9, "{per_pass}");
            let (tokens, per_pass) = generate(&sampling, &["--prompt-lookup-num-tokens", "4"]);
            assert_eq!(tokens, expected, "{flags:?}, {sampling:?}");
            assert!((1. ..=5.).contains(&per_pass), "{per_pass}");
        }
        let args = ["generate", "--model", &model, "--prompt", "x"];
        let report = |lookup: &[&str]| {
            let output = PART_3.command(&[&args[..], lookup].concat()).output().expect("it runs");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let flag = ["--prompt-lookup-num-tokens", "4", "--max-new-tokens", "3"];
        assert!(report(&flag).contains("3 tokens in "), "{}", report(&flag));
        assert_eq!(report(&flag[2..]), "");
        let refused = |value: &str, more: &[&str], message| {
            let flag = ["--prompt-lookup-num-tokens", value];
            PART_3.assert_fails(&[&args[..3], &flag, more].concat(), 2, message);
        };
        refused("0", &[], "--prompt-lookup-num-tokens");
        refused("4", &["--window", "4"], "--window");
        refused("4", &["--prompts", "a.txt", "--out", "b.jsonl"], "--prompts");
    }
}

#[test]
fn bad_input_fails_with_one_line_that_names_it() {
    let (folder, _) = train(&[]);
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
    // The byte tokenizer lacks a BOS token, so an empty prompt has zero tokens.
    PART_3.assert_fails(&generate, 1, "the prompt is empty");
    let text = path_arg(folder.path(), "text.txt");
    PART_3.assert_fails(
        &["score", "--model", &model, "--text-file", "nowhere.txt"],
        1,
        "reading nowhere.txt",
    );
    PART_3.assert_fails(
        &["generate", "--model", &text],
        1,
        "is not a model: expected a folder, a .gguf file",
    );
    for (name, bytes) in
        [("a.gguf", &b"GGUF"[..]), ("b.bin", b"12345"), ("c.gguf", b"<!DOCTYPE html>")]
    {
        let file = path_arg(folder.path(), name);
        std::fs::write(&file, bytes).expect("a file");
        PART_3.assert_fails(&["generate", "--model", &file], 1, name);
    }
    std::fs::remove_file(folder.path().join("run/model/tokenizer.json"))
        .expect("the tokenizer file exists");
    PART_3.assert_fails(&generate, 1, "tokenizer.json");
    PART_3.assert_fails(
        &["train", "--data", &text, "--n-head", "4", "--n-kv-head", "3"],
        2,
        "cannot share 3 key heads",
    );
}

#[test]
fn a_llama2c_model_generates_the_text_of_llama2c() {
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
    // Expected output of run.c at temperature 0 in llama2.c's own tests.
    let start = "Once upon a time, there was a little girl named Lily. She loved to play outside \
        in the park. One day, she saw a big, red ball.";
    assert!(text.starts_with(start), "{text}");
    assert!(text.trim_end().ends_with("Lily didn't want to help her mom, so she"), "{text}");
}

#[test]
fn smollm2_answers_paris_for_the_capital_of_france() {
    let Some(model) = course_data("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = model.to_string_lossy();
    for flags in [&[][..], &["--dequantize"]] {
        let ask = ["generate", "--model", &model, "--ask", "What is the capital of France?"];
        let greedy = ["--temperature", "0", "--max-new-tokens", "20"];
        let text = PART_3.stdout(&[&ask[..], &greedy, flags].concat());
        assert!(text.contains("Paris"), "{flags:?}: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_too_large_for_memory_is_rejected_before_allocation() {
    for size in [["--n-embd", "1000000"], ["--n-layer", "18446744073709551615"]] {
        let args = [&["train", "--data", "nowhere"][..], &size].concat();
        PART_3.assert_fails(&args, 1, "lower --n-embd or --n-layer");
    }
}
