//! 4.4 Across the space (find the bug, 8 minutes, ●○○)
//!
//! Before merging, GPT-2 cuts a text into pieces that no merge may cross: a word with the space
//! before it, or a run of punctuation. With this cutter `dog.`, `dog!` and `dog?` become three
//! tokens of their own, and the vocabulary is spent on them. Three lines at most.
//!
//! Hint: Where should `dog.` be cut?
//! Hint: A piece ends where a letter is followed by punctuation, and the other way round.
//! Hint: Compare `kind(c)` with the kind of the last character of the piece.
//! Read: crates/part_4_scaling/src/pretokenizer.rs: pub fn pretokens
//! Read: book/src/04_scale.md: ## Tokens: byte-pair encoding

/// Kind of a character: letter or digit, space, punctuation.
fn kind(c: char) -> u8 {
    match c {
        _ if c.is_alphanumeric() => 0,
        ' ' => 1,
        _ => 2,
    }
}

/// Pieces of `text`, each perhaps with one space before it. Joined they are the text.
pub fn across_the_space(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for c in text.chars() {
        let goes_on = match pieces.last().and_then(|piece| piece.chars().last()) {
            Some(' ') => kind(c) != 1,
            // BUG
            Some(last) => kind(c) == kind(last),
            //| Some(_) => kind(c) != 1,
            // END
            None => false,
        };
        match pieces.last_mut() {
            Some(piece) if goes_on => piece.push(c),
            _ => pieces.push(c.to_string()),
        }
    }
    pieces
}

// GRADE

use scaling::naive_bpe::train;

use crate::grading::{Answers, Fill, Wrong};

type Cut = fn(&str) -> Vec<String>;

/// Grader. The reference is part 4's cutter, which is GPT-2's.
pub const GRADE: Fill<Cut> = Fill {
    cases,
    reference: |text| scaling::pretokenizer::pretokens(text).map(String::from).collect(),
    tolerance: 0.,
    wrong: &[Wrong {
        f: |text| text.split_inclusive(' ').map(String::from).collect(),
        says: "the space is cut off with the word before it; it belongs to the word behind it",
        read: "",
    }],
};

fn cases(f: Cut, answers: &mut Answers) {
    for text in ["dog", "the dog. the dog! the dog?", "a dog's bone, (two) dogs..."] {
        // An apostrophe is punctuation here; GPT-2 keeps `'s` together
        let text = text.replace("'s", "");
        answers.record(format!("ends of the pieces of `{text}`"), || {
            let ends = f(&text).into_iter().scan(0, |at, piece| {
                *at += piece.len();
                Some(*at as f64)
            });
            Ok(ends.collect::<Vec<_>>())
        });
    }
    answers.record("merges that join dog and a mark", || {
        let words = f("the dog. the dog! the dog. the dog! the dog? the dog?");
        let words = words.iter().map(|word| word.bytes().map(u32::from).collect()).collect();
        let merges = train(words, 20, 256);
        let joined = merges.iter().filter(|(_, b)| b".!?".iter().any(|c| u32::from(*c) == *b));
        Ok(joined.count() as f64)
    });
}
