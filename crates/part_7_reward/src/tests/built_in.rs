//! 7.1 The built-in preferences: near misses, manners, and what is never learned from.

use std::collections::HashSet;

use anyhow::Result;
use sft::arithmetic::Split;

use crate::metrics::length_only_accuracy;
use crate::{Preference, PreferenceColumns, PreferenceSource, arithmetic, politeness};

#[test]
fn near_misses_are_near_wrong_and_about_as_long() {
    let drawn = arithmetic::train_pairs(4000, 1);
    for pairs in [&drawn, &arithmetic::eval_pairs(Split::Test)] {
        for Preference { prompt, chosen, rejected } in pairs {
            let [right, wrong] = [chosen, rejected].map(|text| text.parse::<i64>().expect("one"));
            assert!((1..=10).contains(&(right - wrong).abs()), "{prompt:?} {right} {wrong}");
        }
        let same_digit =
            |pair: &&Preference| pair.chosen.chars().last() == pair.rejected.chars().last();
        let carries = pairs.iter().filter(same_digit).count() as f64 / pairs.len() as f64;
        println!("{carries} have the right last digit");
        assert!((carries - 0.1).abs() < 0.04, "{carries}");
        let lengths: Vec<[usize; 2]> =
            pairs.iter().map(|pair| [pair.chosen.len(), pair.rejected.len()]).collect();
        let found = length_only_accuracy(&lengths);
        assert!(found < 0.53, "length alone tells {found}");
    }
    assert_eq!(drawn, arithmetic::train_pairs(4000, 1));
    assert_ne!(drawn[..9], arithmetic::train_pairs(9, 2));
}

#[test]
fn no_question_that_is_set_apart_is_learned_from_or_in_two_sets() -> Result<()> {
    let questions = |pairs: Vec<Preference>| -> HashSet<String> {
        pairs.into_iter().map(|pair| pair.prompt[0].content.clone()).collect()
    };
    for source in [PreferenceSource::Arithmetic, PreferenceSource::Politeness] {
        let examples = source.load_dataset(&PreferenceColumns::default(), 30_000, [0.1, 0.], 1)?;
        let reported = source.load_all(&PreferenceColumns::default())?.usable;
        assert_eq!(reported, examples.test);
        let sets = [examples.train, examples.validation, reported].map(questions);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(!sets[b].is_empty() && sets[a].is_disjoint(&sets[b]), "{source:?} {a} {b}");
        }
    }
    Ok(())
}

#[test]
fn manners_differ_in_tone_and_hardly_in_length() {
    let learned = politeness::train_pairs(3000, 1);
    for pairs in [&politeness::eval_pairs(Split::Test), &learned] {
        let lengths: Vec<[usize; 2]> =
            pairs.iter().map(|pair| [pair.chosen.len(), pair.rejected.len()]).collect();
        assert!(length_only_accuracy(&lengths) < 0.55, "{}", length_only_accuracy(&lengths));
    }
    let different: HashSet<&String> = learned.iter().map(|pair| &pair.chosen).collect();
    assert!(different.len() > 1000, "{}", different.len());
    let says = |phrase: &str| learned.iter().any(|pair| pair.chosen.contains(phrase));
    assert!(says("With pleasure!") && !says("I am happy to help you."), "some phrases are new");
}
