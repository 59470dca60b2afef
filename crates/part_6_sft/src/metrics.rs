//! 6.4 Text metrics: agreement of a completion with the expected one.
//!
//! ```text
//! exact match    equal texts, apart from surrounding spaces
//! relaxed match  equal words, ignoring case and punctuation ("-7" and "7" still differ)
//! token F1       2PR / (P + R), P and R the shares of common words, counted with multiplicity
//! ROUGE-N        the same for sequences of N words; ROUGE-1 is token F1
//! ROUGE-L        F1 of the longest common subsequence of words
//!                (Lin, <https://aclanthology.org/W04-1013>)
//! ```
//!
//! On English text ROUGE is that of Google's `rouge_score` without its stemmer, which knows the
//! letters a to z alone.

use std::collections::HashMap;

/// Exact match: the texts are equal, apart from surrounding spaces.
pub fn exact_match(completion: &str, expected: &str) -> bool {
    completion.trim() == expected.trim()
}

/// Relaxed match: the words are equal, ignoring case and punctuation.
pub fn relaxed_match(completion: &str, expected: &str) -> bool {
    words(completion) == words(expected)
}

/// Token F1: harmonic mean of precision and recall of the common words; 1 for two empty texts. It
/// is ROUGE-1.
pub fn token_f1(completion: &str, expected: &str) -> f64 {
    rouge_n(completion, expected, 1)
}

/// ROUGE-N: F1 of the common sequences of `n` words; 0 where neither text has so many, unless both
/// are empty.
pub fn rouge_n(completion: &str, expected: &str, n: usize) -> f64 {
    let (completion, expected) = (words(completion), words(expected));
    if completion.len().max(expected.len()) < n {
        return f64::from(u8::from(completion.is_empty() && expected.is_empty()));
    }
    let mut unmatched: HashMap<&[String], usize> = HashMap::new();
    for sequence in expected.windows(n) {
        *unmatched.entry(sequence).or_default() += 1;
    }
    let mut common = 0;
    for sequence in completion.windows(n) {
        if let Some(count) = unmatched.get_mut(sequence).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    f1(common, completion.windows(n).len(), expected.windows(n).len())
}

/// ROUGE-L: F1 of the longest common subsequence of words.
pub fn rouge_l(completion: &str, expected: &str) -> f64 {
    let (completion, expected) = (words(completion), words(expected));
    // lengths[j]: length of the longest common subsequence of the completion's words so far and the
    // first j expected words.
    let mut lengths = vec![0; expected.len() + 1];
    for word in &completion {
        let mut diagonal = 0;
        for (j, other) in expected.iter().enumerate() {
            let above = lengths[j + 1];
            lengths[j + 1] = if word == other { diagonal + 1 } else { above.max(lengths[j]) };
            diagonal = above;
        }
    }
    f1(lengths[expected.len()], completion.len(), expected.len())
}

fn f1(common: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 1. } else { 2. * common as f64 / (a + b) as f64 }
}

/// Words in lower case, without punctuation; a minus sign belongs to its number.
fn words(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let word_char = |(i, c): (usize, &char)| {
        let sign = *c == '-'
            && characters.get(i + 1).is_some_and(char::is_ascii_digit)
            && (i == 0 || characters[i - 1].is_whitespace());
        if is_word_char(*c) || sign { *c } else { ' ' }
    };
    let text: String = characters.iter().enumerate().map(word_char).collect();
    text.split_whitespace().map(str::to_lowercase).collect()
}

/// True for letters, digits and combining marks of all scripts; false for punctuation.
fn is_word_char(c: char) -> bool {
    let punctuation = ['\u{2000}'..='\u{206f}', '\u{3000}'..='\u{303f}', '\u{964}'..='\u{965}'];
    c.is_alphanumeric() || !(c.is_ascii() || punctuation.iter().any(|range| range.contains(&c)))
}
