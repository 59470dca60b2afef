//! Pairs and best completions of rollouts.

use ppo::{RolloutGroup, ScoredRollouts};

use super::completion;
use crate::preference_example::{Label, PreferenceExample};
use crate::sampled::SampledSignal;

fn group(prompt: u32, completions: &[u32]) -> RolloutGroup {
    let completions = completions.iter().map(|&token| completion(&[token, 0])).collect();
    RolloutGroup { prompt: vec![prompt], completions }
}

/// First tokens of the prompt and of each completion.
fn first_tokens(examples: &[PreferenceExample]) -> Vec<Vec<u32>> {
    let tokens = |example: &PreferenceExample| {
        let completions = example.group.completions.iter().map(|completion| completion.tokens[0]);
        [example.group.prompt[0]].into_iter().chain(completions).collect()
    };
    examples.iter().map(tokens).collect()
}

#[test]
fn pairs_are_best_against_worst_and_equal_rewards_teach_nothing() {
    let rollouts = ScoredRollouts {
        groups: vec![group(1, &[2, 3, 4, 5, 6]), group(7, &[8, 9]), group(10, &[2, 3, 4])],
        completion_texts: vec![String::new(); 10],
        rewards: vec![0., 1., 0.5, 1., 0., /**/ 1., 1., /**/ 0., 0., 1.],
    };
    let pairs = SampledSignal::Pairs.examples(&rollouts);
    assert_eq!(first_tokens(&pairs), [[1, 3, 6], [1, 5, 2], [10, 4, 3]]);
    assert!(pairs.iter().all(|pair| pair.labels == [Label::Chosen, Label::Rejected]));
    let best = SampledSignal::Best.examples(&rollouts);
    assert_eq!(first_tokens(&best), [[1, 3], [10, 4]]);
    assert!(best.iter().all(|example| example.labels == [Label::Chosen]));
}
