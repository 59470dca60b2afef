//! Answer extraction.

use crate::answers::{extract_answer_tag, extract_gsm8k_answer};

#[test]
fn the_last_closed_answer_tag_is_extracted() {
    let text = "<reasoning>2</reasoning><answer> 42 </answer>";
    assert_eq!(extract_answer_tag(text), Some("42"));
    assert_eq!(extract_answer_tag("<answer>1</answer> no, <answer>2</answer>"), Some("2"));
    assert_eq!(extract_answer_tag("<answer>1"), None);
    assert_eq!(extract_answer_tag("1</answer>"), None);
    assert_eq!(
        extract_answer_tag("<answer>1</answer><answer>2"),
        None,
        "the last tag is not closed"
    );
    assert_eq!(extract_answer_tag("<answer>\n...\n</answer>"), None, "the prompt's own example");
    assert_eq!(extract_answer_tag("<answer></answer>"), Some(""));
}

#[test]
fn a_gsm8k_answer_is_the_text_after_the_hashes() {
    assert_eq!(extract_gsm8k_answer("so 9 * 2 = 18\n#### 18"), Some("18"));
    assert_eq!(extract_gsm8k_answer("so 18"), None);
}
