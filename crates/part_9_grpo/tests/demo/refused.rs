//! What is said about bad input, and what does not compare.

use std::path::Path;

use reward::testing::save_untrained_reward_model;
use tensor_core::testing::path_arg;

use crate::{PART_9, model, of_seed, train};

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let rows = path_arg(folder.path(), "rows.jsonl");
    std::fs::write(&rows, "{\"prompt\": \"1 + 1?\", \"answer\": \"2\"}\n{\"prompt\": \"1 + 2?\", \"answer\": \"x\"}\n").expect("rows");
    let refused = |more: &[&str], code, says: &str| {
        PART_9.assert_fails(&train(&model, &out, more), code, says)
    };
    refused(&["--group-size", "1"], 2, "a completion has nothing to be compared with");
    refused(&["--data", &rows], 1, "rows.jsonl:2: the answer `x` holds no whole number");
    refused(&["--task", "gsm8k"], 2, "--task gsm8k needs --data");
    refused(
        &["--max-new-tokens", "128"],
        1,
        "leaves room for 128 more tokens in the model's context",
    );
    refused(&["--batch-size", "100000000000"], 2, "tokens that are drawn at a time at most");
    refused(&["--group-size", "10000000000"], 2, "tokens that are drawn at a time at most");
    refused(&["--gamma", "0.9"], 2, "--gamma");
    refused(
        &["--kl-coef", "0", "--ref-model-sync-steps", "2"],
        2,
        "with --kl-coef 0 there is none",
    );
    refused(&["--overlong-buffer", "9"], 2, "is more than the 8 tokens of a completion");
    refused(&["--reward", "exact=1,nowhere/reward=0.2"], 1, "nowhere/reward");
    let another = of_seed(folder.path(), "another", 2);
    PART_9.assert_fails(&train(&model, &another, &[]), 1, "config.json is no run's");
    refused(&["--max-new-tokens", "0"], 2, "--max-new-tokens");
    refused(&["--reward", "kindness"], 2, "no reward is called `kindness`");
    refused(&["--temperature", "0"], 2, "--temperature");
    refused(&["--lora-dropout", "0.1"], 2, "--lora-rank");
    refused(&["--lora-rank", "2", "--lora-dropout", "0.1"], 2, "ratios would not be 1");
    refused(
        &["--mask-truncated-completions", "--overlong-buffer", "2"],
        2,
        "--mask-truncated-completions",
    );
    refused(&["--model", "nowhere/at/all"], 1, "nowhere/at/all");
    assert!(!Path::new(&out).exists(), "nothing was written");
    PART_9.assert_fails(
        &["eval", "--model", &model, "--k", "9", "--group-size", "8"],
        2,
        "--k 9 needs at least as many --group-size",
    );
    // A model that is never right: said once, and counted, whether or not a reference pulls.
    for beta in ["0", "0.03"] {
        let text = PART_9.stdout(&train(&model, &out, &["--reward", "exact", "--kl-coef", beta]));
        assert_eq!(text.matches("ALARM: step 1: no completion is better").count(), 1, "{text}");
        assert!(text.contains("in 4 of 4 steps") && !text.contains("step 2: no"), "{text}");
    }
    PART_9.stdout(&train(&model, &out, &["--reward", "exact", "--stop-after", "2"]));
    let rest = ["--reward", "exact", "--stop-after", "4", "--resume"];
    let rest = PART_9.stdout(&train(&model, &out, &rest));
    assert!(rest.contains("in 4 of 4 steps") && !rest.contains("ALARM"), "said before: {rest}");
}

#[test]
fn rewards_that_are_no_numbers_are_named_and_nothing_is_learned_from_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "out"));
    let judge = path_arg(folder.path(), "judge");
    save_untrained_reward_model(&model, Path::new(&judge), f64::NAN).expect("a reward model");
    let output = PART_9.command(&train(&model, &out, &["--reward", &judge])).output();
    let output = output.expect("the program starts");
    let [said, error] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("no step was learned from"), "{error}");
    assert!(said.contains("step 4 is skipped: 6 of 6 scores are no numbers"), "{said}");
    assert!(said.contains("the look after step 4 does not count"), "{said}");
}

#[test]
fn a_table_is_begun_goes_on_and_does_not_mix_runs_that_do_not_compare() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (model(folder.path()), path_arg(folder.path(), "table"));
    let table = ["table", "--model", &model, "--seeds", "1", "--out", &out, "--tokens"];
    let first = PART_9.stdout(&[&table[..], &["600"]].concat());
    assert!(first.contains("Dr. GRPO, seed 1") && first.contains("| RLOO | 1 |"), "{first}");
    let again = PART_9.stdout(&[&table[..], &["600"]].concat());
    assert!(!again.contains("seed 1") && again.contains("| RLOO | 1 |"), "nothing is run twice");
    assert!(again.contains("| PPO | 1 |") && !again.contains("±"), "a single seed has no spread");
    PART_9.assert_fails(
        &[&table[..], &["900"]].concat(),
        1,
        "do not compare: choose another --out",
    );
    of_seed(folder.path(), "start", 2); // other weights under the same name
    PART_9.assert_fails(
        &[&table[..], &["600"]].concat(),
        1,
        "do not compare: choose another --out",
    );
    let nowhere = path_arg(folder.path(), "nowhere");
    PART_9.assert_fails(&["table", "--model", &nowhere, "--out", &nowhere], 1, "nowhere");
    assert!(!Path::new(&nowhere).exists());
}
