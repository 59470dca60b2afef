//! Tasks: splits, matches, and errors of invalid rows.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{Example, SplitSpec, Splits};
use modern::FinishReason;
use ppo::{PromptExample, RewardInput, ScoredCompletion};
use serde_json::json;
use sft::SftSource;
use tensor_core::testing::assert_close;

use super::reward_for;
use crate::evaluation::{ExactMatchChange, describe_completion};
use crate::flags::TaskFlags;
use crate::task::SYSTEM_PROMPT;
use crate::{Task, TaskDataset, rewards};

fn prompt_texts(examples: &[Example]) -> HashSet<String> {
    examples.iter().map(|example| example.prompt[0].content.clone()).collect()
}

#[test]
fn training_validation_and_test_problems_are_disjoint() -> Result<()> {
    for task in [Task::Arithmetic, Task::Countdown] {
        let Splits { train, validation, test } =
            task.load_dataset(None, None, SplitSpec::Problems)?.splits;
        assert_eq!(test, task.test_examples()?);
        let [train, validation, test] = [train, validation, test].map(|all| prompt_texts(&all));
        assert!(validation.len() >= 200 && test.len() >= 300);
        assert!(train.is_disjoint(&test) && train.is_disjoint(&validation));
        assert!(validation.is_disjoint(&test));
    }
    Ok(())
}

#[test]
fn a_completion_is_described_with_the_answer_that_its_reward_reads() {
    for (task, text, extracted) in [
        (Task::Arithmetic, "7 + 5 is 12.", Some("12")),
        (Task::Arithmetic, "twelve", None),
        (Task::Gsm8k, "<answer>$1,200</answer>", Some("$1,200")),
        (Task::Gsm8k, "6 * 2\n#### 1,200", Some("1200")),
        (Task::Countdown, "so\n3 * 5 + 7 = 22", Some("3 * 5 + 7 ")),
        (Task::Prompts, "12", None),
    ] {
        assert_eq!(task.extract_answer(text).as_deref(), extracted, "{text}");
    }
    let prompt = PromptExample { example: Example::new("7 + 5?", "12"), prompt: vec![1] };
    let describe = |task, text: &str| {
        let (text, reward, finish_reason) = (text.to_string(), 1., FinishReason::Stop);
        let completion = ScoredCompletion { text, n_tokens: 1, finish_reason, reward };
        describe_completion(task, &prompt, &completion)
    };
    assert_eq!(
        describe(Task::Arithmetic, "12"),
        "   prompt  7 + 5?\n expected  12\nextracted  12\n response  12\n           ✓ (reward 1.00)"
    );
    assert!(describe(Task::Arithmetic, "it is 12").ends_with("✗ (reward 1.00)"));
    assert!(describe(Task::Arithmetic, "?").contains("extracted  (none)"));
    assert!(!describe(Task::Prompts, "12").contains("expected"));
    let change = ExactMatchChange { before: 0.125, after: 0.5 };
    assert_eq!(change.to_string(), "exact match 12.5 % → 50.0 %: +37.5 points");
}

#[test]
fn relaxed_match_ignores_format_and_truncation() {
    let matches_of = |task: Task, completion: &str, answer: &str, finish_reason| {
        let example = &Example::new("", answer);
        let input = RewardInput { example, completion, finish_reason };
        (task.exact_match(&input), task.relaxed_match(&input))
    };
    let matches = |task: Task, completion: &str, answer: &str| {
        matches_of(task, completion, answer, FinishReason::Stop)
    };
    let truncated = matches_of(Task::Arithmetic, "53", "53", FinishReason::Length);
    assert_eq!(truncated, (false, true));
    assert_eq!(matches(Task::Arithmetic, "53", "53"), (true, true));
    assert_eq!(matches(Task::Arithmetic, "53.", "53"), (false, true));
    assert_eq!(matches(Task::Arithmetic, "54", "53"), (false, false));
    assert_eq!(matches(Task::Gsm8k, "<answer>18</answer>", "18"), (true, true));
    assert_eq!(matches(Task::Gsm8k, "so it is 18", "18"), (false, true));
    assert_eq!(matches(Task::Gsm8k, "so it is 17", "18"), (false, false));
    assert_eq!(matches(Task::Countdown, "3 * 5 + 7", "3 5 7 = 22"), (true, true));
    assert_eq!(matches(Task::Countdown, "22", "3 5 7 = 22"), (false, false));
}

