//! The `collect` command: labels by a rule and by a person, resuming, training on the result.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tensor_core::testing::{Program, path_arg};

const PART_7: Program = Program(env!("CARGO_BIN_EXE_part_7"));

/// Command line of one training step of a tiny model in `out`, with `extra` flags.
fn train_args<'a>(out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let args = "train --steps 1 --batch-size 4 --pairs 8 --eval-pairs 2 --tracker none";
    let base = match extra.contains(&"--model") {
        true => "",
        false => "--n-layer 1 --n-head 2 --n-embd 16",
    };
    args.split_whitespace()
        .chain(base.split_whitespace())
        .chain(["--out", out])
        .chain(extra.iter().copied())
        .collect()
}

fn read_rows(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("rows");
    text.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

fn labeled(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["chosen"].is_string()).collect()
}

/// Small language model in `folder`. Half of its tokens are EOS, so its completions are short.
fn short_completion_model(folder: &Path) -> String {
    let run = path_arg(folder, "run");
    PART_7.stdout(&train_args(&run, &["--base-steps", "1", "--sft-steps", "0"]));
    let base = path_arg(folder, "run/base");
    set_eos_ids(&base, &(1..1000).step_by(2).collect::<Vec<u32>>());
    base
}

fn set_eos_ids(model: &str, ids: &[u32]) {
    for file in ["config.json", "generation_config.json"] {
        let file = Path::new(model).join(file);
        let text = std::fs::read_to_string(&file).expect("a file");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["eos_token_id"] = ids.into();
        std::fs::write(&file, config.to_string()).expect("a file");
    }
}

#[test]
fn a_rule_labels_pairs_and_the_winner_is_compared_with_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = short_completion_model(folder.path());
    let labels = path_arg(folder.path(), "mine.jsonl");
    let collect = |extra: &[&str]| {
        let args = ["collect", "--model", &base, "--rule", "shorter"];
        PART_7.stdout(&[&args[..], extra].concat())
    };
    let twelve_prompts = ["--prompts", "12", "--group-size", "4", "--out", &labels];
    let text = collect(&twelve_prompts);
    let rows = read_rows(&labels);
    let preferences = labeled(&rows);
    let length = |value: &Value| value.as_str().expect("a text").chars().count();
    let n = preferences.len();
    assert!(n > 6 && text.contains(&format!("{n} preferences")), "{text}");
    for row in &preferences {
        assert!(length(&row["chosen"]) < length(&row["rejected"]), "{row}");
    }
    let mut n_continued = 0;
    for pair in preferences.windows(2).filter(|pair| pair[0]["prompt"] == pair[1]["prompt"]) {
        let winner = &pair[0]["chosen"];
        assert!([&pair[1]["chosen"], &pair[1]["rejected"]].contains(&winner), "{pair:?}");
        n_continued += 1;
    }
    assert!(n_continued > 0, "every prompt had at most two distinct completions");
    collect(&twelve_prompts);
    assert_eq!(read_rows(&labels), rows, "labeled prompts were labeled again");
    let prompts = path_arg(folder.path(), "questions.jsonl");
    std::fs::write(&prompts, "{\"prompt\": \"Why?\"}\n{\"prompt\": \"Who?\"}\n").expect("a file");
    collect(&["--data", &prompts, "--out", &labels]);
    assert!(read_rows(&labels).len() > rows.len(), "new prompts were skipped");
    let greedy = path_arg(folder.path(), "alike.jsonl");
    let text = collect(&["--temperature", "1e-5", "--prompts", "2", "--out", &greedy]);
    assert!(text.contains("0 preferences"), "greedy completions are identical: {text}");
    let exact = ["collect", "--model", &base, "--data", &prompts, "--rule", "exact"];
    PART_7.assert_fails(&exact, 2, "which these rows lack");
    let trained = path_arg(folder.path(), "learned");
    PART_7.stdout(&train_args(&trained, &["--model", &base, "--data", &labels]));
    set_eos_ids(&base, &[0]);
    let truncated = path_arg(folder.path(), "cut.jsonl");
    let text = collect(&["--max-new-tokens", "3", "--prompts", "4", "--out", &truncated]);
    assert!(text.contains("8 completions were truncated"), "{text}");
    assert!(text.contains("0 preferences"), "{text}");
    // With shorter texts or more tokens, a later session samples these prompts again.
    set_eos_ids(&base, &(1..1000).step_by(2).collect::<Vec<u32>>());
    let text = collect(&["--prompts", "4", "--out", &truncated]);
    assert!(!text.contains("are done") && !text.contains("0 preferences"), "{text}");
}

