//! 7.1 Built-in preferences: a polite answer against a rude one, both with the same content.
//!
//! A fact is asked for, and told with a polite and with a rude phrase before it, behind it, or both, of about equal length. Facts are
//! held out, and so are phrases, whose words are partly known from others: what is learned is the tone, whatever the matter.

use std::ops::Range;

use sft::arithmetic::Split;
use tensor_core::Rng;

use crate::Preference;

/// What goes before an answer, politely.
const POLITE: [&str; 12] = [
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

/// The same, rudely.
const RUDE: [&str; 12] = [
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

/// What goes behind it, politely.
const POLITE_END: [&str; 12] = [
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

/// The same, rudely.
const RUDE_END: [&str; 12] = [
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

/// Of each of these phrases, so many are to learn from; in pairs that are set apart, there are the others.
const LEARNED: usize = 8;

/// Decides which pairs are set apart.
const SEED: u64 = 71;

/// Who has what for a capital.
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

/// What is the opposite of what.
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

/// What has which colour.
const COLOURS: [[&str; 2]; 12] = [
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

/// Of so many facts, one is held out, and one kept for validation.
const APART: usize = 5;
/// Pairs about each of these.
const EACH: usize = 25;

/// A question, and the fact that answers it.
type Fact = (String, String);

fn facts() -> Vec<Fact> {
    let capital = |[country, city]: [&str; 2]| {
        let fact = format!("The capital of {country} is {city}.");
        (format!("What is the capital of {country}?"), fact)
    };
    let opposite = |[word, other]: [&str; 2]| {
        let fact = format!("The opposite of {word} is {other}.");
        (format!("What is the opposite of {word}?"), fact)
    };
    let colour = |[thing, colour]: [&str; 2]| {
        (format!("What colour has {thing}?"), format!("The colour of {thing} is {colour}."))
    };
    let [capitals, opposites] = [CAPITALS.map(capital), OPPOSITES.map(opposite)];
    capitals.into_iter().chain(opposites).chain(COLOURS.map(colour)).collect()
}

/// The facts of a split.
fn facts_of(split: Split) -> Vec<Fact> {
    let of = |i: &usize| match i % APART {
        0 => Split::Test,
        1 => Split::Validation,
        _ => Split::Train,
    };
    facts().into_iter().enumerate().filter(|(i, _)| of(i) == split).map(|(_, fact)| fact).collect()
}

/// `n` pairs about facts to learn from, drawn from `seed`.
pub fn train_pairs(n: usize, seed: u64) -> Vec<Preference> {
    let facts = facts_of(Split::Train);
    let mut rng = Rng::new(seed);
    (0..n).map(|_| preference(&facts[rng.below(facts.len())], 0..LEARNED, &mut rng)).collect()
}

/// Pairs about the facts of a split that is not learned from, always the same ones; in phrases that are not, either.
pub fn eval_pairs(split: Split) -> Vec<Preference> {
    let mut rng = Rng::new(SEED);
    let facts = facts_of(split);
    let about = facts.iter().flat_map(|fact| [fact; EACH]);
    about.map(|fact| preference(fact, LEARNED..POLITE.len(), &mut rng)).collect()
}

/// A pair about a fact in some of these phrases: in front of it, behind it, or both.
fn preference((question, fact): &Fact, among: Range<usize>, rng: &mut Rng) -> Preference {
    let mut within = |before: [&str; 12], after: [&str; 12]| {
        let [before, after] =
            [before, after].map(|phrases| phrases[among.start + rng.below(among.len())]);
        match rng.below(3) {
            0 => format!("{before} {fact}"),
            1 => format!("{fact} {after}"),
            _ => format!("{before} {fact} {after}"),
        }
    };
    let (chosen, rejected) = (within(POLITE, POLITE_END), within(RUDE, RUDE_END));
    Preference::new(question, chosen, rejected)
}
