//! Data files: supported layouts, and the error messages for invalid ones.

mod conversations;
mod json_rows;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tensor_core::testing::course_data;

use crate::{Example, ExampleColumns, read_examples};

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> [PathBuf; 1] {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        [path]
    }

    fn read(&self, name: &str, bytes: &[u8], columns: Option<&str>) -> Result<Vec<Example>> {
        let columns = columns.map(ExampleColumns::parse).transpose()?;
        read_examples(&self.write(name, bytes), columns.as_ref())
    }

    fn assert_rejected(&self, name: &str, text: &str, columns: Option<&str>, message: &str) {
        let error = self.read(name, text.as_bytes(), columns).expect_err(name);
        assert!(format!("{error:#}").contains(message), "{error:#} lacks {message}");
    }
}

#[test]
fn three_layouts_give_the_same_example_plain_or_gzipped() -> Result<()> {
    let files = Files::new();
    let rows = [
        r#"{"instruction": "Add.", "input": "1 and 2", "output": "3"}"#,
        r#"{"prompt": "Add.\n1 and 2", "completion": "3"}"#,
        concat!(
            r#"{"messages": [{"role": "user", "content": "Add.\n1 and 2"}, "#,
            r#"{"role": "assistant", "content": "3"}]}"#
        ),
    ];
    let expected = Example::new("Add.\n1 and 2", "3");
    for row in rows {
        let lines = format!("{row}\n\n{row}");
        assert_eq!(
            files.read("a.jsonl", lines.as_bytes(), None)?,
            [expected.clone(), expected.clone()]
        );
        let array = format!("\n[\n{row}\n , {row}]\n");
        assert_eq!(files.read("a.json", array.as_bytes(), None)?.len(), 2);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(lines.as_bytes())?;
        assert_eq!(files.read("a.jsonl.gz", &gz.finish()?, None)?.len(), 2);
    }
    let row = r#"{"q": "a?", "a": "b", "input": "c"}"#;
    let examples =
        files.read("b.jsonl", row.as_bytes(), Some("prompt=q,completion=a,input=none"))?;
    assert_eq!(examples, [Example::new("a?", "b")]);
    let examples = files.read("b.jsonl", row.as_bytes(), Some("instruction=q,output=a"))?;
    assert_eq!(examples, [Example::new("a?\nc", "b")]);
    let examples = files.read("b.jsonl", row.as_bytes(), Some("prompt=q,completion=a"))?;
    assert_eq!(examples, [Example::new("a?", "b")]);
    let row = br#"{"q": "a?", "a": 4.5}"#;
    let examples = files.read("b.jsonl", row, Some("prompt=q,completion=a"))?;
    assert_eq!(examples, [Example::new("a?", "4.5")]);
    let row = r#"{"q": "a?", "a": "b", "about": null}"#;
    let examples =
        files.read("b.jsonl", row.as_bytes(), Some("prompt=q,completion=a,input=about"))?;
    assert_eq!(examples, [Example::new("a?", "b")]);
    for text in [rows[1].to_string(), format!("[{}]", rows[1])] {
        let with_bom = format!("\u{feff}{text}");
        assert_eq!(
            files.read("bom.json", with_bom.as_bytes(), None)?,
            std::slice::from_ref(&expected)
        );
    }
    Ok(())
}

