//! Answer extraction from a completion; part 8 reads answers after `####`, this file those in tags.

/// Text between the last `<answer>` and the `</answer>` after it, trimmed; `None` for the `...` of
/// the prompt's example.
pub fn extract_answer_tag(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("<answer>")?;
    let (answer, _) = after.split_once("</answer>")?;
    Some(answer.trim()).filter(|answer| *answer != "...")
}

/// Answer of a GSM8K solution: the text after the first `####`, trimmed.
pub fn extract_gsm8k_answer(text: &str) -> Option<&str> {
    text.split_once("####").map(|(_, answer)| answer.trim())
}
