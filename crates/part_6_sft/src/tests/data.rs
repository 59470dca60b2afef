//! Data files: the layouts that are read, and what is said about those that are not.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tensor_core::testing::course_data;

use crate::{Example, ExampleColumns, SftSource};

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    fn read(&self, name: &str, bytes: &[u8], columns: Option<&str>) -> Result<Vec<Example>> {
        let columns = columns.map(ExampleColumns::parse).transpose()?;
        SftSource::File(self.write(name, bytes)).load_all(columns.as_ref())
    }

    fn refused(&self, name: &str, text: &str, columns: Option<&str>, says: &str) {
        let error = self.read(name, text.as_bytes(), columns).expect_err(name);
        assert!(format!("{error:#}").contains(says), "{error:#} does not say {says}");
    }
}

#[test]
fn three_layouts_give_the_same_example_as_json_lines_and_compressed() -> Result<()> {
    let files = Files::new();
    let rows = [
        r#"{"instruction": "Add.", "input": " 1 and 2 ", "output": " 3\n"}"#,
        r#"{"prompt": "Add.\n1 and 2", "completion": "3"}"#,
        r#"{"messages": [{"role": "user", "content": "Add.\n1 and 2"}, {"role": "assistant", "content": "3"}]}"#,
    ];
    let wanted = Example::new("Add.\n1 and 2", "3");
    for row in rows {
        let lines = format!("{row}\n\n{row}");
        assert_eq!(
            files.read("a.jsonl", lines.as_bytes(), None)?,
            [wanted.clone(), wanted.clone()]
        );
        let array = format!("\n[\n{row}\n , {row}]\n");
        assert_eq!(files.read("a.json", array.as_bytes(), None)?.len(), 2);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(lines.as_bytes())?;
        assert_eq!(files.read("a.jsonl.gz", &gz.finish()?, None)?.len(), 2);
    }
    let row = r#"{"q": "a?", "a": "b", "input": "c"}"#;
    let found = files.read("b.jsonl", row.as_bytes(), Some("prompt=q,completion=a,input=none"))?;
    assert_eq!(found, [Example::new("a?", "b")]);
    let found = files.read("b.jsonl", row.as_bytes(), Some("instruction=q,output=a"))?;
    assert_eq!(found, [Example::new("a?\nc", "b")]);
    let found = files.read("b.jsonl", row.as_bytes(), Some("prompt=q,completion=a"))?;
    assert_eq!(found, [Example::new("a?", "b")]);
    let row = r#"{"q": "a?", "a": "b", "about": null}"#;
    let found = files.read("b.jsonl", row.as_bytes(), Some("prompt=q,completion=a,input=about"))?;
    assert_eq!(found, [Example::new("a?", "b")]);
    for text in [rows[1].to_string(), format!("[{}]", rows[1])] {
        let marked = format!("\u{feff}{text}");
        assert_eq!(
            files.read("marked.json", marked.as_bytes(), None)?,
            std::slice::from_ref(&wanted)
        );
    }
    Ok(())
}

