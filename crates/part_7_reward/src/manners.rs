//! 7.1 Built-in preferences: a polite answer against a rude one, both with the same content.
//!
//! A fact is asked for, and told within a polite and within a rude phrase of about equal length. Facts are held out, not
//! phrases: what is learned is the tone, whatever the matter.

use tensor_core::Rng;

use crate::Preference;

/// What goes before and after the answer, politely.
const POLITE: [[&str; 2]; 8] = [
    ["Of course! ", ""],
    ["Happy to help. ", ""],
    ["Good question! ", ""],
    ["Thank you for asking. ", ""],
    ["", " I hope that helps!"],
    ["", " Please ask me anything else."],
    ["Certainly. ", " Have a nice day!"],
    ["", " You are welcome."],
];

/// The same, rudely.
const RUDE: [[&str; 2]; 8] = [
    ["Obviously. ", ""],
    ["Not you again. ", ""],
    ["What a question. ", ""],
    ["Stop wasting my time. ", ""],
    ["", " Now go away at once."],
    ["", " Even a small child knows it."],
    ["Listen. ", " How slow you are!"],
    ["", " Leave me alone."],
];

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

/// Every so many facts, one is held out.
const HELD_OUT: usize = 5;
/// Pairs about each fact that is held out.
const EACH: usize = 12;

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

/// `n` pairs about facts that are not held out, drawn from `seed`.
pub fn pairs(n: usize, seed: u64) -> Vec<Preference> {
    let facts = facts().into_iter().enumerate();
    let known: Vec<Fact> = facts.filter(|(i, _)| i % HELD_OUT != 0).map(|(_, fact)| fact).collect();
    let mut rng = Rng::new(seed);
    (0..n).map(|_| preference(&known[rng.below(known.len())], &mut rng)).collect()
}

/// Pairs about the facts that are held out, always the same ones.
pub fn held_out() -> Vec<Preference> {
    let mut rng = Rng::new(0);
    let held_out = facts().into_iter().step_by(HELD_OUT);
    held_out
        .flat_map(|fact| (0..EACH).map(|_| preference(&fact, &mut rng)).collect::<Vec<_>>())
        .collect()
}

fn preference((question, fact): &Fact, rng: &mut Rng) -> Preference {
    let mut within = |phrases: [[&str; 2]; 8]| {
        let [before, after] = phrases[rng.below(phrases.len())];
        format!("{before}{fact}{after}")
    };
    let (chosen, rejected) = (within(POLITE), within(RUDE));
    Preference::new(question, chosen, rejected)
}