#[test]
fn a_right_completion_earns_the_full_reward() {
    for example in Task::Arithmetic.test_examples().expect("problems") {
        assert_eq!(reward_for(rewards::exact, &example.completion, &example.completion), 1.);
    }
    let completion = "<reasoning>\n2 * 9\n</reasoning>\n<answer>\n18\n</answer>\n";
    let earned: [f32; 2] =
        [rewards::correctness, rewards::format].map(|r| reward_for(r, completion, "18"));
    assert_close(earned, [2., 0.8], 1e-6);
}

#[test]
fn rows_are_parsed_and_errors_name_file_and_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> Result<[PathBuf; 1]> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok([path])
    };
    let good = r#"{"question": "Twice 9?", "answer": "9 * 2 = <<9*2=18>>18\n#### 18"}"#;
    let number = r#"{"prompt": "Half of 9?", "answer": 4.5}"#;
    let file = write("good.jsonl", &format!("{good}\n\n{number}\n{good}\n"))?;
    let all = Task::Gsm8k.read_files(&file)?;
    assert_eq!(
        (all.len(), all[0].completion.as_str(), all[1].completion.as_str()),
        (3, "18", "4.5")
    );
    assert_eq!(all[0].prompt[0].content, SYSTEM_PROMPT);
    let one = write("one.jsonl", good)?;
    let one = Task::Gsm8k.read_files(&one)?;
    let Splits { train, validation, .. } =
        Task::Gsm8k.load_dataset(Some(all), Some(one.clone()), SplitSpec::Problems)?.splits;
    assert_eq!((train.len(), train[0].completion.as_str(), validation.len()), (1, "4.5", 1));
    let error = Task::Gsm8k
        .load_dataset(Some(one.clone()), None, SplitSpec::Problems)
        .expect_err("one row")
        .to_string();
    assert!(error.contains("too few rows (1)"), "{error}");
    let error = Task::Gsm8k
        .load_dataset(Some(one.clone()), Some(one), SplitSpec::Problems)
        .expect_err("a leak");
    let error = error.to_string();
    assert!(error.contains("every training problem is also a validation problem"), "{error}");
    let rows: String =
        (0..40).map(|i| format!("{{\"prompt\": \"{i}?\", \"answer\": {i}}}\n")).collect();
    let forty = write("forty.jsonl", &rows)?;
    let forty = Task::Arithmetic.read_files(&forty)?;
    let Splits { train, validation, .. } =
        Task::Arithmetic.load_dataset(Some(forty), None, SplitSpec::Problems)?.splits;
    assert_eq!((train.len(), validation.len()), (36, 4), "a tenth");
    assert!(prompt_texts(&train).is_disjoint(&prompt_texts(&validation)));

    let error_of = |task: Task, text: &str| -> Result<String> {
        let file = write("bad.jsonl", text)?;
        Ok(format!("{:#}", task.read_files(&file).expect_err("refused")))
    };
    let error =
        error_of(Task::Gsm8k, &format!("{good}\n{{\"question\": \"a\", \"answer\": \"####\"}}\n"))?;
    assert!(
        error.contains("bad.jsonl:2") && error.contains("not contain a number after ####"),
        "{error}"
    );
    let error = error_of(Task::Gsm8k, "{\"question\": \"a\"}\n")?;
    assert!(error.contains("bad.jsonl:1") && error.contains("no column `answer`"), "{error}");
    let error = error_of(Task::Arithmetic, "{\"prompt\": \"a\", \"answer\": \"4.5\"}\n")?;
    assert!(error.contains("bad.jsonl:1") && error.contains("not contain an integer"), "{error}");
    let error = error_of(Task::Countdown, "{\"prompt\": \"a\", \"answer\": \"4\"}\n")?;
    assert!(error.contains("form `3 5 7 = 22`"), "{error}");
    let error = error_of(Task::Arithmetic, "{\"prompt\": 7, \"answer\": \"4\"}\n")?;
    assert!(error.contains("`prompt` must be a string, but is 7"), "{error}");
    let error = format!("{:#}", Task::Gsm8k.test_examples().expect_err("no data"));
    assert!(error.contains("needs --data"), "{error}");
    Ok(())
}