#[test]
fn a_bad_row_is_named_by_file_and_line() {
    let files = Files::new();
    let good = r#"{"prompt": "a", "completion": "b"}"#;
    for (bad, says) in [
        (r#"{"prompt": "a"}"#, "there is no column `completion`"),
        (r#"{"prompt": "a", "completion": " "}"#, "the response is empty"),
        (r#"{"prompt": " ", "completion": "b"}"#, "`prompt` is empty"),
        (r#"{"prompt": 3, "completion": "b"}"#, "`prompt` holds 3 and no text"),
        (
            r#"{"prompt": "a", "completion": "b""#,
            "no JSON: EOF while parsing an object in column 33",
        ),
        (r#"{"prompt": "a", "completion": b}"#, "no JSON: expected value in column 31"),
        ("3", "there is no column `prompt`"),
    ] {
        files.refused(
            "rows.jsonl",
            &format!("{good}\n\n{bad}\n{good}"),
            None,
            &format!("rows.jsonl:3: {says}"),
        );
    }
    files.refused("a.jsonl", "\n", None, "a.jsonl has no rows");
    files.refused(
        "a.jsonl",
        good,
        Some("prompt=q,completion=completion"),
        "a.jsonl:1: there is no column `q`",
    );
    files.refused(
        "a.jsonl",
        r#"{"q": 1, "a": 2}"#,
        None,
        "its columns are q, a: say what they hold",
    );
    let says = "a.jsonl:1: there is no column `about`";
    files.refused("a.jsonl", good, Some("prompt=prompt,completion=completion,input=about"), says);
    let row = r#"{"instruction": "", "input": "x", "output": "y"}"#;
    files.refused("a.jsonl", row, None, "`instruction` is empty");
    files.refused("a.parquet", "PAR1....", None, "parquet");
    assert!(SftSource::File("nowhere.jsonl".into()).load_all(None).is_err());
}

#[test]
fn what_is_wrong_in_an_array_is_named_by_its_line() {
    let files = Files::new();
    let good = r#"{"prompt": "a", "completion": "b"}"#;
    files.refused(
        "a.json",
        &format!("[{good},\n\n{{\"prompt\": 1}}]"),
        None,
        "a.json:3: `prompt` holds 1",
    );
    files.refused("a.json", &format!("[{good},\n{{\"prompt\": ]"), None, "a.json:2: no JSON");
    files.refused(
        "a.json",
        &format!("[{good},\n{{\n\n\"prompt\": ]}}]"),
        None,
        "a.json:4: no JSON",
    );
    files.refused("a.json", &format!("[{good}\n{good}]"), None, "a.json:1: expected a comma");
    files.refused("a.json", &format!("[{good},\n"), None, "a.json:2: the array does not end");
    files.refused("a.json", "[]", None, "a.json has no rows");
}

#[test]
fn a_conversation_goes_from_a_user_to_the_assistant_or_is_refused() {
    let files = Files::new();
    let chat = |messages: &str| format!("{{\"messages\": {messages}}}");
    files.refused("a.jsonl", &chat("[]"), None, "`messages` is empty");
    files.refused("a.jsonl", &chat("3"), None, "holds no list");
    let user = r#"{"role": "user", "content": "a"}"#;
    files.refused("a.jsonl", &chat(&format!("[{user}]")), None, "the last message is the user's");
    let one = |role: &str| format!("{{\"role\": \"{role}\", \"content\": \"a\"}}");
    let [system, assistant, robot] = ["system", "assistant", "robot"].map(one);
    let rows = chat(&format!("[{robot}, {user}, {assistant}]"));
    files.refused("a.jsonl", &rows, None, "a.jsonl:1: `robot` is no role");
    let says = "before the last message speaks the system";
    files.refused("a.jsonl", &chat(&format!("[{system}, {assistant}]")), None, says);
    let says = "nothing is said before the assistant speaks";
    files.refused("a.jsonl", &chat(r#"[{"role": "assistant", "content": "a"}]"#), None, says);
}

#[test]
fn a_column_map_is_whole_or_refused() {
    for (map, says) in [
        ("prompt", "expected WHAT=COLUMN"),
        ("prompt=a", "both the prompt and the completion"),
        ("question=a,answer=b", "--columns knows no `question`"),
        ("prompt=a,instruction=c,output=b", "`instruction` is said twice"),
        ("messages=a,output=b", "nothing else is named"),
    ] {
        let error = ExampleColumns::parse(map).expect_err(map).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn the_built_in_instructions_split_without_an_overlap() -> Result<()> {
    let all = SftSource::Everyday.load_all(None)?;
    assert_eq!(all.len(), 70);
    let demos = (1, crate::arithmetic_questions::DemonstrationStyle::Clean);
    let split = SftSource::Everyday.load_dataset(None, demos, 0.2, 4)?;
    assert_eq!((split.train.len(), split.validation.len()), (56, 14));
    assert!(split.validation.iter().all(|example| !split.train.contains(example)));
    Ok(())
}

#[test]
fn a_real_file_of_instructions_is_read() -> Result<()> {
    if let Some(path) = course_data("data/instructions.json") {
        assert_eq!(SftSource::File(path).load_all(None)?.len(), 1100);
    }
    Ok(())
}
