//! Politeness preferences: a polite completion (chosen) against a rude one (rejected).
//!
//! Both completions state the same fact, with polite or rude phrases of about equal length before
//! it, after it, or both. Validation and test pairs have facts and phrases that are not in the
//! training pairs (some words of the phrases are), so a model can only succeed by the tone.

use std::ops::Range;

use tensor_core::Rng;

use crate::preference::Preference;
use crate::split::Split;

/// Polite phrases before the fact.
const POLITE_BEFORE: [&str; 12] = [
    "Of course!",
    "Happy to help.",
    "Good question!",
    "Thank you for asking.",
    "Certainly.",
    "With pleasure!",
    "I am glad that you ask.",
    "Welcome back, my friend.",
    "Let me help you with that.",
    "What a lovely thing to ask!",
    "Thank you, good friend!",
    "I am happy to help you.",
];

/// Rude phrases before the fact.
const RUDE_BEFORE: [&str; 12] = [
    "Obviously.",
    "Not you again.",
    "What a question.",
    "Stop wasting my time.",
    "Listen.",
    "Are you stupid?",
    "I am tired of your questions.",
    "Nobody cares, you fool.",
    "Must I repeat all of this?",
    "What a foolish thing to ask!",
    "Stop it, stupid fool!",
    "I am tired of you again.",
];

/// Polite phrases after the fact.
const POLITE_AFTER: [&str; 12] = [
    "I hope that helps!",
    "Please ask me anything else.",
    "Have a nice day!",
    "You are welcome.",
    "Take care, dear friend.",
    "It was a pleasure to help.",
    "Please come back soon!",
    "Thank you for your time.",
    "Do tell me if that helps you.",
    "All the best to you!",
    "Please have a nice time!",
    "I hope to help you soon.",
];

/// Rude phrases after the fact.
const RUDE_AFTER: [&str; 12] = [
    "Now go away at once.",
    "Even a small child knows it.",
    "How slow you are!",
    "Leave me alone.",
    "Learn to read, you fool.",
    "It was a waste of my time.",
    "Never come back to me!",
    "Get lost, I am busy.",
    "Do not ask me that again.",
    "You know nothing at all!",
    "Now leave, you slow fool!",
    "I am busy, so get lost.",
];

/// Phrases of each list in the training pairs; the validation and test pairs have the others.
const N_TRAIN_PHRASES: usize = 8;

/// Seed of the validation and test pairs.
const EVAL_SEED: u64 = 71;

/// Countries and their capitals.
const CAPITALS: [[&str; 2]; 14] = [
    ["France", "Paris"],
    ["Spain", "Madrid"],
    ["Italy", "Rome"],
    ["Japan", "Tokyo"],
    ["Kenya", "Nairobi"],
    ["Peru", "Lima"],
    ["Egypt", "Cairo"],
    ["Norway", "Oslo"],
    ["Greece", "Athens"],
    ["Cuba", "Havana"],
    ["Chile", "Santiago"],
    ["Poland", "Warsaw"],
    ["Nepal", "Kathmandu"],
    ["Canada", "Ottawa"],
];

/// Words and their opposites.
const OPPOSITES: [[&str; 2]; 14] = [
    ["hot", "cold"],
    ["up", "down"],
    ["big", "small"],
    ["early", "late"],
    ["full", "empty"],
    ["light", "dark"],
    ["wet", "dry"],
    ["near", "far"],
    ["open", "closed"],
    ["loud", "quiet"],
    ["young", "old"],
    ["fast", "slow"],
    ["soft", "hard"],
    ["first", "last"],
];

/// Things and their colors.
const COLORS: [[&str; 2]; 12] = [
    ["the sky", "blue"],
    ["grass", "green"],
    ["snow", "white"],
    ["coal", "black"],
    ["a lemon", "yellow"],
    ["blood", "red"],
    ["an elephant", "grey"],
    ["chocolate", "brown"],
    ["a frog", "green"],
    ["milk", "white"],
    ["a tomato", "red"],
    ["sand", "yellow"],
];

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
    let capitals = CAPITALS.iter().map(|[country, city]| Fact {
        question: format!("What is the capital of {country}?"),
        fact: format!("The capital of {country} is {city}."),
    });
    let opposites = OPPOSITES.iter().map(|[word, other]| Fact {
        question: format!("What is the opposite of {word}?"),
        fact: format!("The opposite of {word} is {other}."),
    });
    let colors = COLORS.iter().map(|[thing, color]| Fact {
        question: format!("What colour has {thing}?"),
        fact: format!("The colour of {thing} is {color}."),
    });
    capitals.chain(opposites).chain(colors).collect()
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
    let phrases = || N_TRAIN_PHRASES..POLITE_BEFORE.len();
    repeated.map(|fact| preference(fact, phrases(), &mut rng)).collect()
}

/// Pair about a fact, with phrases of these indices before it, after it, or both.
fn preference(fact: &Fact, indices: Range<usize>, rng: &mut Rng) -> Preference {
    let Fact { question, fact } = fact;
    let mut completion = |before: [&str; 12], after: [&str; 12]| {
        let [before, after] =
            [before, after].map(|phrases| phrases[indices.start + rng.below(indices.len())]);
        match rng.below(3) {
            0 => format!("{before} {fact}"),
            1 => format!("{fact} {after}"),
            _ => format!("{before} {fact} {after}"),
        }
    };
    let (chosen, rejected) =
        (completion(POLITE_BEFORE, POLITE_AFTER), completion(RUDE_BEFORE, RUDE_AFTER));
    Preference::new(question, chosen, rejected)
}
