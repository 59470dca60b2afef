//! Where answers stand.

use crate::answers::{of_solution, tagged};

#[test]
fn the_answer_between_tags() {
    let text = "<reasoning>2</reasoning><answer> 42 </answer>";
    assert_eq!(tagged(text), Some("42"));
    assert_eq!(tagged("<answer>1</answer> no, <answer>2</answer>"), Some("2"));
    assert_eq!(tagged("<answer>1"), None);
    assert_eq!(tagged("1</answer>"), None);
    assert_eq!(tagged("<answer>1</answer><answer>2"), None, "the last is not closed");
    assert_eq!(tagged("<answer>\n...\n</answer>"), None, "the prompt's own example");
    assert_eq!(tagged("<answer></answer>"), Some(""));
}

#[test]
fn a_solution_ends_with_its_answer() {
    assert_eq!(of_solution("so 9 * 2 = 18\n#### 18"), Some("18"));
    assert_eq!(of_solution("so 18"), None);
}
