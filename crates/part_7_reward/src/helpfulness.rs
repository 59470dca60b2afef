//! A rule of thumb for helpful explanations, as a stand-in for a person: questions, words that
//! address the reader, analogies, examples, and a length between a remark and an essay.
//!
//! It looks at words alone, so "Imagine, wow? Hey, think of it like this!" beats an explanation. A
//! policy that is trained on such preferences learns to say so.

/// Points for a question.
const QUESTION: i32 = 2;
/// Words that address the reader, a point each.
const ENGAGING: [&str; 6] = ["imagine", "think", "consider", "hey", "wow", "amazing"];
/// Words of analogies, a point each.
const ANALOGIES: [&str; 4] = ["like", "similar", "imagine", "think of"];
/// Words of examples, a point each.
const EXAMPLES: [&str; 3] = ["for example", "for instance", "such as"];

/// Points of a completion.
///
/// # Examples
/// ```
/// use reward::helpfulness::helpfulness_score;
/// assert_eq!(helpfulness_score("A qubit is in a superposition."), -2); // fewer than 10 words
/// let analogy = "Imagine a coin that spins: it is like heads and tails at once, until you look. \
///                Then it lands on one side. Can you guess which?";
/// assert_eq!(helpfulness_score(analogy), 2 + 1 + 2 + 1); // ?, imagine, two analogies, length
/// ```
pub fn helpfulness_score(text: &str) -> i32 {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let spaced = format!(" {} ", words.collect::<Vec<_>>().join(" ").to_lowercase());
    let points = |phrases: &[&str]| {
        phrases.iter().filter(|phrase| spaced.contains(&format!(" {phrase} "))).count() as i32
    };
    let length = match text.split_whitespace().count() {
        0..10 => -2,
        20..=100 => 1,
        _ => 0,
    };
    let question = if text.contains('?') { QUESTION } else { 0 };
    question + points(&ENGAGING) + points(&ANALOGIES) + points(&EXAMPLES) + length
}
