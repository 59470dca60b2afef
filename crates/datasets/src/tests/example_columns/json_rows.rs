//! Rows of JSON files: arrays, the data of an object, and the line of an error.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Files;
use crate::{Example, read_examples};

#[test]
fn rows_may_be_the_data_of_an_object() -> Result<()> {
    let files = Files::new();
    let row = r#"{"prompt": "a", "completion": "b"}"#;
    for text in [
        format!(r#"{{"data": [{row}, {row}]}}"#),
        format!(
            "{{\n \"version\": {{\"data\": [1]}},\n \"data\": [\n{row},\n{row}\n],\n \"n\": 2}}\n"
        ),
    ] {
        assert_eq!(files.read("a.json", text.as_bytes(), None)?.len(), 2, "{text}");
    }
    for (text, message) in [
        (
            format!("{{\"data\": [\n{row},\n{{\"prompt\": 1}}]}}"),
            "a.json:3: `prompt` must be a string",
        ),
        (format!("{{\"data\": [\n{row},\n{{\"prompt\": ]}}"), "a.json:3: invalid JSON"),
        (format!("{{\"data\": [{row}]\n"), "a.json:2: expected the end of the file"),
        (format!("{{\"data\": [{row}]}}\n]"), "a.json:2: invalid JSON"),
        ("{\"data\": []}".into(), "a.json has no rows"),
    ] {
        files.assert_rejected("a.json", &text, None, message);
    }
    // In JSON Lines, `data` is a column.
    let lines =
        r#"{"data": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    let lines = format!("{lines}\n{lines}");
    let rows = files.read("a.jsonl", lines.as_bytes(), Some("messages=data"))?;
    assert_eq!(rows, [Example::new("a", "b"), Example::new("a", "b")]);
    Ok(())
}

#[test]
fn errors_in_a_json_array_name_the_line() {
    let files = Files::new();
    let good = r#"{"prompt": "a", "completion": "b"}"#;
    files.assert_rejected(
        "a.json",
        &format!("[{good},\n\n{{\"prompt\": 1}}]"),
        None,
        "a.json:3: `prompt` must be a string",
    );
    files.assert_rejected(
        "a.json",
        &format!("[{good},\n{{\"prompt\": ]"),
        None,
        "a.json:2: invalid JSON",
    );
    files.assert_rejected(
        "a.json",
        &format!("[{good},\n{{\n\n\"prompt\": ]}}]"),
        None,
        "a.json:4: invalid JSON",
    );
    files.assert_rejected(
        "a.json",
        &format!("[{good}\n{good}]"),
        None,
        "a.json:1: expected a comma",
    );
    files.assert_rejected(
        "a.json",
        &format!("[{good},\n"),
        None,
        "a.json:2: the array does not end",
    );
    files.assert_rejected("a.json", "[]", None, "a.json has no rows");
}

#[test]
fn rows_that_are_no_regular_file_or_unpack_without_bound_are_errors() -> Result<()> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(&vec![b' '; 1 << 20])?;
    let packed = gz.finish()?;
    assert_eq!(crate::json_rows::unpack(&packed, 1 << 20)?.len(), 1 << 20);
    let error = crate::json_rows::unpack(&packed, (1 << 20) - 1).unwrap_err().to_string();
    assert!(error.contains("limit of 1048575"), "{error}");
    #[cfg(unix)]
    {
        let error = read_examples(&["/dev/zero".into()], None).unwrap_err().to_string();
        assert!(error.contains("/dev/zero is a device"), "{error}");
    }
    Ok(())
}

#[test]
fn a_file_of_another_format_is_named_as_such() -> Result<()> {
    let files = Files::new();
    let csv = "a.csv: CSV is not read; expected JSON Lines, a JSON array or Parquet";
    files.assert_rejected("a.csv", "prompt,completion\na,b\n", None, csv);
    files.assert_rejected("a.parquet", "some text\n", None, "a.parquet: it is not Parquet");
    let row = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    assert_eq!(files.read("b.csv", row.as_bytes(), None)?.len(), 1, "the content decides");
    files.assert_rejected("c.csv", &format!("{row}no"), None, "c.csv:2: invalid JSON");
    Ok(())
}
