//! Built-in data, and the splits of a file.

use std::collections::HashSet;

use anyhow::Result;
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{AssistantTurns, DatasetFlags, Example, SplitRule};
use experiment::settings::SettingsFlags;
use serde_json::json;

use crate::flags::{DataFlags, ExampleFlags, ensure_shares_of_file};
use crate::{MappedSource, SftSource};

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
fn generated_data_have_no_shares_apart_from_a_recorded_default() {
    let refused_flag = |is_file, validation, test, settings: &SettingsFlags| {
        let error = ensure_shares_of_file(is_file, validation, test, settings).err()?.to_string();
        error.split_whitespace().next().map(String::from)
    };
    let given = SettingsFlags { config: None, set: Vec::new(), resume: false };
    let resumed = SettingsFlags { resume: true, ..given.clone() };
    let from_config = SettingsFlags { config: Some("old.yaml".into()), ..given.clone() };
    for (validation, test, flag_if_given, flag_if_read) in [
        (None, None, None, None),
        (Some(0.1), None, Some("--validation"), None),
        (Some(0.2), None, Some("--validation"), Some("--validation")),
        (None, Some(0.2), Some("--test"), Some("--test")),
    ] {
        for (settings, flag) in
            [(&given, flag_if_given), (&resumed, flag_if_read), (&from_config, flag_if_read)]
        {
            let refused = refused_flag(false, validation, test, settings);
            assert_eq!(refused.as_deref(), flag, "{validation:?} {test:?} {settings:?}");
            assert_eq!(refused_flag(true, validation, test, settings), None, "of a file");
        }
    }
}

#[test]
fn a_question_of_the_validation_split_is_not_trained_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    // Three answers to each of ten questions.
    let row = |i: usize| format!("{{\"prompt\": \"{}\", \"completion\": \"{i}\"}}\n", i % 10);
    std::fs::write(&path, (0..30).map(row).collect::<String>())?;
    let source = SftSource::Files(vec![path.clone()]);
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
    let source = SftSource::Files(vec![path.clone()]);
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
    let data = DataFlags {
        data: path.to_string_lossy().into_owned(),
        dataset: DatasetFlags::default(),
        columns: None,
    };
    for turns in [AssistantTurns::All, AssistantTurns::Last] {
        let one = std::num::NonZeroUsize::MIN;
        let flags = ExampleFlags { examples: one, validation: Some(0.2), assistant_turns: turns };
        let (source, split_spec) = (data.open_source()?, flags.split_spec(4));
        let (splits, _) = flags.load_dataset(&source, DemonstrationStyle::Clean, split_spec, 4)?;
        let all = splits.train.iter().chain(&splits.validation);
        assert!(all.clone().count() == 10 && all.clone().all(|row| row.assistant_turns == turns));
        let settings = json!({
            "data": data.data, "validation": 0.2, "seed": 4, "assistant_turns": turns,
        });
        std::fs::write(folder.path().join("config.json"), settings.to_string())?;
        std::fs::write(folder.path().join("metrics.jsonl"), "")?; // marks the folder of a run
        let run = folder.path().to_string_lossy();
        assert_eq!(data.load_eval_examples(&run, &data.open_source()?)?, splits.validation);
    }
    Ok(())
}

#[test]
fn a_model_is_not_evaluated_on_the_rows_that_an_earlier_run_was_trained_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let row = |i: usize| json!({ "prompt": format!("{i}?"), "completion": "a" }).to_string() + "\n";
    std::fs::write(path("sft.jsonl"), (0..40).map(row).collect::<String>())?;
    let rule = SplitRule::of_shares(40, 0.2, 0., 4);
    let sft = json!({ "data": path("sft.jsonl"), "examples": 9, "split_rule": rule });
    let dpo = json!({ "data": path("pairs.jsonl"), "pairs": 9, "model": path("sft/model") });
    for (name, settings) in [("sft", sft), ("dpo", dpo)] {
        std::fs::create_dir(path(name))?;
        std::fs::write(path(name) + "/config.json", settings.to_string())?;
        std::fs::write(path(name) + "/metrics.jsonl", "")?; // marks the folder of a run
    }
    let dataset = DatasetFlags::default();
    let data = DataFlags { data: path("sft.jsonl"), dataset, columns: None };
    let source = data.open_source()?;
    let rows = source.source.load_eval_examples(None)?;
    let held_out = data.load_eval_examples(&path("dpo/model"), &source)?;
    assert_eq!(held_out.len(), 8);
    let prompts: HashSet<_> = held_out.iter().map(|row| &row.prompt).collect();
    let validation = rule.hold_out(rows)?.validation;
    let expected: HashSet<_> = validation.iter().map(|row| &row.prompt).collect();
    assert_eq!(prompts, expected);
    Ok(())
}