#[test]
fn rows_of_well_known_data_sets_are_read_by_their_own_columns() -> Result<()> {
    let files = Files::new();
    for (row, expected) in [
        (
            r#"{"id": "a_0", "conversations": [{"from": "human", "value": "Add 1 and 2."},
                {"from": "gpt", "value": "3"}]}"#,
            Example::new("Add 1 and 2.", "3"),
        ),
        (
            r#"{"instruction": "Add.", "context": "1 and 2", "response": "3",
                "category": "closed_qa"}"#,
            Example::new("Add.\n1 and 2", "3"),
        ),
        (
            r#"{"instruction": "Add 1 and 2.", "context": "", "response": "3"}"#,
            Example::new("Add 1 and 2.", "3"),
        ),
        (r#"{"instruction": "Add 1 and 2.", "response": "3"}"#, Example::new("Add 1 and 2.", "3")),
        (
            r#"{"question": "1 + 2?", "answer": "1 + 2 = <<1+2=3>>3\n#### 3"}"#,
            Example::new("1 + 2?", "1 + 2 = <<1+2=3>>3\n#### 3"),
        ),
        (r#"{"prompt": "1 + 2?", "answer": 3}"#, Example::new("1 + 2?", "3")),
        (r#"{"prompt": "1 + 2?", "answer": "3"}"#, Example::new("1 + 2?", "3")),
        // Two layouts fit: UltraChat's prompt is the first of its messages, and the columns of
        // alpaca come before those of Dolly.
        (
            r#"{"prompt": "1 + 2?", "completion": "no", "messages": [
                {"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "3"}]}"#,
            Example::new("1 + 2?", "3"),
        ),
        (
            r#"{"instruction": "Add.", "input": "1 and 2", "context": "c", "output": "3",
                "response": "4", "text": "5"}"#,
            Example::new("Add.\n1 and 2", "3"),
        ),
    ] {
        let rows = files.read("a.json", format!("[{row}]").as_bytes(), None)?;
        assert_eq!(rows, [expected], "{row}");
    }
    let text = files.read("a.jsonl", br#"{"text": " a\n"}"#, None)?;
    assert_eq!((text[0].prompt.len(), text[0].completion.as_str()), (0, " a\n"));
    let path = files.write("a.jsonl", br#"{"text": "a"}"#);
    let error = read_examples(&path, Some(&ExampleColumns::AnyPrompt)).unwrap_err();
    assert!(format!("{error:#}").contains("rows of `text` are for continued pretraining"));
    let message = "map them, for example --columns prompt=q,completion=..; the known ones are \
                   messages (OpenAI), conversations (ShareGPT), instruction + output (alpaca), \
                   instruction + context + response (Dolly), ";
    files.assert_rejected("a.jsonl", r#"{"q": 1, "a": 2}"#, None, message);
    Ok(())
}

#[test]
fn invalid_rows_are_reported_with_file_and_line() {
    let files = Files::new();
    let good = r#"{"prompt": "a", "completion": "b"}"#;
    for (bad, message) in [
        (r#"{"prompt": "a"}"#, "there is no column `completion`"),
        (r#"{"prompt": "a", "completion": " "}"#, "the completion is empty"),
        (r#"{"prompt": " ", "completion": "b"}"#, "`prompt` is empty"),
        (r#"{"prompt": 3, "completion": "b"}"#, "`prompt` must be a string, but is 3"),
        (
            r#"{"prompt": "a", "completion": "b""#,
            "invalid JSON: EOF while parsing an object in column 33",
        ),
        (r#"{"prompt": "a", "completion": b}"#, "invalid JSON: expected value in column 31"),
        (r#"{"prompt": "\ud83d", "completion": "b"}"#, "invalid JSON: an escape such as \\ud83d"),
        (
            r#"{"prompt": "\ud83d\u0041", "completion": "b"}"#,
            "invalid JSON: an escape such as \\ud83d",
        ),
        (r#"{"prompt": "\ude00", "completion": "b"}"#, "invalid JSON: an escape such as \\ud83d"),
        ("3", "a row must be an object with a key per column, but is 3"),
    ] {
        files.assert_rejected(
            "rows.jsonl",
            &format!("{good}\n\n{bad}\n{good}"),
            None,
            &format!("rows.jsonl:3: {message}"),
        );
    }
    files.assert_rejected("a.jsonl", "\n", None, "a.jsonl has no rows");
    files.assert_rejected(
        "a.jsonl",
        good,
        Some("prompt=q,completion=completion"),
        "a.jsonl:1: there is no column `q`",
    );
    files.assert_rejected("a.jsonl", r#"{"q": 1, "a": 2}"#, None, "unknown columns q, a: map them");
    let message = "a.jsonl:1: there is no column `about`";
    files.assert_rejected(
        "a.jsonl",
        good,
        Some("prompt=prompt,completion=completion,input=about"),
        message,
    );
    let row = r#"{"instruction": "", "input": "x", "output": "y"}"#;
    files.assert_rejected("a.jsonl", row, None, "`instruction` is empty");
    assert!(read_examples(&["nowhere.jsonl".into()], None).is_err());
}

#[test]
fn invalid_column_maps_are_rejected() {
    for (map, message) in [
        ("prompt", "expected FIELD=COLUMN"),
        ("instruction=a", "both the prompt and the completion"),
        ("question=a,answer=b", "unknown field `question`"),
        ("prompt=a,prompt=c,output=b", "`prompt` is given twice"),
        (
            "prompt=a,instruction=c,output=b",
            "`prompt` and `instruction` are two names of one field",
        ),
        ("messages=a,output=b", "the only field"),
        ("text=a,output=b", "the only field"),
    ] {
        let error = ExampleColumns::parse(map).expect_err(map).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_real_instruction_file_is_read() -> Result<()> {
    if let Some(path) = course_data("data/instructions.json") {
        assert_eq!(read_examples(&[path], None)?.len(), 1100);
    }
    Ok(())
}

#[test]
fn white_space_around_prompts_and_completions_is_kept() -> Result<()> {
    let files = Files::new();
    let expected = Example::new("\tdef f():\n", "    return 1\n");
    for row in [
        r#"{"prompt": "\tdef f():\n", "completion": "    return 1\n"}"#,
        r#"{"instruction": "\tdef f():\n", "input": " ", "output": "    return 1\n"}"#,
        r#"{"messages": [{"role": "user", "content": "\tdef f():\n"},
            {"role": "assistant", "content": "    return 1\n"}]}"#,
    ] {
        let examples = files.read("a.json", format!("[{row}]").as_bytes(), None)?;
        assert_eq!(examples, std::slice::from_ref(&expected));
    }
    files.assert_rejected("a.jsonl", r#"{"prompt": "x", "completion": " \n"}"#, None, "is empty");
    files.assert_rejected("a.jsonl", r#"{"prompt": " ", "completion": "x"}"#, None, "is empty");
    Ok(())
}
