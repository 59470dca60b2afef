//! Tests of the two texts. They use the text only, not the structure of the grammar.

use std::collections::HashSet;

use super::super::grammar::Grammar;
use super::super::{SOURCES, generate_text, stories};
use super::{real_stories, root};

/// Numbers in a sentence, in digits or as one of `words` (which count from zero). The number 1 is
/// left out, because "one" is also a pronoun.
fn numbers(sentence: &str, words: &[String]) -> Vec<usize> {
    let is_separator = |c: char| c.is_whitespace() || ",.!?:;\"।".contains(c);
    let value = |token: &str| {
        let token = token.to_lowercase();
        token.parse().ok().or_else(|| words.iter().position(|word| *word == token))
    };
    sentence.split(is_separator).filter_map(value).filter(|&number| number != 1).collect()
}

/// Number of sums in the stories. Panics at the first wrong one.
fn count_correct_sums(index: usize, times: [&str; 3], minus: [&str; 3]) -> usize {
    let source = &SOURCES[index];
    let text = std::fs::read_to_string(root().join(source.grammar)).unwrap();
    let grammar = Grammar::parse(source.grammar, &text).unwrap();
    let rows = &grammar.rule("number").unwrap().rows;
    let words: Vec<String> = rows.iter().map(|(_, row)| row[0][0].plain().to_owned()).collect();
    let mut sums = 0;
    for story in stories(&grammar).unwrap() {
        for sentence in story.split_inclusive(['.', '।', '\n']) {
            let numbers = numbers(sentence, &words);
            let has = |cues: [&str; 3]| cues.iter().any(|cue| sentence.contains(cue));
            match numbers[..] {
                [a, b, c] if has(times) => assert_eq!(a * b, c, "{sentence}"),
                [a, b, c] if has(minus) => assert_eq!(a, b + c, "{sentence}"),
                [a, b, c] => assert_eq!(a + b, c, "{sentence}"),
                // Counting up: (1,) 2, 3, 4 and so on.
                [2, 3, 4, ..] => assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1])),
                // A number of the story, then a sum that contains it.
                [n, a, b, c] => assert!(a + b == c && (n == b || n == c), "{sentence}"),
                _ => continue,
            }
            sums += 1;
        }
    }
    sums
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for source in &SOURCES {
        assert_eq!(
            generate_text(&root(), source).unwrap(),
            generate_text(&root(), source).unwrap()
        );
    }
}

#[test]
fn no_story_repeats() {
    for index in 0..SOURCES.len() {
        let stories = real_stories(index);
        assert_eq!(stories.iter().collect::<HashSet<_>>().len(), stories.len());
    }
}

#[test]
fn the_english_arithmetic_is_right() {
    let sums = count_correct_sums(0, ["times", "rows", "each row"], [" - ", "minus", "left"]);
    assert!(sums > 100, "only {sums} sums");
}

#[test]
fn the_hindi_arithmetic_is_right() {
    let sums = count_correct_sums(1, ["गुना", "हर कतार", "कतारें"], [" - ", "बचे", "दे दिए"]);
    assert!(sums > 50, "only {sums} sums");
}

#[test]
fn english_is_ascii_and_sentences_start_with_capitals() {
    for story in real_stories(0) {
        assert!(story.is_ascii(), "{story}");
        let starts: Vec<char> = story.split(". ").filter_map(|s| s.chars().next()).collect();
        assert!(!starts.iter().any(char::is_ascii_lowercase), "{story}");
        // In '"Snow!" he shouted' the sentence continues after the quotation.
        let wrong_capitals = ["!\" He ", "!\" She ", "?\" He ", "?\" She "];
        assert!(!wrong_capitals.iter().any(|wrong| story.contains(wrong)), "{story}");
    }
}

#[test]
fn articles_match_the_next_word() {
    for story in real_stories(0) {
        let words: Vec<&str> = story.split([' ', '\n', '"']).collect();
        for pair in words.windows(2) {
            // "hour" is spelled with a consonant and pronounced with a vowel.
            let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']) || pair[1] == "hour";
            match pair[0] {
                "a" | "A" => assert!(!vowel, "{pair:?}"),
                "an" | "An" => assert!(vowel, "{pair:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn texts_have_the_documented_sizes() {
    for (source, range) in SOURCES.iter().zip([230_000..280_000, 120_000..200_000]) {
        assert!(range.contains(&generate_text(&root(), source).unwrap().len()));
    }
}
