//! Preference data: layouts, filtering, errors of invalid rows.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use model_io::ChatMessage;
use serde_json::{Value, json};
use tensor_core::testing::course_data;

use crate::{FilteredPreferences, Preference, PreferenceColumns};

fn read(name: &str, bytes: &[u8], columns: &str) -> Result<FilteredPreferences> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    std::fs::write(&path, bytes)?;
    let columns = if columns.is_empty() {
        PreferenceColumns::default()
    } else {
        PreferenceColumns::parse(columns)?
    };
    columns.read_files(&[path])
}

#[test]
fn all_layouts_give_the_same_preference_plain_and_gzipped() -> Result<()> {
    let rows = [
        r#"{"prompt": "Add.\n1 and 2", "chosen": "3", "rejected": "4"}"#,
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
        // UltraFeedback, whose prompt repeats the first message.
        r#"{"prompt": "Add.", "prompt_id": "a", "messages": [], "score_chosen": 9.0,
            "score_rejected": 2.5, "chosen": [{"role": "user", "content": "Add.\n1 and 2"},
            {"role": "assistant", "content": "3"}],
            "rejected": [{"role": "user", "content": "Add.\n1 and 2"},
            {"role": "assistant", "content": "4"}]}"#,
        r#"{"chosen": [{"from": "human", "value": "Add.\n1 and 2"}, {"from": "gpt", "value": "3"}],
            "rejected": [{"from": "human", "value": "Add.\n1 and 2"},
            {"from": "gpt", "value": "4"}]}"#,
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
        (
            r#"{"prompt": "a", "rejected": "b"}"#,
            "there is no column `chosen`; the known layouts are prompt + chosen + rejected, ",
        ),
        (
            r#"{"chosen": "b", "rejected": "c"}"#,
            "there is no column `prompt` (or `instruction`), and `chosen` and `rejected` are not \
             whole conversations",
        ),
        (r#"{"prompt": " ", "chosen": "b", "rejected": "c"}"#, "`prompt` is empty"),
        (r#"{"prompt": "a", "chosen": 3, "rejected": "c"}"#, "`chosen` must be a string, but is 3"),
        (r#"{"prompt": "a", "chosen": [], "rejected": "c"}"#, "`chosen` is empty"),
        (r#"{"prompt": "a", "chosen": [1], "rejected": []}"#, "`chosen` must be a list"),
        (r#"{"chosen": [], "rejected": []}"#, "`chosen` is empty"),
        (r#"{"instruction": "", "chosen": "b", "rejected": "c"}"#, "`instruction` is empty"),
        (
            r#"{"prompt": "a", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "c"}"#,
            "one of `chosen` and `rejected` is a whole conversation",
        ),
        (
            r#"{"prompt": [{"role": "judge", "content": "a"}], "chosen": "b", "rejected": "c"}"#,
            "unknown role `judge`",
        ),
        (
            r#"{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": ""}"#,
            "the last message of the prompt is the assistant's, not the user's",
        ),
        (
            r#"{"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}"#,
            "the last message is the user's",
        ),
        ("3", "a row must be an object"),
        ("{", "JSON"),
    ] {
        let error = read("rows.jsonl", format!("{good}\n\n{bad}\n{good}").as_bytes(), "");
        let error = format!("{:#}", error.expect_err(bad));
        assert!(error.contains("rows.jsonl:3: ") && error.contains(message), "{error}: {message}");
    }
    for (map, message) in [
        ("chosen", "expected FIELD=COLUMN, for example chosen=better,rejected=worse"),
        ("better=a", "unknown field `better`; the fields are prompt, chosen, rejected"),
        ("chosen=a,chosen=b", "`chosen` is given twice"),
    ] {
        let error = PreferenceColumns::parse(map).expect_err(map).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_prompt_beside_whole_conversations_is_not_read() -> Result<()> {
    let row = br#"{"prompt": "", "chosen": "\n\nHuman: a\n\nAssistant: b",
        "rejected": "\n\nHuman: a\n\nAssistant: c"}"#;
    let row = [b"[", &row[..], b"]"].concat();
    assert_eq!(read("a.json", &row, "")?.usable, [Preference::new("a", "b", "c")]);
    Ok(())
}

/// Messages of these roles and contents as JSON.
fn messages(turns: &[(&str, &str)]) -> Value {
    turns.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}

#[test]
fn completions_of_several_messages_go_on_from_the_prompt_column() -> Result<()> {
    let question = ("user", "What is 12 * 7?");
    let (call, result) = (("assistant", "multiply(12, 7)"), ("tool", "84"));
    let completion = |answer| messages(&[call, result, ("assistant", answer)]);
    let whole = |answer| messages(&[question, call, result, ("assistant", answer)]);
    let expected: Vec<ChatMessage> =
        [question, call, result].map(|(role, text)| ChatMessage::new(role, text)).into();
    for row in [
        json!({ "prompt": [{ "role": "user", "content": question.1 }],
            "chosen": completion("84."), "rejected": completion("85.") }),
        json!({ "prompt": question.1, "chosen": completion("84."), "rejected": completion("85.") }),
        json!({ "instruction": question.1, "chosen": completion("84."),
            "rejected": completion("85.") }),
        json!({ "prompt": question.1, "chosen": whole("84."), "rejected": whole("85.") }),
        json!({ "prompt": "an excerpt", "chosen": whole("84."), "rejected": whole("85.") }),
        json!({ "chosen": whole("84."), "rejected": whole("85.") }),
    ] {
        let pair = &read("a.jsonl", row.to_string().as_bytes(), "")?.usable[0];
        assert_eq!(pair.prompt, expected, "{row}");
        assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("84.", "85."));
    }
    // The assistant may greet first: the prompt is there already.
    let greeted = [("assistant", "Hello."), question];
    let whole = |answer| messages(&[&greeted[..], &[("assistant", answer)]].concat());
    let row = json!({ "prompt": messages(&greeted), "chosen": whole("84."),
        "rejected": whole("85.") });
    assert_eq!(read("a.jsonl", row.to_string().as_bytes(), "")?.usable[0].prompt.len(), 2);
    Ok(())
}

#[test]
fn completions_that_differ_before_their_last_message_are_counted() -> Result<()> {
    let (call, result) = (("assistant", "multiply(12, 7)"), ("tool", "84"));
    let called = messages(&[call, result, ("assistant", "84.")]);
    let other_call = messages(&[("assistant", "add(12, 7)"), result, ("assistant", "19.")]);
    let mut rows = json!({ "prompt": "a", "chosen": "b", "rejected": "c" }).to_string();
    for rejected in [other_call, messages(&[("assistant", "85.")]), json!("85.")] {
        let row = json!({ "prompt": "12 * 7?", "chosen": called, "rejected": rejected });
        rows += &format!("\n{row}");
    }
    let read = read("a.jsonl", rows.as_bytes(), "")?;
    assert_eq!((read.usable.len(), read.filter_counts.n_prompt_mismatch), (1, 3));
    Ok(())
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
fn tools_and_template_arguments_of_a_row_go_with_its_prompt() -> Result<()> {
    let mut row = json!({ "prompt": "v?", "chosen": "a", "rejected": "b",
        "tools": r#"[{"name": "f"}]"#, "chat_template_kwargs": { "enable_thinking": false } });
    let arguments = json!({ "tools": [{ "name": "f" }], "enable_thinking": false });
    let pair = &read("a.jsonl", row.to_string().as_bytes(), "")?.usable[0];
    let prompt = PreferenceColumns::default().read_prompt(&row)?;
    for prompt in [&pair.prompt, &prompt] {
        assert_eq!(Value::Object(ChatMessage::template_arguments_of(prompt)), arguments);
    }
    for (name, value, message) in [
        ("tools", json!("a hammer"), "`tools` must be a list or its JSON"),
        ("tools", json!(3), "`tools` must be a list, but is 3"),
        ("chat_template_kwargs", json!([]), "must be an object, but is []"),
        ("chat_template_kwargs", json!({ "messages": [] }), "`messages` is given by the convers"),
    ] {
        let valid = std::mem::replace(&mut row[name], value);
        let error = PreferenceColumns::default().read_prompt(&row).expect_err(name);
        assert!(format!("{error:#}").contains(message), "{error:#}");
        row[name] = valid;
    }
    Ok(())
}

/// List of one message of the assistant with another field.
fn message(content: &str, name: &str, value: &Value) -> Value {
    json!([{ "role": "assistant", "content": content, name: value }])
}

#[test]
fn a_completion_keeps_its_reasoning_and_its_calls_of_tools() -> Result<()> {
    let call = json!([{ "name": "f" }]);
    let rejected = message("no", "reasoning_content", &json!("hm"));
    let row = json!({ "prompt": [{ "role": "user", "content": "v?" }],
        "chosen": message("", "tool_calls", &call), "rejected": rejected });
    // The same text, and other reasoning.
    let reasons = json!({ "prompt": "v?", "chosen": message("no", "reasoning_content", &json!("a")),
        "rejected": rejected });
    let read = read("a.jsonl", format!("{row}\n{reasons}").as_bytes(), "")?;
    assert_eq!((read.usable.len(), read.filter_counts.total()), (2, 0));
    let pair = &read.usable[0];
    assert_eq!(pair.chosen_message().fields["tool_calls"], call);
    assert_eq!(pair.rejected_message().fields["reasoning_content"], "hm");
    assert_eq!(pair.rejected, "no");
    Ok(())
}

#[test]
fn a_prompt_is_read_from_a_row_without_completions() -> Result<()> {
    let read = |row: &str| {
        PreferenceColumns::default().read_prompt(&serde_json::from_str(row).expect("JSON"))
    };
    assert_eq!(read(r#"{"prompt": "a"}"#)?, read(r#"{"instruction": "a", "input": null}"#)?);
    assert_eq!(read(r#"{"prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"}"#)?.len(), 3);
    for row in [r#"{"chosen": "b"}"#, r#"{"rejected": "b"}"#] {
        let error = read(row).expect_err(row).to_string();
        assert!(error.contains("there is no column `prompt` (or `instruction`)"), "{error}");
    }
    Ok(())
}

#[test]
fn downloaded_preference_datasets_are_read() -> Result<()> {
    let columns = PreferenceColumns::default();
    if let Some(path) = course_data("data/preferences.json") {
        let preferences = columns.read_files(&[path])?;
        assert!(preferences.usable.len() > 800, "{:?}", preferences.filter_counts);
    }
    if let Some(path) = course_data("data/hh-rlhf-harmless-base-test.jsonl.gz") {
        let FilteredPreferences { usable, filter_counts } = columns.read_files(&[path])?;
        assert_eq!(usable.len() + filter_counts.total(), 2312);
        assert_eq!((filter_counts.n_prompt_mismatch, filter_counts.n_empty), (5, 4));
        assert!(usable.iter().any(|pair| pair.prompt.len() > 10), "many turns");
    }
    Ok(())
}

#[test]
fn white_space_around_completions_is_kept() -> Result<()> {
    let row = br#"{"prompt": "\tx\n", "chosen": "    a\n", "rejected": "    b"}"#;
    assert_eq!(read("a.jsonl", row, "")?.usable, [Preference::new("\tx\n", "    a\n", "    b")]);
    let row = br#"{"prompt": "\n\nHuman:   x\n\nAssistant:", "chosen": "   a", "rejected": " b"}"#;
    assert_eq!(read("a.jsonl", row, "")?.usable, [Preference::new("  x", "  a", "b")]);
    let row = r#"{"prompt": "x", "chosen": "a ", "rejected": "a"}"#;
    let usable = r#"{"prompt": "x", "chosen": "a", "rejected": "b"}"#;
    let read = read("a.jsonl", format!("{row}\n{usable}").as_bytes(), "")?;
    assert_eq!((read.usable.len(), read.filter_counts.n_identical), (1, 1));
    Ok(())
}
