//! Errors: invalid input, rewards that are not finite, incomparable tables.

use std::path::Path;

use reward::testing::save_untrained_reward_model;
use tensor_core::testing::path_arg;

use crate::{PART_9, model, model_with_seed, train};

#[test]
fn invalid_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let rows = path_arg(folder.path(), "rows.jsonl");
    let text = r#"{"prompt": "1 + 1?", "answer": "2"}
{"prompt": "1 + 2?", "answer": "x"}"#;
    std::fs::write(&rows, text).expect("rows");
    let refused = |more: &[&str], code, message: &str| {
        PART_9.assert_fails(&train(&model, &out, more), code, message)
    };
    refused(&["--group-size", "1"], 2, "a completion has nothing to be compared with");
    refused(&["--group-size", "1", "--method", "rloo"], 2, "nothing to be compared with");
    refused(&["--method", "rloo", "--clip-range-high", "0.3"], 2, "needs a --clip-range");
    for ratio in [["--num-iterations", "2"], ["--importance-sampling-cap", "2"]] {
        let flags = [&["--objective", "sequence"], &ratio[..]].concat();
        refused(&flags, 2, "--objective sequence has no ratio");
    }
    refused(&["--data", &rows], 1, "rows.jsonl:2: the answer `x` does not contain an integer");
    refused(&["--task", "gsm8k"], 2, "--task gsm8k needs --data");
    refused(&["--task", "gsm8k", "--data", "gsm8k"], 1, "openai/gsm8k");
    refused(&["--gradient-accumulation-steps", "2"], 2, "--batch-size 3, but the micro-batches");
    refused(
        &["--max-new-tokens", "128"],
        1,
        "leaves room for 128 more tokens (--max-new-tokens) in the model's context",
    );
    refused(&["--batch-size", "100000000000"], 2, "exceed the limit of");
    refused(&["--group-size", "10000000000"], 2, "exceed the limit of");
    refused(&["--gamma", "0.9"], 2, "--gamma");
    refused(&["--validation", "0.1"], 2, "--validation is for files");
    refused(&["--split-seed", "4"], 2, "--split-seed is for files");
    refused(&["--kl-coef", "0", "--sync-ref", "2"], 2, "which --kl-coef 0 disables");
    refused(&["--ref-model-sync-steps", "2"], 2, "do nothing without --sync-ref-model");
    refused(&["--dtype", "f16"], 2, "use bf16 here");
    refused(&["--overlong-buffer", "9"], 2, "is more than the 8 tokens of a completion");
    refused(&["--reward", "exact=1,nowhere/reward=0.2"], 1, "nowhere/reward");
    let another = model_with_seed(folder.path(), "another", 2);
    PART_9.assert_fails(
        &train(&model, &another, &[]),
        1,
        "config.json was not written by a training run",
    );
    refused(&["--max-new-tokens", "0"], 2, "--max-new-tokens");
    refused(&["--reward", "kindness"], 2, "unknown reward `kindness`");
    refused(&["--temperature", "0"], 2, "--temperature");
    refused(&["--lora-dropout", "0.1"], 2, "--lora-rank");
    refused(&["--lora-rank", "2", "--lora-dropout", "0.1"], 2, "ratios would not be 1");
    refused(
        &["--mask-truncated-completions", "--overlong-buffer", "2"],
        2,
        "--mask-truncated-completions",
    );
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "the run folder must not be created");
    PART_9.assert_fails(
        &["eval", "--model", &model, "--k", "9", "--group-size", "8"],
        2,
        "--k 9 needs a --group-size of at least 9",
    );
}

#[test]
fn a_model_that_is_never_right_raises_one_alarm_also_across_a_resume() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    // With and without a KL term, which moves the policy even if all advantages are 0.
    for kl_coef in ["0", "0.03"] {
        let flags = ["--reward", "exact", "--kl-coef", kl_coef];
        let text = PART_9.stdout(&train(&model, &out, &flags));
        let alarm = "ALARM: step 1: all 6 completions of 1 step got the reward 0,";
        let counts = [alarm, " got the reward "].map(|part| text.matches(part).count());
        assert_eq!(counts, [1, 1], "{text}");
        assert!(text.contains("in 4 of 4 steps"), "{text}");
    }
    PART_9.stdout(&train(&model, &out, &["--reward", "exact", "--stop-after", "2"]));
    let resume = ["--reward", "exact", "--stop-after", "4", "--resume"];
    let text = PART_9.stdout(&train(&model, &out, &resume));
    assert!(text.contains("in 4 of 4 steps") && !text.contains("ALARM"), "{text}");
}

