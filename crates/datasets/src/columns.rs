//! Columns of a row, in any layout: the map of `--columns`, and the values that layouts consist of:
//! texts, instructions with an input, and lists of messages.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use model_io::{ChatArguments, ChatMessage};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::dialogue::ensure_user_is_last;

/// Parses `FIELD=COLUMN,FIELD=COLUMN` into the column of each field. `example` is such a map, for
/// the error message.
///
/// # Errors
/// When an entry does not have this form, its field is not one of `fields`, or is given twice.
pub fn parse_column_map<'a>(
    text: &'a str,
    fields: &[&str],
    example: &str,
) -> Result<BTreeMap<&'a str, &'a str>> {
    let mut columns = BTreeMap::new();
    for pair in text.split(',') {
        let (field, column) = pair.split_once('=').with_context(|| {
            format!("--columns {text}: expected FIELD=COLUMN, for example {example}")
        })?;
        let field = field.trim();
        ensure!(
            fields.contains(&field),
            "--columns: unknown field `{field}`; the fields are {}",
            fields.join(", ")
        );
        let is_new = columns.insert(field, column.trim()).is_none();
        ensure!(is_new, "--columns {text}: `{field}` is given twice");
    }
    Ok(columns)
}

/// Columns of a row.
///
/// # Errors
/// When the row is not an object.
pub fn object(row: &Value) -> Result<&Map<String, Value>> {
    row.as_object()
        .with_context(|| format!("a row must be an object with a key per column, but is {row}"))
}

/// True if the row has a value other than null in this column.
pub fn has_value(row: &Value, name: &str) -> bool {
    row.get(name).is_some_and(|value| !value.is_null())
}

/// Text in a column, with its white space: code begins with an indentation.
///
/// # Errors
/// When the column is missing or not a string.
pub fn text<'a>(row: &'a Value, name: &str) -> Result<&'a str> {
    let value = value(row, name)?;
    value.as_str().with_context(|| format!("`{name}` must be a string, but is {value}"))
}

/// Text in a column, which is not blank.
///
/// # Errors
/// When the column is missing, not a string, or blank.
pub fn non_empty_text<'a>(row: &'a Value, name: &str) -> Result<&'a str> {
    let text = text(row, name)?;
    ensure!(!is_blank(text), "`{name}` is empty");
    Ok(text)
}

/// Instruction in a column, followed by its input on a new line if `input` names a column that is
/// neither null nor blank.
///
/// # Errors
/// When a column is missing or not a string, or the instruction is blank.
pub fn instruction(row: &Value, name: &str, input: Option<&str>) -> Result<String> {
    let instruction = non_empty_text(row, name)?;
    let input = match input {
        Some(input) if row.get(input) != Some(&Value::Null) => text(row, input)?,
        _ => "",
    };
    Ok(if is_blank(input) { instruction.into() } else { format!("{instruction}\n{input}") })
}

/// True if a text has nothing but white space.
pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// True if a message says nothing: it has no text and calls no tool.
pub fn is_empty(message: &ChatMessage) -> bool {
    is_blank(&message.content) && !message.calls_tool()
}

/// Prompt in a column: a text, which is a message of the user, or a list of messages.
///
/// # Errors
/// When the column is missing or has another type, the text is empty, or the last message is not
/// the user's.
pub fn prompt(row: &Value, name: &str) -> Result<Vec<ChatMessage>> {
    if !value(row, name)?.is_array() {
        return Ok(vec![ChatMessage::user(non_empty_text(row, name)?)]);
    }
    let prompt = messages(row, name)?;
    ensure_user_is_last(&prompt)?;
    Ok(prompt)
}

/// Completion in a column: a text, a number, or a list of one message of the assistant.
///
/// # Errors
/// When the column is missing or has another type.
pub fn completion(row: &Value, name: &str) -> Result<ChatMessage> {
    match value(row, name)? {
        Value::Number(number) => return Ok(ChatMessage::assistant(number.to_string())),
        Value::Array(_) => {}
        _ => return Ok(ChatMessage::assistant(text(row, name)?)),
    }
    match &messages(row, name)?[..] {
        [message] if message.role == "assistant" => Ok(message.clone()),
        _ => bail!("`{name}` must be a text or a list of one message of the assistant"),
    }
}

/// Gives a prompt the arguments of the chat template that its row has, as in TRL: `tools`, a list
/// or the JSON of one, and the object `chat_template_kwargs`.
///
/// # Errors
/// When one of them has another type, or an argument is given by the conversation.
pub fn set_template_arguments(row: &Value, prompt: &mut [ChatMessage]) -> Result<()> {
    if prompt.is_empty() {
        return Ok(()); // a text, which no template renders
    }
    let mut arguments = match row.get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => {
            ChatArguments::new(arguments.clone()).context("`chat_template_kwargs` is invalid")?.0
        }
        Some(other) => bail!("`chat_template_kwargs` must be an object, but is {other}"),
    };
    let tools = match row.get("tools") {
        Some(Value::String(text)) if is_blank(text) => Value::Null,
        Some(Value::String(text)) => serde_json::from_str::<Value>(text)
            .with_context(|| format!("`tools` must be a list or its JSON, but is {text:?}"))?,
        tools => tools.cloned().unwrap_or_default(),
    };
    ensure!(tools.is_null() || tools.is_array(), "`tools` must be a list, but is {tools}");
    // As in TRL, an empty list is none: Llama's template writes a heading for it.
    if tools.as_array().is_some_and(|tools| !tools.is_empty()) {
        arguments.insert("tools".into(), tools);
    }
    ChatMessage::set_template_arguments_of(prompt, arguments);
    Ok(())
}

/// List of messages in a column, at least one: `{"role", "content"}` objects, or ShareGPT's
/// `{"from", "value"}`, whose roles `human` and `gpt` are the user's and the assistant's.
///
/// # Errors
/// When the column is missing or not such a list, or a role is unknown.
pub fn messages(row: &Value, name: &str) -> Result<Vec<ChatMessage>> {
    let expected = || {
        let keys = r#"{"role", "content"} or {"from", "value"}"#;
        format!("`{name}` must be a list of {keys} objects")
    };
    let values = value(row, name)?.as_array().with_context(expected)?.iter();
    let messages: Vec<ChatMessage> =
        values.map(message).collect::<serde_json::Result<_>>().with_context(expected)?;
    ensure!(!messages.is_empty(), "`{name}` is empty");
    for ChatMessage { role, .. } in &messages {
        if !["system", "user", "assistant", "tool"].contains(&role.as_str()) {
            bail!("unknown role `{role}`: expected system, user (human), assistant (gpt) or tool");
        }
    }
    Ok(messages)
}

/// Message of a list.
fn message(value: &Value) -> serde_json::Result<ChatMessage> {
    let (Some(from), Some(text)) = (value["from"].as_str(), value["value"].as_str()) else {
        return ChatMessage::deserialize(value);
    };
    let role = match from {
        "human" => "user",
        "gpt" => "assistant",
        other => other,
    };
    Ok(ChatMessage::new(role, text))
}

fn value<'a>(row: &'a Value, name: &str) -> Result<&'a Value> {
    object(row)?.get(name).with_context(|| format!("there is no column `{name}`"))
}