#[test]
fn a_rule_holds_out_the_rows_that_part_6_holds_out_by_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.jsonl");
    // Two rows to each of a hundred questions.
    let row = |i: usize| format!("{{\"question\": \"{} - 1?\", \"answer\": \"{i}\"}}\n", i % 100);
    std::fs::write(&path, (0..200).map(row).collect::<String>())?;
    let (validation, seed) = (0.2, 4);
    let split_spec = SplitSpec::Shares { validation, seed };
    let source = SftSource::Files(vec![path.clone()]);
    let style = DemonstrationStyle::Clean;
    let part_6 = source.load_dataset(None, 1, style, validation, seed)?;
    let questions = |rows: &[Example]| -> Vec<String> {
        let last = |row: &Example| row.prompt.last().expect("a question").content.clone();
        rows.iter().map(last).collect()
    };
    for task in [Task::Arithmetic, Task::Gsm8k, Task::Prompts] {
        let rows = task.read_files(std::slice::from_ref(&path))?;
        let TaskDataset { splits, n_leaks, .. } =
            task.load_dataset(Some(rows.clone()), None, split_spec)?;
        assert_eq!((splits.validation.len(), n_leaks), (40, 0), "{task:?}");
        assert_eq!(questions(&splits.validation), questions(&part_6.validation));
        assert_eq!(questions(&splits.train), questions(&part_6.train));
        assert_eq!(splits.n_repeated(), 80, "the second row of each question");
        let without = task.load_dataset(Some(rows), None, SplitSpec::Problems)?.splits;
        assert_eq!(without.validation.len(), 20, "a tenth");
        assert_ne!(questions(&without.validation), questions(&part_6.validation));
    }
    Ok(())
}

#[test]
fn training_problems_of_an_evaluation_file_are_left_out_and_counted() -> Result<()> {
    let problem = |question: &str| Example::new(question, "1");
    let rows = ["a", "b", "a", "c"].map(problem).to_vec();
    let evaluation = vec![problem(" a\n")];
    let dataset =
        Task::Arithmetic.load_dataset(Some(rows), Some(evaluation), SplitSpec::Problems)?;
    assert_eq!(dataset.n_leaks, 2);
    assert_eq!(dataset.splits.train, ["b", "c"].map(problem));
    Ok(())
}

#[test]
fn the_files_in_data_hold_problems_of_the_training_and_the_test_split() -> Result<()> {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let path = |name: &str| [data.join(name)];
    let train = prompt_texts(&Task::Arithmetic.read_files(&path("math_tasks_train.jsonl"))?);
    let eval = prompt_texts(&Task::Arithmetic.read_files(&path("math_tasks_eval.jsonl"))?);
    assert_eq!((train.len(), eval.len()), (800, 200));
    assert!(train.is_disjoint(&eval));
    assert!(
        eval.is_subset(&prompt_texts(&Task::Arithmetic.test_examples()?)),
        "all of them are test problems"
    );
    Ok(())
}

#[test]
fn a_run_records_the_rule_by_which_the_problems_of_its_file_were_split() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, first: usize| -> Result<String> {
        let path = folder.path().join(name);
        let row = |i: usize| json!({ "question": format!("{i} + 1"), "answer": i + 1 });
        let rows: String = (first..first + 40).map(|i| row(i).to_string() + "\n").collect();
        std::fs::write(&path, rows)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let (data, eval_file) = (file("a.jsonl", 0)?, file("b.jsonl", 100)?);
    let command = TaskFlags::augment_args(Command::new("test"));
    let matches = command.try_get_matches_from(["test", "--data", data.as_str()])?;
    let flags = TaskFlags::from_arg_matches(&matches)?;
    let problems = SplitSpec::Problems;
    let TaskDataset { splits, rule, .. } = flags.load_dataset(None, None, problems)?;
    let all = flags.load_rows()?.expect("rows");
    let rule = rule.expect("a rule");
    assert_eq!((rule.n_rows, rule.n_validation), (40, 4));
    assert_eq!(rule.hold_out(all)?.validation, splits.validation);
    let TaskDataset { splits, rule, .. } =
        flags.load_dataset(Some(eval_file.as_str()), None, problems)?;
    assert_eq!((splits.train.len(), rule), (40, None), "the run learns from all of its rows");
    Ok(())
}
