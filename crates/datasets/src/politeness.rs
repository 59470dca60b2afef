//! Politeness preferences: a polite completion (chosen) against a rude one (rejected).
//!
//! Both completions state the same fact, with polite or rude phrases of about equal length before
//! it, after it, or both. Validation and test pairs have facts and phrases that are not in the
//! training pairs (some words of the phrases are), so a model can only succeed by the tone.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use tensor_core::Rng;

use crate::preference::Preference;
use crate::split::Split;

/// Polite and rude phrases before and after the fact, and facts, by the heading of their section.
static SECTIONS: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let sections = include_str!("../assets/politeness.txt").split("\n\n");
    let sections = sections.filter_map(|section| section.split_once('\n'));
    sections.map(|(heading, lines)| (heading, lines.lines().collect())).collect()
});
/// Number of phrases in each list.
const N_PHRASES: usize = 12;
/// Phrases of each list in the training pairs; the validation and test pairs have the others.
const N_TRAIN_PHRASES: usize = 8;

/// Seed of the validation and test pairs.
const EVAL_SEED: u64 = 71;

/// One in this many facts is in the test split, and one in the validation split.
const HOLD_OUT_EVERY: usize = 5;
/// Pairs per fact of the validation and test splits.
const PAIRS_PER_FACT: usize = 25;

/// Fact, and the question that it answers.
struct Fact {
    question: String,
    fact: String,
}

fn facts() -> Vec<Fact> {
    let mut facts = Vec::new();
    for (section, question, property) in [
        ("capitals", "What is the capital of", "capital"),
        ("opposites", "What is the opposite of", "opposite"),
        ("colors", "What colour has", "colour"),
    ] {
        for (thing, value) in SECTIONS[section].iter().filter_map(|line| line.split_once(", ")) {
            facts.push(Fact {
                question: format!("{question} {thing}?"),
                fact: format!("The {property} of {thing} is {value}."),
            });
        }
    }
    facts
}

/// Facts of a split.
fn facts_of_split(split: Split) -> Vec<Fact> {
    let split_of = |i: &usize| match i % HOLD_OUT_EVERY {
        0 => Split::Test,
        1 => Split::Validation,
        _ => Split::Train,
    };
    let numbered = facts().into_iter().enumerate();
    numbered.filter(|(i, _)| split_of(i) == split).map(|(_, fact)| fact).collect()
}

/// Training pairs: `n` random facts and phrases of the training split, sampled with `seed`.
pub fn train_pairs(n: usize, seed: u64) -> Vec<Preference> {
    let facts = facts_of_split(Split::Train);
    let mut rng = Rng::new(seed);
    let phrases = || 0..N_TRAIN_PHRASES;
    (0..n).map(|_| preference(&facts[rng.below(facts.len())], phrases(), &mut rng)).collect()
}

/// Evaluation pairs of the validation or test split, always the same, with facts and phrases that
/// are not in the training pairs.
pub fn eval_pairs(split: Split) -> Vec<Preference> {
    let mut rng = Rng::new(EVAL_SEED);
    let facts = facts_of_split(split);
    let repeated = facts.iter().flat_map(|fact| [fact; PAIRS_PER_FACT]);
    let phrases = || N_TRAIN_PHRASES..N_PHRASES;
    repeated.map(|fact| preference(fact, phrases(), &mut rng)).collect()
}

/// Pair about a fact, with phrases of these indices before it, after it, or both.
fn preference(fact: &Fact, indices: Range<usize>, rng: &mut Rng) -> Preference {
    let Fact { question, fact } = fact;
    let mut completion = |tone: &str| {
        let [before, after] = ["before", "after"].map(|place| {
            let phrases = &SECTIONS[format!("{tone} {place}").as_str()];
            phrases[indices.start + rng.below(indices.len())]
        });
        match rng.below(3) {
            0 => format!("{before} {fact}"),
            1 => format!("{fact} {after}"),
            _ => format!("{before} {fact} {after}"),
        }
    };
    let (chosen, rejected) = (completion("polite"), completion("rude"));
    Preference::new(question, chosen, rejected)
}
