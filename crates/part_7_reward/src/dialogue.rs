//! 7.1 Dialogues as Anthropic's HH files have them: both texts of a pair tell the whole conversation, and differ in its last turn.
//!
//! ```text
//! ⏎⏎Human: what are some pranks with a pen?⏎⏎Assistant: Are you looking for practical jokes?⏎⏎Human: yep⏎⏎Assistant: ..
//! ```
//!
//! Cut off at a model's context as they stand, long pairs become twice the same text. So what they share, which is
//! all but the last turn, is split off as the prompt, and of what is too long the beginning goes.

use anyhow::{Context, Result, ensure};
use modern::ChatMessage;

/// What begins a turn, and whose.
const TURN_MARKERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// Whether `text` is such a dialogue.
pub fn is_dialogue(text: &str) -> bool {
    text.starts_with(TURN_MARKERS[0].0)
}

/// The turns of a dialogue, apart from its last one, which the assistant takes; and that one.
///
/// # Errors
/// When `text` is no dialogue, or does not end with the assistant.
pub fn parse(text: &str) -> Result<(Vec<ChatMessage>, String)> {
    ensure!(is_dialogue(text), "a dialogue begins with an empty line and `Human:`");
    split_last_completion(turns(text))
}

/// The turns of a dialogue up to where the assistant is to speak, which `\n\nAssistant:` may mark.
pub fn parse_prompt(text: &str) -> Vec<ChatMessage> {
    let mut turns = turns(text);
    turns.pop_if(|last| last.role == "assistant" && last.content.is_empty());
    turns
}

fn turns(text: &str) -> Vec<ChatMessage> {
    let mut turns: Vec<ChatMessage> = Vec::new();
    let mut rest = text;
    while let Some((begin, role)) =
        TURN_MARKERS.into_iter().find(|(begin, _)| rest.starts_with(begin))
    {
        let said = &rest[begin.len()..];
        let ends = TURN_MARKERS.iter().filter_map(|(begin, _)| said.find(begin));
        let end = ends.min().unwrap_or(said.len());
        turns.push(ChatMessage::new(role, said[..end].trim()));
        rest = &said[end..];
    }
    turns
}

/// A conversation without its last message, which the assistant's must be; and what that says.
///
/// # Errors
/// When the last message is not the assistant's, or there is no other.
pub fn split_last_completion(mut messages: Vec<ChatMessage>) -> Result<(Vec<ChatMessage>, String)> {
    let last = messages.pop().context("the conversation is empty")?;
    ensure!(
        last.role == "assistant",
        "the last message is the {}'s, not the assistant's",
        last.role
    );
    ensure!(!messages.is_empty(), "nothing is said before the assistant speaks");
    Ok((messages, last.content.trim().to_string()))
}
