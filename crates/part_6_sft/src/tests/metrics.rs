//! 6.4: text metrics, on upstream's worked values and on cases by hand.

use tensor_core::testing::assert_close;

use crate::metrics::{exact_match, relaxed_match, rouge_l, rouge_n, token_f1};

#[test]
fn metrics_match_the_values_of_upstream() {
    assert_close(token_f1("The cat sat", "the cat sat down"), 0.857143, 1e-6);
    assert_close(token_f1("a a b", "a b b"), 0.666667, 1e-6);
    assert!(relaxed_match("Hello, World!", "hello world"));
}

#[test]
fn relaxed_match_ignores_punctuation_and_exact_match_does_not() {
    assert!(exact_match(" 19\n", "19"));
    assert!(!exact_match("19.", "19") && relaxed_match("19.", "19"));
    assert!(!exact_match("The answer is 19", "19") && !relaxed_match("The answer is 19", "19"));
}

#[test]
fn a_minus_sign_is_part_of_its_number() {
    assert!(!relaxed_match("-7", "7") && !relaxed_match("7", "-7"));
    assert!(relaxed_match("-7.", "-7"));
    assert!(relaxed_match("well-known", "well known"));
    assert_eq!(token_f1("-7", "7"), 0.);
}

#[test]
fn an_empty_text_agrees_only_with_another_empty_text() {
    for metric in [token_f1, rouge_l] {
        assert_eq!(metric("", " ."), 1.);
        assert_eq!(metric("a", ""), 0.);
        assert_eq!(metric("", "a"), 0.);
    }
}

#[test]
fn rouge_l_depends_on_word_order_and_token_f1_does_not() {
    assert_close(token_f1("c b a", "a b c"), 1., 1e-6);
    assert_close(rouge_l("c b a", "a b c"), 1. / 3., 1e-6);
    assert_close(rouge_l("a a a", "a"), 0.5, 1e-6); // an expected word matches once
    // Lin's example: the longest common subsequence "police the gunman" is 3 of 4 words, F1 0.75;
    // "the gunman" gives 0.5.
    assert_close(rouge_l("police kill the gunman", "police killed the gunman"), 0.75, 1e-6);
    assert_close(rouge_l("the gunman kill police", "police killed the gunman"), 0.5, 1e-6);
}

#[test]
fn words_in_other_scripts_are_compared() {
    assert!(relaxed_match("नमस्ते, दुनिया!", "नमस्ते दुनिया"));
    assert!(!relaxed_match("नमस्ते", "नमस्त"));
    assert_close(token_f1("“été”", "ÉTÉ"), 1., 1e-6);
}

#[test]
fn rouge_has_the_values_of_googles_rouge_score() -> anyhow::Result<()> {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../tests/golden/rouge.json"))?;
    for case in &cases {
        let text = |key: &str| case[key].as_str().expect("a text");
        let (completion, expected) = (text("completion"), text("expected"));
        let ours = [1, 2].map(|n| rouge_n(completion, expected, n));
        let ours = [ours[0], ours[1], rouge_l(completion, expected)];
        let golden = ["rouge1", "rouge2", "rougeL"].map(|key| case[key].as_f64().expect("a score"));
        assert_close(ours, golden, 1e-9);
    }
    Ok(())
}

#[test]
fn longer_sequences_of_words_are_compared_in_their_order() {
    assert_close(rouge_n("c b a", "a b c", 2), 0., 1e-9);
    assert_close(rouge_n("a b c d", "x a b c", 2), 2. / 3., 1e-9);
    assert_close(rouge_n("a b c d", "x a b c", 3), 0.5, 1e-9);
    assert_eq!((rouge_n("19", "19", 2), rouge_n("", "", 2)), (0., 1.), "one word is no pair");
}
