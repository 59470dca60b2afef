//! Collecting preferences, as a user meets it: by a rule and by hand, gone on with, and learned from.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tensor_core::testing::{Program, path_arg};

const PART_7: Program = Program(env!("CARGO_BIN_EXE_part_7"));

/// A step of training in `out`, with these flags besides.
fn learn<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let small = "train --n-layer 1 --n-head 2 --n-embd 16 --steps 1 --batch-size 4 --pairs 8 --eval-pairs 2 --tracker none";
    small.split(' ').chain(["--out", out]).chain(more.iter().copied()).collect()
}

/// The rows of a file.
fn rows(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("rows");
    text.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

/// A small language model in `folder` whose answers end early, as half of its tokens end them.
fn talker(folder: &Path) -> String {
    let run = path_arg(folder, "run");
    PART_7.stdout(&learn(&run, &["--base-steps", "1", "--sft-steps", "0"]));
    let base = path_arg(folder, "run/base");
    end_by(&base, &(1..1000).step_by(2).collect::<Vec<u32>>());
    base
}

/// Has these tokens end the answers of a model.
fn end_by(model: &str, ids: &[u32]) {
    for file in ["config.json", "generation_config.json"] {
        let file = Path::new(model).join(file);
        let text = std::fs::read_to_string(&file).expect("a file");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["eos_token_id"] = ids.into();
        std::fs::write(&file, config.to_string()).expect("a file");
    }
}

#[test]
fn a_rule_prefers_and_the_better_answer_meets_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, mine) = (talker(folder.path()), path_arg(folder.path(), "mine.jsonl"));
    let collect = |more: &[&str]| {
        let args = ["collect", "--model", &base, "--rule", "shorter"];
        PART_7.stdout(&[&args[..], more].concat())
    };
    let twelve = ["--prompts", "12", "--group-size", "4", "--out", &mine];
    let text = collect(&twelve);
    let found = rows(&mine);
    let decided: Vec<&Value> = found.iter().filter(|row| row["chosen"].is_string()).collect();
    let length = |value: &Value| value.as_str().expect("a text").chars().count();
    assert!(
        decided.len() > 6 && text.contains(&format!("{} preferences", decided.len())),
        "{text}"
    );
    for row in &decided {
        assert!(length(&row["chosen"]) < length(&row["rejected"]), "{row}");
    }
    let mut met = 0;
    for pair in decided.windows(2).filter(|pair| pair[0]["prompt"] == pair[1]["prompt"]) {
        let best = &pair[0]["chosen"];
        assert!([&pair[1]["chosen"], &pair[1]["rejected"]].contains(&best), "{pair:?}");
        met += 1;
    }
    assert!(met > 0, "some question had more than two answers");
    collect(&twelve);
    assert_eq!(rows(&mine), found, "collected already");
    let others = path_arg(folder.path(), "questions.jsonl");
    std::fs::write(&others, "{\"prompt\": \"Why?\"}\n{\"prompt\": \"Who?\"}\n").expect("a file");
    collect(&["--data", &others, "--out", &mine]);
    assert!(rows(&mine).len() > found.len(), "other questions were not asked");
    let alike = path_arg(folder.path(), "alike.jsonl");
    let text = collect(&["--temperature", "1e-5", "--prompts", "2", "--out", &alike]);
    assert!(text.contains("0 preferences"), "likeliest answers are alike: {text}");
    let exact = ["collect", "--model", &base, "--data", &others, "--rule", "exact"];
    PART_7.assert_fails(&exact, 2, "which these data lack");
    PART_7
        .stdout(&learn(&path_arg(folder.path(), "learned"), &["--model", &base, "--data", &mine]));
    end_by(&base, &[0]);
    let cut = path_arg(folder.path(), "cut.jsonl");
    let text = collect(&["--max-new-tokens", "3", "--prompts", "4", "--out", &cut]);
    assert!(text.contains("8 answers did not end") && text.contains("0 preferences"), "{text}");
}

#[test]
fn a_person_chooses_skips_and_leaves_and_is_not_asked_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, mine) = (talker(folder.path()), path_arg(folder.path(), "mine.jsonl"));
    let asked = |typed: &str, more: &[&str]| {
        let args = ["collect", "--model", &base, "--out", &mine, "--prompts", "60"];
        let asked = PART_7
            .command(&[&args[..], more].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut asked = asked.expect("the program starts");
        asked.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("typed");
        let said = asked.wait_with_output().expect("it ends");
        assert!(said.status.success());
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    let said = asked("1\nwhat\n2\ns\nq\n", &[]);
    let found = rows(&mine);
    let decided: Vec<&Value> = found.iter().filter(|row| row["chosen"].is_string()).collect();
    assert_eq!(decided.len(), 2);
    let shown = |a: &Value, b: &Value| {
        let [a, b] = [a, b].map(|text| text.as_str().expect("a text"));
        said.contains(&format!("  1  {a}\n  2  {b}\nbetter"))
    };
    assert!(shown(&decided[0]["chosen"], &decided[0]["rejected"]), "1 is the first: {said}");
    assert!(shown(&decided[1]["rejected"], &decided[1]["chosen"]), "2 is the second: {said}");
    let left = said.rsplit("\nquestion ").next().and_then(|last| last.split("better").next());
    let again = asked("", &[]); // the input's end
    assert!(again.contains(left.expect("a question")), "{again} goes on where {said} ended");
    assert_eq!(again.matches("better: 1 or 2").count(), 1, "{again}");
    assert_eq!(rows(&mine).len(), found.len());
    let steering = path_arg(folder.path(), "steering.jsonl");
    std::fs::write(&steering, r#"{"prompt": "Why\n\u001b[2J?"}"#).expect("a file");
    let said = asked("q\n", &["--data", &steering]);
    assert!(said.contains("Why\n\u{fffd}[2J?") && !said.contains('\u{1b}'), "{said:?}");
}
