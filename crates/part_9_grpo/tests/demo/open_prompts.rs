//! Prompts without answers, rewarded by a program.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tensor_core::testing::path_arg;

use crate::{PART_9, model, train};

/// Rows in the three layouts of prompts: a text, a conversation, and a preference.
fn write_prompts(folder: &Path) -> Result<String> {
    let rows = (0..12).map(|i| {
        let user = json!([{ "role": "user", "content": format!("Say {i}.") }]);
        match i % 3 {
            0 => json!({ "prompt": format!("Say {i}.") }),
            1 => json!({ "prompt": user }),
            _ => json!({ "prompt": user, "chosen": "Yes.", "rejected": "No." }),
        }
    });
    let rows: String = rows.map(|row| format!("{row}\n")).collect();
    std::fs::write(folder.join("prompts.jsonl"), rows)?;
    Ok(path_arg(folder, "prompts.jsonl"))
}

/// Program that gives 0.25 to each completion of a batch and keeps the requests in a file.
const PROGRAM: &str = r#"while read -r line; do printf '%s\n' "$line" >> "$0"
    n=$(printf '%s' "$line" | sed 's/.*"terminated":\[//' | tr -cd , | wc -c)
    rewards=0.25; while [ "$n" -gt 0 ]; do rewards="$rewards, 0.25"; n=$((n - 1)); done
    echo "[$rewards]"; done"#;

