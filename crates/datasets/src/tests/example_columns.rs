//! Data files: supported layouts, and the error messages for invalid ones.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use model_io::ChatMessage;
use tempfile::TempDir;
use tensor_core::testing::course_data;

use crate::{AssistantTurns, Example, ExampleColumns, read_examples};

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
fn a_conversation_of_sharegpt_ends_with_the_last_turn_of_the_assistant() -> Result<()> {
    let files = Files::new();
    let turn = |from: &str, value: &str| format!(r#"{{"from": "{from}", "value": "{value}"}}"#);
    let turns = |turns: &[String]| format!(r#"{{"conversations": [{}]}}"#, turns.join(", "));
    let row = turns(&[
        turn("system", "Add."),
        turn("human", "1 + 2"),
        turn("gpt", "call"),
        turn("tool", "3"),
        turn("gpt", "It is 3."),
        turn("human", "Thanks"),
    ]);
    let example = &files.read("a.jsonl", row.as_bytes(), None)?[0];
    let roles: Vec<&str> = example.prompt.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(example.completion, "It is 3.");
    assert_eq!(example.assistant_turns, AssistantTurns::All);
    // Reinforcement learning answers the last question.
    let path = files.write("a.jsonl", row.as_bytes());
    let prompts = read_examples(&path, Some(&ExampleColumns::AnyPrompt))?;
    assert_eq!((prompts[0].prompt.len(), prompts[0].completion.as_str()), (6, ""));
    for (row, message) in [
        (turns(&[turn("robot", "a")]), "unknown role `robot`"),
        (turns(&[turn("human", "a")]), "the last message is the user's, not the assistant's"),
        (turns(&[r#"{"from": "gpt"}"#.into()]), "{\"from\", \"value\"} objects"),
    ] {
        files.assert_rejected("a.jsonl", &row, None, message);
    }
    Ok(())
}

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
fn conversations_must_end_with_a_user_and_an_assistant_message() {
    let files = Files::new();
    let chat = |messages: &str| format!("{{\"messages\": {messages}}}");
    files.assert_rejected("a.jsonl", &chat("[]"), None, "`messages` is empty");
    files.assert_rejected("a.jsonl", &chat("3"), None, "must be a list");
    let user = r#"{"role": "user", "content": "a"}"#;
    files.assert_rejected(
        "a.jsonl",
        &chat(&format!("[{user}]")),
        None,
        "the last message is the user's, not the assistant's",
    );
    let one = |role: &str| format!("{{\"role\": \"{role}\", \"content\": \"a\"}}");
    let [system, assistant, robot] = ["system", "assistant", "robot"].map(one);
    let rows = chat(&format!("[{robot}, {user}, {assistant}]"));
    files.assert_rejected("a.jsonl", &rows, None, "a.jsonl:1: unknown role `robot`");
    let message = "the last message of the prompt is the system's, not the user's";
    files.assert_rejected("a.jsonl", &chat(&format!("[{system}, {assistant}]")), None, message);
    let message = "there is no message before the assistant's";
    files.assert_rejected(
        "a.jsonl",
        &chat(r#"[{"role": "assistant", "content": "a"}]"#),
        None,
        message,
    );
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

/// Layouts of TRL: prompt-completion of a conversation, and prompts alone.
#[test]
fn prompts_may_be_conversations_and_stand_alone() -> Result<()> {
    let files = Files::new();
    let prompt = r#"[{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 2"}]"#;
    let messages = vec![ChatMessage::system("Add."), ChatMessage::user("1 + 2")];
    let assistant_turns = AssistantTurns::Last;
    let (prompts, completion) = (messages.clone(), "3".into());
    let expected = Example { prompt: prompts, completion, assistant_turns, tests: vec![] };
    for completion in [r#""3""#, r#"[{"role": "assistant", "content": "3"}]"#] {
        let row = format!(r#"{{"prompt": {prompt}, "completion": {completion}}}"#);
        assert_eq!(files.read("a.jsonl", row.as_bytes(), None)?, std::slice::from_ref(&expected));
    }
    let (completion, assistant_turns) = (String::new(), AssistantTurns::All);
    let alone = Example { prompt: messages, completion, assistant_turns, tests: vec![] };
    let row = format!(r#"{{"prompt": {prompt}}}"#);
    for columns in [ExampleColumns::parse("prompt=prompt")?, ExampleColumns::AnyPrompt] {
        let path = files.write("a.jsonl", row.as_bytes());
        assert_eq!(read_examples(&path, Some(&columns))?, std::slice::from_ref(&alone));
    }
    let example = files.write("b.jsonl", br#"{"prompt": "1 + 2", "completion": "3"}"#);
    let found = read_examples(&example, Some(&ExampleColumns::AnyPrompt))?;
    assert_eq!(found, [Example::new("1 + 2", "3")], "an example keeps its completion");
    files.assert_rejected("a.jsonl", &row, None, "prompts alone are for reinforcement learning");
    for (row, message) in [
        (r#"{"prompt": [], "completion": "3"}"#, "`prompt` is empty"),
        (
            r#"{"prompt": [{"role": "assistant", "content": "a"}], "completion": "3"}"#,
            "the last message of the prompt is the assistant's",
        ),
        (
            r#"{"prompt": "a", "completion": [{"role": "user", "content": "3"}]}"#,
            "a list of one message of the assistant",
        ),
        (r#"{"prompt": 7, "completion": "3"}"#, "`prompt` must be a string, but is 7"),
    ] {
        files.assert_rejected("a.jsonl", row, None, message);
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

#[test]
fn a_prompt_may_end_with_the_result_of_a_tool() -> Result<()> {
    let row = r#"{"messages": [
        {"role": "user", "content": [{"type": "text", "text": "How warm is it?"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"name": "warmth"}]},
        {"role": "tool", "content": "20", "tool_call_id": "a"},
        {"role": "assistant", "content": "20 degrees."}]}"#;
    let examples = Files::new().read("a.json", format!("[{row}]").as_bytes(), None)?;
    let prompt = &examples[0].prompt;
    assert_eq!(prompt[0].content, "How warm is it?");
    assert_eq!(prompt[1].fields["tool_calls"][0]["name"], "warmth");
    assert_eq!((prompt[2].role.as_str(), prompt[2].content.as_str()), ("tool", "20"));
    Ok(())
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
