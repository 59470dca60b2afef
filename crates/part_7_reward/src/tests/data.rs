//! 7.1 Preferences: layouts, dialogues, what is dropped and counted.

use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use modern::ChatMessage;
use tensor_core::testing::course_data;

use crate::{FilteredPreferences, Preference, PreferenceColumns, PreferenceSource, dialogue};

fn read(name: &str, bytes: &[u8], columns: &str) -> Result<FilteredPreferences> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    std::fs::write(&path, bytes)?;
    let columns = if columns.is_empty() {
        PreferenceColumns::default()
    } else {
        PreferenceColumns::parse(columns)?
    };
    PreferenceSource::File(path).load_all(&columns)
}

#[test]
fn layouts_give_the_same_preference_plain_and_compressed() -> Result<()> {
    let rows = [
        r#"{"prompt": " Add.\n1 and 2", "chosen": "3 ", "rejected": "4"}"#,
        r#"{"instruction": "Add.", "input": "1 and 2", "output": "x", "chosen": "3", "rejected": "4"}"#,
        r#"{"chosen": "\n\nHuman: Add.\n1 and 2\n\nAssistant: 3", "rejected": "\n\nHuman: Add.\n1 and 2\n\nAssistant: 4"}"#,
        r#"{"prompt": [{"role": "user", "content": "Add.\n1 and 2"}], "chosen": [{"role": "assistant", "content": "3"}],
            "rejected": [{"role": "assistant", "content": "4"}]}"#,
        r#"{"chosen": [{"role": "user", "content": "Add.\n1 and 2"}, {"role": "assistant", "content": "3"}],
            "rejected": [{"role": "user", "content": "Add.\n1 and 2"}, {"role": "assistant", "content": "4"}]}"#,
        r#"{"prompt": "Add.", "chosen": [{"role": "user", "content": "Add.\n1 and 2"}, {"role": "assistant", "content": "3"}],
            "rejected": [{"role": "user", "content": "Add.\n1 and 2"}, {"role": "assistant", "content": "4"}]}"#,
        r#"{"prompt": "\n\nHuman: Add.\n1 and 2\n\nAssistant:", "chosen": " 3", "rejected": " 4"}"#,
    ];
    let wanted = Preference::new("Add.\n1 and 2", "3", "4");
    for row in rows {
        let row = row.replace("\n            ", " ");
        let found = read("a.jsonl", format!("{row}\n\n{row}\n").as_bytes(), "")?;
        assert_eq!(found.usable, [wanted.clone(), wanted.clone()], "{row}");
        assert_eq!(read("a.json", format!("[{row}]").as_bytes(), "")?.usable.len(), 1);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(row.as_bytes())?;
        assert_eq!(read("a.jsonl", &gz.finish()?, "")?.usable[0], wanted, "whatever it is called");
        assert_eq!(read("a.jsonl.gz", row.as_bytes(), "")?.usable[0], wanted);
        let question = PreferenceColumns::default().read_prompt(&serde_json::from_str(&row)?)?;
        assert!(question[0].content.starts_with("Add."), "what is asked, whatever is answered");
    }
    let row = br#"{"q": "Add.\n1 and 2", "good": "3", "bad": "4"}"#;
    assert_eq!(read("a.jsonl", row, "prompt=q,chosen=good,rejected=bad")?.usable, [wanted]);
    Ok(())
}

