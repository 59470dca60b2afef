//! 7.1 Built-in preferences: length is uninformative, and the splits are disjoint.

use std::collections::HashSet;

use anyhow::Result;
use datasets::{Preference, PreferenceColumns, Split, arithmetic_preferences, politeness};

use crate::PreferenceSource;
use crate::metrics::length_only_accuracy;

#[test]
fn training_validation_and_test_prompts_are_disjoint() -> Result<()> {
    let questions = |pairs: Vec<Preference>| -> HashSet<String> {
        pairs.into_iter().map(|pair| pair.prompt[0].content.clone()).collect()
    };
    for source in [PreferenceSource::Arithmetic, PreferenceSource::Politeness] {
        let dataset = source.load_dataset(&PreferenceColumns::default(), 30_000, 0.1, 0., 1)?;
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
fn a_longer_completion_is_about_as_often_the_better_one() {
    let baseline = |pairs: &[Preference]| {
        let lengths = pairs.iter().map(|pair| [pair.chosen.len(), pair.rejected.len()]);
        length_only_accuracy(&lengths.collect::<Vec<[usize; 2]>>())
    };
    for pairs in [
        arithmetic_preferences::train_pairs(4000, 1),
        arithmetic_preferences::eval_pairs(Split::Test),
    ] {
        assert!(baseline(&pairs) < 0.53, "the length baseline reaches {}", baseline(&pairs));
    }
    for pairs in [politeness::train_pairs(3000, 1), politeness::eval_pairs(Split::Test)] {
        assert!(baseline(&pairs) < 0.55, "the length baseline reaches {}", baseline(&pairs));
    }
}
