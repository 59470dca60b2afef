//! Message of a conversation, as chat templates get it: a role, a text, and whatever else a data
//! row has, such as tool calls.

use anyhow::Result;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChatMessage {
    /// Role of the sender: `system`, `user`, `assistant`, `tool`, or another one that the template
    /// supports.
    pub role: String,
    /// Text of the message; of a list of parts, the texts of its parts.
    pub content: String,
    /// Other fields for the template, such as `tool_calls`; and `content`, if it is a list of parts
    /// or null.
    pub fields: Map<String, Value>,
    /// Arguments of the chat template for the conversation of this message, such as its `tools`.
    /// They go with the messages and are not a part of any: JSON does not have them.
    pub template_arguments: Map<String, Value>,
}

impl ChatMessage {
    /// Message with this role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let (role, content) = (role.into(), content.into());
        Self { role, content, fields: Map::new(), template_arguments: Map::new() }
    }

    /// System message: instructions for the assistant.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// User message.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// Assistant message.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }

    /// True if the message calls a tool.
    pub fn calls_tool(&self) -> bool {
        match self.fields.get("tool_calls") {
            None | Some(Value::Null) => false,
            Some(Value::Array(calls)) => !calls.is_empty(),
            Some(_) => true,
        }
    }

    /// Arguments of the chat template that the messages of a conversation have.
    pub fn template_arguments_of(messages: &[Self]) -> Map<String, Value> {
        messages.iter().flat_map(|message| message.template_arguments.clone()).collect()
    }

    /// Gives a conversation arguments of the chat template. They go with the first message of the
    /// user, which no change of the system prompt takes away.
    pub fn set_template_arguments_of(messages: &mut [Self], arguments: Map<String, Value>) {
        let user = messages.iter().position(|message| message.role == "user").unwrap_or(0);
        if let Some(message) = messages.get_mut(user) {
            message.template_arguments = arguments;
        }
    }

    /// Message in which `change` is applied to every text, those in nested fields included.
    pub(crate) fn map_texts(&self, mut change: impl FnMut(&str) -> Result<String>) -> Result<Self> {
        Ok(Self {
            role: change(&self.role)?,
            content: change(&self.content)?,
            fields: map_object(&self.fields, &mut change)?,
            template_arguments: map_object(&self.template_arguments, &mut change)?,
        })
    }
}

fn map_object(
    object: &Map<String, Value>,
    change: &mut impl FnMut(&str) -> Result<String>,
) -> Result<Map<String, Value>> {
    object.iter().map(|(key, value)| Ok((change(key)?, map_value(value, change)?))).collect()
}

fn map_value(value: &Value, change: &mut impl FnMut(&str) -> Result<String>) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(change(text)?),
        Value::Array(values) => Value::Array(
            values.iter().map(|value| map_value(value, change)).collect::<Result<_>>()?,
        ),
        Value::Object(object) => Value::Object(map_object(object, change)?),
        other => other.clone(),
    })
}

impl Serialize for ChatMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [role, content] = [&self.role, &self.content].map(|text| Value::from(text.as_str()));
        let mut object = Map::from_iter([("role".into(), role), ("content".into(), content)]);
        object.extend(self.fields.clone());
        object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ChatMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let invalid = |message: &str| serde::de::Error::custom(message);
        let mut fields = Map::deserialize(deserializer)?;
        let Some(Value::String(role)) = fields.remove("role") else {
            return Err(invalid("a message needs a `role`, which is a string"));
        };
        let content = match fields.get("content") {
            Some(Value::String(text)) => {
                let text = text.clone();
                fields.remove("content");
                text
            }
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part["text"].as_str()).collect()
            }
            Some(Value::Null) if fields.len() > 1 => String::new(), // tool calls, say
            _ => return Err(invalid("a message needs a `content`: a string or a list of parts")),
        };
        Ok(Self { fields, ..Self::new(role, content) })
    }
}