/// Output of `collect` for a person who types `input`, with `flags`.
fn collect_as_person(base: &str, input: &str, flags: &[&str]) -> String {
    let args = ["collect", "--model", base, "--prompts", "60"];
    let process = PART_7
        .command(&[&args[..], flags].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut process = process.expect("the program starts");
    process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("typed");
    let output = process.wait_with_output().expect("the program ends");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_person_can_label_skip_quit_and_resume_without_repeated_questions() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = short_completion_model(folder.path());
    let labels = path_arg(folder.path(), "mine.jsonl");
    let collect = |input: &str, extra: &[&str]| {
        collect_as_person(&base, input, &[&["--out", &labels], extra].concat())
    };
    let session = collect("1\nwhat\n2\ns\nq\n", &[]);
    let rows = read_rows(&labels);
    let preferences = labeled(&rows);
    assert_eq!(preferences.len(), 2);
    let was_shown = |a: &Value, b: &Value| {
        let [a, b] = [a, b].map(|text| text.as_str().expect("a text"));
        session.contains(&format!("  1  {a}\n  2  {b}\nbetter"))
    };
    let [first, second] = [preferences[0], preferences[1]];
    assert!(was_shown(&first["chosen"], &first["rejected"]), "1 prefers the first: {session}");
    assert!(was_shown(&second["rejected"], &second["chosen"]), "2 prefers the second: {session}");
    let last_prompt =
        session.rsplit("\nprompt ").next().and_then(|last| last.split("better").next());
    let resumed = collect("", &[]); // end of input
    let last_prompt = last_prompt.expect("a prompt");
    assert!(resumed.contains(last_prompt), "{resumed} does not continue {session}");
    assert_eq!(resumed.matches("better: 1 or 2").count(), 1, "{resumed}");
    assert_eq!(read_rows(&labels).len(), rows.len());
    let escapes = path_arg(folder.path(), "escapes.jsonl");
    std::fs::write(&escapes, r#"{"prompt": "Why\n\u001b[2J?"}"#).expect("a file");
    let shown = collect("q\n", &["--data", &escapes]);
    assert!(shown.contains("Why\n\u{fffd}[2J?") && !shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn two_people_compare_by_five_steps_and_their_agreement_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = short_completion_model(folder.path());
    let people = ["ann.jsonl", "bob.jsonl"].map(|name| path_arg(folder.path(), name));
    let five = ["--scale", "five", "--criteria", "engagement", "--out"];
    let shown = collect_as_person(&base, "2\n1\n5\n4\nq\n", &[&five[..], &[&people[0]]].concat());
    assert!(shown.contains("by engagement: 1 is significantly (1)"), "{shown}");
    collect_as_person(&base, "2\n3\ns\nq\n", &[&five[..], &[&people[1]]].concat());
    let [ann, bob] = people.each_ref().map(|file| read_rows(file));
    let ann = labeled(&ann);
    assert_eq!(
        (&ann[0]["strength"], &ann[1]["strength"]),
        (&"slightly".into(), &"significantly".into())
    );
    let of_chosen = ann.iter().map(|row| row["criteria"]["engagement"].as_i64());
    assert_eq!(of_chosen.collect::<Vec<_>>(), [Some(2), Some(1)], "above 0: the chosen is better");
    assert_eq!(labeled(&bob).len(), 1);
    let agreement = PART_7.stdout(&["agreement", &people[0], &people[1]]);
    assert!(agreement.contains("2 pairs\n  better completion  agreement 0.500, Cohen's kappa"));
    let unknown = path_arg(folder.path(), "none.jsonl");
    PART_7.assert_fails(&["agreement", &people[0], &unknown], 1, "none.jsonl");
    PART_7.assert_fails(&["agreement", &people[0]], 2, "2 values required");
    let with_scale = ["collect", "--model", &base, "--rule", "helpful", "--scale", "five"];
    PART_7.assert_fails(&with_scale, 2, "cannot be used with");
}
