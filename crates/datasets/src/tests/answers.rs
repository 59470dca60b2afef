//! Answers in texts, with those of a PPO tutorial's tests, some of which its solution fails.

use crate::answers::{answer_after_marker, extract_answer_tag, extract_gsm8k_answer, final_answer};

#[test]
fn the_final_answer_is_the_marked_or_the_last_number() {
    for (text, marked, last) in [
        ("The answer is #### 123", Some(123.), Some(123.)),
        ("So ####    45.67 end", Some(45.67), Some(45.67)),
        ("#### -78,910.5", Some(-78910.5), Some(-78910.5)),
        ("#### 1,234,567", Some(1234567.), Some(1234567.)),
        ("#### $1,234.00", Some(1234.), Some(1234.)),
        ("####18.", Some(18.), Some(18.)),
        ("#### 5 then #### 6", Some(5.), Some(5.)),
        ("9 * 2 = 18\n#### 18</answer>", Some(18.), Some(18.)),
        ("#### 12a", None, None),
        ("####", None, None),
        ("No hash 123", None, Some(123.)),
        ("First 10 then 20", None, Some(20.)),
        ("text 50 end", None, Some(50.)),
        ("it is -50", None, Some(-50.)),
        ("that is $1,234.00.", None, Some(1234.)),
        ("18.", None, Some(18.)),
        ("50%", None, Some(50.)),
        ("x=5", None, Some(5.)),
        ("1e3", None, Some(1000.)),
        ("−3", None, Some(-3.)),
        ("**7**", None, Some(7.)),
        ("12,34", None, Some(34.)), // a list
        ("#### $ 42", Some(42.), Some(42.)),
        ("#### 1 234", Some(1234.), Some(1234.)),
        ("Of 50 there are $42$.", None, Some(42.)),
        ("of 50, \\boxed{42}", None, Some(42.)),
        ("50: [42]", None, Some(42.)),
        ("50 `42`", None, Some(42.)),
        ("Answer:42", None, Some(42.)),
        ("50 <answer>42</answer>", None, Some(42.)),
        ("of 50 it is 42km", None, Some(42.)),
        ("of 10, it is 3/4", None, None), // rather than 10
        ("no number here", None, None),
        ("fallback 12a", None, None),
        ("inf nan", None, None),
        ("", None, None),
    ] {
        assert_eq!((answer_after_marker(text), final_answer(text)), (marked, last), "{text:?}");
    }
}

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

#[test]
fn an_answer_counts_however_much_text_surrounds_it() {
    let prose = "so it is, and that is all there is to say. ".repeat(50);
    let marked = format!("{prose}\n#### 42\n{prose}");
    assert_eq!((answer_after_marker(&marked), final_answer(&marked)), (Some(42.), Some(42.)));
    assert_eq!(final_answer(&format!("it is 42. {prose}")), Some(42.));
    assert_eq!(extract_answer_tag(&format!("<answer>42</answer> {prose}")), Some("42"));
    assert_eq!(extract_gsm8k_answer(&format!("{prose}\n#### 42")), Some("42"));
}
