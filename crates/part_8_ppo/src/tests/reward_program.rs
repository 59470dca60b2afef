//! 8.5: reward programs, here of the shell.

use std::time::{Duration, Instant};

use anyhow::Result;
use datasets::Example;
use serde_json::{Value, json};
use tensor_core::Rng;

use crate::RewardInput;
use crate::reward_program::reward_program_fn;

/// Rewards of two completions by the shell program `script`, for `n_batches` batches.
fn rewards(script: &str, timeout: Duration, n_batches: usize) -> Result<Vec<Vec<f64>>> {
    let command = format!("sh -c {}", shlex::try_quote(script)?);
    let mut reward_fn = reward_program_fn(&command, timeout)?.reward_fn;
    let (with_answer, without) = (Example::new("1 + 2?", "3"), Example::new("Say\n“hi”", ""));
    let input = |example, completion, terminated| RewardInput { example, completion, terminated };
    let inputs = [input(&with_answer, "3", true), input(&without, "\u{1b}[31mhi\n", false)];
    (0..n_batches).map(|_| reward_fn(&inputs, &mut Rng::new(1))).collect()
}

#[test]
fn a_program_gets_a_line_per_batch_and_answers_with_a_line_of_rewards() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let seen = folder.path().join("seen.jsonl");
    let script = format!(
        "n=0; while read -r line; do n=$((n + 1)); printf '%s\\n' \"$line\" >> {}; \
         echo \"[$n, -0.5]\"; done",
        seen.display()
    );
    let found = rewards(&script, Duration::from_secs(60), 2)?;
    assert_eq!(found, [[1., -0.5], [2., -0.5]], "one program for all batches");
    let lines = std::fs::read_to_string(&seen)?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let user = |text: &str| json!([{ "role": "user", "content": text }]);
    let expected = json!({
        "prompts": [user("1 + 2?"), user("Say\n“hi”")],
        "completions": ["3", "\u{1b}[31mhi\n"],
        "answers": ["3", null],
        "terminated": [true, false],
    });
    assert_eq!(lines, [expected.clone(), expected]);
    Ok(())
}

#[test]
fn a_program_that_does_not_reward_each_completion_is_named_with_its_answer() {
    let of = |script: &str| {
        let error = rewards(script, Duration::from_secs(60), 1).expect_err(script);
        format!("{error:#}")
    };
    for (answer, expected) in [
        ("[1.0]", "expected a JSON list of 2 numbers, and all else on standard error, but there"),
        ("loading the judge", "answered \"loading the judge\": expected a JSON list of 2 numbers"),
        ("[1.0, null]", "expected a JSON list of 2 numbers"),
        ("[1.0, NaN]", "expected a JSON list of 2 numbers"),
        ("", "answered \"\""),
    ] {
        let error = of(&format!("read -r line; echo '{answer}'"));
        assert!(error.contains(expected), "{error}");
    }
    let ended = of("read -r line; exit 3");
    assert!(ended.contains("ended (exit status: 3) before it answered"), "{ended}");
    for (command, expected) in [
        ("no-such-program-here", "cannot start the reward program `no-such-program-here`"),
        ("", "the reward program `` has no name"),
        ("sh -c 'unclosed", "has no name"),
    ] {
        let error = reward_program_fn(command, Duration::from_secs(1)).err().expect(command);
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

#[test]
fn a_program_that_is_too_slow_is_ended() {
    let start = Instant::now();
    let error = rewards("sleep 60", Duration::from_millis(200), 1).expect_err("slow").to_string();
    assert!(error.contains("did not answer 2 completions within 0.2 s (--reward-timeout)"));
    assert!(start.elapsed() < Duration::from_secs(30), "the program is not waited for");
}

#[cfg(unix)]
#[test]
fn what_a_program_started_ends_with_it_after_a_timeout() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let beats = folder.path().join("beats");
    let beat = format!("while true; do echo >> {}; sleep 0.05; done", beats.display());
    let script = format!("({beat}) & wait");
    let error = rewards(&script, Duration::from_millis(300), 1).expect_err("no answer");
    assert!(error.to_string().contains("did not answer"), "{error}");
    let n_beats = || std::fs::read(&beats).map(|text| text.len());
    let before = n_beats()?;
    std::thread::sleep(Duration::from_millis(500));
    assert!(before > 0);
    assert_eq!(n_beats()?, before, "the loop in the background has ended");
    Ok(())
}
