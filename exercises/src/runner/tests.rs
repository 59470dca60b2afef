//! Bad input: code without end, a state of another version, two runners.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::state::{Progress, Standing, State};
use super::work::lock_of;
use super::{commands, help, rustlings, screen, trial};
use crate::course;
use crate::grading::{GradeReport, Outcome, Run};
use crate::part_9;

/// End of a shell script under small limits.
#[cfg(target_os = "linux")]
fn ended(script: &str) -> super::process::Ended {
    use std::os::unix::fs::PermissionsExt;

    use super::process::{Limits, run};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let limits = Limits { time: Duration::from_secs(2), memory_kib: 1 << 20, printed: 100_000 };
    run(&path, Path::new("argument"), limits).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_is_ended_when_it_loops_or_floods_and_its_memory_is_limited() {
    assert!(ended("while :; do :; done").fault.unwrap().contains("stopped after 2 s"));
    let flood = ended("while :; do echo all work and no play; done");
    assert!(flood.fault.unwrap().contains("100000 bytes") && flood.printed.len() <= 4096);
    assert_eq!(ended("ulimit -v; echo $1").printed, "1048576\nargument\n");
    assert!(ended("a=aaaaaaaa; while :; do a=$a$a; done").fault.is_some());
    assert!(ended("exit 3").fault.unwrap().contains("exit status: 3"));
    assert_eq!(ended("echo $RUST_LIB_BACKTRACE").printed, "1\n", "errors have their line");
}

#[test]
fn a_rewritten_file_is_refused_with_the_way_back() {
    let entry = course::find("answer_that_never_ends").unwrap();
    assert_eq!(trial::too_many_changes(entry, &entry.stub()), None);
    let line = trial::too_many_changes(entry, "").unwrap();
    assert!(line.contains("`cargo x learn reset answer_that_never_ends` brings it back"), "{line}");
    let to_fill_in = course::find("labels_by_place").unwrap();
    assert_eq!(trial::too_many_changes(to_fill_in, ""), None);
}

#[test]
fn a_state_of_another_version_or_damaged_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    assert_eq!(State::read_file(&path).unwrap().score().0, 0);
    fs::write(&path, r#"{"version": 2}"#).unwrap();
    assert!(State::read_file(&path).unwrap_err().to_string().contains("another version"));
    fs::write(&path, r#"{"version": 1, "exercises": 3}"#).unwrap();
    assert!(State::read_file(&path).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn a_second_runner_is_refused_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = lock_of(folder.path(), Duration::ZERO).unwrap();
    let patience = Duration::from_millis(150);
    let start = Instant::now();
    assert!(lock_of(folder.path(), patience).unwrap_err().to_string().contains("another"));
    assert!(start.elapsed() >= patience, "it has waited");
    first.unlock().unwrap(); // dropped, it would last in a process that another test just forks
    lock_of(folder.path(), Duration::ZERO).unwrap();
}

#[test]
fn the_compilers_first_error_is_shown_with_the_learners_path() {
    let messages = "error[E0425]: cannot find value `y`\n  \
        --> exercises/learner/src/../../work/part_0/a.rs:3:5\n\nerror[E0308]: mismatched\n  x\n\n\
        error: could not compile `learner` (bin) due to 2 previous errors\n";
    let shown = "error[E0425]: cannot find value `y`\n  --> exercises/work/part_0/a.rs:3:5\n\
        and 1 more error";
    assert_eq!(trial::first_error(messages), shown);
}

#[test]
fn prose_is_wrapped_and_formulas_are_not() {
    let text = "one two three four\nfive\n\n    a = b        c\nsix";
    assert_eq!(screen::wrap(text, 10), "one two\nthree four\nfive\n\n    a = b        c\nsix");
    assert_eq!(screen::wrap("it is `a + b` then", 10), "it is\n`a + b`\nthen", "code stays whole");
    let broken = "say `a +\nb` now";
    assert_eq!(screen::wrap(broken, 10), "say\n`a + b`\nnow", "also over the end of a line");
    let long = "Hint: `let a = [0; 4]; f(a);`. Then";
    let shown = "Hint:\n    let a = [0; 4];\n    f(a);\nThen";
    assert_eq!(screen::wrap(long, 10), shown, "a statement to a line");
    let state = State::default();
    for entry in course::exercises() {
        let row = screen::row(&state, entry);
        assert!(row.chars().count() <= 60, "{row}");
    }
}

#[test]
fn a_panic_of_the_learners_code_is_a_wrong_answer_with_its_message() {
    let verdict = part_9::pass_at_k::GRADE.judge(|_, c, _| ["only one"].map(str::len)[c] as f64);
    assert_eq!(verdict.outcome, Outcome::Wrong);
    assert!(verdict.lines.iter().any(|line| line.contains("panicked: index out of bounds")));
}

#[test]
fn the_solution_in_the_courses_code_is_shown_after_the_hints_or_after_solving() {
    let entry = course::find("labels_by_place").unwrap();
    let mut verdict = GradeReport::new(Outcome::Wrong, Vec::new());
    let mut progress = Progress::default();
    assert_eq!(screen::place_to_read(entry, &verdict, &progress), None, "no known mistake");
    verdict.mistake = Some(0);
    let section = "book/src/06_answering.md#the-mask-learn-to-answer-not-to-ask";
    let place = |verdict: &GradeReport, progress: &Progress| {
        screen::place_to_read(entry, verdict, progress).unwrap()
    };
    assert_eq!(place(&verdict, &progress), section);
    verdict.read = Some("crates/part_2_tiny_gpt/src/batches.rs: pub fn from_starts".to_string());
    assert_eq!(place(&verdict, &progress), section);
    progress.hints = 3;
    assert!(place(&verdict, &progress).starts_with("crates/part_2_tiny_gpt/src/batches.rs:"));
    let solved = Progress { standing: Standing::Solved, ..Progress::default() };
    assert!(place(&verdict, &solved).starts_with("crates/part_2_tiny_gpt"));
    let after = screen::after_solving(entry);
    assert!(after[0].starts_with("In the course: crates/part_6_sft/src/tokenized_example.rs:"));
    assert!(after[1].contains("cargo x learn demo 6"));
    for entry in course::exercises() {
        let before = help::hint_texts(entry, 2).join("\n");
        assert!(!before.contains("Read crates/"), "{}: {before}", entry.name);
        assert_eq!(before.contains(&entry.path()), entry.is_code(), "{}: {before}", entry.name);
    }
    let texts = help::hint_texts(entry, 3).join("\n");
    assert!(texts.contains("Read crates/part_6_sft/src/tokenized_example.rs:"), "{texts}");
    assert!(texts.ends_with("Your file: exercises/work/part_6/labels_by_place.rs"), "{texts}");
}

#[test]
fn a_prediction_and_a_measurement_end_with_the_command_to_type() {
    let entry = course::find("lora_parameters").unwrap();
    let crate::entry::Task::Predict(questions) = entry.task else { panic!("it asks") };
    let line = commands::predict_line(entry, &questions());
    assert_eq!(line, "cargo x learn predict lora_parameters ANSWER ANSWER ANSWER");
    let fault = commands::predict(entry, &["1".to_string()]).unwrap_err().to_string();
    assert!(fault.contains("1 answers instead of 3") && fault.ends_with(&line), "{fault}");
}

#[test]
fn what_a_command_printed_as_json_counts_as_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.json");
    fs::write(&path, "a table\n{\"curve\": [{\"n\": 1}, {\"n\": 2}]}\n").unwrap();
    let run = Run::open(&path).unwrap();
    assert_eq!((run.first("n"), run.last("n")), (Some(1.), Some(2.)));
    fs::write(&path, "a table\n").unwrap();
    assert!(Run::open(&path).unwrap_err().to_string().contains("--json"));
    assert!(Run::open(folder.path()).unwrap_err().to_string().contains("not the folder of a run"));
}

#[test]
fn a_measurement_without_its_runs_says_which_are_missing() {
    let entry = course::find("paid_by_chance").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fault = |folders: &[PathBuf]| commands::measure(entry, folders).unwrap_err().to_string();
    assert!(fault(&[]).contains("0 runs instead of 2"));
    assert!(fault(&[]).ends_with("cargo x learn measure paid_by_chance RUN RUN"));
    let (there, absent) = (folder.path().to_path_buf(), folder.path().join("absent"));
    let message = fault(&[there.clone(), absent.clone()]);
    assert!(message.contains(&format!("no run at {}; run", absent.display())), "{message}");
    assert!(fault(&[there.clone(), there]).contains("not the folder of a run"));
}

/// Rules of `rustlings dev check`, version 6.
#[test]
fn rustlings_finds_the_folder_as_it_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exported");
    let n = rustlings::export(&path).unwrap();
    let info = fs::read_to_string(path.join("info.toml")).unwrap();
    assert!(info.starts_with("format_version = 1\n"));
    let value = |line: &str, key: &str| -> Option<String> {
        serde_json::from_str(line.strip_prefix(&format!("{key} = "))?).ok()
    };
    let all = |key: &str| info.lines().filter_map(|line| value(line, key)).collect::<Vec<_>>();
    let (names, folders, hints) = (all("name"), all("dir"), all("hint"));
    assert!(n >= 90 && names.len() == n && folders.len() == n && hints.len() == n);
    assert!(hints.iter().all(|hint| !hint.trim().is_empty()));
    let mut bins = String::from("bin = [\n");
    for (name, folder) in names.iter().zip(&folders) {
        let good = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
        assert!(good(name) && good(folder));
        let read = |kind: &str| {
            fs::read_to_string(path.join(format!("{kind}/{folder}/{name}.rs"))).unwrap()
        };
        let (exercise, solution) = (read("exercises"), read("solutions"));
        assert!(exercise.contains("// TODO") && exercise.contains("#[test]"), "{name}");
        assert!(exercise.contains("fn main()") && solution.contains("fn main()"), "{name}");
        assert!(!solution.contains("// SOLUTION") && !solution.contains("todo!"), "{name}");
        for (bin, kind) in [(name.clone(), "exercises"), (format!("{name}_sol"), "solutions")] {
            bins += &format!("  {{ name = \"{bin}\", path = \"{kind}/{folder}/{name}.rs\" }},\n");
        }
    }
    let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&(bins + "]\n\n[package]")));
    assert!(rustlings::export(&path).unwrap_err().to_string().contains("not empty"));
}
