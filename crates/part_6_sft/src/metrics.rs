//! 6.4 How well an answer agrees with the one that was wanted.
//!
//! ```text
//! exact match   the same text, but for spaces around it
//! form forgiven the same words, whatever their case and punctuation ("-7" and "7" differ all the same)
//! token F1      2PR / (P + R), P and R the shares of words in common, as often as both have them
//! ROUGE-L       the same with the longest common subsequence of words (Lin, <https://aclanthology.org/W04-1013>)
//! ```

/// Whether `answer` is `wanted`, but for spaces around them.
pub fn exact_match(answer: &str, wanted: &str) -> bool {
    answer.trim() == wanted.trim()
}

/// Whether they are the same words.
pub fn relaxed_match(answer: &str, wanted: &str) -> bool {
    words(answer) == words(wanted)
}

/// The harmonic mean of the shares of words in common; of two empty texts 1.
pub fn token_f1(answer: &str, wanted: &str) -> f64 {
    let (answer, wanted) = (words(answer), words(wanted));
    let mut left = wanted.clone();
    let mut common = 0;
    for word in &answer {
        if let Some(at) = left.iter().position(|other| other == word) {
            left.swap_remove(at);
            common += 1;
        }
    }
    f1(common, answer.len(), wanted.len())
}

/// The same with words that are in common in the same order.
pub fn rouge_l(answer: &str, wanted: &str) -> f64 {
    let (answer, wanted) = (words(answer), words(wanted));
    // lengths[j]: of the longest common subsequence of what was read of `answer` and the first j words of `wanted`.
    let mut lengths = vec![0; wanted.len() + 1];
    for word in &answer {
        let mut diagonal = 0;
        for (j, other) in wanted.iter().enumerate() {
            let above = lengths[j + 1];
            lengths[j + 1] = if word == other { diagonal + 1 } else { above.max(lengths[j]) };
            diagonal = above;
        }
    }
    f1(lengths[wanted.len()], answer.len(), wanted.len())
}

fn f1(common: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 1. } else { 2. * common as f64 / (a + b) as f64 }
}

/// In lower case, without punctuation; the sign of a number belongs to it.
fn words(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let keeps = |(i, c): (usize, &char)| {
        let sign = *c == '-'
            && characters.get(i + 1).is_some_and(char::is_ascii_digit)
            && (i == 0 || characters[i - 1].is_whitespace());
        if of_word(*c) || sign { *c } else { ' ' }
    };
    let kept: String = characters.iter().enumerate().map(keeps).collect();
    kept.split_whitespace().map(str::to_lowercase).collect()
}

/// Letters and digits, and what other scripts write over and under them; no punctuation.
fn of_word(c: char) -> bool {
    let punctuation = ['\u{2000}'..='\u{206f}', '\u{3000}'..='\u{303f}', '\u{964}'..='\u{965}'];
    c.is_alphanumeric() || !(c.is_ascii() || punctuation.iter().any(|range| range.contains(&c)))
}