#[test]
fn a_program_rewards_prompts_that_have_no_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, model) = (folder.path(), model(folder.path()));
    let (data, out) = (write_prompts(folder)?, path_arg(folder, "run"));
    let seen = folder.join("seen.jsonl");
    let program = format!("sh -c {} {}", shlex::try_quote(PROGRAM)?, seen.display());
    let flags = ["--task", "prompts", "--data", &data, "--max-new-tokens", "4"];
    let flags = [&flags[..], &["--reward-program", &program]].concat();
    let args = train(&model, &out, &flags);
    let args: Vec<&str> = // without the random reward
        args.iter().copied().filter(|arg| !["--reward", "random"].contains(arg)).collect();
    let text = PART_9.stdout(&args);
    assert!(text.contains("validation reward 0.250, eos"), "{text}");
    let rows = std::fs::read_to_string(folder.join("run/metrics.jsonl"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let rewards: Vec<f64> = rows.iter().filter_map(|row| row["reward_mean"].as_f64()).collect();
    assert_eq!(rewards, [0.25; 4]);
    let requests = std::fs::read_to_string(&seen)?;
    let last: Value = serde_json::from_str(requests.lines().last().expect("a request"))?;
    assert!(last["prompts"][0][0]["content"].as_str().is_some_and(|text| text.starts_with("Say")));
    assert_eq!(last["answers"][0], Value::Null);
    let eval = ["eval", "--model", &out, "--group-size", "2", "--k", "1", "--json"];
    let metrics = PART_9.stdout_json(&[&eval[..], &flags].concat());
    assert_eq!((&metrics["reward_mean"], metrics.get("exact_match")), (&json!(0.25), None));
    assert_eq!(metrics.get("pass_at_1"), None, "nothing is right or wrong");
    Ok(())
}

/// An untrained model writes no code, so every program fails, and the log says how.
#[cfg(target_os = "linux")]
#[test]
fn completions_run_with_the_tests_of_their_rows() -> Result<()> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (folder, model) = (folder.path(), model(folder.path()));
    let rows = (0..8).map(|i| {
        let test = format!("assert f({i}) == {}", i + 1);
        json!({ "text": format!("Add one to {i}."), "test_list": [test], "code": "def f(x): ..." })
    });
    let rows: String = rows.map(|row| format!("{row}\n")).collect();
    std::fs::write(folder.join("mbpp.jsonl"), rows)?;
    let (data, out) = (path_arg(folder, "mbpp.jsonl"), path_arg(folder, "run"));
    let flags = ["--task", "code", "--data", &data, "--reward", "code", "--max-new-tokens", "4"];
    let flags = [&flags[..], &["--wrong-reward", "-0.5"]].concat();
    let args = train(&model, &out, &[&flags[..], &["--steps", "1"]].concat());
    let text = PART_9.stdout(&args);
    assert!(text.contains("validation reward -0.500, eos"), "{text}");
    let read = |name: &str| -> Result<Vec<Value>> {
        let rows = std::fs::read_to_string(folder.join("run").join(name))?;
        Ok(rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    };
    let completions = read("completions.jsonl")?;
    assert!(completions.iter().all(|row| row["code"] == json!(-0.5)), "{completions:?}");
    let noted = |row: &Value| row["code_note"].as_str().is_some_and(|note| note.contains(": "));
    assert!(completions.iter().all(noted), "{completions:?}");
    let row = read("metrics.jsonl")?.into_iter().find(|row| !row["reward_mean"].is_null());
    let row = row.expect("a row of metrics");
    assert!(row["samples"].as_str().is_some_and(|table| table.starts_with("| prompt |")), "{row}");
    assert!(row["answer_entropy"].is_number() && row["answers"].is_string(), "{row}");
    let eval = ["eval", "--model", &out, "--group-size", "1", "--k", "1", "--json"];
    let metrics = PART_9.stdout_json(&[&eval[..], &["--data", &data]].concat());
    assert_eq!(metrics["reward_mean"], json!(-0.5), "with the run's task, reward and values");

    let train = ["train", "--model", &model, "--data", &data];
    let refuse = |more: &[&str], code: i32, message: &str| {
        PART_9.assert_fails(&[&train[..], more].concat(), code, message);
    };
    refuse(&["--task", "prompts", "--reward", "code"], 1, "there is no column `prompt`");
    let missing = ["--task", "code", "--code-python", "no-such-python"];
    refuse(&missing, 1, "cannot start no-such-python (--code-python)");
    refuse(&["--task", "code", "--reward", "judge"], 2, "--judge-model MODEL need each other");
    let unused = ["--task", "code", "--reward", "length", "--wrong-reward", "-1"];
    refuse(&unused, 2, "need a reward that only tells right from wrong");
    refuse(&["--task", "code", "--wrong-reward", "1"], 2, "must be more than --wrong-reward");
    Ok(())
}

/// Program that gives 0 to each completion of its first two batches, which are the validation of
/// the start and the first step, and 1 to all others.
const EQUAL_LATER: &str = r#"calls=0; while read -r line; do
    calls=$((calls + 1)); r=1; if [ "$calls" -le 2 ]; then r=0; fi
    n=$(printf '%s' "$line" | sed 's/.*"terminated":\[//' | tr -cd , | wc -c)
    rewards=$r; while [ "$n" -gt 0 ]; do rewards="$rewards, $r"; n=$((n - 1)); done
    echo "[$rewards]"; done"#;

#[test]
fn a_run_with_equal_rewards_of_a_program_ends_as_a_finished_one_but_not_as_solved() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, model) = (folder.path(), model(folder.path()));
    let (data, out) = (write_prompts(folder)?, path_arg(folder, "run"));
    let program = format!("sh -c {}", shlex::try_quote(EQUAL_LATER)?);
    let flags = "train --task prompts --max-new-tokens 2 --steps 9 --batch-size 50 --group-size 2 \
                 --stop-when-solved 3 --json --tracker none";
    let more = ["--model", &model, "--data", &data, "--out", &out, "--reward-program", &program];
    let args: Vec<&str> = flags.split_whitespace().chain(more).collect();
    let text = PART_9.stdout(&args);
    let message = "nothing left to learn at step 4 of 9: all 300 completions of the last 3 steps \
                   got 1, the highest reward of the run (a higher one may exist); at 95 % \
                   confidence fewer than 1.00 % do not";
    assert!(text.contains(message) && !text.contains("solved at"), "{text}");
    assert_eq!(text.matches(" got the reward ").count(), 1, "an alarm at step 1 alone: {text}");
    let result: Value = serde_json::from_str(text.lines().last().expect("a line"))?;
    assert_eq!((&result["solved_step"], &result["step"]), (&Value::Null, &json!(4)));
    assert!(folder.join("run/model/model.safetensors").exists());
    assert!(folder.join("run/checkpoints/step-4").exists());
    let resume = ["train", "--resume", "--out", &out];
    assert!(PART_9.stdout(&resume).contains(message), "the run is over");
    let text = PART_9.stdout(&[&resume[..], &["--stop-when-solved", "0", "--json"]].concat());
    let result: Value = serde_json::from_str(text.lines().last().expect("a line"))?;
    assert_eq!((&result["solved_step"], &result["step"]), (&Value::Null, &json!(9)));
    Ok(())
}

#[test]
fn prompts_and_programs_without_each_other_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, model) = (write_prompts(folder.path())?, model(folder.path()));
    let refuse = |more: &[&str], message: &str| {
        let train = ["train", "--model", &model, "--data", &data];
        PART_9.assert_fails(&[&train[..], more].concat(), 2, message);
    };
    refuse(&["--task", "prompts"], "needs --reward MODEL or --reward-program COMMAND");
    refuse(&["--reward", "program"], "need each other");
    let exact = ["train", "--model", &model, "--data", &data, "--task", "prompts"];
    let exact = [&exact[..], &["--reward", "length=1,exact"]].concat();
    PART_9.assert_fails(
        &exact,
        1,
        "the reward exact compares with right answers, and there is none",
    );
    refuse(&["--reward", "exact", "--reward-program", "true"], "need each other");
    refuse(&["--reward-program", "true", "--reward-timeout", "0"], "--reward-timeout");
    Ok(())
}
