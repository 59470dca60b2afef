//! Where in a completion its answer stands, beside the mark that part 8 reads.

/// What stands between the last `<answer>` and the `</answer>` after it, without spaces around it; the dots of the prompt's
/// example are none.
pub fn extract_answer_tag(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("<answer>")?;
    let (answer, _) = after.split_once("</answer>")?;
    Some(answer.trim()).filter(|answer| *answer != "...")
}

/// What a data set's solution ends with: what follows the first `####`, without spaces around it.
pub fn extract_gsm8k_answer(text: &str) -> Option<&str> {
    text.split_once("####").map(|(_, answer)| answer.trim())
}
