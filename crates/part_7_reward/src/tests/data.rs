//! 7.1 Preference data: layouts, dialogues, filtering, splits.

use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use datasets::{FilteredPreferences, Preference, PreferenceColumns, dialogue};
use flate2::Compression;
use flate2::write::GzEncoder;
use model_io::ChatMessage;
use tensor_core::testing::course_data;

use crate::PreferenceSource;

fn read(name: &str, bytes: &[u8], columns: &str) -> Result<FilteredPreferences> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    std::fs::write(&path, bytes)?;
    let columns = if columns.is_empty() {
        PreferenceColumns::default()
    } else {
        PreferenceColumns::parse(columns)?
    };
    PreferenceSource::File(path).load_eval_preferences(&columns)
}

#[test]
fn all_layouts_give_the_same_preference_plain_and_gzipped() -> Result<()> {
    let rows = [
        r#"{"prompt": " Add.\n1 and 2", "chosen": "3 ", "rejected": "4"}"#,
        r#"{"instruction": "Add.", "input": "1 and 2", "output": "x", "chosen": "3",
            "rejected": "4"}"#,
        r#"{"chosen": "\n\nHuman: Add.\n1 and 2\n\nAssistant: 3",
            "rejected": "\n\nHuman: Add.\n1 and 2\n\nAssistant: 4"}"#,
        r#"{"prompt": [{"role": "user", "content": "Add.\n1 and 2"}],
            "chosen": [{"role": "assistant", "content": "3"}],
            "rejected": [{"role": "assistant", "content": "4"}]}"#,
        r#"{"chosen": [{"role": "user", "content": "Add.\n1 and 2"},
            {"role": "assistant", "content": "3"}],
            "rejected": [{"role": "user", "content": "Add.\n1 and 2"},
            {"role": "assistant", "content": "4"}]}"#,
        r#"{"prompt": "Add.", "chosen": [{"role": "user", "content": "Add.\n1 and 2"},
            {"role": "assistant", "content": "3"}],
            "rejected": [{"role": "user", "content": "Add.\n1 and 2"},
            {"role": "assistant", "content": "4"}]}"#,
        r#"{"prompt": "\n\nHuman: Add.\n1 and 2\n\nAssistant:", "chosen": " 3", "rejected": " 4"}"#,
    ];
    let expected = Preference::new("Add.\n1 and 2", "3", "4");
    for row in rows {
        let row = row.replace("\n            ", " ");
        let jsonl = read("a.jsonl", format!("{row}\n\n{row}\n").as_bytes(), "")?;
        assert_eq!(jsonl.usable, [expected.clone(), expected.clone()], "{row}");
        assert_eq!(read("a.json", format!("[{row}]").as_bytes(), "")?.usable.len(), 1);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(row.as_bytes())?;
        // Compression is detected by content, not by name.
        assert_eq!(read("a.jsonl", &gz.finish()?, "")?.usable[0], expected);
        assert_eq!(read("a.jsonl.gz", row.as_bytes(), "")?.usable[0], expected);
        let prompt = PreferenceColumns::default().read_prompt(&serde_json::from_str(&row)?)?;
        assert!(prompt[0].content.starts_with("Add."), "{row}");
    }
    let row = br#"{"q": "Add.\n1 and 2", "good": "3", "bad": "4"}"#;
    assert_eq!(read("a.jsonl", row, "prompt=q,chosen=good,rejected=bad")?.usable, [expected]);
    Ok(())
}