#[test]
fn a_bad_row_is_named_by_file_and_line() {
    let good = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#;
    for (bad, says) in [
        (r#"{"prompt": "a", "chosen": "b"}"#, "there is no column `rejected`"),
        (r#"{"prompt": "a", "rejected": "b"}"#, "there is no column `chosen`"),
        (r#"{"chosen": "b", "rejected": "c"}"#, "there is no column `prompt` (or `instruction`)"),
        (r#"{"prompt": " ", "chosen": "b", "rejected": "c"}"#, "`prompt` is empty"),
        (r#"{"prompt": "a", "chosen": 3, "rejected": "c"}"#, "`chosen` holds 3 and no text"),
        (r#"{"prompt": "a", "chosen": [], "rejected": "c"}"#, "one of `chosen` and `rejected`"),
        (r#"{"prompt": "a", "chosen": [1], "rejected": []}"#, "`chosen` holds no list"),
        (r#"{"chosen": [], "rejected": []}"#, "are no whole conversations"),
        (
            r#"{"prompt": [{"role": "tool", "content": "a"}], "chosen": "b", "rejected": "c"}"#,
            "`tool` is no role",
        ),
        (
            r#"{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": "c"}"#,
            "the last to speak in `prompt` is the assistant",
        ),
        (
            r#"{"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}"#,
            "the last message is the user's",
        ),
        ("3", "a row is an object"),
        ("{", "no JSON"),
    ] {
        let error = read("rows.jsonl", format!("{good}\n\n{bad}\n{good}").as_bytes(), "");
        let error = format!("{:#}", error.expect_err(bad));
        assert!(error.contains("rows.jsonl:3: ") && error.contains(says), "{error}: {says}");
    }
    for (map, says) in [("chosen", "expected WHAT=COLUMN"), ("better=a", "knows no `better`")] {
        let error = PreferenceColumns::parse(map).expect_err(map).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn pairs_that_teach_nothing_are_dropped_and_counted() -> Result<()> {
    let row = |chosen: &str, rejected: &str| {
        format!("{{\"prompt\": \"a\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
    };
    let text = row("b", "c") + &row("b", " b") + &row("", "c") + &row("b", " ");
    let other =
        r#"{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: A\n\nAssistant: c"}"#;
    let found = read("a.jsonl", (text + other).as_bytes(), "")?;
    let dropped = found.filter_counts;
    assert_eq!((found.usable.len(), dropped.n_identical, dropped.n_empty), (1, 1, 2));
    assert_eq!((dropped.n_prompt_mismatch, dropped.total()), (1, 4));
    let error = read("a.jsonl", row("b", "b").as_bytes(), "").expect_err("nothing is left");
    assert!(error.to_string().contains("no pair to learn from: 1 of identical"), "{error}");
    Ok(())
}

#[test]
fn a_dialogue_is_split_before_its_last_turn() -> Result<()> {
    let text =
        "\n\nHuman: Hi\n\nAssistant: Hello\nyou\n\nHuman: Say \"Human: x\"\n\nAssistant: Human: x ";
    let (prompt, last) = dialogue::parse(text)?;
    let wanted = [
        ChatMessage::user("Hi"),
        ChatMessage::assistant("Hello\nyou"),
        ChatMessage::user("Say \"Human: x\""),
    ];
    assert_eq!((&prompt[..], last.as_str()), (&wanted[..], "Human: x"));
    for bad in
        ["Hi", "\n\nAssistant: Hi", "\n\nHuman: Hi", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"]
    {
        assert!(dialogue::parse(bad).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn rows_are_split_without_an_overlap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    let row =
        |i: usize| format!("{{\"prompt\": \"{i}\", \"chosen\": \"b\", \"rejected\": \"c\"}}\n");
    std::fs::write(&path, (0..50).map(row).collect::<String>())?;
    let source = PreferenceSource::File(path);
    let split = source.load_dataset(&PreferenceColumns::default(), 0, [0.2, 0.1], 4)?;
    assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (35, 10, 5));
    let all = [&split.train[..], &split.validation, &split.test].concat();
    let different: HashSet<&String> = all.iter().map(|pair| &pair.prompt[0].content).collect();
    assert_eq!(different.len(), 50);
    let without = source.load_dataset(&PreferenceColumns::default(), 0, [0.2, 0.], 4)?;
    assert_eq!(without.validation, split.validation, "a test share changes nothing else");
    assert_eq!(
        (without.test.len(), split.into_eval_pairs().0.len(), without.into_eval_pairs().0.len()),
        (0, 5, 10)
    );
    assert!(source.load_dataset(&PreferenceColumns::default(), 0, [0.9, 0.1], 4).is_err());
    Ok(())
}

#[test]
fn real_preferences_are_read() -> Result<()> {
    let columns = PreferenceColumns::default();
    if let Some(path) = course_data("data/preferences.json") {
        let found = PreferenceSource::File(path).load_all(&columns)?;
        assert!(found.usable.len() > 800, "{:?}", found.filter_counts);
    }
    if let Some(path) = course_data("data/hh-rlhf-harmless-base-test.jsonl.gz") {
        let found = PreferenceSource::File(path).load_all(&columns)?;
        assert_eq!(found.usable.len() + found.filter_counts.total(), 2312);
        assert_eq!((found.filter_counts.n_prompt_mismatch, found.filter_counts.n_empty), (5, 4));
        assert!(found.usable.iter().any(|pair| pair.prompt.len() > 10), "many turns");
    }
    Ok(())
}