#[test]
fn the_last_model_of_a_run_is_evaluated_on_the_rows_that_the_run_held_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| -> Result<String> {
        let path = folder.path().join(name);
        let row = |i: usize| json!({ "prompt": format!("{name}{i}"), "completion": name });
        std::fs::write(&path, (0..40).map(|i| row(i).to_string() + "\n").collect::<String>())?;
        Ok(path.to_string_lossy().into_owned())
    };
    let (a, b) = (file("a.jsonl")?, file("b.jsonl")?);
    let flags = |data: &str| DataFlags {
        data: data.into(),
        dataset: DatasetFlags::default(),
        columns: None,
    };
    let one = std::num::NonZeroUsize::MIN;
    let examples =
        ExampleFlags { examples: one, validation: Some(0.2), assistant_turns: AssistantTurns::All };
    let mixture = format!("{a}=0.7,{b}=0.3");
    for data in [&a, &mixture] {
        let source = flags(data).open_source()?;
        let style = DemonstrationStyle::Clean;
        let (splits, rule) = examples.load_dataset(&source, style, examples.split_spec(4), 4)?;
        // Another share and seed, as those of a part that does not split by them.
        let settings = json!({
            "data": data, "validation": 0.5, "seed": 9, "assistant_turns": "all",
            "split_rule": rule,
        });
        std::fs::write(folder.path().join("config.json"), settings.to_string())?;
        std::fs::write(folder.path().join("metrics.jsonl"), "")?; // marks the folder of a run
        let model = folder.path().join("final").to_string_lossy().into_owned();
        let eval = |data: &str| -> Result<Vec<Example>> {
            let flags = flags(data);
            flags.load_eval_examples(&model, &flags.open_source()?)
        };
        assert_eq!(eval(data)?, splits.validation, "{data}");
        let of_a = eval(&a)?;
        assert!(!of_a.is_empty() && of_a.len() < 40);
        assert!(of_a.iter().all(|row| !splits.train.contains(row)), "{data}");
    }
    Ok(())
}

#[test]
fn a_mixture_is_drawn_by_weight_and_seed_and_then_split_by_prompt() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, n: usize| -> Result<String> {
        let path = folder.path().join(name);
        let row = |i: usize| json!({ "prompt": format!("{name}{i}"), "completion": name });
        std::fs::write(&path, (0..n).map(|i| row(i).to_string() + "\n").collect::<String>())?;
        Ok(path.to_string_lossy().into_owned())
    };
    let (a, b) = (file("a", 90)?, file("b", 900)?);
    let flags = |data: String| DataFlags { data, dataset: DatasetFlags::default(), columns: None };
    let data = flags(format!("{a}=0.75,{b}=0.25"));
    let load = |seed| -> Result<Vec<Example>> {
        let MappedSource { source, columns } = data.open_source()?;
        let style = DemonstrationStyle::Clean;
        let splits = source.load_dataset(columns.as_ref(), 1, style, 0.1, seed)?;
        let train: HashSet<_> =
            splits.train.iter().map(|row| row.prompt[0].content.clone()).collect();
        assert!(splits.validation.iter().all(|row| !train.contains(&row.prompt[0].content)));
        Ok(splits.train.into_iter().chain(splits.validation).collect())
    };
    let rows = load(1)?;
    let n_a = rows.iter().filter(|row| row.completion == "a").count();
    assert!(n_a == 90 && (105..140).contains(&rows.len()), "{n_a} of {}", rows.len());
    assert_eq!(rows, load(1)?);
    assert_ne!(rows, load(2)?);
    let all = data.open_source()?.source.load_eval_examples(None)?;
    assert_eq!(all.len(), 990, "an evaluation reads all rows");
    let error = flags(format!("{a}=1,arithmetic=1")).open_source().unwrap_err().to_string();
    assert!(error.contains("arithmetic has no rows to mix"), "{error}");
    Ok(())
}