#[test]
fn an_invalid_row_is_reported_with_file_and_line() {
    let good = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#;
    for (bad, message) in [
        (r#"{"prompt": "a", "chosen": "b"}"#, "there is no column `rejected`"),
        (r#"{"prompt": "a", "rejected": "b"}"#, "there is no column `chosen`"),
        (r#"{"chosen": "b", "rejected": "c"}"#, "there is no column `prompt` (or `instruction`)"),
        (r#"{"prompt": " ", "chosen": "b", "rejected": "c"}"#, "`prompt` is empty"),
        (r#"{"prompt": "a", "chosen": 3, "rejected": "c"}"#, "`chosen` is 3, expected a text"),
        (r#"{"prompt": "a", "chosen": [], "rejected": "c"}"#, "one of `chosen` and `rejected`"),
        (r#"{"prompt": "a", "chosen": [1], "rejected": []}"#, "`chosen` is not a list"),
        (r#"{"chosen": [], "rejected": []}"#, "are not whole conversations"),
        (
            r#"{"prompt": [{"role": "tool", "content": "a"}], "chosen": "b", "rejected": "c"}"#,
            "unknown role `tool`",
        ),
        (
            r#"{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": ""}"#,
            "the last message of `prompt` is the assistant's",
        ),
        (
            r#"{"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}"#,
            "the last message is the user's",
        ),
        ("3", "a row is an object"),
        ("{", "JSON"),
    ] {
        let error = read("rows.jsonl", format!("{good}\n\n{bad}\n{good}").as_bytes(), "");
        let error = format!("{:#}", error.expect_err(bad));
        assert!(error.contains("rows.jsonl:3: ") && error.contains(message), "{error}: {message}");
    }
    for (map, message) in
        [("chosen", "expected FIELD=COLUMN"), ("better=a", "unknown field `better`")]
    {
        let error = PreferenceColumns::parse(map).expect_err(map).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn unusable_pairs_are_dropped_and_counted_by_reason() -> Result<()> {
    let row = |chosen: &str, rejected: &str| {
        format!("{{\"prompt\": \"a\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
    };
    let text = row("b", "c") + &row("b", " b") + &row("", "c") + &row("b", " ");
    let mismatch =
        r#"{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: A\n\nAssistant: c"}"#;
    let preferences = read("a.jsonl", (text + mismatch).as_bytes(), "")?;
    let counts = preferences.filter_counts;
    assert_eq!((preferences.usable.len(), counts.n_identical, counts.n_empty), (1, 1, 2));
    assert_eq!((counts.n_prompt_mismatch, counts.total()), (1, 4));
    let error =
        read("a.jsonl", row("b", "b").as_bytes(), "").expect_err("every pair is filtered out");
    assert!(error.to_string().contains("no usable pair: 1 with identical"), "{error}");
    Ok(())
}

#[test]
fn a_dialogue_is_split_before_its_last_turn() -> Result<()> {
    let text =
        "\n\nHuman: Hi\n\nAssistant: Hello\nyou\n\nHuman: Say \"Human: x\"\n\nAssistant: Human: x ";
    let (prompt, last) = dialogue::parse(text)?;
    let expected = [
        ChatMessage::user("Hi"),
        ChatMessage::assistant("Hello\nyou"),
        ChatMessage::user("Say \"Human: x\""),
    ];
    assert_eq!((&prompt[..], last.as_str()), (&expected[..], "Human: x"));
    for bad in
        ["Hi", "\n\nAssistant: Hi", "\n\nHuman: Hi", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"]
    {
        assert!(dialogue::parse(bad).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn splits_of_a_file_are_disjoint_and_of_the_requested_sizes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    let row =
        |i: usize| format!("{{\"prompt\": \"{i}\", \"chosen\": \"b\", \"rejected\": \"c\"}}\n");
    std::fs::write(&path, (0..50).map(row).collect::<String>())?;
    let source = PreferenceSource::File(path);
    let split = source.load_dataset(&PreferenceColumns::default(), 0, [0.2, 0.1], 4)?;
    assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (35, 10, 5));
    let all = [&split.train[..], &split.validation, &split.test].concat();
    let distinct: HashSet<&String> = all.iter().map(|pair| &pair.prompt[0].content).collect();
    assert_eq!(distinct.len(), 50);
    let without_test = source.load_dataset(&PreferenceColumns::default(), 0, [0.2, 0.], 4)?;
    assert_eq!(without_test.validation, split.validation, "--test must not change validation");
    assert!(without_test.test.is_empty());
    assert_eq!(split.into_eval_pairs().0.len(), 5);
    assert_eq!(without_test.into_eval_pairs().0.len(), 10);
    assert!(source.load_dataset(&PreferenceColumns::default(), 0, [0.9, 0.1], 4).is_err());
    Ok(())
}

#[test]
fn downloaded_preference_datasets_are_read() -> Result<()> {
    let columns = PreferenceColumns::default();
    if let Some(path) = course_data("data/preferences.json") {
        let preferences = PreferenceSource::File(path).load_eval_preferences(&columns)?;
        assert!(preferences.usable.len() > 800, "{:?}", preferences.filter_counts);
    }
    if let Some(path) = course_data("data/hh-rlhf-harmless-base-test.jsonl.gz") {
        let FilteredPreferences { usable, filter_counts } =
            PreferenceSource::File(path).load_eval_preferences(&columns)?;
        assert_eq!(usable.len() + filter_counts.total(), 2312);
        assert_eq!((filter_counts.n_prompt_mismatch, filter_counts.n_empty), (5, 4));
        assert!(usable.iter().any(|pair| pair.prompt.len() > 10), "many turns");
    }
    Ok(())
}
