//! 6.4: agreement of texts. Upstream's worked values, and cases by hand.

use crate::metrics::{exact_match, relaxed_match, rouge_l, token_f1};

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

#[test]
fn the_values_of_upstream() {
    close(token_f1("The cat sat", "the cat sat down"), 0.857143);
    close(token_f1("a a b", "a b b"), 0.666667);
    assert!(relaxed_match("Hello, World!", "hello world"));
}

#[test]
fn exact_is_exact_and_form_is_forgiven_apart() {
    assert!(exact_match(" 19\n", "19"));
    assert!(!exact_match("19.", "19") && relaxed_match("19.", "19"));
    assert!(!exact_match("The answer is 19", "19") && !relaxed_match("The answer is 19", "19"));
}

#[test]
fn a_sign_is_part_of_its_number() {
    assert!(!relaxed_match("-7", "7") && !relaxed_match("7", "-7"));
    assert!(relaxed_match("-7.", "-7"));
    assert!(relaxed_match("well-known", "well known"));
    assert_eq!(token_f1("-7", "7"), 0.);
}

#[test]
fn two_empty_texts_agree_and_one_with_none_does_not() {
    for score in [token_f1, rouge_l] {
        assert_eq!(score("", " ."), 1.);
        assert_eq!(score("a", ""), 0.);
        assert_eq!(score("", "a"), 0.);
    }
}

#[test]
fn rouge_l_minds_the_order_and_f1_does_not() {
    close(token_f1("c b a", "a b c"), 1.);
    close(rouge_l("c b a", "a b c"), 1. / 3.);
    close(rouge_l("a a a", "a"), 0.5); // a word wanted once is found once
    // Longest common subsequence "police the gunman" of Lin's example: 3 of 4 words, F1 0.75; "the gunman": 0.5.
    close(rouge_l("police kill the gunman", "police killed the gunman"), 0.75);
    close(rouge_l("the gunman kill police", "police killed the gunman"), 0.5);
}

#[test]
fn words_of_other_scripts_are_words() {
    assert!(relaxed_match("नमस्ते, दुनिया!", "नमस्ते दुनिया"));
    assert!(!relaxed_match("नमस्ते", "नमस्त"));
    close(token_f1("“été”", "ÉTÉ"), 1.);
}
