//! 7.1 Built-in preferences: near misses, politeness, disjoint splits.

use std::collections::HashSet;

use anyhow::Result;
use datasets::{Preference, PreferenceColumns};
use sft::arithmetic::Split;

use crate::metrics::length_only_accuracy;
use crate::{PreferenceSource, arithmetic, politeness};

#[test]
fn near_misses_are_wrong_by_1_to_10_and_about_as_long() {
    let train_pairs = arithmetic::train_pairs(4000, 1);
    for pairs in [&train_pairs, &arithmetic::eval_pairs(Split::Test)] {
        for Preference { prompt, chosen, rejected } in pairs {
            let [right, wrong] =
                [chosen, rejected].map(|text| text.parse::<i64>().expect("a number"));
            assert!((1..=10).contains(&(right - wrong).abs()), "{prompt:?} {right} {wrong}");
        }
        let same_digit =
            |pair: &&Preference| pair.chosen.chars().last() == pair.rejected.chars().last();
        let fraction = pairs.iter().filter(same_digit).count() as f64 / pairs.len() as f64;
        assert!((fraction - 0.1).abs() < 0.04, "{fraction} have the right last digit");
        let lengths: Vec<[usize; 2]> =
            pairs.iter().map(|pair| [pair.chosen.len(), pair.rejected.len()]).collect();
        let baseline = length_only_accuracy(&lengths);
        assert!(baseline < 0.53, "the length baseline reaches {baseline}");
    }
    assert_eq!(train_pairs, arithmetic::train_pairs(4000, 1));
    assert_ne!(train_pairs[..9], arithmetic::train_pairs(9, 2));
}

#[test]
fn training_validation_and_test_prompts_are_disjoint() -> Result<()> {
    let questions = |pairs: Vec<Preference>| -> HashSet<String> {
        pairs.into_iter().map(|pair| pair.prompt[0].content.clone()).collect()
    };
    for source in [PreferenceSource::Arithmetic, PreferenceSource::Politeness] {
        let dataset = source.load_dataset(&PreferenceColumns::default(), 30_000, [0.1, 0.], 1)?;
        let test = source.load_eval_preferences(&PreferenceColumns::default())?.usable;
        assert_eq!(test, dataset.test);
        let splits = [dataset.train, dataset.validation, test].map(questions);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(
                !splits[b].is_empty() && splits[a].is_disjoint(&splits[b]),
                "{source:?} {a} {b}"
            );
        }
    }
    Ok(())
}

#[test]
fn polite_and_rude_completions_differ_little_in_length() {
    let train_pairs = politeness::train_pairs(3000, 1);
    for pairs in [&politeness::eval_pairs(Split::Test), &train_pairs] {
        let lengths: Vec<[usize; 2]> =
            pairs.iter().map(|pair| [pair.chosen.len(), pair.rejected.len()]).collect();
        assert!(length_only_accuracy(&lengths) < 0.55, "{}", length_only_accuracy(&lengths));
    }
    let distinct: HashSet<&String> = train_pairs.iter().map(|pair| &pair.chosen).collect();
    assert!(distinct.len() > 1000, "{}", distinct.len());
    let contains = |phrase: &str| train_pairs.iter().any(|pair| pair.chosen.contains(phrase));
    assert!(contains("With pleasure!"));
    assert!(!contains("I am happy to help you."), "a phrase of the test split");
}
