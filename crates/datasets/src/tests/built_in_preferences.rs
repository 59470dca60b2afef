//! Built-in preferences: near misses and politeness.

use std::collections::HashSet;

use tensor_core::testing::assert_close;

use crate::{Preference, Split, arithmetic_preferences, politeness};

#[test]
fn near_misses_are_wrong_by_1_to_10() {
    let train_pairs = arithmetic_preferences::train_pairs(4000, 1);
    for pairs in [&train_pairs, &arithmetic_preferences::eval_pairs(Split::Test)] {
        for Preference { prompt, chosen, rejected, .. } in pairs {
            let [right, wrong] =
                [chosen, rejected].map(|text| text.parse::<i64>().expect("a number"));
            assert!((1..=10).contains(&(right - wrong).abs()), "{prompt:?} {right} {wrong}");
        }
        let same_digit =
            |pair: &&Preference| pair.chosen.chars().last() == pair.rejected.chars().last();
        let fraction = pairs.iter().filter(same_digit).count() as f64 / pairs.len() as f64;
        assert_close(fraction, 0.1, 0.04);
    }
    assert_eq!(train_pairs, arithmetic_preferences::train_pairs(4000, 1));
    assert_ne!(train_pairs[..9], arithmetic_preferences::train_pairs(9, 2));
}

#[test]
fn polite_pairs_are_diverse_and_hold_out_phrases() {
    let train_pairs = politeness::train_pairs(3000, 1);
    let distinct: HashSet<&String> = train_pairs.iter().map(|pair| &pair.chosen).collect();
    assert!(distinct.len() > 1000, "{}", distinct.len());
    let contains = |phrase: &str| train_pairs.iter().any(|pair| pair.chosen.contains(phrase));
    assert!(contains("With pleasure!"));
    assert!(!contains("I am happy to help you."), "a phrase of the test split");
}
