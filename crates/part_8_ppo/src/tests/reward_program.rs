//! 8.5: reward programs, here of the shell.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::Result;
use datasets::Example;
use modern::FinishReason;
use serde_json::{Value, json};
use tensor_core::Rng;

use crate::RewardInput;
use crate::reward_program::reward_program_fn;

/// Rewards of two completions by the shell program `script`, for `n_batches` batches.
fn rewards(script: &str, timeout: Duration, n_batches: usize) -> Result<Vec<Vec<f64>>> {
    let command = format!("sh -c {}", shlex::try_quote(script)?);
    let mut reward_fn = reward_program_fn(&command, timeout)?.reward_fn;
    let (with_answer, without) = (Example::new("1 + 2?", "3"), Example::new("Say\n“hi”", ""));
    let inputs = [
        RewardInput { example: &with_answer, completion: "3", finish_reason: FinishReason::Stop },
        RewardInput {
            example: &without,
            completion: "\u{1b}[31mhi\n",
            finish_reason: FinishReason::Length,
        },
    ];
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
    let assistant = |text: &str| json!([{ "role": "assistant", "content": text }]);
    let expected = json!({
        "prompts": [user("1 + 2?"), user("Say\n“hi”")],
        "completions": [assistant("3"), assistant("\u{1b}[31mhi\n")],
        "answers": ["3", null],
        "terminated": [true, false],
    });
    assert_eq!(lines, [expected.clone(), expected]);
    Ok(())
}

#[test]
fn the_name_of_a_program_changes_with_its_files() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("reward.sh");
    let command = format!("sh {}", path.display());
    let name = |text: &str| -> Result<String> {
        std::fs::write(&path, text)?;
        Ok(reward_program_fn(&command, Duration::from_secs(60))?.name)
    };
    let [first, same, other] = [name("read -r line")?, name("read -r line")?, name("exit 0")?];
    assert!(first == same && first != other && first.starts_with(&format!("program {command} ")));
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

/// Server of one reply: the body of the request, and a chat completion that says `text`.
fn serve_one_reply(listener: &TcpListener, text: &str) -> Result<Value> {
    let (mut stream, _) = listener.accept()?;
    let mut request = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while request.read_line(&mut line)? > 2 {
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    request.read_exact(&mut body)?;
    let reply = json!({ "choices": [{ "message": { "content": text } }] }).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", reply.len());
    write!(stream, "{head}\r\n\r\n{reply}")?;
    Ok(serde_json::from_slice(&body)?)
}

#[test]
fn a_server_with_the_openai_protocol_judges_through_a_program() -> Result<()> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/judge_openai.py");
    let (script, url) =
        (shlex::try_quote(script)?, format!("http://{}/v1", listener.local_addr()?));
    let command = format!("python3 {script} --url {url} --model tiny --parallel 1");
    let mut reward_fn = reward_program_fn(&command, Duration::from_secs(60))?.reward_fn;
    let server = std::thread::spawn(move || {
        ["Right.\nScore: 9", "I cannot say."].map(|text| serve_one_reply(&listener, text))
    });
    let example = Example::new("1 + 2?", "3");
    let input = |completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    };
    let rewards = reward_fn(&[input("3 {answer}"), input("4")], &mut Rng::new(1))?;
    assert_eq!(rewards, [0.9, 0.], "no score, no reward");
    let [first, second] = server.join().expect("the server ends");
    let (first, second) = (first?, second?);
    let question = first["messages"][0]["content"].as_str().expect("a text");
    assert!(question.contains("Question:\n1 + 2?\n\nAnswer:\n3 {answer}\n"), "{question}");
    assert_eq!((&first["model"], &second["temperature"]), (&json!("tiny"), &json!(0)));
    Ok(())
}