#[test]
fn nan_rewards_are_reported_and_nothing_is_learned_from_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let reward_model = path_arg(folder.path(), "reward");
    save_untrained_reward_model(&model, Path::new(&reward_model), f64::from(f32::MAX))
        .expect("saved");
    let output = PART_9.command(&train(&model, &out, &["--reward", &reward_model])).output();
    let output = output.expect("the program starts");
    let [text, error] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("every step was skipped"), "{error}");
    assert!(text.contains("step 1: the step is skipped: 6 of 6 rewards are not finite"), "{text}");
    assert!(text.contains("step 0: the validation is ignored"), "{text}");
}

#[test]
fn a_table_is_continued_and_refuses_runs_with_other_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "table"));
    let table = "table --seed 4 --seeds 1";
    let paths = ["--model", &model, "--out", &out, "--tokens"];
    let table: Vec<&str> = table.split_whitespace().chain(paths).collect();
    let first = PART_9.stdout(&[&table[..], &["600"]].concat());
    assert!(first.contains("group-mean, seed 4") && first.contains("| group-std | 1 |"), "{first}");
    let again = PART_9.stdout(&[&table[..], &["600"]].concat());
    assert!(!again.contains("seed 4") && again.contains("| group-std | 1 |"), "a run was repeated");
    assert!(again.contains("| PPO | 1 |") && !again.contains("±"), "a single seed has no spread");
    let read = |file: &str| std::fs::read_to_string(Path::new(&out).join(file)).expect(file);
    let lengths = read("ppo-4/metrics.jsonl");
    let lengths = lengths.lines().map(|row| serde_json::from_str(row).expect("JSON"));
    let lengths = lengths.filter_map(|row: serde_json::Value| row["length_mean"].as_f64());
    let n_tokens = (lengths.sum::<f64>() * (32. * 16.)).round(); // every step has a row by default
    let rows: serde_json::Value = serde_json::from_str(&read("rows.json")).expect("JSON");
    let rows = rows[1].as_array().expect("rows");
    let ppo = rows.iter().find(|row| row["method"] == "PPO").expect("PPO");
    assert_eq!(ppo["n_tokens"].as_f64(), Some(n_tokens));
    let message = "choose another --out";
    PART_9.assert_fails(&[&table[..], &["900"]].concat(), 1, message);
    model_with_seed(folder.path(), "start", 2); // other weights under the same name
    PART_9.assert_fails(&[&table[..], &["600"]].concat(), 1, message);
    let nowhere = path_arg(folder.path(), "nowhere");
    PART_9.assert_fails(&["table", "--model", &nowhere, "--out", &nowhere], 1, "nowhere");
    assert!(!Path::new(&nowhere).exists());
}

#[test]
fn a_policy_that_part_10_trained_on_its_own_completions_is_evaluated_on_the_task_of_its_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = path_arg(folder.path(), "run");
    std::fs::create_dir_all(Path::new(&run).join("final")).expect("a folder");
    let settings = r#"{
        "code_memory": null, "code_python": null, "code_score": null, "code_timeout": null,
        "judge_model": null, "judge_prompt": null, "max_new_tokens": null, "reward": null,
        "reward_program": null, "reward_timeout": null, "template": null, "online": "pairs",
        "task": "gsm8k", "data": "nowhere.jsonl"
    }"#;
    for (name, text) in [("config.json", settings), ("metrics.jsonl", "")] {
        std::fs::write(Path::new(&run).join(name), text).expect("a file");
    }
    let last = path_arg(Path::new(&run), "final");
    PART_9.assert_fails(&["eval", "--model", &last], 1, "nowhere.jsonl");
}
