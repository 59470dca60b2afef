//! Tasks: what is asked of whom, and what is said of bad rows.

use std::collections::HashSet;

use anyhow::Result;
use sft::Example;

use crate::reward_mix::RewardMix;
use crate::task::SYSTEM_PROMPT;
use crate::{Problems, Task};

fn questions(examples: &[Example]) -> HashSet<String> {
    examples.iter().map(|example| example.prompt[0].content.clone()).collect()
}

#[test]
fn what_is_reported_of_was_never_learned_from() -> Result<()> {
    for task in [Task::Arithmetic, Task::Countdown] {
        let Problems { train, validation } = task.problems(None)?;
        let (train, validation, held_out) =
            (questions(&train), questions(&validation), questions(&task.all(None)?));
        assert!(validation.len() >= 200 && held_out.len() >= 300);
        assert!(train.is_disjoint(&held_out) && train.is_disjoint(&validation));
        assert!(validation.is_disjoint(&held_out));
    }
    Ok(())
}

#[test]
fn a_right_answer_earns_what_there_is_to_earn() -> Result<()> {
    let rewards = RewardMix::parse(Task::Arithmetic.usual_rewards())?;
    for example in Task::Arithmetic.all(None)? {
        assert_eq!(rewards.reward("", &example.response, &example.response), rewards.highest());
    }
    let gsm8k = RewardMix::parse(Task::Gsm8k.usual_rewards())?;
    let completion = "<reasoning>\n2 * 9\n</reasoning>\n<answer>\n18\n</answer>\n";
    assert!((gsm8k.reward("", completion, "18") - gsm8k.highest()).abs() < 1e-6);
    Ok(())
}

#[test]
fn rows_are_read_and_bad_ones_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let good = r#"{"question": "Twice 9?", "answer": "9 * 2 = <<9*2=18>>18\n#### 18"}"#;
    let file = write("good.jsonl", &format!("{good}\n\n{good}\n{good}\n"))?;
    let all = Task::Gsm8k.all(Some(&file))?;
    assert_eq!((all.len(), all[0].response.as_str()), (3, "18"));
    assert_eq!(all[0].prompt[0].content, SYSTEM_PROMPT);
    let Problems { train, validation } = Task::Gsm8k.problems(Some(&file))?;
    assert_eq!((train.len(), validation.len()), (2, 1));

    let refused = |task: Task, text: &str| -> Result<String> {
        let file = write("bad.jsonl", text)?;
        Ok(format!("{:#}", task.all(Some(&file)).expect_err("refused")))
    };
    let error =
        refused(Task::Gsm8k, &format!("{good}\n{{\"question\": \"a\", \"answer\": \"####\"}}\n"))?;
    assert!(error.contains("bad.jsonl:2") && error.contains("no number after ####"), "{error}");
    let error = refused(Task::Gsm8k, "{\"question\": \"a\"}\n")?;
    assert!(error.contains("bad.jsonl:1") && error.contains("no column `answer`"), "{error}");
    let error = refused(Task::Arithmetic, "{\"prompt\": \"a\", \"answer\": \"4.5\"}\n")?;
    assert!(error.contains("bad.jsonl:1") && error.contains("no whole number"), "{error}");
    let error = refused(Task::Countdown, "{\"prompt\": \"a\", \"answer\": \"4\"}\n")?;
    assert!(error.contains("no `3 5 7 = 22`"), "{error}");
    let error = refused(Task::Arithmetic, "{\"prompt\": 7, \"answer\": \"4\"}\n")?;
    assert!(error.contains("holds 7, not a text"), "{error}");
    let error = format!("{:#}", Task::Gsm8k.all(None).expect_err("no data"));
    assert!(error.contains("needs --data"), "{error}");
    Ok(())
}

#[test]
fn the_files_of_the_arithmetic_task_are_what_the_generator_writes() -> Result<()> {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let [train, eval] = crate::task_files::math_tasks();
    for (name, rows) in [("math_tasks_train.jsonl", &train), ("math_tasks_eval.jsonl", &eval)] {
        assert_eq!(
            &std::fs::read_to_string(data.join(name))?,
            rows,
            "{name}: part_9 tasks writes it"
        );
    }
    let path = |name: &str| data.join(name).to_string_lossy().into_owned();
    let train = questions(&Task::Arithmetic.all(Some(&path("math_tasks_train.jsonl")))?);
    let eval = questions(&Task::Arithmetic.all(Some(&path("math_tasks_eval.jsonl")))?);
    assert_eq!((train.len(), eval.len()), (800, 200));
    assert!(train.is_disjoint(&eval));
    assert!(
        eval.is_subset(&questions(&Task::Arithmetic.all(None)?)),
        "they are held out everywhere"
    );
    Ok(())
}
