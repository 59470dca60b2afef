//! Built-in data, and the splits of a file.

use anyhow::Result;
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{AssistantTurns, Example};
use serde_json::json;

use crate::SftSource;
use crate::flags::{DataFlags, ExampleFlags};

#[test]
fn the_everyday_splits_do_not_overlap() -> Result<()> {
    let all = SftSource::Everyday.load_eval_examples(None)?;
    assert_eq!(all.len(), 70);
    let split = SftSource::Everyday.load_dataset(None, 1, DemonstrationStyle::Clean, 0.2, 4)?;
    assert_eq!((split.train.len(), split.validation.len()), (56, 14));
    assert!(split.validation.iter().all(|example| !split.train.contains(example)));
    Ok(())
}

#[test]
fn a_question_of_the_validation_split_is_not_trained_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    // Three answers to each of ten questions.
    let row = |i: usize| format!("{{\"prompt\": \"{}\", \"completion\": \"{i}\"}}\n", i % 10);
    std::fs::write(&path, (0..30).map(row).collect::<String>())?;
    let source = SftSource::File(path.clone());
    let split = source.load_dataset(None, 1, DemonstrationStyle::Clean, 0.1, 4)?;
    assert_eq!(split.validation.len(), 3);
    let is_held_out =
        |example: &Example| split.validation.iter().any(|other| other.prompt == example.prompt);
    assert_eq!(split.train.len(), 27);
    assert!(!split.train.iter().any(is_held_out));
    Ok(())
}

#[test]
fn texts_are_split_by_their_content() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    // Each of ten texts three times.
    let row = |i: usize| format!("{{\"text\": \"{}\"}}\n", i % 10);
    std::fs::write(&path, (0..30).map(row).collect::<String>())?;
    let source = SftSource::File(path.clone());
    let split = source.load_dataset(None, 1, DemonstrationStyle::Clean, 0.1, 4)?;
    assert_eq!((split.train.len(), split.validation.len()), (27, 3));
    assert!(split.validation.iter().all(|example| !split.train.contains(example)));
    Ok(())
}

#[test]
fn assistant_turns_last_holds_for_training_and_for_the_evaluation_of_its_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    let row = |i: usize| {
        let question = json!({ "from": "human", "value": i.to_string() });
        let answer = json!({ "from": "gpt", "value": "a" });
        json!({ "conversations": [question, answer, question, answer] }).to_string() + "\n"
    };
    std::fs::write(&path, (0..10).map(row).collect::<String>())?;
    let data = DataFlags { data: path.to_string_lossy().into_owned(), columns: None };
    for turns in [AssistantTurns::All, AssistantTurns::Last] {
        let one = std::num::NonZeroUsize::MIN;
        let flags = ExampleFlags { examples: one, validation: 0.2, assistant_turns: turns };
        let splits = flags.load_dataset(data.open_source()?, DemonstrationStyle::Clean, 4)?;
        let all = splits.train.iter().chain(&splits.validation);
        assert!(all.clone().count() == 10 && all.clone().all(|row| row.assistant_turns == turns));
        let settings = json!({
            "data": data.data, "validation": 0.2, "seed": 4, "assistant_turns": turns,
        });
        std::fs::write(folder.path().join("config.json"), settings.to_string())?;
        std::fs::write(folder.path().join("metrics.jsonl"), "")?; // marks the folder of a run
        let run = folder.path().to_string_lossy();
        assert_eq!(data.load_eval_examples(&run, data.open_source()?)?, splits.validation);
    }
    Ok(())
}
