//! Dialogues in the format of Anthropic's HH: both texts of a pair contain the whole
//! conversation and differ in its last turn.
//!
//! ```text
//! ⏎⏎Human: what are some pranks with a pen?⏎⏎Assistant: Are you looking for practical jokes?
//! ⏎⏎Human: yep⏎⏎Assistant: ..
//! ```
//!
//! Truncated on the right at the context length, the two texts of a long pair would become
//! identical. We therefore split off their common part, all turns but the last, as the prompt, and
//! truncate on the left.

use anyhow::{Context, Result, bail, ensure};
use model_io::ChatMessage;

/// Text that starts a turn, and the role of the turn.
const TURN_MARKERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// Returns true if `text` is an HH dialogue.
pub fn is_hh_dialogue(text: &str) -> bool {
    text.starts_with(TURN_MARKERS[0].0)
}

/// Turns of a dialogue, in order. The last one is empty where the text ends with `\n\nAssistant:`.
pub fn turns(text: &str) -> Vec<ChatMessage> {
    let mut turns: Vec<ChatMessage> = Vec::new();
    let mut rest = text;
    while let Some((marker, role)) =
        TURN_MARKERS.into_iter().find(|(marker, _)| rest.starts_with(marker))
    {
        let content = &rest[marker.len()..];
        let is_marker =
            |&at: &usize| TURN_MARKERS.iter().any(|(marker, _)| content[at..].starts_with(marker));
        // Not by a search for each marker: to find that one is missing takes the whole text.
        let mut line_ends = content.match_indices('\n').map(|(at, _)| at);
        let end = line_ends.find(is_marker).unwrap_or(content.len());
        // The space after a marker belongs to it.
        let content_text = content[..end].strip_prefix(' ').unwrap_or(&content[..end]);
        turns.push(ChatMessage::new(role, content_text));
        rest = &content[end..];
    }
    turns
}

/// Splits a conversation into all messages but the last, and the last one, which must be the
/// assistant's.
///
/// # Errors
/// When the last message is not the assistant's, or it is the only message.
pub fn split_last_completion(
    mut messages: Vec<ChatMessage>,
) -> Result<(Vec<ChatMessage>, ChatMessage)> {
    let last = messages.pop().context("the conversation is empty")?;
    ensure!(
        last.role == "assistant",
        "the last message is the {}'s, not the assistant's",
        last.role
    );
    ensure!(!messages.is_empty(), "there is no message before the assistant's");
    Ok((messages, last))
}

/// Checks that a prompt, if it has messages, ends with one of the user or of a tool.
///
/// # Errors
/// When its last message has another role.
pub fn ensure_user_is_last(prompt: &[ChatMessage]) -> Result<()> {
    match prompt.last() {
        Some(ChatMessage { role, .. }) if !["user", "tool"].contains(&role.as_str()) => {
            bail!("the last message of the prompt is the {role}'s, not the user's")
        }
        _ => Ok(()),
    }
}
